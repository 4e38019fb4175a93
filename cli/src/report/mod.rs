//! What the program says: one JSON object a line for scripts, or sentences and progress bars for people.

mod bars;
mod event;
mod sentence;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::mem;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use event::{Event, ProvenHead};

use crate::folder::Problem;
use bars::Bars;

/// Where everything the program says goes through, from any thread.
pub struct Report {
    inner: Mutex<Inner>,
}

struct Inner {
    out: Box<dyn Write + Send>,
    voice: Voice,
    /// When progress was last told, and how far it was.
    told: Option<(Instant, u64)>,
    /// The problems of the last round, by name and message, and those of the one under way.
    problems: [BTreeSet<(String, String)>; 2],
}

enum Voice {
    Json,
    People(Bars),
}

impl Report {
    /// Speaks to people: bars and sentences on standard error, what was asked for on standard output.
    pub fn to_people() -> Self {
        Self::new(Box::new(io::stdout()), Voice::People(Bars::new()))
    }

    /// Speaks to scripts: one event a line on standard output.
    pub fn to_scripts() -> Self {
        Self::to_writer(Box::new(io::stdout()))
    }

    /// Says nothing.
    pub fn to_nobody() -> Self {
        Self::to_writer(Box::new(io::sink()))
    }

    /// Speaks as to scripts, somewhere else.
    pub fn to_writer(out: Box<dyn Write + Send>) -> Self {
        Self::new(out, Voice::Json)
    }

    /// Tells an event at once.
    pub fn event(&self, event: &Event<'_>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.tell(event);
    }

    /// Tells about a name that was left out, unless it was left out of the last round for the same reason: who follows
    /// a folder or a drive goes over all of it with each change, and hears of a problem once for as long as it lasts.
    pub fn problem(&self, problem: &Problem) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let (name, message) = (&problem.name, problem.cause.to_string());
        let told = (name.clone(), message.clone());
        let [last, current] = &mut inner.problems;
        if current.insert(told.clone()) && !last.contains(&told) {
            inner.tell(&Event::Problem { code: problem.cause.code(), name, message: &message });
        }
    }

    /// Ends a round over all names: what was no problem in it is news again.
    pub fn end_round(&self) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let [last, current] = &mut inner.problems;
        *last = mem::take(current);
    }

    /// Tells how far the work is, unless it did so just now or hardly anything was done since; the first and the last
    /// step are always told, so that whoever listens knows where it stands should it stall.
    pub fn progress(&self, bytes: u64, total: u64, resumed: u64) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let due = inner.told.is_none_or(|(at, told)| {
            at.elapsed() >= PROGRESS_EVERY || bytes.saturating_sub(told) >= total / PROGRESS_STEPS
        });
        if due || bytes >= total {
            inner.told = (bytes < total).then(|| (Instant::now(), bytes));
            inner.tell(&Event::Progress { bytes, total, resumed });
        }
    }

    fn new(out: Box<dyn Write + Send>, voice: Voice) -> Self {
        Self { inner: Mutex::new(Inner { out, voice, told: None, problems: Default::default() }) }
    }
}

impl Inner {
    fn tell(&mut self, event: &Event<'_>) {
        let line = match &mut self.voice {
            Voice::Json => serde_json::to_string(event).ok(),
            Voice::People(bars) => {
                bars.tell(event);
                event.output()
            }
        };
        // Whoever closed our output does not want to hear more; that is no reason to stop working.
        if let Some(line) = line {
            let _ = writeln!(self.out, "{line}").and_then(|()| self.out.flush());
        }
    }
}

/// How often progress is told to scripts; people's bars have their own pace.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);
/// How many steps of progress are told however fast they come.
const PROGRESS_STEPS: u64 = 100;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc;

    use super::*;
    use crate::folder::Cause;

    struct Lines(mpsc::Sender<Vec<u8>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn told(tell: impl FnOnce(&Report)) -> Vec<String> {
        let (sender, receiver) = mpsc::channel();
        let report = Arc::new(Report::to_writer(Box::new(Lines(sender))));
        tell(&report);
        drop(report);
        String::from_utf8(receiver.iter().flatten().collect()).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn events_are_one_json_object_a_line() {
        let lines = told(|report| {
            report.event(&Event::Listening { transport: "tcp", address: "tcp://127.0.0.1:1" });
            report.problem(&Problem { name: "/a\nb".into(), cause: Cause::Busy });
            report.event(&Event::Done { files: Some(1), bytes: 2, seconds: 0.5, transport: None, problems: 0 });
        });
        assert_eq!(lines[0], r#"{"event":"listening","transport":"tcp","address":"tcp://127.0.0.1:1"}"#);
        assert!(lines[1].starts_with(r#"{"event":"problem","code":"busy","name":"/a\nb","message":"#), "{}", lines[1]);
        assert_eq!(lines[2], r#"{"event":"done","files":1,"bytes":2,"seconds":0.5,"transport":null,"problems":0}"#);
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn a_problem_that_lasts_is_told_once() {
        let busy = |name: &str| Problem { name: name.into(), cause: Cause::Busy };
        let rounds: [&[&str]; 4] = [&["/a", "/a"], &["/a", "/b"], &["/b"], &["/a", "/b"]];
        let lines = told(|report| {
            for round in rounds {
                round.iter().for_each(|name| report.problem(&busy(name)));
                report.problem(&Problem { name: "/b".into(), cause: Cause::ChangedHere });
                report.end_round();
            }
        });
        let names = ["/a", "/b", "/b", "/a"].map(|name| format!(r#""name":"{name}""#));
        assert_eq!(lines.len(), names.len(), "{lines:?}");
        assert!(lines.iter().zip(&names).all(|(line, name)| line.contains(name)), "{lines:?}");
    }

    #[test]
    fn progress_is_told_at_its_own_pace_but_the_end_always() {
        let lines = told(|report| (0..=1000).for_each(|bytes| report.progress(bytes, 1000, 0)));
        assert!(lines.len() < 500, "{}", lines.len());
        assert_eq!(lines.last().unwrap(), r#"{"event":"progress","bytes":1000,"total":1000,"resumed":0}"#);
    }

    #[test]
    fn a_closed_output_is_no_failure() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }

            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        Report::to_writer(Box::new(Closed)).progress(1, 1, 0);
    }
}

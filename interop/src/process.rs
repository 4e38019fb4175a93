//! A child process that speaks lines: guarded against hanging, killed when dropped.

use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

/// A running child with its three streams.
pub struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    stderr: Arc<Mutex<String>>,
    stderr_reader: Option<JoinHandle<()>>,
}

impl Process {
    /// Starts the command; `name` is what error messages call it.
    pub fn spawn(name: &str, command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {name}: {command:?}"))?;
        let stdout = child.stdout.take().context("no stdout")?;
        let mut errors = child.stderr.take().context("no stderr")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            // A line that nobody waits for any more ends the reading.
            BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let stderr = Arc::new(Mutex::new(String::new()));
        let collected = Arc::clone(&stderr);
        let stderr_reader = std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(1..) = errors.read(&mut piece).inspect(|&count| {
                let text = String::from_utf8_lossy(&piece[..count]);
                collected.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
            }) {}
        });
        let stdin = child.stdin.take();
        Ok(Self { name: name.to_owned(), child, stdin, lines, stderr, stderr_reader: Some(stderr_reader) })
    }

    /// Writes one line to the child.
    pub fn send(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("stdin is closed")?;
        let sent = writeln!(stdin, "{line}").and_then(|()| stdin.flush());
        sent.map_err(|error| self.failure(&format!("takes no more commands ({error})")))
    }

    /// Ends what the child reads.
    pub fn end_input(&mut self) {
        self.stdin = None;
    }

    /// Returns the next line of stdout, or `None` at its end. A child silent for the hang guard's time is killed.
    pub fn line(&mut self) -> Result<Option<String>> {
        match self.lines.recv_timeout(HANG_GUARD) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => {
                self.kill();
                Err(self.failure(&format!("was silent for {HANG_GUARD:?} and has been killed")))
            }
        }
    }

    /// Returns the next line if one is already there.
    pub fn line_now(&mut self) -> Option<String> {
        self.lines.try_recv().ok()
    }

    /// Sends a signal by its name without SIG: `INT`, `TERM`, `STOP`, `KILL`.
    pub fn signal(&self, signal: &str) -> Result<()> {
        let script = format!("kill -{signal} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &script]).status()?;
        if status.success() { Ok(()) } else { Err(self.failure(&format!("could not be sent SIG{signal}"))) }
    }

    /// Kills it at once (SIGKILL) and waits until it is gone.
    pub fn kill(&mut self) {
        // Both fail only for a child that is gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// Waits for the end; a child that outlives the hang guard is killed and that is the error.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let deadline = Instant::now() + HANG_GUARD;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                if let Some(reader) = self.stderr_reader.take() {
                    drop(reader.join());
                }
                return Ok(status);
            }
            std::thread::sleep(POLL);
        }
        self.kill();
        Err(self.failure(&format!("did not end within {HANG_GUARD:?} and has been killed")))
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns what it wrote to stderr so far.
    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns an error about this child, its stderr included.
    pub fn failure(&self, what: &str) -> anyhow::Error {
        anyhow!("{} {what}\n--- its stderr ---\n{}", self.name, self.stderr())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Process({}, {})", self.name, self.child.id())
    }
}

/// Longer than any step takes on a busy machine: reached only by a hang.
const HANG_GUARD: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(5);

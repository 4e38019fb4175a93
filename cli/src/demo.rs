//! Shows everything on one machine: one process shares a folder, another clones it, over a real socket.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::folder::{Found, FoundKind, Scan};
use crate::{Event, Exit, Interrupt, Report};

/// Runs the demonstration and cleans up behind it.
///
/// # Errors
/// If any step fails, or what was cloned differs from what was shared.
pub fn demo(report: &Report, interrupt: &Interrupt) -> Result<Exit> {
    let started = Instant::now();
    let dir =
        tempfile::Builder::new().prefix("anypath-demo-").tempdir().context("cannot make a folder for the demo")?;
    let at = |name: &str| dir.path().join(name);
    let step = |message: String| report.event(&Event::Step { message: &message });

    make_sample(&at("shared")).context("cannot write the sample folder")?;
    step(format!("1. Here is a folder with a few files of many kinds: {}", at("shared").display()));
    step("2. One process shares it, on this machine only, and prints a link:".to_owned());
    let share = Process::start(&["share", &text(&at("shared")), "--listen", "tcp://127.0.0.1:0"], &at("store-a"))?;
    let shared = share.wait_for("shared", interrupt)?;
    let link = shared["link"].as_str().context("share told no link")?;
    step(format!("   {link}"));

    step("3. Another process, which knows nothing but the link, clones it:".to_owned());
    let clone = Process::start(&["clone", link, &text(&at("cloned"))], &at("store-b"))?;
    let done = clone.wait_for("done", interrupt)?;
    clone.wait_for_end(interrupt)?;
    step(format!("   {} files, {} bytes, every block verified against the link's key", done["files"], done["bytes"]));

    let (files, bytes) = compare(&at("shared"), &at("cloned"))?;
    step(format!("4. Compared on disk: all {files} files are the same, byte for byte."));
    drop(share);
    let seconds = started.elapsed().as_secs_f64();
    report.event(&Event::Done { files: Some(files), bytes, seconds, transport: Some("tcp"), problems: 0 });
    Ok(Exit::Done)
}

/// This program in a process of its own, ended with the demonstration.
struct Process {
    child: Child,
    events: Receiver<Value>,
    name: String,
}

impl Process {
    fn start(words: &[&str], store: &Path) -> Result<Self> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let mut child = Command::new(program)
            .args(words)
            .args(["--json", "--store", &text(store)])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `anypath {}`", words[0]))?;
        let stdout = child.stdout.take().context("a started process has no output")?;
        Ok(Self { child, events: events(stdout), name: words[0].to_owned() })
    }

    /// Returns the next event of this name; an error that is told instead ends the demonstration.
    fn wait_for(&self, wanted: &str, interrupt: &Interrupt) -> Result<Value> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            interrupt.check()?;
            match self.events.recv_timeout(INTERRUPT_CHECK) {
                Ok(event) if event["event"] == wanted => return Ok(event),
                Ok(event) if event["event"] == "error" => bail!("`{}` failed: {}", self.name, event["message"]),
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => bail!("`{}` ended early", self.name),
            }
        }
        bail!("`{}` did not come to \"{wanted}\" within {} s", self.name, PATIENCE.as_secs())
    }

    fn wait_for_end(mut self, interrupt: &Interrupt) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            interrupt.check()?;
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "`{}` ended with {status}", self.name);
                return Ok(());
            }
            thread::sleep(END_CHECK);
        }
        bail!("`{}` did not end within {} s", self.name, PATIENCE.as_secs())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn events(stdout: ChildStdout) -> Receiver<Value> {
    let (sender, events) = channel();
    thread::spawn(move || {
        let lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let mut values = lines.filter_map(|line| serde_json::from_str(&line).ok());
        values.try_for_each(|value| sender.send(value))
    });
    events
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn make_sample(folder: &Path) -> std::io::Result<()> {
    for sub in ["", "notes", "notes/deep/er", "pictures"] {
        fs::create_dir_all(folder.join(sub))?;
    }
    fs::write(folder.join("README.txt"), "A folder to be shared.\n")?;
    fs::write(folder.join("empty"), "")?;
    fs::write(folder.join("notes/größe 日本.txt"), "names of any language\n")?;
    fs::write(folder.join("pictures/large.bin"), noise(5_000_017))?;
    for i in 0..40 {
        fs::write(folder.join(format!("notes/deep/er/{i}.txt")), noise(i * i * 11))?;
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::{PermissionsExt, symlink};
        fs::write(folder.join("run.sh"), "#!/bin/sh\necho it runs\n")?;
        fs::set_permissions(folder.join("run.sh"), fs::Permissions::from_mode(0o755))?;
        symlink("../README.txt", folder.join("notes/link"))?;
    }
    Ok(())
}

/// Returns bytes without a pattern, the same in each run.
fn noise(length: usize) -> Vec<u8> {
    let mut state = length as u64 + 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Returns how many files and bytes are the same in both folders.
///
/// # Errors
/// If there is a difference, which it names.
fn compare(left: &Path, right: &Path) -> Result<(u64, u64)> {
    let list = |folder: &Path| -> Result<Vec<Found>> { Ok(Scan::new(folder, Path::new(""))?.collect()) };
    let (lefts, rights) = (list(left)?, list(right)?);
    let mut bytes = 0;
    for (l, r) in lefts.iter().zip(&rights) {
        ensure!(l.name == r.name, "{} is not {}", l.name, r.name);
        let same = match (&l.kind, &r.kind) {
            (FoundKind::Symlink(to), FoundKind::Symlink(other)) => to == other,
            (FoundKind::File { executable: a, .. }, FoundKind::File { executable: b, .. }) => {
                let read = |folder: &Path| fs::read(folder.join(&l.name[1..]));
                let content = read(left)?;
                bytes += content.len() as u64;
                a == b && content == read(right)?
            }
            _ => false,
        };
        ensure!(same, "{} differs", l.name);
    }
    ensure!(lefts.len() == rights.len(), "{} files became {}", lefts.len(), rights.len());
    Ok((lefts.len() as u64, bytes))
}

/// How long one step may take: it is a few megabytes over a loopback.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long an interruption may go unnoticed.
const INTERRUPT_CHECK: Duration = Duration::from_millis(100);
/// How often a process is asked whether it ended.
const END_CHECK: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn the_comparison_finds_any_difference() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b): (PathBuf, PathBuf) = (dir.path().join("a"), dir.path().join("b"));
        make_sample(&a).unwrap();
        make_sample(&b).unwrap();
        let (files, bytes) = compare(&a, &b).unwrap();
        assert!(files >= 44 && bytes > 5_000_000, "{files} {bytes}");

        let mut large = noise(5_000_017);
        large[4_000_000] ^= 1;
        fs::write(b.join("pictures/large.bin"), large).unwrap();
        assert!(compare(&a, &b).is_err());
        fs::copy(a.join("pictures/large.bin"), b.join("pictures/large.bin")).unwrap();
        assert!(compare(&a, &b).is_ok());
        fs::write(b.join("zzz"), "more").unwrap();
        assert!(compare(&a, &b).is_err());
    }
}

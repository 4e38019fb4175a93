//! The program `anypath` as its users run it: arguments in, event lines and an exit code out.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::Process;

/// A running `anypath --json`.
#[derive(Debug)]
pub struct Anypath {
    process: Process,
    events: Vec<Value>,
    seen: usize,
}

/// What a run left behind.
#[derive(Debug)]
pub struct Finished {
    /// The exit code; `None` for a run that a signal ended.
    pub code: Option<i32>,
    /// Every event, in order.
    pub events: Vec<Value>,
    /// What a person would have read.
    pub stderr: String,
}

impl Anypath {
    /// Starts the program with `--json --store STORE` and the arguments. Nothing outside `store` is its own: the home
    /// folder and the platform's data folders lie inside it too.
    pub fn start<S: AsRef<OsStr>>(store: &Path, arguments: impl IntoIterator<Item = S>) -> Result<Self> {
        let binary = binary()?;
        let home = store.join("home");
        std::fs::create_dir_all(&home)?;
        let mut command = Command::new(&binary);
        command.args(arguments).arg("--json").arg("--store").arg(store);
        for variable in ["HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"] {
            command.env(variable, &home);
        }
        Ok(Self { process: Process::spawn("anypath", &mut command)?, events: Vec::new(), seen: 0 })
    }

    /// Runs the program to its end.
    pub fn run<S: AsRef<OsStr>>(store: &Path, arguments: impl IntoIterator<Item = S>) -> Result<Finished> {
        Self::start(store, arguments)?.finish()
    }

    /// Waits for the next event of that name behind those already waited for.
    pub fn wait_for(&mut self, event: &str) -> Result<Value> {
        self.wait_until(event, |_| true)
    }

    /// Waits for the next event of that name that `wanted` accepts.
    pub fn wait_until(&mut self, event: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        loop {
            while let Some(next) = self.events.get(self.seen) {
                self.seen += 1;
                if next["event"] == event && wanted(next) {
                    return Ok(next.clone());
                }
            }
            if !self.read_event()? {
                let status = self.process.wait()?;
                let events = self.events.len();
                bail!(self.process.failure(&format!("ended ({status}) after {events} events without {event:?}")));
            }
        }
    }

    /// Interrupts it, as Ctrl-C does.
    pub fn interrupt(&self) -> Result<()> {
        self.process.signal("INT")
    }

    /// Sends any signal by its name without SIG.
    pub fn signal(&self, signal: &str) -> Result<()> {
        self.process.signal(signal)
    }

    /// Kills it at once (SIGKILL).
    pub fn kill(mut self) {
        self.process.kill();
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// Returns its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Returns what it wrote for people so far.
    pub fn stderr(&self) -> String {
        self.process.stderr()
    }

    /// Waits for its end.
    pub fn finish(mut self) -> Result<Finished> {
        while self.read_event()? {}
        let code = ExitStatus::code(&self.process.wait()?);
        Ok(Finished { code, events: std::mem::take(&mut self.events), stderr: self.process.stderr() })
    }

    fn read_event(&mut self) -> Result<bool> {
        let Some(line) = self.process.line()? else { return Ok(false) };
        let event: Value = serde_json::from_str(&line)
            .map_err(|error| self.process.failure(&format!("wrote a line that is not JSON ({error}): {line}")))?;
        self.events.push(event);
        Ok(true)
    }
}

impl Finished {
    /// Returns the last event of that name.
    pub fn event(&self, event: &str) -> Result<&Value> {
        self.events.iter().rfind(|candidate| candidate["event"] == event).with_context(|| {
            format!("no event {event:?} (exit code {:?})\n--- its stderr ---\n{}", self.code, self.stderr)
        })
    }

    /// Fails unless that was the exit code.
    pub fn expect_code(&self, code: i32) -> Result<&Self> {
        if self.code != Some(code) {
            let last = self.events.last();
            bail!(
                "exit code {:?}, expected {code}; last event {last:?}\n--- its stderr ---\n{}",
                self.code,
                self.stderr
            );
        }
        Ok(self)
    }

    /// Fails unless the run ended with `code`, an `error` event and the same sentence for people, free of panics.
    /// Returns the sentence.
    pub fn expect_sentence(&self, code: i32) -> Result<String> {
        let message = self.expect_code(code)?.event("error")?["message"].as_str().context("error without message")?;
        if self.stderr.contains("panicked") || message.trim().is_empty() || message.contains('\n') {
            bail!("not one sentence: {message:?}\n--- its stderr ---\n{}", self.stderr);
        }
        Ok(message.to_owned())
    }
}

/// Finds the program: `ANYPATH_BIN`, or beside the running test in the target folder.
fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("ANYPATH_BIN") {
        return Ok(path.into());
    }
    let test = std::env::current_exe()?;
    let path = test.ancestors().nth(2).context("the test is not in a target folder")?.join("anypath");
    if !path.exists() {
        bail!("{} is missing: build it with `cargo build -p anypath-cli`, or name it in ANYPATH_BIN", path.display());
    }
    Ok(path)
}

//! The program `anypath` as its users run it: arguments in, event lines and an exit code out.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use anyhow::{Context, Result, bail};
use anypath_wire::{Address, Link};
use serde_json::Value;

use crate::Process;
use crate::content::hex;
use crate::lab::Namespace;

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
    /// Starts the program with `--json --store STORE` and the arguments. The home folder and the platform's data
    /// folders are one beside the store (`STORE.home`), so that nothing of the person who runs the tests is touched.
    pub fn start<S: AsRef<OsStr>>(store: &Path, arguments: impl IntoIterator<Item = S>) -> Result<Self> {
        Self::start_by(store, Command::new, arguments)
    }

    /// Starts it in a network of its own.
    pub fn start_in<S: AsRef<OsStr>>(
        network: &Namespace,
        store: &Path,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<Self> {
        Self::start_by(store, |binary| network.command(binary), arguments)
    }

    /// Starts it by the command that is made of its path.
    pub(crate) fn start_by<S: AsRef<OsStr>>(
        store: &Path,
        command: impl FnOnce(PathBuf) -> Command,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<Self> {
        Self::start_command(store, command(binary()?), arguments)
    }

    /// Starts it where a folder is a file system of `bytes` of its own, gone at the end. `None` where that cannot be
    /// had without being root.
    pub fn start_on_small_disk<S: AsRef<OsStr>>(
        store: &Path,
        folder: &Path,
        bytes: u64,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<Option<Self>> {
        let script = format!("mount -t tmpfs -o size={bytes} none \"$0\" && exec \"$@\"");
        let unshare = || {
            let mut command = Command::new("unshare");
            command.args(["--map-root-user", "--mount", "sh", "-c", &script]).arg(folder);
            command
        };
        if !unshare().arg("true").output().is_ok_and(|output| output.status.success()) {
            return Ok(None);
        }
        let mut command = unshare();
        command.arg(binary()?);
        Self::start_command(store, command, arguments).map(Some)
    }

    fn start_command<S: AsRef<OsStr>>(
        store: &Path,
        mut command: Command,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<Self> {
        let home = store.with_extension("home");
        std::fs::create_dir_all(&home)?;
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
                return Err(self.ended_without(event));
            }
        }
    }

    /// Returns the first event of that name, whether it was waited for before or is still to come.
    pub fn first(&mut self, event: &str) -> Result<Value> {
        self.nth(event, 0)
    }

    /// Returns the event of that name with `index` others before it; does not move what [`Anypath::wait_for`] takes.
    pub fn nth(&mut self, event: &str, index: usize) -> Result<Value> {
        loop {
            if let Some(known) = self.events.iter().filter(|known| known["event"] == event).nth(index) {
                return Ok(known.clone());
            }
            if !self.read_event()? {
                return Err(self.ended_without(event));
            }
        }
    }

    /// Writes a line to its standard input.
    pub fn say(&mut self, line: &str) -> Result<()> {
        self.process.send(line)
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

    fn ended_without(&mut self, event: &str) -> anyhow::Error {
        let ending = self.process.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        let last = self.events.last();
        self.process.failure(&format!("ended ({ending}) without the event {event:?}; its last one: {last:?}"))
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

    /// Returns the names that `problem` events say were left out, with their codes, in order.
    pub fn problems(&self) -> Vec<(String, String)> {
        let text = |event: &Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
        let problems = self.events.iter().filter(|event| event["event"] == "problem");
        problems.map(|event| (text(event, "name"), text(event, "code"))).collect()
    }

    /// Fails unless the run ended with `code` and an `error` event whose message is one line, free of panics; returns the
    /// message. Wrong usage (2) is told before anybody knows of `--json`: there the first line for people counts.
    pub fn expect_sentence(&self, code: i32) -> Result<String> {
        self.expect_code(code)?;
        let message = match self.event("error") {
            Ok(event) => event["message"].as_str().unwrap_or_default(),
            Err(_) if code == USAGE => self.stderr.lines().next().unwrap_or_default(),
            Err(error) => return Err(error),
        };
        if self.stderr.contains("panicked") || message.trim().is_empty() || message.contains('\n') {
            bail!("not one sentence: {message:?}\n--- its stderr ---\n{}", self.stderr);
        }
        Ok(message.to_owned())
    }
}

/// A running `anypath share`, listening on a free port of this machine.
#[derive(Debug)]
pub struct Share {
    /// The process.
    pub program: Anypath,
    /// What it printed for others to clone.
    pub link: String,
    /// The drive's key in hexadecimal.
    pub key: String,
    /// The port on 127.0.0.1.
    pub port: u16,
}

impl Share {
    /// Shares a folder and waits until it is served.
    pub fn start(store: &Path, folder: &Path, options: &[&str]) -> Result<Self> {
        Self::start_at(store, folder, 0, options)
    }

    /// The same at a port of choice.
    pub fn start_at(store: &Path, folder: &Path, port: u16, options: &[&str]) -> Result<Self> {
        let listen = format!("tcp://127.0.0.1:{port}");
        let folder = folder.to_str().context("a test's folder is UTF-8")?;
        let mut program = Anypath::start(store, ["share", folder, "--listen", &listen].iter().chain(options))?;
        let port = (0..)
            .map(|index| listening_address(&mut program, index))
            .find_map(|address| address.map(|at| (at.host == "127.0.0.1").then_some(at.port)).transpose())
            .context("never listening")??;
        let shared = program.first("shared")?;
        let link = shared["link"].as_str().context("shared without a link")?.to_owned();
        let key = hex(&link.parse::<Link>()?.key.0);
        Ok(Self { program, link, key, port })
    }

    /// Interrupts it and waits for its end, which must be in order.
    pub fn stop(self) -> Result<Finished> {
        self.program.interrupt()?;
        let finished = self.program.finish()?;
        finished.expect_code(130)?;
        Ok(finished)
    }
}

/// Returns where the program listens, in the order of its `listening` events.
pub fn listening_address(program: &mut Anypath, index: usize) -> Result<Address> {
    let listening = program.nth("listening", index)?;
    Ok(listening["address"].as_str().context("listening without an address")?.parse()?)
}

/// Finds the program: `ANYPATH_BIN`, or beside the running program, or beside the folder of the running test.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("ANYPATH_BIN") {
        return Ok(path.into());
    }
    let running = std::env::current_exe()?;
    let mut places = running.ancestors().skip(1).take(2).map(|folder| folder.join("anypath"));
    places.find(|path| path.is_file()).with_context(|| {
        let build = if cfg!(debug_assertions) { "cargo build" } else { "cargo build --release" };
        format!("the program is missing: build it with `{build} -p anypath-cli`, or name it in ANYPATH_BIN")
    })
}

/// The exit code of a wrong command line.
const USAGE: i32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn script(folder: &Path, script: &str) -> Anypath {
        // A shell cannot trap what it was started to ignore, as what runs in the background ignores an interrupt.
        let mut shell = Command::new("env");
        shell.args(["--default-signal=INT", "sh", "-c", script]);
        Anypath::start_command(&folder.join("store"), shell, ["anypath"]).unwrap()
    }

    #[test]
    fn events_are_found_before_and_after_the_place_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let mut run = script(folder.path(), r#"for n in 1 2 3; do echo "{\"event\":\"e\",\"n\":$n}"; done; exit 3"#);
        assert_eq!(run.wait_until("e", |event| event["n"] == 2).unwrap()["n"], 2);
        assert_eq!(run.first("e").unwrap()["n"], 1);
        assert_eq!(run.wait_for("e").unwrap()["n"], 3);
        assert!(run.wait_for("e").unwrap_err().to_string().contains("exit status: 3"));
        run.finish().unwrap().expect_code(3).unwrap();
    }

    #[test]
    fn an_error_is_one_sentence_without_a_panic() {
        let folder = tempfile::tempdir().unwrap();
        let run = |told: &str| {
            let echo = r#"echo "{\"event\":\"error\",\"message\":\"No.\"}"; "#;
            script(folder.path(), &format!("{echo} echo '{told}' >&2; exit 1")).finish().unwrap()
        };
        assert_eq!(run("No.").expect_sentence(1).unwrap(), "No.");
        assert!(run("thread 'main' panicked").expect_sentence(1).is_err());
        assert!(run("No.").expect_sentence(3).is_err());
    }

    #[test]
    fn an_interrupt_arrives() {
        let folder = tempfile::tempdir().unwrap();
        let trapped = r#"trap 'exit 130' INT; echo '{"event":"ready"}'; while :; do sleep 0.01; done"#;
        let mut run = script(folder.path(), trapped);
        run.wait_for("ready").unwrap();
        assert!(run.is_running());
        run.interrupt().unwrap();
        run.finish().unwrap().expect_code(130).unwrap();
    }
}

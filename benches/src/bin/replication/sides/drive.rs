//! A folder from one process to another: `anypath share` and `anypath clone`, and the same in JavaScript.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use anypath_benches::Usage;
use anypath_cli::{Args, Event, Exit, Failure, Interrupt, Report};
use anypath_interop::Process;
use anypath_wire::Link;
use clap::Parser;
use data_encoding::HEXLOWER;
use serde_json::Value;

use super::{Program, say};

/// A process that serves a folder; ended when dropped.
pub(crate) struct Share {
    process: Process,
    link: String,
    /// Until everything was in the drive and committed: of ours from the start of the process, of JavaScript from when its
    /// packages were loaded.
    pub(crate) seconds: f64,
}

/// What a clone took.
pub(crate) struct Cloned {
    /// From dialling to the last file written.
    pub(crate) seconds: f64,
    /// What the process cost from its start.
    pub(crate) usage: Usage,
}

impl Share {
    /// Puts a folder into a drive of that store and serves it.
    pub(crate) fn start(program: Program, store: &Path, folder: &Path) -> Result<Self> {
        let mut command = command(program, "share", store)?;
        command.arg(folder);
        if program == Program::Ours {
            command.args(["--listen", "tcp://127.0.0.1:0"]);
        }
        let begun = Instant::now();
        let mut process = Process::spawn(&format!("the sharing side ({program:?})"), &mut command)?;
        let shared = event(&mut process, "shared")?;
        let seconds = shared["seconds"].as_f64().unwrap_or_else(|| begun.elapsed().as_secs_f64());
        let link = shared["link"].as_str().context("shared without a link")?.to_owned();
        Ok(Self { process, link, seconds })
    }

    /// Lets a program clone it, store and folder being new.
    pub(crate) fn clone(&self, program: Program, store: &Path, folder: &Path) -> Result<Cloned> {
        let mut command = command(program, "clone", store)?;
        match program {
            Program::Ours => command.arg(&self.link).arg(folder),
            Program::Js => {
                let link: Link = self.link.parse()?;
                let port = link.via.first().context("a link without an address")?.port;
                command.arg(folder).args([HEXLOWER.encode(&link.key.0), port.to_string()])
            }
        };
        let mut process = Process::spawn(&format!("the cloning side ({program:?})"), &mut command)?;
        let done = event(&mut process, "done")?;
        let seconds = done["seconds"].as_f64().context("done without its seconds")?;
        Ok(Cloned { seconds, usage: cost(&mut process)? })
    }

    /// Interrupts it as a person would: killed, it would have its store checked at the next start.
    pub(crate) fn end(mut self) -> Result<()> {
        self.process.signal("INT")?;
        self.process.wait().map(drop)
    }

    /// Returns what the process has cost since its start.
    pub(crate) fn usage(&self) -> Result<Usage> {
        Usage::of(self.process.id())
    }
}

/// Runs the program anypath, and prints what it cost.
pub(crate) fn anypath(words: &[String]) -> Result<()> {
    let args = Args::try_parse_from(std::iter::once("anypath".to_owned()).chain(words.iter().cloned()))?;
    let report = Arc::new(Report::to_scripts());
    let exit = anypath_cli::run(args, &report, &Interrupt::listen()?).unwrap_or_else(|error| {
        let (failure, exit) = Failure::of(error);
        report.event(&Event::Error { code: failure.code, message: &failure.message, rungs: &failure.rungs });
        exit
    });
    let mut cost = serde_json::to_value(Usage::here()?)?;
    cost["event"] = "cost".into();
    say(&cost.to_string());
    io::stdout().flush()?;
    ensure!(exit == Exit::Done, "exit code {}", exit.code());
    Ok(())
}

fn command(program: Program, role: &str, store: &Path) -> Result<Command> {
    let mut command = program.command("drive.js")?;
    match program {
        Program::Ours => {
            command.args(["anypath", "--json", "--store"]).arg(store).arg(role);
        }
        Program::Js => {
            command.arg(role).arg(store);
        }
    }
    Ok(command)
}

/// Waits for an event; an error that is told instead is one.
pub(super) fn event(process: &mut Process, wanted: &str) -> Result<Value> {
    loop {
        let line = process.line()?.with_context(|| process.failure(&format!("ended without the event {wanted:?}")))?;
        let event: Value = serde_json::from_str(&line)?;
        ensure!(event["event"] != "error", "{}", process.failure(&line));
        if event["event"] == wanted {
            return Ok(event);
        }
    }
}

fn cost(process: &mut Process) -> Result<Usage> {
    let usage = serde_json::from_value(event(process, "cost")?)?;
    process.wait()?;
    Ok(usage)
}

/// Makes one large file.
pub(crate) fn make_file(file: &Path, bytes: u64) -> Result<()> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut out = fs::File::create(file)?;
    let mut piece = vec![0; 1 << 20];
    for _ in 0..bytes >> 20 {
        random.fill(&mut piece);
        out.write_all(&piece)?;
    }
    Ok(())
}

/// Fails unless both folders hold the same files, byte for byte.
pub(crate) fn compare(one: &Path, other: &Path) -> Result<()> {
    let output = Command::new("diff").arg("-rq").args([one, other]).output()?;
    ensure!(output.status.success(), "what was cloned differs: {}", String::from_utf8_lossy(&output.stdout));
    Ok(())
}

/// Bytes that do not compress, the same in every run: xorshift64.
struct Random(u64);

impl Random {
    fn fill(&mut self, bytes: &mut [u8]) {
        for piece in bytes.chunks_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            piece.copy_from_slice(&self.0.to_le_bytes()[..piece.len()]);
        }
    }
}

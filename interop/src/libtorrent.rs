//! Unmodified libtorrent: Python running `python/libtorrent_peer.py`, asked by JSON lines.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, anyhow};
use serde_json::{Map, Value, json};

use crate::Process;

/// Nodes of libtorrent in one process at the other end of a pipe.
#[derive(Debug)]
pub struct Libtorrent {
    process: Process,
    asked: u64,
}

impl Libtorrent {
    /// Returns why it cannot be started here, if that is so.
    pub fn missing() -> Option<String> {
        let there = Command::new(python()).args(["-c", "import libtorrent"]).output();
        let is_there = there.is_ok_and(|output| output.status.success());
        (!is_there).then(|| "libtorrent is not installed: ./test does that, into interop/python/.venv".to_owned())
    }

    /// Starts it, without nodes.
    ///
    /// # Errors
    /// If Python cannot be started.
    pub fn spawn() -> Result<Self> {
        let program = folder().join("libtorrent_peer.py");
        let process = Process::spawn("libtorrent", Command::new(python()).arg(program))?;
        Ok(Self { process, asked: 0 })
    }

    /// Sends a command and returns its answer; `fields` is an object. The verbs are documented in `python/`.
    ///
    /// # Errors
    /// What it answers, or if it ends.
    pub fn ask(&mut self, verb: &str, fields: Value) -> Result<Value> {
        self.asked += 1;
        let mut command = Map::from_iter([("id".to_owned(), json!(self.asked)), ("do".to_owned(), json!(verb))]);
        command.extend(fields.as_object().cloned().unwrap_or_default());
        self.process.send(&Value::Object(command).to_string())?;
        let line = self.process.line()?.context("libtorrent ended")?;
        let mut answer: Value = serde_json::from_str(&line).with_context(|| line.clone())?;
        match answer.get("error") {
            Some(error) => Err(anyhow!("libtorrent answers to {verb}: {error}")),
            None => Ok(answer["ok"].take()),
        }
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("python")
}

fn python() -> PathBuf {
    folder().join(".venv/bin/python")
}

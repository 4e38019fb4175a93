//! A laboratory with a distant site, and the programs that are run there.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use anypath_interop::Process;
use anypath_interop::lab::{Lab, Line, Profile, Site};
use serde::de::DeserializeOwned;

/// A site behind a proxy and a distant line, and another one that is open.
pub(crate) struct Place {
    pub(crate) site: Site,
    pub(crate) open: Site,
    pub(crate) lab: Lab,
}

impl Place {
    /// Builds it.
    pub(crate) fn build(profile: Profile) -> Result<Self> {
        let lab = Lab::open()?.context("there are no networks to measure in; the line above says why")?;
        let (site, open) = (lab.far_site(profile, LINE)?, lab.site(Profile::Open)?);
        Ok(Self { site, open, lab })
    }

    /// Starts this program at the open site as the end that waits for others; it ends when dropped.
    pub(crate) fn start(&self, what: &str, words: &[&str]) -> Result<Process> {
        let mut command = self.open.command(&here()?);
        let mut process = Process::spawn(what, command.args([what, self.lab.relay()]).args(words))?;
        let line = process.line()?;
        ensure!(line.as_deref() == Some("ready"), "the other end does not begin: {line:?} {}", process.stderr());
        Ok(process)
    }

    /// Runs this program at the distant site, and returns what it printed.
    pub(crate) fn ask<T: DeserializeOwned>(&self, what: &str, words: &[&str]) -> Result<T> {
        let mut command: Command = self.site.command(&here()?);
        let output = command.args([what, self.lab.relay()]).args(words).output()?;
        ensure!(output.status.success(), "{what} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).context("unknown figures")
    }
}

fn here() -> Result<String> {
    std::env::current_exe()?.into_os_string().into_string().ok().context("a path that is no text")
}

/// From a site to the public network.
pub(crate) const LINE: Line = Line { delay: Duration::from_millis(25), lost_per_10_000: 0, rate: 12_500_000 };

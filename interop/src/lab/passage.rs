//! A folder from one site to another, and how it went.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{Lab, Profile, Site};
use crate::folder::{Plan, expect_same, generate, list, totals};

/// A folder has gone from one site to another, equal byte for byte.
#[derive(Debug, Clone)]
pub struct Passage {
    /// Where it was shared.
    pub from: Profile,
    /// Where it was cloned.
    pub to: Profile,
    /// What carried it at the end, at the cloning side.
    pub carrier: String,
    /// From the start of the sharing program until others find it at the relay.
    pub registered: Duration,
    /// From the start of the cloning program to a peer that has proven its key.
    pub connected: Duration,
    /// From there to the last file.
    pub moved: Duration,
    /// In files.
    pub bytes: u64,
}

impl Passage {
    /// Shares a folder at one site and clones it at another, where nothing but its key and the relay are known.
    pub fn make(lab: &Lab, from: &Site, to: &Site, plan: Plan) -> Result<Self> {
        let pair = format!("{} to {}", from.profile, to.profile);
        Self::attempt(lab, from, to, plan).with_context(|| pair)
    }

    fn attempt(lab: &Lab, from: &Site, to: &Site, plan: Plan) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let [source, target] = ["source", "target"].map(|name| folder.path().join(name));
        generate(&source, plan)?;
        let (listing, via) = (list(&source)?, ["--via".as_ref(), lab.relay().as_ref()]);
        let words = ["share".as_ref(), source.as_os_str()].into_iter().chain(via);
        let began = Instant::now();
        let mut share = from.anypath(&folder.path().join("shares"), words)?;
        share.wait_until("listening", |event| event["transport"] == "https")?;
        let registered = began.elapsed();
        let key = share.wait_for("shared")?["key"].as_str().context("no key")?.to_owned();
        let words = ["clone".as_ref(), key.as_ref(), target.as_os_str()].into_iter().chain(via);
        let began = Instant::now();
        let mut clone = to.anypath(&folder.path().join("clones"), words)?;
        clone.wait_for("connected")?;
        let connected = began.elapsed();
        let done = clone.finish()?;
        let moved = began.elapsed() - connected;
        done.expect_code(0)?;
        expect_same(&listing, &list(&target)?)?;
        let carrier = done.event("done")?["transport"].as_str().context("nothing carried it")?.to_owned();
        ensure!(carrier.starts_with("https/"), "{carrier}");
        fs::remove_dir_all(&target)?;
        let (from, to, (_, bytes)) = (from.profile, to.profile, totals(&listing));
        Ok(Self { from, to, carrier, registered, connected, moved, bytes })
    }

    /// Returns how fast it went, in MiB/s.
    pub fn rate(&self) -> f64 {
        self.bytes as f64 / self.moved.as_secs_f64() / f64::from(1 << 20)
    }
}

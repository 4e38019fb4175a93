//! A JavaScript client of the relay, which shares nothing with ours but what is written down, clones from a Rust share.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use anypath_interop::folder::{Entry, Plan, expect_same, generate, list};
use anypath_interop::lab::{Lab, Profile};
use anypath_interop::{JsPeer, Process, skip};

#[test]
fn javascript_clones_through_the_relay_what_anypath_shares() -> Result<()> {
    if let Some(reason) = JsPeer::missing() {
        skip(&reason);
        return Ok(());
    }
    let Some(lab) = Lab::open()? else { return Ok(()) };
    let (sharing, cloning) = (lab.site(Profile::ProxyBuffering)?, lab.site(Profile::UdpBlocked443)?);
    let (source, target) = (lab.path("source"), lab.path("target"));
    generate(&source, Plan { seed: 31, files: 40, large_bytes: 6 << 20 })?;
    let words = ["share".as_ref(), source.as_os_str(), "--via".as_ref(), lab.relay().as_ref()];
    let mut share = sharing.anypath(&lab.path("shares"), words)?;
    let link = share.wait_for("shared")?["link"].as_str().context("no link")?.to_owned();
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("js/examples/relayed.js");
    let mut node: Command = cloning.command("node");
    node.arg(script).arg(link).arg(&target).env("NODE_EXTRA_CA_CERTS", "/etc/ssl/certs/ca-certificates.crt");
    let mut node = Process::spawn("relayed.js", &mut node)?;
    let status = node.wait()?;
    ensure!(status.success(), node.failure("failed"));
    // It writes files alone: no symlinks, no executable bits.
    let files = |path| -> Result<_> {
        let plain = list(path)?.into_iter().filter_map(|(name, entry)| match entry {
            Entry::File { bytes, sha256, .. } => Some((name, Entry::File { executable: false, bytes, sha256 })),
            Entry::Link(_) => None,
        });
        Ok(plain.filter(|(name, _)| !name.starts_with("links/")).collect())
    };
    expect_same(&files(&source)?, &files(&target)?)
}

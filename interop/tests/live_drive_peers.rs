//! One drive among many peers: three that each hold a part of it, seeds whose source is gone, silent and dead ways beside
//! a good one, an owner who rewrites history, and the signals that end a run.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use anypath_interop::folder::{Plan, expect_same, generate, list, totals};
use anypath_interop::{Anypath, CoreSpec, JsPeer, Share, Until, drive_cores, listening_address, rust_peer, skip};
use anypath_wire::Link;
use serde_json::json;
use tempfile::TempDir;

/// Three JavaScript peers, each with another third of the contents: the clone is whole only if it asks all of them.
#[test]
fn three_peers_with_a_third_each() -> Result<()> {
    let Some(stage) = stage()? else { return Ok(()) };
    let mut writer = stage.js("writer")?;
    let key = writer.drive_open("drive", None)?.key;
    writer.drive_import("drive", &stage.folder())?;
    let port = serve(&mut writer)?;
    let blobs = writer.ask("core.info", json!({ "core": "drive/blobs" }))?["length"].as_u64().context("no length")?;
    let mut peers = Vec::new();
    let mut link = format!("hyper://{key}?");
    for third in 0..3 {
        let mut peer = stage.js(&format!("third {third}"))?;
        peer.drive_fetch("drive", &key, port)?;
        let (start, end) = (blobs * third / 3, blobs * (third + 1) / 3);
        peer.ask("core.clear", json!({ "core": "drive/blobs", "start": 0, "end": start }))?;
        peer.ask("core.clear", json!({ "core": "drive/blobs", "start": end, "end": blobs }))?;
        peer.ask("disconnect", json!({}))?;
        link += &format!("via=tcp://127.0.0.1:{}&", serve(&mut peer)?);
        peers.push(peer);
    }
    drop(writer);
    Anypath::run(&stage.path("store"), ["clone", link.trim_end_matches('&'), text(&stage.target())?])?
        .expect_code(0)?;
    expect_same(&list(&stage.folder())?, &list(&stage.target())?)
}

/// A seed takes a share's place: it says when it has everything, and serves two at once when the share is gone.
#[test]
fn seed_serves_two_when_the_share_is_gone() -> Result<()> {
    let Some(stage) = stage()? else { return Ok(()) };
    let expected = list(&stage.folder())?;
    let share = Share::start(&stage.path("share store"), &stage.folder(), &[])?;
    let mut seed = Anypath::start(&stage.path("seed store"), ["seed", &share.link, "--listen", "tcp://127.0.0.1:0"])?;
    let done = seed.wait_for("done")?;
    let (files, bytes) = totals(&expected);
    ensure!(done["files"] == files && done["bytes"] == bytes, "{done}, expected {files} files, {bytes} bytes");
    let progress = seed.nth("progress", 0)?;
    ensure!(progress["total"].as_u64() >= Some(bytes), "{progress} is not in bytes");
    let key = share.key.clone();
    share.stop()?;

    let at = listening_address(&mut seed, 0)?;
    let link = format!("hyper://{key}?via={at}");
    let clones = ["one", "two"].map(|name| {
        let target = stage.path(name);
        Anypath::start(&stage.path(&format!("store {name}")), ["clone", &link, text(&target)?])
    });
    for (clone, name) in clones.into_iter().zip(["one", "two"]) {
        clone?.finish()?.expect_code(0)?;
        expect_same(&expected, &list(&stage.path(name))?)?;
    }
    seed.interrupt()?;
    seed.finish()?.expect_code(130).map(drop)
}

/// One way leads to nobody, another to somebody who never says a word: with the patience given, waiting for either of
/// them would be longer than the guard against hanging allows.
#[test]
fn ways_to_nobody_do_not_hold_up_a_good_one() -> Result<()> {
    let Some(stage) = stage()? else { return Ok(()) };
    let share = Share::start(&stage.path("share store"), &stage.folder(), &[])?;
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let closed = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let (silent, closed) = (format!("tcp://{}", silent.local_addr()?), format!("tcp://{closed}"));
    let target = stage.target();
    let words = ["clone", &share.link, text(&target)?, "--via", &silent, "--via", &closed, "--timeout", "3600"];
    Anypath::run(&stage.path("store"), words)?.expect_code(0)?;
    expect_same(&list(&stage.folder())?, &list(&stage.target())?)?;
    share.stop().map(drop)
}

/// Somebody who has nothing says so first, and whoever has the entries does not share the contents: that they are lost
/// is not said before somebody else brings them.
#[test]
fn an_empty_peer_does_not_make_contents_lost() -> Result<()> {
    let Some(stage) = stage()? else { return Ok(()) };
    let share = Share::start(&stage.path("share store"), &stage.folder(), &[])?;
    let (key, port) = (share.link.parse::<Link>()?.key, share.port);
    share.stop()?;
    let cores = drive_cores(&stage.path("share store"), key)?;
    let share = Share::start_at(&stage.path("share store"), &stage.folder(), port, &[])?;
    // Plain cores have an address each, so that these are two peers: one with the entries, one with the contents.
    let mut parts = rust_peer(&stage.path("parts"))?;
    let mut empty = rust_peer(&stage.path("empty"))?;
    for (core, key) in &cores {
        parts.open(core, &CoreSpec::keyed(key).plain())?;
        parts.follow(core)?;
        parts.dial(share.port, Some(core))?;
        let length = parts.wait(core, Until::length(1))?.length;
        parts.wait(core, Until::contiguous(length))?;
        empty.open(core, &CoreSpec::keyed(key))?;
    }
    parts.disconnect()?;
    share.stop()?;

    let target = stage.target();
    let nobody = format!("tcp://127.0.0.1:{}", empty.listen(None)?);
    let words = ["clone", &key.to_string(), text(&target)?, "--via", &nobody, "--listen", "tcp://127.0.0.1:0"];
    let mut clone = Anypath::start(&stage.path("store"), words)?;
    let clone_port = listening_address(&mut clone, 0)?.port;
    clone.wait_for("connected")?;
    parts.dial(clone_port, Some("db"))?;
    clone.wait_until("progress", |event| event["bytes"] == 0)?;
    // Nothing is to happen in this time: it could say that everything is lost.
    sleep(Duration::from_millis(500));
    parts.dial(clone_port, Some("blobs"))?;
    clone.finish()?.expect_code(0)?;
    expect_same(&list(&stage.folder())?, &list(&target)?)?;
    parts.close()?;
    empty.close()
}

/// The owner takes back the last entries and writes others in their place: a live clone follows, and so does the next
/// run of one that was not there.
#[test]
fn a_rewritten_drive_is_followed() -> Result<()> {
    let Some(stage) = stage()? else { return Ok(()) };
    let mut writer = stage.js("writer")?;
    let key = writer.drive_open("drive", None)?.key;
    let kept = writer.drive_import("drive", &stage.folder())?.version;
    writer.drive_put("drive", "/taken back", "first")?;
    writer.drive_put("drive", "/rewritten", "first")?;
    let port = serve(&mut writer)?;
    let link = format!("hyper://{key}?via=tcp://127.0.0.1:{port}");
    let (target, absent) = (stage.target(), stage.path("absent"));
    let mut live = Anypath::start(&stage.path("store"), ["clone", &link, text(&target)?, "--live"])?;
    live.wait_for("done")?;
    Anypath::run(&stage.path("absent store"), ["clone", &link, text(&absent)?])?.expect_code(0)?;

    writer.ask("core.truncate", json!({ "core": "drive/db", "length": kept }))?;
    writer.drive_put("drive", "/rewritten", "second")?;
    writer.drive_put("drive", "/added", "second")?;
    let expected = writer.drive_list("drive", None)?;
    ensure!(!expected.contains_key("taken back"), "the drive was not truncated");
    // A file may go while the folder is listed: then there is more to come.
    while list(&target).and_then(|seen| expect_same(&expected, &seen)).is_err() {
        live.wait_for("done")?;
    }
    live.signal("TERM")?;
    live.finish()?.expect_code(130)?;
    Anypath::run(&stage.path("absent store"), ["clone", &link, text(&absent)?])?.expect_code(0)?;
    expect_same(&expected, &list(&absent)?)
}

/// Every signal that asks a program to end does so in order, with a sentence on how to go on.
#[test]
fn signals_end_a_run_in_order() -> Result<()> {
    let Some(stage) = stage()? else { return Ok(()) };
    for signal in ["INT", "TERM", "HUP"] {
        let share = Share::start(&stage.path("share store"), &stage.folder(), &[])?;
        share.program.signal(signal)?;
        let message = share.program.finish()?.expect_sentence(130)?;
        ensure!(message.contains("again"), "{message}");
    }
    let target = stage.target();
    let nobody = ["clone", NOBODYS_KEY, text(&target)?, "--via", "tcp://127.0.0.1:1", "--timeout", "3600"];
    let mut clone = Anypath::start(&stage.path("store"), nobody)?;
    clone.wait_for("unreachable")?;
    clone.signal("TERM")?;
    clone.finish()?.expect_sentence(130)?;
    ensure!(!target.exists(), "an empty folder was left behind");
    Ok(())
}

struct Stage {
    root: TempDir,
}

impl Stage {
    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn folder(&self) -> PathBuf {
        self.path("folder")
    }

    fn target(&self) -> PathBuf {
        self.path("target")
    }

    fn js(&self, name: &str) -> Result<JsPeer> {
        JsPeer::spawn(&self.path(name))
    }
}

/// Makes the folder to share; `None` where JavaScript peers cannot run.
fn stage() -> Result<Option<Stage>> {
    if let Some(reason) = JsPeer::missing() {
        skip(&reason);
        return Ok(None);
    }
    let stage = Stage { root: tempfile::tempdir()? };
    generate(&stage.folder(), Plan { seed: 6, files: 200, large_bytes: 4 << 20 })?;
    Ok(Some(stage))
}

fn serve(peer: &mut JsPeer) -> Result<u16> {
    let answer = peer.ask("listen", json!({}))?;
    Ok(u16::try_from(answer["port"].as_u64().context("no port")?)?)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a test's folder is UTF-8")
}

/// Of no core anywhere: 32 times 0x07.
const NOBODYS_KEY: &str = "0707070707070707070707070707070707070707070707070707070707070707";

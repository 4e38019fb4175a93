//! Folders through Hyperdrives: `anypath share` read by JavaScript, JavaScript drives taken by `anypath clone`, and both
//! ends ours. The first test is JavaScript alone, so that the stage itself is known to be good.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use anypath_interop::folder::{Plan, expect_same, generate, list, totals, write_file};
use anypath_interop::{Anypath, JsPeer, Share, listening_address, skip};
use serde_json::json;
use tempfile::TempDir;

#[test]
fn js_to_js() -> Result<()> {
    let Some(stage) = stage(SMALL)? else { return Ok(()) };
    let (mut writer, mut reader) = (stage.js("writer")?, stage.js("reader")?);
    let key = writer.drive_open("drive", None)?.key;
    writer.drive_import("drive", &stage.folder())?;
    let port = serve(&mut writer)?;
    reader.drive_fetch("drive", &key, port)?;
    let expected = list(&stage.folder())?;
    expect_same(&expected, &reader.drive_list("drive", None)?)?;
    reader.drive_export("drive", &stage.path("export"))?;
    expect_same(&expected, &list(&stage.path("export"))?)
}

#[test]
fn thousands_of_files_shared_to_js() -> Result<()> {
    let Some(stage) = stage(THOUSANDS)? else { return Ok(()) };
    let expected = list(&stage.folder())?;
    let mut share = Share::start(&stage.path("store"), &stage.folder(), &[])?;
    let (files, bytes) = totals(&expected);
    let shared = share.program.first("shared")?;
    ensure!(shared["files"] == files && shared["bytes"] == bytes, "{shared}, expected {files} files, {bytes} bytes");

    let mut reader = stage.js("reader")?;
    reader.drive_fetch("drive", &share.key, share.port)?;
    share.program.first("connected")?;
    expect_same(&expected, &reader.drive_list("drive", None)?)?;
    reader.drive_export("drive", &stage.path("export"))?;
    expect_same(&expected, &list(&stage.path("export"))?)?;
    share.stop().map(drop)
}

#[test]
fn thousands_of_files_cloned_from_js() -> Result<()> {
    let Some(stage) = stage(THOUSANDS)? else { return Ok(()) };
    let expected = list(&stage.folder())?;
    let mut writer = stage.js("writer")?;
    let key = writer.drive_open("drive", None)?.key;
    writer.drive_import("drive", &stage.folder())?;
    let port = serve(&mut writer)?;
    let finished = clone(&stage, &js_link(&key, port), &[])?;
    let (files, bytes) = totals(&expected);
    let done = finished.expect_code(0)?.event("done")?;
    ensure!(done["files"] == files && done["bytes"] == bytes && done["transport"] == "tcp", "{done}");
    expect_same(&expected, &list(&stage.target())?)
}

#[test]
fn shared_and_cloned_by_ours() -> Result<()> {
    let Some(stage) = stage(THOUSANDS)? else { return Ok(()) };
    let share = Share::start(&stage.path("store"), &stage.folder(), &[])?;
    clone(&stage, &share.link, &[])?.expect_code(0)?;
    expect_same(&list(&stage.folder())?, &list(&stage.target())?)?;
    share.stop().map(drop)
}

/// The key alone, in hexadecimal, with `--via`; over IPv6; and nothing of ours in the folders.
#[test]
fn every_way_to_name_a_drive() -> Result<()> {
    let Some(stage) = stage(SMALL)? else { return Ok(()) };
    let expected = list(&stage.folder())?;
    let six_too = std::net::TcpListener::bind("[::1]:0").is_ok();
    let listen = ["--no-hints", "--listen", if six_too { "tcp://[::1]:0" } else { "tcp://127.0.0.1:0" }];
    let mut share = Share::start(&stage.path("store"), &stage.folder(), &listen)?;
    ensure!(!share.link.contains("via="), "hints in {}", share.link);
    let at =
        [listening_address(&mut share.program, 0)?.to_string(), listening_address(&mut share.program, 1)?.to_string()];
    for (index, (link, via)) in [(&share.key, &at[0]), (&share.link, &at[1])].into_iter().enumerate() {
        let target = stage.path(&format!("target {index}"));
        let store = stage.path(&format!("store {index}"));
        Anypath::run(&store, ["clone", link, text(&target)?, "--via", via])?.expect_code(0)?;
        expect_same(&expected, &list(&target)?)?;
    }
    expect_same(&expected, &list(&stage.folder())?)?;
    share.stop().map(drop)
}

/// A second share imports nothing again; a changed folder becomes a new version, the old one stays readable for JS.
#[test]
fn versions_of_a_share() -> Result<()> {
    let Some(stage) = stage(SMALL)? else { return Ok(()) };
    let store = stage.path("store");
    let before = list(&stage.folder())?;
    let mut reader = stage.js("reader")?;

    let share = Share::start(&store, &stage.folder(), &[])?;
    let first = reader.drive_fetch("drive", &share.key, share.port)?;
    let key = share.key.clone();
    share.stop()?;

    let share = Share::start(&store, &stage.folder(), &[])?;
    ensure!(share.key == key, "the second share has another key");
    reader.ask("dial", json!({ "port": share.port }))?;
    reader.ask("core.wait", json!({ "core": "drive/db", "peers": 1 }))?;
    reader.ask("drive.update", json!({ "drive": "drive" }))?;
    ensure!(reader.drive_wait("drive", 0)?.version == first.version, "an unchanged folder made a new version");
    share.stop()?;

    change(&stage.folder())?;
    let after = list(&stage.folder())?;
    let share = Share::start(&store, &stage.folder(), &[])?;
    reader.ask("dial", json!({ "port": share.port }))?;
    reader.drive_wait("drive", first.version + 1)?;
    reader.ask("drive.update", json!({ "drive": "drive" }))?;
    expect_same(&after, &reader.drive_list("drive", None)?)?;
    expect_same(&before, &reader.drive_list("drive", Some(first.version))?)?;
    share.stop().map(drop)
}

#[test]
fn watch_follows_the_folder() -> Result<()> {
    let Some(stage) = stage(SMALL)? else { return Ok(()) };
    let share = Share::start(&stage.path("store"), &stage.folder(), &["--watch"])?;
    let mut reader = stage.js("reader")?;
    reader.drive_fetch("drive", &share.key, share.port)?;
    change(&stage.folder())?;
    let expected = list(&stage.folder())?;
    eventually(|| expect_same(&expected, &reader.drive_list("drive", None)?))?;
    share.stop().map(drop)
}

#[test]
fn live_follows_the_drive() -> Result<()> {
    let Some(stage) = stage(SMALL)? else { return Ok(()) };
    let mut writer = stage.js("writer")?;
    let key = writer.drive_open("drive", None)?.key;
    writer.drive_import("drive", &stage.folder())?;
    let port = serve(&mut writer)?;
    let mut live =
        Anypath::start(&stage.path("clone store"), ["clone", &js_link(&key, port), text(&stage.target())?, "--live"])?;
    live.wait_for("done")?;
    expect_same(&list(&stage.folder())?, &list(&stage.target())?)?;
    writer.drive_put("drive", "/new/file", "added while connected")?;
    writer.drive_del("drive", "/links/to nothing")?;
    writer.drive_put("drive", "/flat1/file 19.bin", "changed while connected")?;
    let expected = writer.drive_list("drive", None)?;
    eventually(|| expect_same(&expected, &list(&stage.target())?))?;
    live.interrupt()?;
    live.finish()?.expect_code(130).map(drop)
}

/// Ours keeps and serves a drive whose writer is gone.
#[test]
fn seed_serves_when_the_writer_is_gone() -> Result<()> {
    let Some(stage) = stage(SMALL)? else { return Ok(()) };
    let mut writer = stage.js("writer")?;
    let key = writer.drive_open("drive", None)?.key;
    writer.drive_import("drive", &stage.folder())?;
    let port = serve(&mut writer)?;
    let mut seed =
        Anypath::start(&stage.path("seed store"), ["seed", &js_link(&key, port), "--listen", "tcp://127.0.0.1:0"])?;
    seed.wait_for("done")?;
    writer.ask("close", json!({}))?;
    drop(writer);

    let address = listening_address(&mut seed, 0)?;
    let mut reader = stage.js("reader")?;
    reader.drive_fetch("drive", &key, address.port)?;
    expect_same(&list(&stage.folder())?, &reader.drive_list("drive", None)?)?;
    seed.interrupt()?;
    seed.finish()?.expect_code(130).map(drop)
}

#[test]
fn demo_ends_with_a_verified_folder() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let finished = Anypath::run(&folder.path().join("store"), ["demo"])?;
    let done = finished.expect_code(0)?.event("done")?;
    ensure!(done["files"].as_u64() > Some(0), "{done}");
    Ok(())
}

/// Interrupted where it cannot go on, the next run fetches only the rest: from a peer that has half, then from one that
/// has all.
#[test]
fn interrupted_clone_resumes() -> Result<()> {
    let Some(stage) = stage(MANY)? else { return Ok(()) };
    let (mut writer, mut half) = (stage.js("writer")?, stage.js("half")?);
    let key = writer.drive_open("drive", None)?.key;
    writer.drive_import("drive", &stage.folder())?;
    let port = serve(&mut writer)?;
    half.drive_fetch("drive", &key, port)?;
    let blobs = half.ask("core.info", json!({ "core": "drive/blobs" }))?;
    let length = blobs["length"].as_u64().context("no length")?;
    half.ask("core.clear", json!({ "core": "drive/blobs", "start": length / 2, "end": length }))?;
    half.ask("disconnect", json!({}))?;
    let half_port = serve(&mut half)?;

    let store = stage.path("clone store");
    let arguments =
        |port| Ok::<_, anyhow::Error>(["clone".into(), js_link(&key, port), text(&stage.target())?.to_owned()]);
    let mut run = Anypath::start(&store, arguments(half_port)?)?;
    let total = run.wait_until("progress", |progress| {
        progress["bytes"].as_u64() >= progress["total"].as_u64().map(|total| total * 3 / 10)
    })?["total"]
        .as_u64();
    run.interrupt()?;
    run.finish()?.expect_code(130)?;

    let finished = Anypath::run(&store, arguments(port)?)?;
    let resumed = finished.expect_code(0)?.event("progress")?["resumed"].as_u64();
    ensure!(resumed >= total.map(|total| total / 5), "resumed {resumed:?} of {total:?} bytes");
    expect_same(&list(&stage.folder())?, &list(&stage.target())?)
}

/// Killed (SIGKILL) again and again at whatever it is doing, then left alone.
#[test]
fn killed_clone_resumes() -> Result<()> {
    let Some(stage) = stage(LARGE)? else { return Ok(()) };
    let share = Share::start(&stage.path("store"), &stage.folder(), &[])?;
    let store = stage.path("clone store");
    for percent in [0, 10, 30, 50, 70, 90] {
        let mut run = Anypath::start(&store, ["clone", &share.link, text(&stage.target())?])?;
        let far_enough = |event: &serde_json::Value| {
            event["bytes"].as_u64().map(|bytes| bytes * 100) >= event["total"].as_u64().map(|total| total * percent)
        };
        // It may be done before it is killed: that is no failure here.
        drop(run.wait_until("progress", far_enough));
        run.kill();
    }
    clone(&stage, &share.link, &[])?.expect_code(0)?;
    expect_same(&list(&stage.folder())?, &list(&stage.target())?)?;
    share.stop().map(drop)
}

/// The share dies and comes back at the same port: the clone goes on by itself, and the drive is the same one.
#[test]
fn clone_outlives_a_killed_share() -> Result<()> {
    let Some(stage) = stage(LARGE)? else { return Ok(()) };
    let store = stage.path("store");
    let share = Share::start(&store, &stage.folder(), &[])?;
    let (key, port) = (share.key.clone(), share.port);
    let mut run = Anypath::start(&stage.path("clone store"), ["clone", &share.link, text(&stage.target())?])?;
    run.wait_until("progress", |progress| progress["bytes"].as_u64() > Some(0))?;
    share.program.kill();
    let share = Share::start_at(&store, &stage.folder(), port, &[])?;
    ensure!(share.key == key, "another key after the kill");
    run.finish()?.expect_code(0)?;
    expect_same(&list(&stage.folder())?, &list(&stage.target())?)?;
    share.stop().map(drop)
}

/// Into its own folder again: deletions follow, what is not its own stays, what was changed here is named and kept.
#[test]
fn clone_again_respects_what_is_there() -> Result<()> {
    let Some(stage) = stage(SMALL)? else { return Ok(()) };
    let mut writer = stage.js("writer")?;
    let key = writer.drive_open("drive", None)?.key;
    writer.drive_import("drive", &stage.folder())?;
    let port = serve(&mut writer)?;
    let link = js_link(&key, port);
    clone(&stage, &link, &[])?.expect_code(0)?;
    let finished = clone(&stage, &link, &[])?;
    ensure!(finished.expect_code(0)?.problems().is_empty(), "{:?}", finished.problems());

    fs::write(stage.target().join("extra"), "mine")?;
    fs::write(stage.target().join("flat1/file 19.bin"), "changed here")?;
    writer.drive_del("drive", "/links/to nothing")?;
    writer.drive_put("drive", "/flat1/file 19.bin", "changed there")?;
    writer.drive_put("drive", "/flat2/new", "new there")?;
    let mut expected = writer.drive_list("drive", None)?;

    let finished = clone(&stage, &link, &[])?;
    let problems = finished.expect_code(1)?.problems();
    ensure!(problems.len() == 1 && problems[0].0.ends_with("flat1/file 19.bin"), "{problems:?}");
    ensure!(fs::read(stage.target().join("flat1/file 19.bin"))? == b"changed here", "overwritten without --force");
    ensure!(!stage.target().join("links/to nothing").is_symlink(), "a deletion was not followed");
    ensure!(stage.target().join("flat2/new").exists(), "a new file did not come");

    clone(&stage, &link, &["--force"])?.expect_code(0)?;
    expected.insert("extra".to_owned(), list(&stage.target())?["extra"].clone());
    expect_same(&expected, &list(&stage.target())?)
}

struct Stage {
    root: TempDir,
}

impl Stage {
    fn path(&self, name: &str) -> std::path::PathBuf {
        self.root.path().join(name)
    }

    fn folder(&self) -> std::path::PathBuf {
        self.path("folder")
    }

    fn target(&self) -> std::path::PathBuf {
        self.path("target")
    }

    fn js(&self, name: &str) -> Result<JsPeer> {
        JsPeer::spawn(&self.path(name))
    }
}

/// Makes the folder to share; `None` where JavaScript peers cannot run.
fn stage(plan: Plan) -> Result<Option<Stage>> {
    if let Some(reason) = JsPeer::missing() {
        skip(&reason);
        return Ok(None);
    }
    let stage = Stage { root: tempfile::tempdir()? };
    generate(&stage.folder(), plan)?;
    Ok(Some(stage))
}

fn serve(peer: &mut JsPeer) -> Result<u16> {
    let answer = peer.ask("listen", json!({}))?;
    Ok(u16::try_from(answer["port"].as_u64().context("no port")?)?)
}

fn js_link(key: &str, port: u16) -> String {
    format!("hyper://{}?via=tcp://127.0.0.1:{port}", key_text(key))
}

/// A key in z-base-32, from hexadecimal.
fn key_text(key: &str) -> String {
    key.parse::<anypath_wire::PublicKey>().map_or_else(|_| key.to_owned(), |key| key.to_string())
}

fn clone(stage: &Stage, link: &str, options: &[&str]) -> Result<anypath_interop::Finished> {
    let target = stage.target();
    Anypath::run(&stage.path("clone store"), ["clone", link, text(&target)?].iter().chain(options))
}

/// Every kind of change at once.
fn change(folder: &Path) -> Result<()> {
    write_file(&folder.join("new/file"), 77, 1, 100_000, true)?;
    write_file(&folder.join("flat1/file 19.bin"), 77, 2, 10, false)?;
    write_file(&folder.join("empty"), 77, 3, 0, false)?;
    fs::remove_file(folder.join("flat2/file 8.bin"))?;
    fs::rename(folder.join("flat0/file 9.bin"), folder.join("flat0/renamed"))?;
    fs::remove_file(folder.join("links/to nothing"))?;
    std::os::unix::fs::symlink("../empty", folder.join("links/to nothing"))?;
    Ok(())
}

/// Repeats until it holds, or fails as it last did after longer than any following takes.
fn eventually(mut holds: impl FnMut() -> Result<()>) -> Result<()> {
    for _ in 0..ATTEMPTS {
        if holds().is_ok() {
            return Ok(());
        }
        std::thread::sleep(BETWEEN_ATTEMPTS);
    }
    holds()
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a test's folder is UTF-8")
}

const SMALL: Plan = Plan { seed: 1, files: 200, large_bytes: 0 };
const LARGE: Plan = Plan { seed: 2, files: 300, large_bytes: 48 << 20 };
/// As many bytes in each half of the blobs.
const MANY: Plan = Plan { seed: 5, files: 1_500, large_bytes: 0 };
const THOUSANDS: Plan = Plan { seed: 3, files: 3_000, large_bytes: 101 << 20 };
const ATTEMPTS: u32 = 300;
const BETWEEN_ATTEMPTS: std::time::Duration = std::time::Duration::from_millis(200);

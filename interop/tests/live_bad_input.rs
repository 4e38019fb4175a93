//! Wrong keys, wrong folders, full disks, ports in use, strangers on the line: one sentence that says what and what to
//! do, never a panic, never a hang, and a share that keeps serving honest peers.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use anypath_interop::content::content;
use anypath_interop::folder::{Plan, expect_same, generate, list};
use anypath_interop::{Anypath, Finished, JsPeer, Share, skip};
use serde_json::{Value, json};
use tempfile::TempDir;

#[test]
fn a_link_that_is_none() -> Result<()> {
    let stage = Stage::new()?;
    for link in ["", "nonsense", "hyper://", "hyper://abc", "https://example.org", &"0".repeat(63)] {
        stage.clone(link, &[])?.expect_sentence(2)?;
    }
    stage.clone(NOBODYS_KEY, &["--via", "nowhere"])?.expect_code(2).map(drop)
}

/// A key that the peer there does not have: connected, but none has it.
#[test]
fn a_key_that_nobody_has() -> Result<()> {
    let stage = Stage::new()?;
    let share = stage.share(&[])?;
    let via = format!("tcp://127.0.0.1:{}", share.port);
    let message = stage.clone(NOBODYS_KEY, &["--via", &via, "--timeout", "3"])?.expect_sentence(3)?;
    ensure!(!message.is_empty(), "no sentence");
    share.stop().map(drop)
}

/// Nothing listens there: the reason of the rung is told.
#[test]
fn nobody_at_the_address() -> Result<()> {
    let stage = Stage::new()?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let finished = stage.clone(NOBODYS_KEY, &["--via", &format!("tcp://127.0.0.1:{port}"), "--timeout", "3"])?;
    finished.expect_sentence(3)?;
    let rungs = &finished.event("error")?["rungs"];
    ensure!(rungs.to_string().contains(&port.to_string()), "no reason for the address: {rungs}");
    Ok(())
}

/// The key of a core of bytes, of a bee, of a drive's contents: none is a drive.
#[test]
fn a_key_of_another_kind() -> Result<()> {
    let Some(mut peer) = js()? else { return Ok(()) };
    let stage = Stage::new()?;
    let port = peer.js.ask("listen", json!({}))?["port"].clone();
    let bytes = peer.js.ask("core.open", json!({ "core": "bytes", "name": "bytes" }))?;
    peer.js.ask("core.append", json!({ "core": "bytes", "seed": 1, "count": 20, "size": 100 }))?;
    let bee = peer.js.ask("bee.open", json!({ "bee": "bee", "name": "bee" }))?;
    peer.js.ask("bee.put", json!({ "bee": "bee", "key": "key", "value": { "a": 1 } }))?;
    let drive = peer.js.drive_open("drive", None)?;
    peer.js.drive_put("drive", "/file", "content")?;
    let contents = drive.content_key.context("no contents")?;
    for key in [bytes["key"].as_str(), bee["key"].as_str(), Some(&contents)].into_iter().flatten() {
        let link = format!("hyper://{key}?via=tcp://127.0.0.1:{port}");
        let finished = stage.clone(&link, &["--timeout", "5"])?;
        // The bee may pass for a drive without files.
        if finished.code != Some(0) || Some(key) != bee["key"].as_str() {
            finished.expect_sentence(1)?;
        }
        ensure!(!stage.target().exists() || fs::read_dir(stage.target())?.next().is_none(), "wrote something of {key}");
    }
    Ok(())
}

#[test]
fn no_such_folder() -> Result<()> {
    let stage = Stage::new()?;
    let missing = stage.path("missing");
    let finished = Anypath::run(&stage.path("store"), ["share", text(&missing)?])?;
    ensure!(sentence(&finished)?.contains("missing"), "the folder is not named");
    fs::write(&missing, "a file")?;
    sentence(&Anypath::run(&stage.path("store"), ["share", text(&missing)?])?)?;
    Ok(())
}

#[test]
fn a_target_that_is_not_empty() -> Result<()> {
    let stage = Stage::new()?;
    let share = stage.share(&[])?;
    fs::create_dir_all(stage.target())?;
    fs::write(stage.target().join("mine"), "mine")?;
    let message = sentence(&stage.clone(&share.link, &[])?)?;
    ensure!(message.contains("--force"), "{message}");
    ensure!(list(&stage.target())?.len() == 1, "wrote without --force");

    stage.clone(&share.link, &["--force"])?.expect_code(0)?;
    let mut expected = list(&stage.folder())?;
    expected.insert("mine".to_owned(), list(&stage.target())?["mine"].clone());
    expect_same(&expected, &list(&stage.target())?)?;
    share.stop().map(drop)
}

/// Too little space for the target, then for the store.
#[test]
fn disk_full() -> Result<()> {
    let stage = Stage::new()?;
    let share = stage.share(&[])?;
    fs::create_dir_all(stage.target())?;
    fs::create_dir_all(stage.path("small store"))?;
    let target = stage.target();
    let arguments = ["clone", &share.link, text(&target)?];
    for (store, small) in
        [(stage.path("store"), stage.target()), (stage.path("small store"), stage.path("small store"))]
    {
        let Some(run) = Anypath::start_on_small_disk(&store, &small, 2 << 20, arguments)? else {
            skip("a small file system needs user namespaces");
            return Ok(());
        };
        let message = run.finish()?.expect_sentence(1)?;
        ensure!(message.to_lowercase().contains("space") || message.contains("full"), "{message}");
    }
    // The same command where there is room goes on.
    fs::remove_dir_all(stage.path("small store"))?;
    Anypath::run(&stage.path("store"), arguments)?.expect_code(0)?;
    expect_same(&list(&stage.folder())?, &list(&stage.target())?)?;
    share.stop().map(drop)
}

/// The port is somebody else's: told, or the next of the range is taken.
#[test]
fn port_in_use() -> Result<()> {
    let stage = Stage::new()?;
    let (taken, port) = loop {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        if port < 65_000 {
            break (listener, port);
        }
    };
    let listen = format!("tcp://127.0.0.1:{port}");
    let folder = stage.folder();
    let message = sentence(&Anypath::run(&stage.path("store"), ["share", text(&folder)?, "--listen", &listen])?)?;
    ensure!(message.contains(&port.to_string()), "the port is not named: {message}");

    let range = format!("tcp://127.0.0.1:{port}-{}", port + 100);
    let mut share = Anypath::start(&stage.path("store"), ["share", text(&folder)?, "--listen", &range])?;
    let address = share.first("listening")?["address"].to_string();
    ensure!(!address.contains(&port.to_string()), "listening at a port in use: {address}");
    share.interrupt()?;
    share.finish()?.expect_code(130)?;
    drop(taken);
    Ok(())
}

/// Two processes on one store: the second says so, the first goes on.
#[test]
fn a_store_in_use() -> Result<()> {
    let stage = Stage::new()?;
    let share = stage.share(&[])?;
    let second =
        Anypath::run(&stage.path("share store"), ["share", text(&stage.folder())?, "--listen", "tcp://127.0.0.1:0"])?;
    sentence(&second)?;
    stage.clone(&share.link, &[])?.expect_code(0)?;
    share.stop().map(drop)
}

/// A web server, a peer that says nothing, one that hangs up: a clone ends with 3 and says why.
#[test]
fn a_peer_that_speaks_something_else() -> Result<()> {
    let stage = Stage::new()?;
    let answers: [fn(TcpStream); 4] = [
        |mut stream| {
            drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"));
            drop(stream.read(&mut [0; 1]));
        },
        |mut stream| drop(stream.write_all(&content(1, 2, 100_000))),
        |stream| drop(stream),
        |mut stream| while stream.read(&mut [0; 1024]).is_ok_and(|count| count > 0) {},
    ];
    for answer in answers {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let via = format!("tcp://{}", listener.local_addr()?);
        std::thread::spawn(move || listener.incoming().flatten().for_each(answer));
        stage.clone(NOBODYS_KEY, &["--via", &via, "--timeout", "3"])?.expect_sentence(3)?;
    }
    Ok(())
}

/// Garbage, half handshakes, the longest frames announced, and 500 connections that say nothing.
#[test]
fn strangers_against_a_share() -> Result<()> {
    let Some(mut peer) = js()? else { return Ok(()) };
    let stage = Stage::new()?;
    let mut share = stage.share(&[])?;
    let at = ("127.0.0.1", share.port);
    let mut held = Vec::new();
    for index in 0..50 {
        let mut garbage = TcpStream::connect(at)?;
        drop(garbage.write_all(&content(9, index, 1 + index as usize * 997)));
        let mut half = TcpStream::connect(at)?;
        drop(half.write_all(&[&[32, 0, 0], &content(10, index, index as usize % 33)[..]].concat()));
        let mut endless = TcpStream::connect(at)?;
        drop(endless.write_all(&[0xff; 70_000]));
        let mut request = TcpStream::connect(at)?;
        drop(request.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        held.extend([half, endless]);
    }
    for _ in 0..500 {
        held.push(TcpStream::connect(at)?);
    }
    peer.js.drive_fetch("drive", &share.key, share.port)?;
    expect_same(&list(&stage.folder())?, &peer.js.drive_list("drive", None)?)?;
    stage.clone(&share.link, &[])?.expect_code(0)?;
    ensure!(share.program.is_running() && !share.program.stderr().contains("panicked"), "{}", share.program.stderr());
    drop(held);
    share.stop().map(drop)
}

/// A peer that holds the handshake but then claims and asks what no core has, up to 2^50 blocks: the share drops it or
/// shrugs, and serves the next one.
#[test]
fn a_hostile_peer_against_a_share() -> Result<()> {
    let (Some(mut hostile), Some(mut honest)) = (js()?, js()?) else { return Ok(()) };
    let stage = Stage::new()?;
    let mut share = stage.share(&[])?;
    hostile.js.drive_open("drive", Some(&share.key))?;
    hostile.js.ask("dial", json!({ "port": share.port }))?;
    hostile.js.ask("core.wait", json!({ "core": "drive/db", "length": 1 }))?;
    for (message, fields) in hostile_messages() {
        // The share may hang up at any of them; a hostile peer comes again.
        let sent = hostile.js.ask("core.send", json!({ "core": "drive/db", "message": message, "fields": fields }))?;
        if sent["peers"] == 0 {
            hostile.js.ask("dial", json!({ "port": share.port }))?;
            hostile.js.ask("core.wait", json!({ "core": "drive/db", "peers": 1 }))?;
            hostile.js.ask("core.send", json!({ "core": "drive/db", "message": message, "fields": fields }))?;
        }
    }
    honest.js.drive_fetch("drive", &share.key, share.port)?;
    expect_same(&list(&stage.folder())?, &honest.js.drive_list("drive", None)?)?;
    ensure!(share.program.is_running() && !share.program.stderr().contains("panicked"), "{}", share.program.stderr());
    ensure!(resident_bytes(share.program.id())? < MEMORY_BYTES_MAX, "{} bytes", resident_bytes(share.program.id())?);
    share.stop().map(drop)
}

/// The same towards a clone, from the very peer that serves it.
#[test]
fn a_hostile_peer_against_a_clone() -> Result<()> {
    let Some(mut peer) = js()? else { return Ok(()) };
    let stage = Stage::new()?;
    let key = peer.js.drive_open("drive", None)?.key;
    peer.js.drive_import("drive", &stage.folder())?;
    let port = peer.js.ask("listen", json!({}))?["port"].clone();
    let link = format!("hyper://{key}?via=tcp://127.0.0.1:{port}");
    let target = stage.target();
    let mut live = Anypath::start(&stage.path("clone store"), ["clone", &link, text(&target)?, "--live"])?;
    live.wait_for("done")?;
    for (message, fields) in hostile_messages() {
        peer.js.ask("core.send", json!({ "core": "drive/db", "message": message, "fields": fields }))?;
    }
    live.interrupt()?;
    live.finish()?.expect_code(130)?;
    // Wherever that left it, the store is sound: an honest run ends well.
    peer.js.ask("disconnect", json!({}))?;
    stage.clone(&link, &[])?.expect_code(0)?;
    expect_same(&list(&stage.folder())?, &list(&stage.target())?)
}

fn hostile_messages() -> Vec<(&'static str, Value)> {
    let far = 1u64 << 50;
    let request = |fields: Value| {
        let mut request = json!({ "id": 7, "fork": 0, "block": null, "hash": null, "seek": null, "upgrade": null,
            "manifest": false, "priority": 0 });
        if let (Some(request), Value::Object(fields)) = (request.as_object_mut(), fields) {
            request.extend(fields);
        }
        ("request", request)
    };
    vec![
        ("range", json!({ "drop": false, "start": 0, "length": far })),
        ("range", json!({ "drop": false, "start": far, "length": 1 })),
        ("range", json!({ "drop": true, "start": 1, "length": far })),
        ("want", json!({ "start": 0, "length": far })),
        ("want", json!({ "start": far, "length": far })),
        ("unwant", json!({ "start": 0, "length": far })),
        ("cancel", json!({ "request": far })),
        (
            "sync",
            json!({ "fork": 0, "length": far, "remoteLength": far, "canUpgrade": true, "uploading": true,
            "downloading": true, "hasManifest": true }),
        ),
        (
            "sync",
            json!({ "fork": far, "length": 1, "remoteLength": 0, "canUpgrade": false, "uploading": true,
            "downloading": true, "hasManifest": false }),
        ),
        request(json!({ "block": { "index": far, "nodes": 0 } })),
        request(json!({ "block": { "index": 0, "nodes": far } })),
        request(json!({ "hash": { "index": far, "nodes": far } })),
        request(json!({ "seek": { "bytes": far, "padding": 0 } })),
        request(json!({ "upgrade": { "start": 0, "length": far } })),
        request(json!({ "upgrade": { "start": far, "length": far } })),
        request(json!({ "fork": far, "block": { "index": 0, "nodes": 0 } })),
    ]
}

struct Stage {
    root: TempDir,
}

impl Stage {
    fn new() -> Result<Self> {
        let stage = Self { root: tempfile::tempdir()? };
        generate(&stage.folder(), Plan { seed: 4, files: 150, large_bytes: 5 << 20 })?;
        Ok(stage)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn folder(&self) -> PathBuf {
        self.path("folder")
    }

    fn target(&self) -> PathBuf {
        self.path("target")
    }

    fn share(&self, options: &[&str]) -> Result<Share> {
        Share::start(&self.path("share store"), &self.folder(), options)
    }

    fn clone(&self, link: &str, options: &[&str]) -> Result<Finished> {
        let target = self.target();
        Anypath::run(&self.path("clone store"), ["clone", link, text(&target)?].iter().chain(options))
    }
}

struct Js {
    js: JsPeer,
    _folder: TempDir,
}

fn js() -> Result<Option<Js>> {
    if let Some(reason) = JsPeer::missing() {
        skip(&reason);
        return Ok(None);
    }
    let folder = tempfile::tempdir()?;
    Ok(Some(Js { js: JsPeer::spawn(&folder.path().join("peer"))?, _folder: folder }))
}

/// One sentence, where the contract leaves open whether it counts as a failure (1) or as wrong usage (2).
fn sentence(finished: &Finished) -> Result<String> {
    match finished.code {
        Some(code @ 1..=2) => finished.expect_sentence(code),
        code => bail!("exit code {code:?}\n--- its stderr ---\n{}", finished.stderr),
    }
}

fn resident_bytes(process: u32) -> Result<u64> {
    let statm = fs::read_to_string(format!("/proc/{process}/statm"))?;
    let pages: u64 = statm.split(' ').nth(1).context("statm has another form")?.parse()?;
    Ok(pages * 4096)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a test's folder is UTF-8")
}

/// Of no core anywhere: 32 times 0x07.
const NOBODYS_KEY: &str = "0707070707070707070707070707070707070707070707070707070707070707";
/// Far above what serving needs, far below what the messages claim.
const MEMORY_BYTES_MAX: u64 = 512 << 20;

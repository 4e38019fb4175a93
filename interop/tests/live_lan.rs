//! Peers on the same network, found by multicast DNS and by nothing else: ours, and unmodified npm dns-discovery, which is what
//! old Dat programs have. Each network is one of its own, as multicast within one machine has misled people before.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use anypath_dht::classic::Mapping;
use anypath_interop::content::hex;
use anypath_interop::folder::{Plan, expect_same, generate, list};
use anypath_interop::lab::{Lan, Namespace};
use anypath_interop::{Anypath, Finished, JsPeer, listening_address, skip};
use anypath_wire::Link;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Two networks that do not reach each other.
struct Stage {
    folder: TempDir,
    /// Two machines.
    here: Lan,
    /// One.
    elsewhere: Lan,
}

/// A folder that is shared by the first machine.
struct Shared {
    program: Anypath,
    original: PathBuf,
    link: Link,
    port: u16,
}

impl Shared {
    fn infohash(&self) -> String {
        hex(&Mapping::Truncated.infohash(&self.link.key.discovery_key().0))
    }
}

impl Stage {
    fn open() -> Result<Option<Self>> {
        let (Some(here), Some(elsewhere)) = (Lan::open(2)?, Lan::open(1)?) else { return Ok(None) };
        Ok(Some(Self { folder: tempfile::tempdir()?, here, elsewhere }))
    }

    fn share(&self, name: &str, options: &[&str]) -> Result<Shared> {
        let original = self.path(name);
        generate(&original, Plan { seed: 8, files: 7, large_bytes: 200_000 })?;
        let words = ["share", text(&original)?, "--no-hints", "--listen", "tcp://0.0.0.0:0"];
        let store = self.path(&format!("{name} store"));
        let mut program = Anypath::start_in(self.here.machine(0), &store, words.iter().chain(options))?;
        let port = listening_address(&mut program, 0)?.port;
        let shared = program.first("shared")?;
        let link: Link = shared["link"].as_str().context("no link")?.parse()?;
        ensure!(link.via.is_empty(), "the link leads there: {link}");
        Ok(Shared { program, original, link, port })
    }

    fn clone(&self, at: &Namespace, name: &str, shared: &Shared, options: &[&str]) -> Result<Finished> {
        let (target, key) = (self.path(name), shared.link.key.to_string());
        let words = ["clone", &key, text(&target)?];
        let store = self.path(&format!("{name} store"));
        Anypath::start_in(at, &store, words.iter().chain(options))?.finish()
    }

    /// Clones on the second machine, and fails unless it was found on the first.
    fn expect_found(&self, name: &str, shared: &Shared) -> Result<()> {
        let done = self.clone(self.here.machine(1), name, shared, &["--discover", "lan"])?;
        done.expect_code(0)?;
        expect_same(&list(&shared.original)?, &list(&self.path(name))?)?;
        let at = format!("tcp://{}:{}", self.here.address(0), shared.port);
        let found = done.event("found")?;
        ensure!(found == &json!({ "event": "found", "source": "lan", "address": at }), "{found}");
        Ok(())
    }

    fn expect_nothing(&self, at: &Namespace, name: &str, shared: &Shared, options: &[&str]) -> Result<()> {
        let missed = self.clone(at, name, shared, options)?;
        missed.expect_code(3)?;
        ensure!(missed.event("found").is_err(), "{:?}", missed.events);
        Ok(())
    }

    fn js(&self, at: &Namespace, name: &str) -> Result<JsPeer> {
        let mut js = JsPeer::spawn_in(at, &self.path(name))?;
        js.ask("dns.start", json!({ "dns": "theirs" }))?;
        Ok(js)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a test's folder is UTF-8")
}

fn lookup(js: &mut JsPeer, infohash: &str, wait_ms: u64) -> Result<Value> {
    js.ask("dns.lookup", json!({ "dns": "theirs", "infohash": infohash, "wait": wait_ms }))
}

#[test]
fn two_machines_on_one_network_find_each_other() -> Result<()> {
    let Some(stage) = Stage::open()? else { return Ok(()) };
    let mut shared = stage.share("original", &["--discover", "lan"])?;
    shared.program.wait_until("source", |event| event["state"] == "announced")?;
    stage.expect_found("copy", &shared)?;
    stage.expect_nothing(stage.here.machine(1), "without", &shared, &["--timeout", "1"])?;
    let lan = ["--discover", "lan", "--timeout", "5"];
    stage.expect_nothing(stage.elsewhere.machine(0), "elsewhere", &shared, &lan)?;
    let group = [&lan[..], &["--bootstrap", "lan=224.0.0.251:5399"]].concat();
    stage.expect_nothing(stage.here.machine(1), "another group", &shared, &group)?;
    shared.program.interrupt()?;
    let ended = shared.program.finish()?;
    ended.expect_code(130)?;
    ensure!(ended.event("source")?["state"] == "forgotten", "{:?}", ended.events);
    Ok(())
}

#[test]
fn old_dat_programs_find_us_and_we_them() -> Result<()> {
    if let Some(reason) = JsPeer::missing() {
        skip(&reason);
        return Ok(());
    }
    let Some(stage) = Stage::open()? else { return Ok(()) };
    let ours = stage.share("ours", &["--discover", "lan"])?;
    let mut js = stage.js(stage.here.machine(1), "js")?;
    let found = lookup(&mut js, &ours.infohash(), 60_000)?;
    ensure!(found == json!([format!("{}:{}", stage.here.address(0), ours.port)]), "{found}");
    let mut stranger = stage.js(stage.elsewhere.machine(0), "js elsewhere")?;
    ensure!(lookup(&mut stranger, &ours.infohash(), 3_000)? == json!([]));

    // What JavaScript announces is served on the same machine by a program that announces nothing.
    let theirs = stage.share("theirs", &[])?;
    let lan = ["--discover", "lan", "--timeout", "5"];
    stage.expect_nothing(stage.here.machine(1), "not yet", &theirs, &lan)?;
    let mut announcer = stage.js(stage.here.machine(0), "js announcer")?;
    let announce = json!({ "dns": "theirs", "infohash": theirs.infohash(), "port": theirs.port });
    announcer.ask("dns.announce", announce)?;
    stage.expect_found("copy", &theirs)
}

//! SIGKILL at random instants: whatever a peer or a person was told stays true, and the same command then completes.
//!
//! A few kills in the normal run, 200 with `ANYPATH_LONG=1`. The instants come from a seed; what the machine does in
//! them does not.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use anypath_interop::folder::{Plan, expect_same, generate, list};
use anypath_interop::{Anypath, CoreSpec, Finished, Peer, Share, Until, drive_cores, listening_address, rust_peer};
use anypath_wire::Link;
use tempfile::TempDir;

#[test]
fn a_clone_may_be_killed_at_any_instant() -> Result<()> {
    let stage = Stage::new()?;
    let share = Share::start(&stage.path("store"), &stage.path("folder"), &[])?;
    let key = share.link.parse::<Link>()?.key;
    let expected = list(&stage.path("folder"))?;
    let clone = |store: &Path, target: &Path| {
        let arguments = ["clone", &share.link, text(target)?, "--listen", ANYWHERE];
        Anypath::start(store, arguments)
    };
    let began = Instant::now();
    clone(&stage.path("whole"), &stage.path("whole target"))?.finish()?.expect_code(0)?;
    let (drive, took) = (drive_cores(&stage.path("whole"), key)?, began.elapsed());

    let mut tally = Tally::default();
    for round in 0..kills() {
        let (store, target) = (stage.path("killed"), stage.path("target"));
        let killed = stage.kill_during(clone(&store, &target)?, &drive, round, took)?;
        tally.add(&killed);
        if !killed.blocks.is_empty() {
            let mut seed = Anypath::start(&store, ["seed", &key.to_string(), "--listen", ANYWHERE])?;
            let mut other = Witness::start(&stage.path("other"), &drive, port(&mut seed)?)?;
            other.fetch(&killed.blocks).with_context(|| format!("after kill {round}"))?;
            other.end()?;
            seed.interrupt()?;
            seed.finish()?.expect_code(130)?;
        }
        let again = clone(&store, &target)?.finish()?;
        let resumed = again.expect_code(0)?.events.iter().find(|event| event["event"] == "progress");
        let resumed = resumed.and_then(|event| event["resumed"].as_u64()).unwrap_or_default();
        ensure!(resumed >= killed.told_bytes, "kill {round}: {} bytes told, {resumed} kept", killed.told_bytes);
        expect_same(&expected, &list(&target)?).with_context(|| format!("after kill {round}"))?;
        stage.forget(&["killed", "killed.home", "target", "witness", "other"])?;
    }
    tally.tell("clone");
    share.stop().map(drop)
}

#[test]
fn an_import_may_be_killed_at_any_instant() -> Result<()> {
    let stage = Stage::new()?;
    let (shared, part) = (stage.path("shared"), stage.path("shared/part"));
    fs::create_dir(&shared)?;
    fs::write(shared.join("first"), "so that the drive is there")?;
    let share = |store: &Path| Anypath::start(store, ["share", text(&shared)?, "--listen", ANYWHERE]);
    let mut took = None;
    let mut tally = Tally::default();
    for round in 0..kills() {
        let store = stage.path("killed");
        let first = Share::start(&store, &shared, &[])?;
        let key = first.link.parse::<Link>()?.key;
        first.stop()?;
        let drive = drive_cores(&store, key)?;
        fs::rename(stage.path("folder"), &part)?;
        let took = match took {
            Some(took) => took,
            None => *took.insert(stage.import_time(&shared)?),
        };
        let killed = stage.kill_during(share(&store)?, &drive, round, took)?;
        tally.add(&killed);

        let again = Share::start(&store, &shared, &[]).with_context(|| format!("after kill {round}"))?;
        ensure!(again.link.parse::<Link>()?.key == key, "kill {round} made another drive");
        let mut other = Witness::start(&stage.path("other"), &drive, again.port)?;
        other.fetch(&killed.blocks).with_context(|| format!("after kill {round}"))?;
        if killed.watched {
            // The first witness goes on with what it has: were it not what is there now, nothing would fit.
            let mut first = Witness::start(&stage.path("witness"), &drive, again.port)?;
            let now = other.whole(&[1, 1])?;
            let lengths: Vec<_> = now.iter().map(|core| core.1).collect();
            let known = first.whole(&lengths)?;
            ensure!(known == now, "kill {round} left two histories: {known:?}, {now:?}");
            first.end()?;
        }
        other.end()?;
        let target = stage.path("target");
        Anypath::run(&stage.path("clone"), ["clone", &again.link, text(&target)?])?.expect_code(0)?;
        expect_same(&list(&shared)?, &list(&target)?).with_context(|| format!("after kill {round}"))?;
        again.stop()?;
        fs::rename(&part, stage.path("folder"))?;
        stage.forget(&["killed", "killed.home", "target", "clone", "clone.home", "witness", "other"])?;
    }
    tally.tell("import");
    Ok(())
}

/// What one kill left behind.
struct Killed {
    /// Whether a peer was connected.
    watched: bool,
    /// Whether the kill came too late.
    done: bool,
    /// The most bytes that a `progress` event called done.
    told_bytes: u64,
    /// What a peer was told of and got: core, first block, end.
    blocks: Vec<(&'static str, u64, u64)>,
}

/// How many kills met what, so that a long run can be judged.
#[derive(Default)]
struct Tally {
    kills: u32,
    done: u32,
    blocks: u64,
    told_bytes: u64,
}

impl Tally {
    fn add(&mut self, killed: &Killed) {
        self.kills += 1;
        self.done += u32::from(killed.done);
        self.told_bytes += killed.told_bytes;
        self.blocks += killed.blocks.iter().map(|(_, start, end)| end - start).sum::<u64>();
    }

    fn tell(&self, what: &str) {
        let Self { kills, done, blocks, told_bytes } = self;
        let told = format!("{blocks} blocks and {told_bytes} bytes told and still there");
        // Past the capture of the test runner. Failing to say it fails nothing.
        drop(writeln!(std::io::stderr(), "{what}: {kills} kills, {done} of them too late; {told}"));
    }
}

/// A temporary folder with `folder`, which is to be shared.
struct Stage(TempDir);

impl Stage {
    fn new() -> Result<Self> {
        let stage = Self(tempfile::tempdir()?);
        generate(&stage.path("folder"), PLAN)?;
        Ok(stage)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn forget(&self, names: &[&str]) -> Result<()> {
        let there = names.iter().map(|name| self.path(name)).filter(|path| path.exists());
        there.into_iter().try_for_each(|path| fs::remove_dir_all(&path).with_context(|| path.display().to_string()))
    }

    fn import_time(&self, folder: &Path) -> Result<Duration> {
        let began = Instant::now();
        let share = Share::start(&self.path("timed"), folder, &[])?;
        let took = began.elapsed();
        share.stop()?;
        Ok(took)
    }

    /// Kills a run at an instant of the time it takes; in every other round a peer follows it from when it listens.
    fn kill_during(&self, mut run: Anypath, drive: &Drive, round: u32, took: Duration) -> Result<Killed> {
        let mut witness = None;
        if round % 2 == 1 {
            witness = Some(Witness::start(&self.path("witness"), drive, port(&mut run)?)?);
        }
        sleep(took.mul_f64(chance(round)));
        // It may have ended by itself.
        drop(run.signal("KILL"));
        let ended = run.finish()?;
        let told: Vec<_> = ended.events.iter().filter(|event| event["event"] != "progress").collect();
        ensure!(
            ended.code.is_none_or(|code| code == 0),
            "kill {round}: it failed before it was killed: {:?} {told:?} {}",
            ended.code,
            ended.stderr
        );
        let blocks = match witness {
            None => Vec::new(),
            Some(mut witness) => {
                let blocks = witness.held()?;
                witness.end()?;
                blocks
            }
        };
        let done = ended.code.is_some() || ended.event("shared").is_ok();
        Ok(Killed { watched: round % 2 == 1, done, told_bytes: told_bytes(&ended), blocks })
    }
}

fn told_bytes(run: &Finished) -> u64 {
    let told = run.events.iter().filter(|event| event["event"] == "progress");
    told.filter_map(|event| event["bytes"].as_u64()).max().unwrap_or_default()
}

/// The keys of a drive's cores, in hexadecimal.
type Drive = [(&'static str, String); 2];

/// A peer that takes all it is told of.
struct Witness(Box<dyn Peer>);

impl Witness {
    fn start(folder: &Path, drive: &Drive, port: u16) -> Result<Self> {
        let mut peer = rust_peer(folder)?;
        for (core, key) in drive {
            peer.open(core, &CoreSpec::keyed(key))?;
            peer.follow(core)?;
        }
        peer.dial(port, None)?;
        Ok(Self(peer))
    }

    fn held(&mut self) -> Result<Vec<(&'static str, u64, u64)>> {
        let mut held = Vec::new();
        for core in CORES {
            held.extend(self.0.held(core)?.into_iter().map(|(start, end)| (core, start, end)));
        }
        Ok(held)
    }

    fn fetch(&mut self, blocks: &[(&'static str, u64, u64)]) -> Result<()> {
        blocks.iter().try_for_each(|(core, start, end)| self.0.download(core, *start, *end))
    }

    /// Waits until both cores are here, of these lengths or longer; returns fork, length and hash of each.
    fn whole(&mut self, lengths: &[u64]) -> Result<Vec<(u64, u64, String)>> {
        let mut whole = Vec::new();
        for (core, length) in CORES.into_iter().zip(lengths) {
            let length = self.0.wait(core, Until::length(*length))?.length;
            let info = self.0.wait(core, Until::contiguous(length))?;
            whole.push((info.fork, info.length, info.tree_hash));
        }
        Ok(whole)
    }

    fn end(self) -> Result<()> {
        self.0.close()
    }
}

fn port(run: &mut Anypath) -> Result<u16> {
    Ok(listening_address(run, 0)?.port)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a test's folder is UTF-8")
}

/// Returns how many kills each test makes.
fn kills() -> u32 {
    if std::env::var_os("ANYPATH_LONG").is_some() { 200 } else { 3 }
}

/// Returns a number from 0 to a little more than 1 that depends on the round alone (splitmix64).
fn chance(round: u32) -> f64 {
    let mut x = u64::from(round + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((x ^ (x >> 31)) >> 11) as f64 / (1u64 << 53) as f64 * 1.05
}

const ANYWHERE: &str = "tcp://127.0.0.1:0";
const CORES: [&str; 2] = ["db", "blobs"];
const PLAN: Plan = Plan { seed: 6, files: 200, large_bytes: 8 << 20 };

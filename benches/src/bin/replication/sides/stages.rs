//! Replicates a core with itself on one thread, one stage at a time with a stopwatch at each: what each costs alone.
//!
//! The code is what two processes run, less their tasks and sockets: the store and the replicator of either end, the
//! encryption between them, frames in bursts as the engine hands them out and commits as large as it makes them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use anypath_benches::{process_cpu_seconds, thread_cpu_seconds};
use anypath_interop::Process;
use anypath_replicate::core::{Manifest, Signer};
use anypath_replicate::noise::{Opener, Sealer};
use anypath_replicate::replicator::{CoreId, PeerId, Replicator};
use anypath_replicate::store::{Config, DiskStore};
use anypath_wire::{Handshake, KeyPair, Role};
use bytes::{Bytes, BytesMut};

use super::{Load, Program, say};

/// What a stage took for the whole load.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    /// By the clock.
    pub(crate) seconds: f64,
    /// Of the thread that does it.
    pub(crate) cpu_seconds: f64,
}

/// Measures the stages in a process of their own; the folder is new. Also how many bytes each frame has on average.
pub(crate) fn measure(folder: &Path, load: Load) -> Result<(BTreeMap<String, Cost>, usize)> {
    let mut command = Program::Ours.command("")?;
    command.arg("stages").arg(folder).args([load.count.to_string(), load.bytes.to_string()]);
    let mut process = Process::spawn("the process with all stages", &mut command)?;
    let (mut stages, mut frame_bytes) = (BTreeMap::new(), 0);
    while let Some(line) = process.line()? {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["frame", bytes] => frame_bytes = bytes.parse()?,
            [stage, seconds, cpu] => {
                let cost = Cost { seconds: seconds.parse()?, cpu_seconds: cpu.parse()? };
                stages.insert(stage.to_owned(), cost);
            }
            _ => anyhow::bail!("the stages said {line:?}"),
        }
    }
    ensure!(frame_bytes > 0, "{}", process.failure("measured nothing"));
    Ok((stages, frame_bytes))
}

/// Replicates so many blocks and prints a line a stage.
pub(crate) fn replicate(folder: &Path, count: u64, bytes: usize) -> Result<()> {
    let (from, to) = (folder.join("from"), folder.join("to"));
    let manifest = fill(&from, count, bytes)?;
    let mut ends = Ends::new(&from, &to, &manifest)?;
    let (begun, cpu, mine) = (Instant::now(), process_cpu_seconds(), thread_cpu_seconds());
    while ends.serve()? | ends.ask()? {
        ends.commit(COMMIT_BYTES_MIN)?;
    }
    ends.commit(0)?;
    ensure!(ends.reader.core(ends.copy).contiguous_length() == count, "not everything arrived");
    let others = process_cpu_seconds() - cpu - (thread_cpu_seconds() - mine);
    ends.clock.costs.insert("sync", Cost { seconds: others, cpu_seconds: others });
    ends.clock.costs.iter().for_each(|(stage, cost)| say(&format!("{stage} {} {}", cost.seconds, cost.cpu_seconds)));
    say(&format!("all {} {}", begun.elapsed().as_secs_f64(), thread_cpu_seconds() - mine));
    say(&format!("frame {}", ends.frame_bytes / ends.frames.max(1)));
    Ok(())
}

/// Writes the core that is served, through the replicator as its owner does.
fn fill(folder: &Path, count: u64, bytes: usize) -> Result<Manifest> {
    let pair = KeyPair::from_seed(&[3; 32]);
    let manifest = Manifest::single(Signer::new(pair.public()));
    let mut writer = Replicator::new(Arc::new(DiskStore::open(folder, Config::default())?));
    let core = writer.open_writable(manifest.clone(), pair)?;
    for first in (0..count).step_by(256) {
        let blocks = (first..count.min(first + 256)).map(|index| Bytes::from(vec![(index * 31 + 7) as u8; bytes]));
        writer.append(core, &blocks.collect::<Vec<_>>())?;
        writer.commit()?;
    }
    Ok(manifest)
}

/// Both ends, and the stopwatch between them.
struct Ends {
    server: Replicator,
    to_reader: PeerId,
    reader: Replicator,
    to_server: PeerId,
    copy: CoreId,
    sealer: Sealer,
    opener: Opener,
    clock: Clock,
    frames: usize,
    frame_bytes: usize,
}

impl Ends {
    fn new(from: &Path, to: &Path, manifest: &Manifest) -> Result<Self> {
        let open = |folder| anyhow::Ok(Replicator::new(Arc::new(DiskStore::open(folder, Config::default())?)));
        let (mut server, mut reader) = (open(from)?, open(to)?);
        server.open(&manifest.key())?;
        let copy = reader.open(&manifest.key())?;
        reader.want(copy, 0..u64::MAX)?;
        // What a handshake would leave behind.
        let remote = KeyPair::from_seed(&[4; 32]).public();
        let shaken = |role| Handshake { role, remote, hash: [2; 64], tx: [3; 32], rx: [3; 32] };
        let (sealer, header) = Sealer::new(&shaken(Role::Responder), [9; 24]);
        let mut opener = Opener::new(&shaken(Role::Initiator));
        opener.open(BytesMut::from(&header[3..]))?;
        let (to_reader, to_server) = (server.connect(shaken(Role::Responder)), reader.connect(shaken(Role::Initiator)));
        let clock = Clock { costs: BTreeMap::new() };
        Ok(Self { server, to_reader, reader, to_server, copy, sealer, opener, clock, frames: 0, frame_bytes: 0 })
    }

    /// Lets the server answer, a burst of frames; returns whether it did.
    fn serve(&mut self) -> Result<bool> {
        let Self { server, to_reader, reader, to_server, sealer, opener, clock, .. } = self;
        let mut frames = Vec::new();
        clock.time("read", || {
            while frames.len() < BURST_FRAMES {
                let mut frame = vec![0; Sealer::ROOM_BYTES];
                if !server.poll_frame(*to_reader, &mut frame)? {
                    break;
                }
                frames.push(frame);
            }
            anyhow::Ok(())
        })?;
        clock.time("encrypt", || frames.iter_mut().try_for_each(|frame| sealer.seal(frame)))?;
        // The copy stands for the socket, which is measured apart.
        let arrived: Vec<BytesMut> = frames.iter().map(|frame| BytesMut::from(&frame[3..])).collect();
        let opened = clock.time("decrypt", || {
            arrived.into_iter().map(|frame| opener.open(frame)).collect::<Result<Vec<Bytes>, _>>()
        })?;
        clock.time("hash", || opened.into_iter().try_for_each(|frame| reader.handle_frame(*to_server, frame)))?;
        self.frames += frames.len();
        self.frame_bytes += frames.iter().map(Vec::len).sum::<usize>();
        Ok(!frames.is_empty())
    }

    /// Lets the reader ask for what is next; returns whether it did. Questions are small: they are not encrypted here.
    fn ask(&mut self) -> Result<bool> {
        let Self { server, to_reader, reader, to_server, clock, .. } = self;
        let mut asked = false;
        loop {
            let mut frame = Vec::new();
            if !clock.time("hash", || reader.poll_frame(*to_server, &mut frame))? {
                return Ok(asked);
            }
            asked = true;
            clock.time("read", || server.handle_frame(*to_reader, frame.into()))?;
        }
    }

    /// Commits what was accepted, if it is as much as that.
    fn commit(&mut self, bytes_min: usize) -> Result<()> {
        let Self { reader, clock, .. } = self;
        if !reader.is_staged() || reader.staged_bytes() < bytes_min {
            return Ok(());
        }
        let batch = clock.time("hash", || reader.begin_commit())?;
        let store = reader.store().clone();
        clock.time("write", || store.commit(batch)).context("the store failed")?;
        Ok(clock.time("hash", || reader.finish_commit())?)
    }
}

/// Adds up what each stage took.
struct Clock {
    costs: BTreeMap<&'static str, Cost>,
}

impl Clock {
    fn time<T>(&mut self, stage: &'static str, work: impl FnOnce() -> T) -> T {
        let (begun, cpu) = (Instant::now(), thread_cpu_seconds());
        let done = work();
        let cost = self.costs.entry(stage).or_default();
        cost.seconds += begun.elapsed().as_secs_f64();
        cost.cpu_seconds += thread_cpu_seconds() - cpu;
        done
    }
}

/// Frames that the engine hands to a connection before it waits (`swarm/src/engine.rs`).
const BURST_FRAMES: usize = 8;
/// Staged bytes at which the engine commits while more keeps coming (`swarm/src/engine.rs`).
const COMMIT_BYTES_MIN: usize = 2 << 20;

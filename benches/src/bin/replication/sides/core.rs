//! One core from one process to another: both ends of ours, and how either program's are started.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use anypath_benches::Usage;
use anypath_interop::Process;
use anypath_replicate::core::{Manifest, Signer};
use anypath_replicate::replicator::CoreId;
use anypath_replicate::store::{Config as StoreConfig, DiskStore};
use anypath_swarm::{Config, Node};
use anypath_transports::{Tcp, Transport};
use anypath_wire::{Address, KeyPair, PublicKey};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use tokio::runtime::Runtime;

use super::{Load, Program, say};

/// A process that serves one core to whoever dials; ended when dropped.
pub(crate) struct Server {
    process: Process,
    key: String,
    pub(crate) port: u16,
}

/// What one fetch took.
pub(crate) struct Fetched {
    /// From dialling to the last block on disk.
    pub(crate) seconds: f64,
    /// Processor time of the fetching process from then on.
    pub(crate) reader_cpu_seconds: f64,
    /// The most memory the fetching process ever had.
    pub(crate) reader_peak_mib: f64,
    /// Processor time of the serving process meanwhile, to 10 ms.
    pub(crate) server_cpu_seconds: f64,
}

impl Server {
    /// Starts one whose core lies in the folder.
    pub(crate) fn start(program: Program, folder: &Path, load: Load) -> Result<Self> {
        let mut command = program.command(SCRIPT)?;
        command.arg("serve").arg(folder).args([load.count.to_string(), load.bytes.to_string()]);
        let mut process = Process::spawn(&format!("the serving side ({program:?})"), &mut command)?;
        let line = first_line(&mut process)?;
        let (key, port) = line.split_once(' ').with_context(|| process.failure(&format!("said {line:?}")))?;
        Ok(Self { key: key.to_owned(), port: port.trim().parse()?, process })
    }

    /// Lets a program fetch everything into a new folder, which is gone afterwards; it dials `port`.
    pub(crate) fn fetch(&self, program: Program, folder: &Path, load: Load, port: u16) -> Result<Fetched> {
        let before = Usage::of(self.process.id())?.cpu_seconds;
        let mut command: Command = program.command(SCRIPT)?;
        command.arg("fetch").arg(folder).args([&self.key, &port.to_string()]);
        let mut process = Process::spawn(&format!("the fetching side ({program:?})"), &mut command)?;
        let line = first_line(&mut process)?;
        process.wait()?;
        let words: Vec<f64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        let [seconds, blocks, reader_cpu_seconds, reader_peak_mib] = words[..] else { bail!("a fetch said {line:?}") };
        ensure!(blocks == load.count as f64, "{program:?} got {blocks} of {} blocks", load.count);
        let server_cpu_seconds = Usage::of(self.process.id())?.cpu_seconds - before;
        std::fs::remove_dir_all(folder)?;
        Ok(Fetched { seconds, reader_cpu_seconds, reader_peak_mib, server_cpu_seconds })
    }
}

fn first_line(process: &mut Process) -> Result<String> {
    process.line()?.with_context(|| process.failure("said nothing"))
}

/// Serves a core of that many blocks until killed; prints key and port.
pub(crate) fn serve(folder: &Path, count: u64, bytes: usize) -> Result<()> {
    let runtime = Runtime::new()?;
    let node = node(folder, 1)?;
    runtime.block_on(async {
        let pair = KeyPair::from_seed(&[3; 32]);
        let manifest = Manifest::single(Signer::new(pair.public()));
        let key = manifest.key();
        let core = node.call(move |replicator| replicator.open_writable(manifest, pair)).await??;
        fill(&node, core, count, bytes).await?;
        let address = node.listen(&"tcp://127.0.0.1:0".parse()?).await?;
        say(&format!("{} {}", HEXLOWER.encode(&key.0), address.port));
        std::future::pending::<()>().await;
        Ok(())
    })
}

async fn fill(node: &Node, core: CoreId, count: u64, bytes: usize) -> Result<()> {
    let mut length = node.read(move |replicator| replicator.core(core).length()).await?;
    while length < count {
        let batch = (length..count.min(length + 256)).map(|index| Bytes::from(vec![(index * 31 + 7) as u8; bytes]));
        let batch: Vec<_> = batch.collect();
        length = node.call(move |replicator| replicator.append(core, &batch)).await??;
    }
    Ok(())
}

/// Fetches a core whole; prints seconds, blocks, seconds of processor time and peak MiB.
pub(crate) fn fetch(folder: &Path, key: &str, port: u16) -> Result<()> {
    let runtime = Runtime::new()?;
    let node = node(folder, 2)?;
    runtime.block_on(async {
        let key: PublicKey = key.parse()?;
        let core = node.call(move |replicator| replicator.open(&key)).await??;
        let mut events = node.subscribe();
        let (begun, before) = (Instant::now(), Usage::here()?.cpu_seconds);
        node.call(move |replicator| replicator.want(core, 0..u64::MAX)).await??;
        node.connect(Address { scheme: "tcp".into(), host: "127.0.0.1".into(), port, key: None });
        let blocks = loop {
            drop(events.recv().await);
            let look = |replicator: &anypath_replicate::replicator::Replicator, core| {
                let core = replicator.core(core);
                (core.contiguous_length(), core.length(), replicator.is_staged())
            };
            let (held, length, staged) = node.read(move |replicator| look(replicator, core)).await?;
            if length > 0 && held == length && !staged {
                break held;
            }
        };
        let seconds = begun.elapsed().as_secs_f64();
        let Usage { cpu_seconds, peak_mib, .. } = Usage::here()?;
        say(&format!("{seconds} {blocks} {} {peak_mib}", cpu_seconds - before));
        Ok(node.stop().await?)
    })
}

fn node(folder: &Path, seed: u8) -> Result<Node> {
    let store = DiskStore::open(folder, StoreConfig::default())?;
    let transports: Vec<Arc<dyn Transport>> = vec![Arc::new(Tcp::default())];
    Ok(Node::start(Config { identity: KeyPair::from_seed(&[seed; 32]), store: Arc::new(store), transports })?)
}

/// The same in JavaScript, beside this file.
const SCRIPT: &str = "core.js";

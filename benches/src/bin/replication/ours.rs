//! Our side of the measured replication.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use anypath_replicate::core::{Manifest, Signer};
use anypath_replicate::replicator::CoreId;
use anypath_replicate::store::{Config as StoreConfig, DiskStore};
use anypath_swarm::{Config, Node};
use anypath_transports::{Tcp, Transport};
use anypath_wire::{Address, KeyPair, PublicKey};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use tokio::runtime::Runtime;

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

/// Fetches a core whole; prints seconds and blocks.
pub(crate) fn fetch(folder: &Path, key: &str, port: u16) -> Result<()> {
    let runtime = Runtime::new()?;
    let node = node(folder, 2)?;
    runtime.block_on(async {
        let key: PublicKey = key.parse()?;
        let core = node.call(move |replicator| replicator.open(&key)).await??;
        let mut events = node.subscribe();
        let begun = Instant::now();
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
        say(&format!("{seconds} {blocks}"));
        Ok(node.stop().await?)
    })
}

fn node(folder: &Path, seed: u8) -> Result<Node> {
    let store = DiskStore::open(folder, StoreConfig::default())?;
    let transports: Vec<Arc<dyn Transport>> = vec![Arc::new(Tcp::default())];
    Ok(Node::start(Config { identity: KeyPair::from_seed(&[seed; 32]), store: Arc::new(store), transports })?)
}

#[expect(clippy::print_stdout, reason = "the other process reads it")]
fn say(line: &str) {
    println!("{line}");
}

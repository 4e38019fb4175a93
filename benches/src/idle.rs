//! What a peer costs that has many cores open and nothing to do.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use anypath_replicate::core::{Manifest, Signer};
use anypath_replicate::replicator::Replicator;
use anypath_replicate::store::{Config as StoreConfig, DiskStore};
use anypath_swarm::{Config, Node};
use anypath_transports::{Tcp, Transport};
use anypath_wire::{KeyPair, PublicKey};

/// Makes a store of so many cores, each with so many blocks of 100 bytes.
///
/// # Errors
/// If the store fails.
pub fn fill(folder: &Path, cores: u32, blocks: usize) -> Result<()> {
    let mut replicator = Replicator::new(Arc::new(DiskStore::open(folder, StoreConfig::default())?));
    let content: Vec<_> = (0..blocks).map(|block| vec![block as u8; 100].into()).collect();
    for core in 0..cores {
        let pair = pair(core);
        let id = replicator.open_writable(Manifest::single(Signer::new(pair.public())), pair)?;
        replicator.append(id, &content)?;
        if core % 100 == 99 {
            replicator.commit()?;
        }
    }
    Ok(replicator.commit()?)
}

/// Starts a node over a store, with all its cores open and wanted whole.
///
/// # Errors
/// If the store fails.
pub async fn start(folder: &Path, cores: u32, seed: u8) -> Result<Node> {
    let store = Arc::new(DiskStore::open(folder, StoreConfig::default())?);
    let transports: Vec<Arc<dyn Transport>> = vec![Arc::new(Tcp::default())];
    let node = Node::start(Config { identity: KeyPair::from_seed(&[seed; 32]), store, transports })?;
    node.call(move |replicator| -> Result<()> {
        for core in 0..cores {
            let id = replicator.open(&key(core))?;
            replicator.want(id, 0..u64::MAX)?;
        }
        Ok(())
    })
    .await??;
    Ok(node)
}

/// Returns how many blocks the node holds of all these cores.
///
/// # Errors
/// If the node has stopped.
pub async fn held(node: &Node, cores: u32) -> Result<u64> {
    let count = move |replicator: &mut Replicator| -> Result<u64> {
        (0..cores).try_fold(0, |sum, core| {
            let id = replicator.open(&key(core))?;
            Ok(sum + replicator.core(id).contiguous_length())
        })
    };
    node.call(count).await?
}

fn pair(core: u32) -> KeyPair {
    let mut seed = [9; 32];
    seed[..4].copy_from_slice(&core.to_le_bytes());
    KeyPair::from_seed(&seed)
}

fn key(core: u32) -> PublicKey {
    Manifest::single(Signer::new(pair(core).public())).key()
}

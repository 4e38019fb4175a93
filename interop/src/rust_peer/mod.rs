//! Our own peer for the scenarios: nodes, their cores and bees behind the verbs of [`Peer`].

mod bees;
mod beside;
mod spec;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use anypath_replicate::bee::Bee;
use anypath_replicate::core::{Core, Encryption, Position};
use anypath_replicate::corestore::PrimaryKey;
use anypath_replicate::replicator::{CoreId, Replicator};
use anypath_replicate::store::{Config as StoreConfig, DiskStore};
use anypath_replicate::{AppendBlocks, Blocks as _, Plaintext, SeekRequest};
use anypath_swarm::{Config, Event, Node};
use anypath_transports::{Tcp, TcpConfig};
use anypath_wire::{Address, EncryptionKey, KeyPair};
use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::runtime::Runtime;
use tokio::sync::broadcast;
use tokio::time::timeout;

use crate::content::hex;
use crate::{Blocks, CoreInfo, CoreSpec, Peer, Until};
use spec::key_pair;

/// Starts our peer, whose store on disk is in `folder` (created when missing).
pub fn rust_peer(folder: &Path) -> Result<Box<dyn Peer>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let primary = PrimaryKey(Sha256::digest(folder.as_os_str().as_encoded_bytes()).into());
    let (nodes, cores, bees, heard) = Default::default();
    Ok(Box::new(RustPeer { folder: folder.to_owned(), runtime, primary, nodes, cores, bees, heard }))
}

/// A peer of this project in the scenario's own process.
struct RustPeer {
    folder: PathBuf,
    runtime: Runtime,
    primary: PrimaryKey,
    /// The corestore's node under `None`; each plain core has a store, and so a node, of its own.
    nodes: BTreeMap<Option<String>, Arc<Node>>,
    cores: BTreeMap<String, Opened>,
    bees: BTreeMap<String, Bee>,
    /// What is heard of each core, from the first time on that somebody listened.
    heard: BTreeMap<String, broadcast::Receiver<Event>>,
}

/// A core that was opened under a handle.
#[derive(Clone)]
struct Opened {
    node: Arc<Node>,
    core: CoreId,
    encryption: Option<EncryptionKey>,
}

impl RustPeer {
    /// Returns the node of the corestore, or that of a plain core; starts it when asked for first.
    fn node(&mut self, plain: Option<&str>) -> Result<Arc<Node>> {
        let name = plain.map(str::to_owned);
        if let Some(node) = self.nodes.get(&name) {
            return Ok(node.clone());
        }
        let folder = plain.map_or_else(|| self.folder.join("store"), |core| self.folder.join("plain").join(core));
        let store = Arc::new(DiskStore::open(&folder, StoreConfig::default())?);
        let identity = KeyPair::from_seed(&Sha256::digest(folder.as_os_str().as_encoded_bytes()).into());
        let _inside = self.runtime.enter();
        let transports: Vec<Arc<dyn anypath_transports::Transport>> = vec![Arc::new(Tcp::new(TcpConfig::default()))];
        let node = Arc::new(Node::start(Config { identity, store, transports })?);
        self.nodes.insert(name, node.clone());
        Ok(node)
    }

    fn opened(&self, core: &str) -> Result<Opened> {
        self.cores.get(core).cloned().with_context(|| format!("no core opened as {core}"))
    }

    /// Returns what `look` sees in the core.
    fn read<T: Send + 'static>(&self, core: &str, look: impl FnOnce(&Core) -> T + Send + 'static) -> Result<T> {
        let Opened { node, core, .. } = self.opened(core)?;
        Ok(self.runtime.block_on(node.read(move |replicator| look(replicator.core(core))))?)
    }

    /// Returns what `look` sees in the core's plaintext.
    fn read_plaintext<T, F>(&self, core: &str, look: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Plaintext<&Core>) -> T + Send + 'static,
    {
        let key = self.opened(core)?.encryption;
        self.read(core, move |core| look(&core.plaintext(key.as_ref())))
    }

    /// Does something with the core and returns its outcome, once it is committed.
    fn call<T, E>(
        &self,
        core: &str,
        work: impl FnOnce(&mut Replicator, CoreId) -> Result<T, E> + Send + 'static,
    ) -> Result<T>
    where
        T: Send + 'static,
        E: Into<anyhow::Error> + Send + 'static,
    {
        let Opened { node, core, .. } = self.opened(core)?;
        self.runtime.block_on(node.call(move |replicator| work(replicator, core)))?.map_err(Into::into)
    }

    /// Looks again whenever something happens, until there is something to return.
    fn until<T: Send + 'static>(
        &self,
        core: &str,
        what: &str,
        look: impl Fn(&Replicator, CoreId) -> Option<T> + Clone + Send + 'static,
    ) -> Result<T> {
        let Opened { node, core: id, .. } = self.opened(core)?;
        let (mut events, started) = (node.subscribe(), Instant::now());
        while started.elapsed() < HANG_GUARD {
            let look = look.clone();
            if let Some(seen) = self.runtime.block_on(node.read(move |replicator| look(replicator, id)))? {
                return Ok(seen);
            }
            drop(self.runtime.block_on(async { timeout(LOOK_AGAIN_AFTER, events.recv()).await }));
        }
        bail!("waited in vain for {what} of {core}: {:?}", self.read(core, |core| format!("{core:?}"))?)
    }

    fn want(&self, core: &str, start: u64, end: u64) -> Result<()> {
        self.call(core, move |replicator, core| replicator.want(core, start..end))
    }
}

impl Peer for RustPeer {
    fn listen(&mut self, core: Option<&str>) -> Result<u16> {
        let node = self.node(core)?;
        Ok(self.runtime.block_on(node.listen(&"tcp://127.0.0.1:0".parse()?))?.port)
    }

    fn dial(&mut self, port: u16, core: Option<&str>) -> Result<()> {
        let node = self.node(core)?;
        let to: Address = format!("tcp://127.0.0.1:{port}").parse()?;
        let dialling = async {
            let mut events = node.subscribe();
            node.connect(to.clone());
            loop {
                match events.recv().await? {
                    Event::Connected(peer) if peer.address == to => return Ok(()),
                    Event::Unreachable { address, error } if address == to => return Err(anyhow!("{to}: {error}")),
                    _ => {}
                }
            }
        };
        self.runtime.block_on(async { timeout(HANG_GUARD, dialling).await })?
    }

    fn disconnect(&mut self) -> Result<()> {
        self.nodes.values().for_each(|node| self.runtime.block_on(node.disconnect()));
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.nodes.values().try_for_each(|node| Ok(self.runtime.block_on(node.stop())?))
    }

    fn open(&mut self, core: &str, spec: &CoreSpec) -> Result<CoreInfo> {
        let node = self.node(spec.plain.then_some(core))?;
        let open = spec::opener(spec, &self.primary)?;
        let open = move |replicator: &mut Replicator| {
            let core = open(replicator)?;
            if !replicator.core(core).writable() {
                replicator.follow(core)?;
            }
            anyhow::Ok(core)
        };
        let id = self.runtime.block_on(node.call(open))??;
        let encryption = spec.encryption.as_deref().map(str::parse).transpose()?;
        self.cores.insert(core.to_owned(), Opened { node, core: id, encryption });
        self.info(core)
    }

    fn info(&mut self, core: &str) -> Result<CoreInfo> {
        let Opened { node, core, encryption } = self.opened(core)?;
        Ok(self.runtime.block_on(node.read(move |replicator| info(replicator, core, encryption.as_ref())))?)
    }

    fn append(&mut self, core: &str, run: &Blocks, signers: &[&str]) -> Result<CoreInfo> {
        let blocks: Vec<Bytes> = run.iter().map(Bytes::from).collect();
        let signers: Vec<KeyPair> = signers.iter().map(|signer| key_pair(signer)).collect();
        let (start, key) = (u64::from(run.start), self.opened(core)?.encryption);
        self.call(core, move |replicator, id| {
            ensure!(replicator.core(id).length() == start, "the run starts at {start}");
            if signers.is_empty() {
                return Ok(replicator.plaintext_writer(id, key.as_ref()).append(&blocks)?);
            }
            let signature = sign_together(replicator.core(id), &blocks, &signers)?;
            Ok(replicator.append_signed(id, &blocks, signature)?)
        })?;
        self.info(core)
    }

    fn truncate(&mut self, core: &str, length: u64, fork: u64) -> Result<CoreInfo> {
        self.call(core, move |replicator, core| replicator.truncate(core, length, Some(fork)))?;
        self.info(core)
    }

    fn clear(&mut self, core: &str, start: u64, end: u64) -> Result<()> {
        self.call(core, move |replicator, core| {
            replicator.clear(core, start..end);
            anyhow::Ok(())
        })
    }

    fn download(&mut self, core: &str, start: u64, end: u64) -> Result<()> {
        self.want(core, start, end)?;
        self.until(core, "blocks", move |replicator, core| {
            (replicator.core(core).bitfield().next_unset(start) >= end).then_some(())
        })
    }

    fn follow(&mut self, core: &str) -> Result<()> {
        self.want(core, 0, u64::MAX)
    }

    fn held(&mut self, core: &str) -> Result<Vec<(u64, u64)>> {
        self.read(core, |core| {
            let (bits, mut from) = (core.bitfield(), 0);
            let next = || {
                let start = bits.next_set(from)?;
                from = bits.next_unset(start);
                Some((start, from))
            };
            std::iter::from_fn(next).collect()
        })
    }

    fn check(&mut self, core: &str, run: &Blocks) -> Result<()> {
        self.download(core, run.start.into(), (run.start + run.count).into())?;
        let run = run.clone();
        self.read_plaintext(core, move |core| {
            for (index, expected) in (u64::from(run.start)..).zip(run.iter()) {
                let block = core.block(index)?.with_context(|| format!("block {index} is not here"))?;
                ensure!(block == expected, "block {index} differs: {} bytes, not {}", block.len(), expected.len());
            }
            Ok(())
        })?
    }

    fn seek(&mut self, core: &str, byte: u64) -> Result<(u64, u64)> {
        let encrypted = self.opened(core)?.encryption.is_some();
        let seek = if encrypted { SeekRequest::encrypted(byte) } else { byte.into() };
        self.call(core, move |replicator, core| replicator.seek(core, seek))?;
        let at = self.until(core, "a position", move |replicator, core| {
            replicator.core(core).position(seek).ok().filter(|at| !matches!(at, Position::Below { .. }))
        })?;
        match at {
            Position::In { block, offset } => Ok((block, offset)),
            _ => bail!("byte {byte} lies beyond the end"),
        }
    }

    fn fetch_now(&mut self, core: &str, index: u64) -> Result<()> {
        self.call(core, move |replicator, core| replicator.want_now(core, index..index + 1))?;
        self.until(core, "a block", move |replicator, core| replicator.core(core).has(index).then_some(()))
    }

    fn allow_push(&mut self, core: &str) -> Result<()> {
        self.take_pushes(core)
    }

    fn push(&mut self, core: &str, index: u64) -> Result<()> {
        self.send_push(core, index)
    }

    fn hear(&mut self, core: &str, name: &str) -> Result<()> {
        self.listen_to(core, name)
    }

    fn say(&mut self, core: &str, name: &str, text: &str) -> Result<()> {
        self.say_to_all(core, name, text)
    }

    fn heard(&mut self, core: &str) -> Result<(String, String)> {
        self.next_heard(core)
    }

    fn wait(&mut self, core: &str, until: Until) -> Result<CoreInfo> {
        let reached = move |info: &CoreInfo| {
            info.length >= until.length
                && info.contiguous >= until.contiguous
                && info.peers >= until.peers
                && until.fork.is_none_or(|fork| fork == info.fork)
        };
        let key = self.opened(core)?.encryption;
        self.until(core, &format!("{until:?}"), move |replicator, core| {
            Some(info(replicator, core, key.as_ref())).filter(reached)
        })
    }

    fn bee_open(&mut self, bee: &str, spec: &CoreSpec) -> Result<CoreInfo> {
        self.bees.insert(bee.to_owned(), Bee::default());
        self.open(bee, spec)?;
        self.begin_bee(bee)
    }

    fn bee_batch(&mut self, bee: &str, changes: &[(String, Option<Value>)]) -> Result<u64> {
        self.change_bee(bee, changes)
    }

    fn bee_get(&mut self, bee: &str, key: &str) -> Result<Option<Value>> {
        self.look_up_in_bee(bee, key)
    }

    fn bee_list(&mut self, bee: &str, version: Option<u64>) -> Result<Vec<(String, Value)>> {
        self.list_bee(bee, version)
    }
}

fn info(replicator: &Replicator, id: CoreId, key: Option<&EncryptionKey>) -> CoreInfo {
    let core = replicator.core(id);
    let padding = if key.is_some() { Encryption::PADDING_BYTES as u64 } else { 0 };
    CoreInfo {
        key: hex(&core.key().0),
        discovery_key: hex(&core.discovery_key().0),
        length: core.length(),
        byte_length: core.byte_length() - padding * core.length(),
        fork: core.fork(),
        contiguous: core.contiguous_length(),
        peers: replicator.remotes(id).count(),
        writable: core.writable(),
        tree_hash: hex(&core.tree().hash()),
    }
}

fn sign_together(core: &Core, blocks: &[Bytes], signers: &[KeyPair]) -> Result<Vec<u8>> {
    let authority = core.authority().context("the manifest is not known")?;
    let tree = core.tree_after(blocks)?;
    let part = |pair| authority.sign_part(&tree, pair).context("not one of the manifest's signers");
    let parts = signers.iter().map(part).collect::<Result<Vec<_>>>()?;
    Ok(authority.assemble(&parts))
}

/// How long to wait before looking without having been told to.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);
/// How long something may take before it counts as hanging.
const HANG_GUARD: Duration = Duration::from_secs(120);

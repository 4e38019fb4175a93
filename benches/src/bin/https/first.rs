//! A core of one block from a peer to another, by way of a relay: how long the first block takes.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use anypath_replicate::core::{Manifest, Signer};
use anypath_replicate::replicator::Replicator;
use anypath_replicate::store::MemoryStore;
use anypath_swarm::{Config, Event, Node};
use anypath_transports::https::Https;
use anypath_wire::{Address, KeyPair};
use serde::{Deserialize, Serialize};

use crate::ends::{Rung, https, identity, say};

/// When what was there, in milliseconds since the program began.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Reached {
    /// A peer that has proven its key.
    pub(crate) peer: f64,
    /// A block that is verified and stored.
    pub(crate) block: f64,
}

/// Serves the core to whoever finds it at the relay, until killed.
pub(crate) async fn hold(relay: &Address) -> Result<()> {
    let (node, https) = node(1)?;
    let (manifest, pair) = core();
    https.meet(manifest.key().discovery_key());
    let core = node.call(move |replicator| replicator.open_writable(manifest, pair)).await??;
    node.call(move |replicator| replicator.append(core, &["a block".into()])).await??;
    https.expect(relay);
    node.listen(&format!("https://{}:{}", relay.host, relay.port).parse()?).await?;
    say("ready");
    std::future::pending().await
}

/// Fetches the core, and prints when what was there.
pub(crate) async fn fetch(relay: Address) -> Result<()> {
    let began = Instant::now();
    let now = || began.elapsed().as_secs_f64() * 1e3;
    let (node, https) = node(2)?;
    let key = core().0.key();
    https.meet(key.discovery_key());
    let mut events = node.subscribe();
    let core = node.call(move |replicator| replicator.open(&key)).await??;
    node.call(move |replicator| replicator.want(core, 0..u64::MAX)).await??;
    node.connect(relay);
    let held = move |replicator: &Replicator| replicator.core(core).contiguous_length();
    let mut peer = f64::NAN;
    while node.read(held).await? == 0 {
        if let Event::Connected(_) = events.recv().await? {
            peer = now();
        }
    }
    say(&serde_json::to_string(&Reached { peer, block: now() })?);
    Ok(node.stop().await?)
}

fn core() -> (Manifest, KeyPair) {
    let pair = KeyPair::from_seed(&[3; 32]);
    (Manifest::single(Signer::new(pair.public())), pair)
}

fn node(seed: u8) -> Result<(Node, Https)> {
    let https = https(seed, Rung::Any)?;
    let config = Config {
        identity: identity(seed),
        store: Arc::new(MemoryStore::default()),
        transports: vec![Arc::new(https.clone())],
    };
    Ok((Node::start(config)?, https))
}

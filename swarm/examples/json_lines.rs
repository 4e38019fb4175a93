//! Follows a core, and takes nothing but JSON into it: `json_lines KEY tcp://HOST:PORT`.
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "an example is a program")]

use std::error::Error;
use std::sync::Arc;

use anypath_replicate::replicator::Event as CoreEvent;
use anypath_replicate::store::MemoryStore;
use anypath_swarm::{Config, Event, Node};
use anypath_transports::{Tcp, Transport};
use anypath_wire::{KeyPair, PublicKey};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let [key, address] = <[String; 2]>::try_from(std::env::args().skip(1).collect::<Vec<_>>())
        .map_err(|_| "usage: json_lines KEY tcp://HOST:PORT")?;
    let key: PublicKey = key.parse()?;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| error.to_string())?;
    let (identity, store) = (KeyPair::from_seed(&seed), Arc::new(MemoryStore::default()));
    let transports: Vec<Arc<dyn Transport>> = vec![Arc::new(Tcp::default())];
    let node = Node::start(Config { identity, store, transports })?;

    let mut events = node.subscribe();
    let core = node.call(move |replicator| replicator.open(&key)).await??;
    node.call(move |replicator| {
        // The rule comes before the wish.
        replicator.set_rule(core, |_, block: &[u8]| serde_json::from_slice::<serde_json::Value>(block).is_ok());
        replicator.want(core, 0..u64::MAX)
    })
    .await??;
    node.connect(address.parse()?);
    loop {
        match events.recv().await? {
            Event::Core(CoreEvent::Blocks { blocks, .. }) => {
                for index in blocks {
                    let block = node.read(move |replicator| replicator.core(core).block(index)).await??;
                    println!("{index}: {}", String::from_utf8_lossy(&block.unwrap_or_default()));
                }
            }
            Event::Core(CoreEvent::RuleBroken { index, .. }) => println!("{index}: not JSON, refused"),
            _ => {}
        }
    }
}

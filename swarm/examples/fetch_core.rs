//! Fetches a core from a peer that listens on TCP: `fetch_core KEY tcp://HOST:PORT FOLDER`.
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "an example is a program")]

use std::error::Error;
use std::sync::Arc;

use anypath_replicate::store::{Config as StoreConfig, DiskStore};
use anypath_swarm::{Config, Event, Node};
use anypath_transports::{Tcp, TcpConfig};
use anypath_wire::{KeyPair, PublicKey};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let [key, address, folder] = <[String; 3]>::try_from(std::env::args().skip(1).collect::<Vec<_>>())
        .map_err(|_| "usage: fetch_core KEY tcp://HOST:PORT FOLDER")?;
    let key: PublicKey = key.parse()?;
    let store = DiskStore::open(std::path::Path::new(&folder), StoreConfig::default())?;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| error.to_string())?;
    let transports: Vec<Arc<dyn anypath_transports::Transport>> = vec![Arc::new(Tcp::new(TcpConfig::default()))];
    let node = Node::start(Config { identity: KeyPair::from_seed(&seed), store: Arc::new(store), transports })?;

    let mut events = node.subscribe();
    let core = node
        .call(move |replicator| {
            let core = replicator.open(&key)?;
            replicator.want(core, 0..u64::MAX)?;
            Ok::<_, Box<dyn Error + Send + Sync>>(core)
        })
        .await?
        .map_err(|error| error.to_string())?;
    node.connect(address.parse()?);
    loop {
        let (length, held) = node.call(move |r| (r.core(core).length(), r.core(core).contiguous_length())).await?;
        println!("{held} of {length} blocks");
        if length > 0 && held == length {
            break;
        }
        match events.recv().await? {
            Event::Unreachable { address, error } => println!("{address}: {error}"),
            event => println!("{event:?}"),
        }
    }
    node.stop().await?;
    Ok(())
}

//! A node that ends its connections: they end in order, are not dialled again, and new ones can be made.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::sync::Arc;
use std::time::Duration;

use anypath_replicate::core::{Manifest, Signer};
use anypath_replicate::replicator::CoreId;
use anypath_replicate::store::MemoryStore;
use anypath_swarm::{Config, Event, Node};
use anypath_transports::{Memory, Transport};
use anypath_wire::{Address, KeyPair};
use tokio::io::AsyncReadExt;
use tokio::sync::broadcast::Receiver;

#[tokio::test]
async fn connections_end_on_both_sides_and_stay_ended_until_dialled_again() {
    let network = Memory::new();
    let ((listener, shared), (dialer, copy)) = (node(&network, 1).await, node(&network, 2).await);
    let address = listener.listen(&"memory://listener:1".parse().unwrap()).await.unwrap();
    let (mut heard, mut seen) = (listener.subscribe(), dialer.subscribe());
    for _ in 0..3 {
        dialer.connect(address.clone());
        connected(&mut seen).await;
        connected(&mut heard).await;
        dialer.disconnect().await;
        disconnected(&mut seen).await;
        disconnected(&mut heard).await;
        for (node, core) in [(&listener, shared), (&dialer, copy)] {
            assert_eq!(node.read(move |replicator| replicator.remotes(core).count()).await.unwrap(), 0);
        }
    }
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(100)).await;
    tokio::time::resume();
    assert!(std::iter::from_fn(|| seen.try_recv().ok()).all(|event| !matches!(event, Event::Connected(_))));

    dialer.connect(address);
    connected(&mut seen).await;
    listener.disconnect().await;
    disconnected(&mut seen).await;
    connected(&mut seen).await; // who is cut off by the other end dials again
}

#[tokio::test]
async fn dialling_in_vain_and_shaking_hands_end_too() {
    let network = Memory::new();
    let (node, _) = node(&network, 1).await;
    let address = node.listen(&"memory://listener:1".parse().unwrap()).await.unwrap();
    let mut silent = network.dial(&address).await.unwrap();
    let mut events = node.subscribe();
    let nowhere: Address = "memory://nowhere:1".parse().unwrap();
    node.connect(nowhere);
    while !matches!(events.recv().await.unwrap(), Event::Unreachable { .. }) {}
    node.disconnect().await;
    assert_eq!(silent.reader.read_to_end(&mut Vec::new()).await.unwrap(), 0);
    assert!(events.try_recv().is_err());
}

/// Starts a node with a core of a block that all of them share.
async fn node(network: &Memory, seed: u8) -> (Node, CoreId) {
    let (identity, store) = (KeyPair::from_seed(&[seed; 32]), Arc::new(MemoryStore::default()));
    let node = Node::start(Config { identity, store, transports: vec![Arc::new(network.clone())] }).unwrap();
    let pair = KeyPair::from_seed(&[9; 32]);
    let open = node.call(move |replicator| {
        let core = replicator.open_writable(Manifest::single(Signer::new(pair.public())), pair).unwrap();
        replicator.append(core, &["a block".into()]).unwrap();
        replicator.follow(core).unwrap();
        core
    });
    let core = open.await.unwrap();
    (node, core)
}

async fn connected(events: &mut Receiver<Event>) {
    while !matches!(events.recv().await.unwrap(), Event::Connected(_)) {}
}

async fn disconnected(events: &mut Receiver<Event>) {
    loop {
        if let Event::Disconnected { error, .. } = events.recv().await.unwrap() {
            assert!(error.is_none(), "{error:?}");
            return;
        }
    }
}

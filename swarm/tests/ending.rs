//! A node that ends, stopped or dropped: nothing of it is left.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::sync::Arc;

use anypath_replicate::core::{Manifest, Signer};
use anypath_replicate::replicator;
use anypath_replicate::store::MemoryStore;
use anypath_swarm::{Config, Event, Node};
use anypath_transports::Memory;
use anypath_wire::KeyPair;

#[tokio::test]
async fn a_dropped_node_ends_the_connections_that_came_to_it() {
    let network = Memory::new();
    let (listener, dialer) = (node(&network, 1, Arc::default()), node(&network, 2, Arc::default()));
    let address = listener.listen(&"memory://listener:1".parse().unwrap()).await.unwrap();
    let mut events = dialer.subscribe();
    dialer.connect(address);
    while !matches!(events.recv().await.unwrap(), Event::Connected(_)) {}
    drop(listener);
    while !matches!(events.recv().await.unwrap(), Event::Disconnected { .. }) {}
}

#[tokio::test]
async fn a_stopped_node_has_told_everything_and_let_go_of_its_store() {
    for seed in 0..20 {
        let store = Arc::new(MemoryStore::default());
        let node = node(&Memory::new(), seed, store.clone());
        let mut events = node.subscribe();
        let pair = KeyPair::from_seed(&[9; 32]);
        let append = node.call(move |replicator| {
            let core = replicator.open_writable(Manifest::single(Signer::new(pair.public())), pair).unwrap();
            replicator.append(core, &["a block".into()]).unwrap();
        });
        let (_, stopped) = tokio::join!(append, node.stop());
        stopped.unwrap();
        let told: Vec<_> = std::iter::from_fn(|| events.try_recv().ok()).collect();
        assert!(told.iter().any(|event| matches!(event, Event::Core(replicator::Event::Head { .. }))), "{told:?}");
        assert_eq!(Arc::strong_count(&store), 1);
    }
}

fn node(network: &Memory, seed: u8, store: Arc<MemoryStore>) -> Node {
    let identity = KeyPair::from_seed(&[seed; 32]);
    Node::start(Config { identity, store, transports: vec![Arc::new(network.clone())] }).unwrap()
}

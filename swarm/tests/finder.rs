//! Nodes of Hyperswarm's DHT on real sockets: they find what was announced, and only in their own network.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
#![allow(clippy::disallowed_types, reason = "a stranger has a socket of its own")]

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use anypath_dht::hyperswarm::{Config, Node};
use anypath_dht::{Announcement, Ask, Event};
use anypath_swarm::{Finder, Sockets};
use anypath_wire::{KeyPair, hash};
use tokio::net::UdpSocket;
use tokio::time::timeout;

fn start(bootstrap: &[SocketAddrV4], two: bool, persistent: bool) -> Finder<Node> {
    let sockets = Sockets::bind((Ipv4Addr::LOCALHOST, 0).into(), two).unwrap();
    let SocketAddr::V4(address) = sockets.address() else { panic!("IPv6") };
    let config = Config {
        seed: hash(address.to_string().as_bytes()),
        bootstrap: bootstrap.to_vec(),
        server_port: address.port(),
        ephemeral: Some(!persistent),
        firewalled: !persistent,
        public_address: bootstrap.is_empty().then_some(address),
        ..Config::default()
    };
    Finder::start(sockets, |now| Node::new(now, config))
}

async fn settled(node: &Finder<Node>) {
    let mut events = node.subscribe();
    while !node.read(Node::is_bootstrapped).await.unwrap() {
        timeout(Duration::from_secs(30), events.recv()).await.unwrap().unwrap();
    }
}

async fn network(count: usize, two: bool) -> (Vec<Finder<Node>>, Vec<SocketAddrV4>) {
    let (mut nodes, mut bootstrap): (Vec<Finder<Node>>, Vec<SocketAddrV4>) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let node = start(&bootstrap, two, true);
        settled(&node).await;
        assert!(node.read(Node::id).await.unwrap().is_some());
        nodes.push(node);
        bootstrap = vec![nodes[0].address().to_string().parse().unwrap()];
    }
    (nodes, bootstrap)
}

/// Lets a node do something; returns the keys it found and how many stored what it brought.
async fn ask(node: &Finder<Node>, ask: Ask) -> (BTreeSet<[u8; 32]>, usize) {
    let (mut keys, mut answers) = (BTreeSet::new(), node.ask(ask).await.unwrap());
    loop {
        match timeout(Duration::from_secs(30), answers.recv()).await.unwrap().unwrap() {
            Event::Peer { key, .. } => drop(keys.insert(key.0)),
            Event::Done { outcome, .. } => return (keys, outcome.stored),
            _ => {}
        }
    }
}

#[tokio::test]
async fn nodes_on_one_socket_or_two_find_what_was_announced_and_strangers_do_not() {
    for two in [false, true] {
        let (_nodes, bootstrap) = network(6, two).await;
        let (_others, elsewhere) = network(2, two).await;
        let [announcer, seeker, stranger] = [&bootstrap, &bootstrap, &elsewhere].map(|at| start(at, two, false));
        let (topic, pair) = (hash(b"topic"), KeyPair::from_seed(&[1; 32]));
        let announce = Ask::Announce(Announcement::new(topic, pair.clone()));
        assert_eq!(ask(&announcer, announce).await.1, 6);
        assert_eq!(ask(&seeker, Ask::Lookup { topic }).await.0, BTreeSet::from([pair.public().0]));
        assert_eq!(ask(&stranger, Ask::Lookup { topic }).await.0, BTreeSet::new());
    }
}

#[tokio::test]
async fn several_wishes_at_once_are_told_apart() {
    let (nodes, bootstrap) = network(3, true).await;
    let client = start(&bootstrap, true, false);
    settled(&client).await;
    let pairs: Vec<_> = (0..20).map(|number| KeyPair::from_seed(&[number; 32])).collect();
    let mut waiting = Vec::new();
    for pair in &pairs {
        let topic = hash(&pair.public().0);
        let announce = Ask::Announce(Announcement::new(topic, pair.clone()));
        waiting.push((client.ask(announce).await.unwrap(), pair));
    }
    for (mut answers, pair) in waiting {
        while answers.recv().await.is_some() {}
        let found = ask(&nodes[1], Ask::Lookup { topic: hash(&pair.public().0) }).await.0;
        assert_eq!(found, BTreeSet::from([pair.public().0]));
    }
}

#[tokio::test]
async fn a_flood_of_rubbish_ends_nothing_and_a_node_that_is_dropped_frees_its_port() {
    let (nodes, bootstrap) = network(3, true).await;
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for length in 0..2_000 {
        stranger.send_to(&vec![length as u8; length], bootstrap[0]).await.unwrap();
    }
    let client = start(&bootstrap, true, false);
    let value = b"value".to_vec();
    assert_eq!(ask(&client, Ask::PutImmutable { value }).await.1, 3);
    let address = nodes[0].address();
    assert!(UdpSocket::bind(address).await.is_err());
    drop(nodes);
    for _ in 0..100 {
        if UdpSocket::bind(address).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{address} is still taken");
}

//! A node of BitTorrent's DHT among strangers: what it answers, stores and refuses, and which id it takes.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anypath_dht::classic::{Body, Config, Contacts, Id, Item, Message, Method, Node, Query, Response, Want, id_fits};
use anypath_dht::{Discovery, Socket};
use anypath_wire::{KeyPair, Time};

struct Stage {
    node: Node,
    now: Time,
}

const STRANGER: &str = "10.0.0.9:4000";
const INFOHASH: Id = [5; 20];

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

impl Stage {
    fn new(config: Config) -> Self {
        Self { node: Node::new(Time::ZERO, Config { seed: [3; 32], ..config }), now: Time::ZERO }
    }

    fn send(&mut self, from: &str, message: &Message<'_>) -> Vec<(SocketAddr, Vec<u8>)> {
        self.node.handle_datagram(self.now, Socket::Server, address(from), &message.encode());
        self.take()
    }

    fn take(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        let next = || self.node.poll_transmit().map(|(_, sent)| (sent.to, sent.datagram));
        std::iter::from_fn(next).collect()
    }

    /// Asks as a stranger who answers nothing, and looks at the answer.
    fn ask<R>(&mut self, from: &str, method: Method<'_>, look: impl FnOnce(&Body<'_>) -> R) -> R {
        let body = Body::Query(Query { id: Some([1; 20]), method });
        let query = Message { read_only: true, ..Message::new(b"tx", body) };
        let mut sent = self.send(from, &query);
        assert_eq!(sent.len(), 1, "one answer");
        let (to, datagram) = sent.pop().unwrap();
        let answer = Message::decode(&datagram).unwrap();
        assert_eq!((to, answer.transaction, answer.ip), (address(from), &b"tx"[..], Some(address(from))));
        look(&answer.body)
    }

    fn token(&mut self, from: &str) -> Vec<u8> {
        self.peers(from).0
    }

    fn peers(&mut self, from: &str) -> (Vec<u8>, Vec<SocketAddr>) {
        self.ask(from, Method::GetPeers { info_hash: INFOHASH, want: Want::default() }, |body| match body {
            Body::Response(response) => (response.token.unwrap().to_vec(), response.values.clone().unwrap_or_default()),
            other => panic!("{other:?}"),
        })
    }

    /// Stores something; returns the error, 0 for none.
    fn store(&mut self, from: &str, method: Method<'_>) -> i64 {
        self.ask(from, method, |body| match body {
            Body::Response(_) => 0,
            Body::Error(code, _) => *code,
            Body::Query(_) => panic!("a query"),
        })
    }

    fn announce(&mut self, from: &str, token: &[u8], port: u16, implied_port: Option<bool>) -> i64 {
        self.store(from, Method::AnnouncePeer { info_hash: INFOHASH, port, implied_port, token })
    }

    fn put(&mut self, item: &Item) -> i64 {
        let token = self.token(STRANGER);
        self.store(STRANGER, Method::Put { item: item.clone(), token: &token })
    }

    fn get(&mut self, target: Id, seq: Option<i64>) -> (Option<Item>, Option<i64>) {
        self.ask(STRANGER, Method::Get { target, seq }, |body| match body {
            Body::Response(response) => (response.item.clone(), response.seq),
            other => panic!("{other:?}"),
        })
    }

    fn pass(&mut self, span: Duration) {
        let until = self.now + span;
        while let Some(deadline) = self.node.poll_deadline().filter(|deadline| deadline.at <= until) {
            self.node.handle_timeout(deadline.at);
        }
        self.now = until;
    }
}

#[test]
fn peers_are_stored_at_the_port_they_say_or_are_seen_at_and_forgotten_when_old() {
    let mut stage = Stage::new(Config::default());
    let token = stage.token(STRANGER);
    assert_eq!(stage.announce(STRANGER, &token, 77, Some(false)), 0);
    assert_eq!(stage.announce("10.0.0.9:4001", &token, 78, Some(true)), 0, "the token is the host's");
    assert_eq!(stage.announce(STRANGER, &token, 79, None), 0);
    let mut peers = stage.peers("10.0.0.2:1").1;
    peers.sort();
    assert_eq!(peers, ["10.0.0.9:77", "10.0.0.9:79", "10.0.0.9:4001"].map(address));
    assert_eq!(stage.announce(STRANGER, &token, 0, None), 203, "no port");
    assert_eq!(stage.announce("10.0.0.2:1", &token, 1, None), 203, "another host's token");
    assert_eq!(stage.announce(STRANGER, b"forged!!", 1, None), 203);
    stage.pass(Duration::from_secs(601));
    assert_eq!(stage.announce(STRANGER, &token, 80, None), 203, "an old token");
    assert_eq!(stage.peers("10.0.0.2:1").1.len(), 3);
    stage.pass(Duration::from_secs(60 * 60));
    assert_eq!(stage.peers("10.0.0.2:1").1, []);
}

#[test]
fn a_flooded_infohash_is_told_of_in_forty_peers_and_keeps_a_thousand() {
    let mut stage = Stage::new(Config::default());
    let token = stage.token(STRANGER);
    for port in 1..=1_200 {
        assert_eq!(stage.announce(STRANGER, &token, port, None), 0);
    }
    assert_eq!(stage.node.stored(), 1_024);
    let (one, other) = (stage.peers(STRANGER).1, stage.peers(STRANGER).1);
    assert_eq!((one.len(), other.len()), (40, 40));
    assert_ne!(one, other);
}

#[test]
fn items_are_stored_if_they_are_sound_and_newer() {
    let mut stage = Stage::new(Config::default());
    let immutable = Item::of_bytes(b"a value");
    assert_eq!(stage.put(&immutable), 0);
    assert_eq!(stage.get(immutable.target(), None), (Some(immutable), None));
    assert_eq!(stage.put(&Item::of_bytes(&[0; 1_000])), 205);
    assert_eq!(stage.get([9; 20], None), (None, None));

    let pair = KeyPair::from_seed(&[1; 32]);
    let sign = |seq, value: &[u8]| Item::sign(&pair, b"", seq, value);
    let target = sign(1, b"").target();
    let mut forged = sign(4, b"forged");
    forged.value = Item::of_bytes(b"other").value;
    assert_eq!(stage.put(&forged), 206);
    assert_eq!(stage.put(&Item::sign(&pair, &[0; 65], 1, b"x")), 207);
    assert_eq!(stage.put(&sign(4, b"four")), 0);
    assert_eq!(stage.put(&sign(4, b"four")), 0);
    assert_eq!(stage.put(&sign(4, b"other")), 302);
    assert_eq!(stage.put(&sign(3, b"three")), 302);
    let mut swap = sign(5, b"five");
    swap.mutable.as_mut().unwrap().cas = Some(3);
    assert_eq!(stage.put(&swap), 301);
    swap.mutable.as_mut().unwrap().cas = Some(4);
    assert_eq!(stage.put(&swap), 0);
    assert_eq!(stage.get(target, None), (Some(sign(5, b"five")), None));
    assert_eq!(stage.get(target, Some(4)), (Some(sign(5, b"five")), None));
    assert_eq!(stage.get(target, Some(5)), (None, Some(5)), "the number alone");
    let token = stage.token("10.0.0.2:1");
    assert_eq!(stage.store(STRANGER, Method::Put { item: sign(6, b"six"), token: &token }), 203);
}

#[test]
fn what_is_not_known_is_refused_and_rubbish_and_a_read_only_node_say_nothing() {
    let mut stage = Stage::new(Config::default());
    assert_eq!(stage.store(STRANGER, Method::Other(b"vote")), 204);
    for rubbish in [&b""[..], b"d1:y1:qe", b"d1:t2:aa1:y1:re", &[b'l'; 1_000], b"\x03\x00"] {
        stage.node.handle_datagram(stage.now, Socket::Server, address(STRANGER), rubbish);
        assert_eq!(stage.take(), []);
    }
    let ping = Message::new(b"t", Body::Query(Query { id: Some([1; 20]), method: Method::Ping }));
    assert_eq!(stage.send("10.0.0.9:0", &ping), []);
    assert_eq!(stage.send("[::1]:4000", &ping), [], "of another network");
    assert_eq!(stage.send(STRANGER, &ping).len(), 2, "an answer, and a ping to see whether it is there");
    let mut quiet = Stage::new(Config { read_only: true, bootstrap: vec![address(STRANGER)], ..Config::default() });
    let asked = quiet.take();
    assert!(Message::decode(&asked[0].1).unwrap().read_only);
    assert_eq!(quiet.send(STRANGER, &ping), []);
}

/// Answers every find_node that the node sends with these contacts and the address it is seen at.
fn answer(stage: &mut Stage, contacts: &[(Id, SocketAddr)], seen_at: SocketAddr) {
    let id_of = |at: &SocketAddr| contacts.iter().find(|(_, known)| known == at).map(|(id, _)| *id);
    loop {
        let sent = stage.take();
        if sent.is_empty() {
            return;
        }
        for (to, datagram) in sent {
            let Some(id) = id_of(&to) else { continue };
            let query = Message::decode(&datagram).unwrap();
            let told = Some(contacts.to_vec());
            let contacts = if to.is_ipv6() {
                Contacts { nodes: None, nodes6: told }
            } else {
                Contacts { nodes: told, nodes6: None }
            };
            let response = Response { id, contacts, ..Response::default() };
            let message = Message::new(query.transaction, Body::Response(response));
            let datagram = Message { ip: Some(seen_at), ..message }.encode();
            stage.node.handle_datagram(stage.now, Socket::Server, to, &datagram);
        }
    }
}

#[test]
fn the_id_follows_from_the_address_that_many_hosts_see_and_not_from_what_one_says() {
    let contacts: Vec<_> = (1..=6).map(|n| ([n * 40; 20], address(&format!("192.0.2.{n}:6881")))).collect();
    let seen_at = address("198.51.100.7:6881");
    let fits = |stage: &Stage, seen_at: &SocketAddr| id_fits(&seen_at.ip(), stage.node.id());
    let bootstrap = vec![contacts[0].1];
    let mut stage = Stage::new(Config { bootstrap: bootstrap.clone(), ..Config::default() });
    answer(&mut stage, &contacts[..4], seen_at);
    assert_eq!(stage.node.neighbours().count(), 4);
    assert!(!fits(&stage, &seen_at), "four say it");
    let mut stage = Stage::new(Config { bootstrap, ..Config::default() });
    answer(&mut stage, &contacts, seen_at);
    assert!(fits(&stage, &seen_at) && stage.node.is_bootstrapped());
    assert_eq!(stage.node.neighbours().count(), 6, "the table is built anew");

    let strict = Config { bootstrap: vec![contacts[0].1], only_fitting_ids: true, ..Config::default() };
    let mut stage = Stage::new(strict);
    answer(&mut stage, &contacts, seen_at);
    assert_eq!(stage.node.neighbours().count(), 0, "their ids are by chance");
}

#[test]
fn a_node_of_the_ipv6_network_tells_of_ipv6_nodes() {
    let contacts: Vec<_> = (1..=3).map(|n| ([n * 40; 20], address(&format!("[2001:db8::{n}]:6881")))).collect();
    let mut stage = Stage::new(Config { ipv6: true, bootstrap: vec![contacts[0].1], ..Config::default() });
    answer(&mut stage, &contacts, address("[2001:db8::9]:6881"));
    assert_eq!(stage.node.neighbours().count(), 3);
    let find = Method::FindNode { target: [1; 20], want: Want::default() };
    stage.ask("[2001:db8::8]:1", find, |body| {
        let Body::Response(response) = body else { panic!("{body:?}") };
        assert_eq!((response.contacts.nodes.is_none(), response.contacts.nodes6.as_ref().unwrap().len()), (true, 3));
    });
    assert!(stage.node.neighbours().all(|address| matches!(address.ip(), IpAddr::V6(_))));
}

//! A storing node of Hyperswarm's DHT among strangers: what it stores, what it refuses, and what it does not answer.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::net::SocketAddrV4;
use std::time::Duration;

use anypath_dht::hyperswarm::messages::*;
use anypath_dht::hyperswarm::{
    Config, Id, Node, Packet, Reply, Request, Token, announce_signable, key_target, node_id, unannounce_signable,
};
use anypath_dht::{Discovery, Socket};
use anypath_wire::{Encode, Hash, KeyPair, Time, hash};

/// One node and the time.
struct Stage {
    node: Node,
    now: Time,
}

const STRANGER: &str = "10.0.0.9:4000";
const TOPIC: Id = [5; 32];
/// The clock of these tests begins here, in milliseconds since 1970.
const EPOCH_MS: u64 = 1_700_000_000_000;

fn address(text: &str) -> SocketAddrV4 {
    text.parse().unwrap()
}

fn here() -> SocketAddrV4 {
    address("10.0.0.1:49737")
}

impl Stage {
    fn new(ephemeral: bool) -> Self {
        let config = Config {
            seed: [3; 32],
            public_address: Some(here()),
            firewalled: false,
            ephemeral: Some(ephemeral),
            epoch_ms: EPOCH_MS,
            ..Config::default()
        };
        let node = Node::new(Time::ZERO, config);
        assert_eq!(node.id(), (!ephemeral).then(|| node_id(&here())));
        Self { node, now: Time::ZERO }
    }

    /// Sends a datagram and returns what comes out, with its receiver.
    fn send(&mut self, from: &str, datagram: &[u8]) -> Vec<(SocketAddrV4, Vec<u8>)> {
        self.node.handle_datagram(self.now, Socket::Server, address(from).into(), datagram);
        self.take()
    }

    fn take(&mut self) -> Vec<(SocketAddrV4, Vec<u8>)> {
        let next = || self.node.poll_transmit().map(|(_, sent)| (sent.to.to_string().parse().unwrap(), sent.datagram));
        std::iter::from_fn(next).collect()
    }

    /// Asks and returns the one reply, which must go back to whoever asked; `None` if there is nothing at all.
    fn ask(&mut self, from: &str, request: &Request<'_>) -> Option<Answer> {
        let mut sent = self.send(from, &request.encode());
        assert!(sent.len() <= 1);
        let (to, datagram) = sent.pop()?;
        let Ok(Packet::Reply(reply)) = Packet::decode(&datagram) else { panic!("no reply") };
        assert_eq!((to, reply.to, reply.tid), (address(from), address(from), request.tid));
        Some(Answer::of(&reply))
    }

    fn token(&mut self, from: &str) -> Token {
        self.ask(from, &request(LOOKUP)).unwrap().token.unwrap()
    }

    /// Stores something in the stranger's name.
    fn store(&mut self, command: u64, target: Id, value: &[u8]) -> Option<u64> {
        let token = Some(self.token(STRANGER));
        let request = Request { token, target: Some(target), value: Some(value), ..request(command) };
        self.ask(STRANGER, &request).map(|answer| answer.error)
    }

    fn lookup(&mut self, command: u64, target: Id) -> Option<Vec<u8>> {
        self.ask(STRANGER, &Request { target: Some(target), ..request(command) }).unwrap().value
    }

    /// Lets time pass, deadline by deadline.
    fn pass(&mut self, span: Duration) {
        let until = self.now + span;
        while let Some(deadline) = self.node.poll_deadline().filter(|deadline| deadline.at <= until) {
            self.node.handle_timeout(deadline.at);
        }
        self.now = until;
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Answer {
    error: u64,
    token: Option<Token>,
    value: Option<Vec<u8>>,
    closer: Vec<SocketAddrV4>,
}

impl Answer {
    fn of(reply: &Reply<'_>) -> Self {
        let value = reply.value.map(<[u8]>::to_vec);
        Self { error: reply.error, token: reply.token, value, closer: reply.closer.clone() }
    }
}

fn request(command: u64) -> Request<'static> {
    Request { tid: 7, to: here(), id: None, token: None, internal: false, command, target: Some(TOPIC), value: None }
}

fn internal(command: u64, value: Option<&[u8]>) -> Request<'_> {
    Request { internal: true, target: None, value, ..request(command) }
}

fn pair(number: u16) -> KeyPair {
    KeyPair::from_seed(&hash(&number.to_le_bytes()))
}

fn announce(number: u16, target: Id, token: Token, node: Id, refresh: Option<Hash>, bump: u64) -> Announce {
    let relay_addresses = (1..=4).map(|port| SocketAddrV4::new([10, 0, 0, 7].into(), port)).collect();
    let peer = Peer { public_key: pair(number).public(), relay_addresses };
    let signature = Some(pair(number).sign(&announce_signable(&target, &token, &node, &peer, refresh.as_ref())));
    Announce { peer: Some(peer), refresh, signature, bump }
}

impl Stage {
    fn announce(&mut self, number: u16, target: Id, refresh: Option<Hash>, bump: u64) -> Option<u64> {
        let token = self.token(STRANGER);
        let value = announce(number, target, token, node_id(&here()), refresh, bump).encode();
        self.store(ANNOUNCE, target, &value)
    }

    fn found(&mut self, target: Id) -> LookupReply {
        self.lookup(LOOKUP, target).map_or_else(LookupReply::default, |value| LookupReply::decode(&value).unwrap())
    }
}

#[test]
fn a_peer_is_found_with_three_of_its_relays_until_it_is_forgotten_or_old() {
    let mut stage = Stage::new(false);
    assert_eq!(stage.announce(1, TOPIC, None, 0), Some(0));
    let found = stage.found(TOPIC);
    assert_eq!((found.peers.len(), found.peers[0].public_key), (1, pair(1).public()));
    assert_eq!(found.peers[0].relay_addresses.len(), 3);
    let unannounce = |token: Token, number: u16| {
        let peer = Peer { public_key: pair(1).public(), relay_addresses: Vec::new() };
        let signature = pair(number).sign(&unannounce_signable(&TOPIC, &token, &node_id(&here()), &peer, None));
        Announce { peer: Some(peer), signature: Some(signature), ..Announce::default() }.encode()
    };
    let token = stage.token(STRANGER);
    assert_eq!(stage.store(UNANNOUNCE, TOPIC, &unannounce(token, 2)), None, "signed by somebody else");
    assert_eq!(stage.found(TOPIC).peers.len(), 1);
    assert_eq!(stage.store(UNANNOUNCE, TOPIC, &unannounce(token, 1)), Some(0));
    assert_eq!(stage.found(TOPIC).peers, []);
    stage.announce(1, TOPIC, None, 0);
    stage.pass(Duration::from_secs(13 * 60));
    assert_eq!(stage.found(TOPIC).peers.len(), 1);
    stage.pass(Duration::from_secs(14 * 60));
    assert_eq!(stage.found(TOPIC).peers, []);
}

#[test]
fn forgeries_are_not_answered_and_store_nothing() {
    let mut stage = Stage::new(false);
    let (token, node) = (stage.token(STRANGER), node_id(&here()));
    let sound = announce(1, TOPIC, token, node, None, 0);
    let mut other_peer = sound.clone();
    other_peer.peer.as_mut().unwrap().relay_addresses.pop();
    let forged = [
        announce(1, TOPIC, token, [9; 32], None, 0),
        announce(1, [9; 32], token, node, None, 0),
        announce(1, TOPIC, [9; 32], node, None, 0),
        Announce { signature: None, ..sound.clone() },
        Announce { peer: None, ..sound.clone() },
        other_peer,
    ];
    for forged in forged {
        assert_eq!(stage.store(ANNOUNCE, TOPIC, &forged.encode()), None, "{forged:?}");
    }
    let value = sound.encode();
    let without = Request { value: Some(&value), ..request(ANNOUNCE) };
    assert_eq!(stage.ask(STRANGER, &without), None, "no token");
    assert_eq!(stage.store(ANNOUNCE, TOPIC, &value[..value.len() - 1]), None, "cut off");
    assert_eq!(stage.found(TOPIC).peers, []);
    assert_eq!(stage.store(ANNOUNCE, TOPIC, &value), Some(0), "or else nothing was shown");
}

#[test]
fn a_token_of_another_host_or_time_is_refused_with_a_fresh_one() {
    let mut stage = Stage::new(false);
    let theirs = Some(stage.token("10.0.0.8:4000"));
    let answer = stage.ask(STRANGER, &Request { token: theirs, ..request(LOOKUP) }).unwrap();
    assert_eq!((answer.error, answer.value), (INVALID_TOKEN, None));
    let fresh = Request { token: answer.token, ..request(LOOKUP) };
    assert_eq!(stage.ask(STRANGER, &fresh).unwrap().error, 0);
    stage.pass(Duration::from_secs(16));
    assert_eq!(stage.ask(STRANGER, &fresh).unwrap().error, INVALID_TOKEN);
}

#[test]
fn values_are_stored_only_under_what_they_hash_to_and_replaced_only_by_newer_ones() {
    let mut stage = Stage::new(false);
    let target = key_target(&pair(1).public());
    let put = |number: u16, seq, value: &[u8]| {
        MutablePut { public_key: pair(1).public(), value: MutableValue::sign(&pair(number), seq, value) }.encode()
    };
    assert_eq!(stage.store(MUTABLE_PUT, target, &put(2, 5, b"forged")), None);
    assert_eq!(stage.store(MUTABLE_PUT, TOPIC, &put(1, 5, b"elsewhere")), None);
    assert_eq!(stage.store(MUTABLE_PUT, target, &put(1, 5, &[0; 1_001])), None, "too large");
    assert_eq!(stage.store(MUTABLE_PUT, target, &put(1, 5, b"five")), Some(0));
    assert_eq!(stage.store(MUTABLE_PUT, target, &put(1, 5, b"five")), Some(0));
    assert_eq!(stage.store(MUTABLE_PUT, target, &put(1, 5, b"other")), Some(SEQ_REUSED));
    assert_eq!(stage.store(MUTABLE_PUT, target, &put(1, 4, b"four")), Some(SEQ_TOO_LOW));
    let mut get = |seq: u64| {
        let mut least = Vec::new();
        least.uint(seq);
        stage
            .ask(STRANGER, &Request { target: Some(target), value: Some(&least), ..request(MUTABLE_GET) })
            .unwrap()
            .value
    };
    assert_eq!(get(0).map(|value| MutableValue::decode(&value).unwrap().value), Some(b"five".to_vec()));
    assert_eq!((get(5).is_some(), get(6)), (true, None));
    assert_eq!(
        stage.ask(STRANGER, &Request { target: Some(target), ..request(MUTABLE_GET) }),
        None,
        "without a number"
    );

    assert_eq!(stage.store(IMMUTABLE_PUT, hash(b"value"), b"other"), None);
    assert_eq!(stage.store(IMMUTABLE_PUT, hash(&[0; 1_001]), &[0; 1_001]), None, "too large");
    assert_eq!(stage.store(IMMUTABLE_PUT, hash(b"value"), b"value"), Some(0));
    assert_eq!(stage.lookup(IMMUTABLE_GET, hash(b"value")), Some(b"value".to_vec()));
}

#[test]
fn a_record_is_renewed_by_whoever_knows_the_token_and_the_largest_bump_of_today_is_told() {
    let mut stage = Stage::new(false);
    let chain = [3, 2, 1].map(|at| (0..at).fold([9; 32], |token: Hash, _| hash(&token)));
    assert_eq!(stage.announce(1, TOPIC, Some(chain[0]), EPOCH_MS), Some(0));
    let renewal = |token| Announce { refresh: Some(token), ..Announce::default() }.encode();
    assert_eq!(stage.store(ANNOUNCE, TOPIC, &renewal(chain[2])), None, "it renews the next one alone");
    stage.pass(Duration::from_secs(13 * 60));
    assert_eq!(stage.store(ANNOUNCE, TOPIC, &renewal(chain[1])), Some(0));
    assert_eq!(stage.store(ANNOUNCE, TOPIC, &renewal(chain[1])), None, "once");
    stage.pass(Duration::from_secs(13 * 60 + 30));
    assert_eq!(stage.found(TOPIC).peers.len(), 1);
    for (number, bump) in [(2, EPOCH_MS + 5), (3, EPOCH_MS), (4, EPOCH_MS + 100_000_000)] {
        assert_eq!(stage.announce(number, TOPIC, None, bump), Some(0));
    }
    assert_eq!(stage.found(TOPIC).bump, EPOCH_MS + 5);
}

#[test]
fn many_records_make_no_longer_reply_than_twenty() {
    let mut stage = Stage::new(false);
    (0..60).for_each(|number| assert_eq!(stage.announce(number, TOPIC, None, 0), Some(0)));
    let (one, other) = (stage.found(TOPIC).peers, stage.found(TOPIC).peers);
    assert_eq!((one.len(), other.len()), (20, 20));
    assert_ne!(one, other, "others another time");
}

#[test]
fn a_flooded_topic_takes_no_more_room_than_it_may_and_still_takes_newcomers() {
    let mut stage = Stage::new(false);
    (0..1_024).for_each(|number| assert_eq!(stage.announce(number, TOPIC, None, 0), Some(0)));
    assert_eq!(stage.announce(1, hash(b"another"), None, 0), Some(0));
    assert_eq!(stage.node.stored(), 1_025);
    (2_000..2_100).for_each(|number| assert_eq!(stage.announce(number, TOPIC, None, 0), Some(0)));
    assert_eq!(stage.node.stored(), 1_025);
    let keys: Vec<_> = (2_000..2_100).map(|number| pair(number).public()).collect();
    let found = (0..100).flat_map(|_| stage.found(TOPIC).peers).filter(|peer| keys.contains(&peer.public_key));
    assert!(found.count() > 20, "newcomers are among those told");
    assert_eq!(stage.found(hash(b"another")).peers.len(), 1, "and nobody else lost a place");
}

#[test]
fn a_peer_that_announced_itself_is_found_and_handshakes_are_carried_to_it() {
    let mut stage = Stage::new(false);
    let target = key_target(&pair(1).public());
    let handshake = |mode, peer_address: Option<&str>, relay_address: Option<&str>| {
        let [peer_address, relay_address] = [peer_address, relay_address].map(|text| text.map(address));
        Handshake { mode, noise: b"noise".to_vec(), peer_address, relay_address }.encode()
    };
    let client = handshake(Handshake::FROM_CLIENT, None, None);
    let from_client = Request { target: Some(target), value: Some(&client), ..request(PEER_HANDSHAKE) };
    let answer = stage.ask("10.0.0.2:1", &from_client).unwrap();
    assert_eq!((answer.error, answer.token, answer.value), (0, None, None), "nobody is known");

    assert_eq!(stage.announce(1, target, None, 0), Some(0));
    let record = stage.lookup(FIND_PEER, target).unwrap();
    assert_eq!(record[..32], pair(1).public().0);
    assert_eq!(stage.found(target).peers.len(), 1);

    let mut carried = |from: &str, value: &[u8]| {
        let request = Request { target: Some(target), value: Some(value), ..request(PEER_HANDSHAKE) };
        let mut sent = stage.send(from, &request.encode());
        assert!(sent.len() <= 1);
        sent.pop()
    };
    // To the server, who announced itself as the stranger.
    let (to, datagram) = carried("10.0.0.2:1", &client).unwrap();
    let Ok(Packet::Request(on)) = Packet::decode(&datagram) else { panic!("no request") };
    assert_eq!((to, on.to, on.tid, on.target), (address(STRANGER), address(STRANGER), 7, Some(target)));
    assert_eq!((on.id, on.token), (Some(node_id(&here())), None));
    assert_eq!(on.value, Some(&handshake(Handshake::FROM_RELAY, Some("10.0.0.2:1"), None)[..]));
    // And back to the client.
    let (to, datagram) = carried(STRANGER, &handshake(Handshake::FROM_SERVER, Some("10.0.0.2:1"), None)).unwrap();
    let Ok(Packet::Reply(back)) = Packet::decode(&datagram) else { panic!("no reply") };
    assert_eq!((to, back.to, back.tid), (address("10.0.0.2:1"), address("10.0.0.2:1"), 7));
    assert_eq!(back.value, Some(&handshake(Handshake::REPLY, Some(STRANGER), None)[..]));
    // From another node, and by way of one the client names.
    let (to, datagram) = carried("10.0.0.3:1", &handshake(Handshake::FROM_RELAY, Some("10.0.0.2:1"), None)).unwrap();
    let Ok(Packet::Request(on)) = Packet::decode(&datagram) else { panic!("no request") };
    assert_eq!(to, address(STRANGER));
    assert_eq!(on.value, Some(&handshake(Handshake::FROM_SECOND_RELAY, Some("10.0.0.2:1"), Some("10.0.0.3:1"))[..]));
    let named = carried("10.0.0.2:1", &handshake(Handshake::FROM_CLIENT, None, Some("10.0.0.4:1"))).unwrap();
    assert_eq!(named.0, address("10.0.0.4:1"));
    for lost in [handshake(Handshake::FROM_SERVER, None, None), handshake(9, None, None), b"rubbish".to_vec()] {
        assert_eq!(carried("10.0.0.2:1", &lost), None);
    }
}

#[test]
fn internal_commands_are_answered_as_the_reference_does() {
    let mut stage = Stage::new(false);
    let empty = Answer { error: 0, token: None, value: None, closer: Vec::new() };
    assert_eq!(stage.ask(STRANGER, &internal(PING, Some(&[0; 500]))).as_ref(), Some(&empty));
    let sent = stage.send(STRANGER, &internal(PING_NAT, Some(&[1, 2])).encode());
    assert_eq!(sent[0].0, address("10.0.0.9:513"), "to the other port");
    for unanswered in [
        internal(PING_NAT, Some(&[0, 0])),
        internal(PING_NAT, Some(&[1])),
        internal(PING_NAT, None),
        internal(FIND_NODE, None),
        internal(DOWN_HINT, Some(&[1; 5])),
        internal(DELAYED_PING, Some(&10_001_u32.to_le_bytes())),
        internal(DELAYED_PING, Some(&[0; 3])),
        Request { value: Some(b"\x06plugin\x01\x00\x00"), ..request(PLUGIN) },
    ] {
        assert_eq!(stage.ask(STRANGER, &unanswered), None, "{unanswered:?}");
    }
    assert_eq!(stage.ask(STRANGER, &internal(DOWN_HINT, Some(&[1; 6]))).as_ref(), Some(&empty));
    assert_eq!(stage.ask(STRANGER, &internal(99, None)).unwrap().error, UNKNOWN_COMMAND);
    let delay = 1_500_u32.to_le_bytes();
    assert_eq!(stage.ask(STRANGER, &internal(DELAYED_PING, Some(&delay))), None, "not yet");
    stage.pass(Duration::from_millis(1_499));
    assert_eq!(stage.take(), []);
    stage.pass(Duration::from_millis(1));
    assert_eq!(stage.take().len(), 1);
    (0..3_000).for_each(|_| assert_eq!(stage.ask(STRANGER, &internal(DELAYED_PING, Some(&delay))), None));
    stage.pass(Duration::from_secs(2));
    assert_eq!(stage.take().len(), 1_024, "no more wait than the limit");
}

#[test]
fn a_node_is_met_by_its_own_id_alone_and_dropped_when_it_is_said_to_be_down_and_is() {
    let mut stage = Stage::new(false);
    let ping = |id| Request { id: Some(id), ..internal(PING, None) }.encode();
    stage.send("10.0.0.2:1", &ping(node_id(&address("10.0.0.3:1"))));
    assert_eq!(stage.node.neighbours().count(), 0);
    stage.send("10.0.0.2:1", &ping(node_id(&address("10.0.0.2:1"))));
    assert_eq!(stage.node.neighbours().collect::<Vec<_>>(), [address("10.0.0.2:1")]);
    let closer = stage.ask(STRANGER, &Request { target: Some(TOPIC), ..internal(FIND_NODE, None) }).unwrap().closer;
    assert_eq!(closer, [address("10.0.0.2:1")]);
    stage.pass(Duration::from_secs(6));
    stage.take();
    let sent = stage.send(STRANGER, &internal(DOWN_HINT, Some(&[10, 0, 0, 2, 1, 0])).encode());
    assert_eq!(sent.iter().filter(|(to, _)| *to == address("10.0.0.2:1")).count(), 1, "it is pinged");
    stage.pass(Duration::from_secs(10));
    assert_eq!(stage.node.neighbours().count(), 0);
}

#[test]
fn an_ephemeral_node_sends_no_id_and_stores_nothing_but_helps_on() {
    let mut stage = Stage::new(true);
    for command in FIND_PEER..=PLUGIN {
        let answer = stage.ask(STRANGER, &request(command)).unwrap();
        assert_eq!((answer.error, answer.token), (UNKNOWN_COMMAND, None), "{command}");
    }
    let sent = stage.send(STRANGER, &internal(PING, None).encode());
    assert!(matches!(Packet::decode(&sent[0].1), Ok(Packet::Reply(Reply { id: None, .. }))));
}

#[test]
fn rubbish_is_not_answered() {
    let mut stage = Stage::new(false);
    for rubbish in [&b""[..], b"\x03", b"\x13", &[0xff; 40], b"\x00", &[3; 9]] {
        assert_eq!(stage.send(STRANGER, rubbish), []);
    }
    assert_eq!(stage.send("10.0.0.9:0", &request(LOOKUP).encode()), [], "port 0");
}

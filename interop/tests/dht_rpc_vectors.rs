//! dht-rpc's datagrams, ids and tokens as the reference makes them, and every datagram of a live network of five nodes.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::net::SocketAddrV4;

use anypath_dht::hyperswarm::{NatSampler, Packet, Reply, Request, key_target, node_id, token};
use anypath_dht::kademlia::{Contact, Row, Table, closer, shared_bits};
use anypath_interop::vectors::{fixed, unhex};
use anypath_wire::{KeyPair, Time, hash, namespace};
use serde_json::Value;

fn vectors(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn each(list: &Value) -> &Vec<Value> {
    list.as_array().unwrap()
}

/// Reads `{host, port}`, or `host:port`.
fn address(value: &Value) -> SocketAddrV4 {
    match value.as_str() {
        Some(text) => text.parse().unwrap(),
        None => {
            let host = value["host"].as_str().unwrap();
            SocketAddrV4::new(host.parse().unwrap(), value["port"].as_u64().unwrap() as u16)
        }
    }
}

fn optional<T>(value: &Value, read: impl Fn(&Value) -> T) -> Option<T> {
    if value.is_null() { None } else { Some(read(value)) }
}

#[test]
fn ids_tokens_namespaces_and_targets_are_the_references() {
    let ids = vectors(include_str!("../vectors/dht-ids.json"));
    assert_eq!(each(&ids["node_ids"]).len(), 5);
    for vector in each(&ids["node_ids"]) {
        assert_eq!(node_id(&address(vector)), fixed(&vector["id"]), "{vector}");
    }
    for vector in each(&ids["tokens"]) {
        let host = address(&serde_json::json!({ "host": vector["host"], "port": 0 }));
        assert_eq!(token(&fixed(&vector["secret"]), host.ip()), fixed(&vector["token"]), "{vector}");
    }
    assert_eq!(hash(&unhex(&ids["secret_rotation"]["secret"])), fixed(&ids["secret_rotation"]["next"]));
    for vector in each(&ids["namespaces"]) {
        let space = namespace(vector["namespace"].as_str().unwrap(), vector["index"].as_u64().unwrap() as u8);
        assert_eq!(space, fixed(&vector["hex"]), "{vector}");
    }
    for vector in each(&ids["key_pairs"]) {
        let key = KeyPair::from_seed(&fixed(&vector["seed"])).public();
        assert_eq!(key.0, fixed(&vector["publicKey"]));
        assert_eq!(key_target(&key), fixed(&vector["hyperdht_target"]));
        assert_eq!(key.discovery_key().0, fixed(&vector["discoveryKey"]));
    }
}

#[test]
fn requests_give_their_bytes_and_come_back() {
    let packets = vectors(include_str!("../vectors/dht-rpc-packets.json"));
    assert_eq!(each(&packets["requests"]).len(), 11);
    for vector in each(&packets["requests"]) {
        let (input, value) = (&vector["input"], optional(&vector["input"]["value"], unhex));
        let request = Request {
            tid: input["tid"].as_u64().unwrap() as u16,
            to: address(&input["to"]),
            id: input["carries_id"].as_bool().unwrap().then(|| fixed(&input["self_id"])),
            token: optional(&input["token"], fixed),
            internal: input["internal"].as_bool().unwrap(),
            command: input["command"].as_u64().unwrap(),
            target: optional(&input["target"], fixed),
            value: value.as_deref(),
        };
        let bytes = unhex(&vector["hex"]);
        assert_eq!(request.encode(), bytes, "{vector}");
        assert_eq!(Packet::decode(&bytes), Ok(Packet::Request(request)), "{vector}");
    }
}

#[test]
fn replies_give_their_bytes_and_come_back() {
    let packets = vectors(include_str!("../vectors/dht-rpc-packets.json"));
    assert_eq!(each(&packets["replies"]).len(), 8);
    for vector in each(&packets["replies"]) {
        let (input, value) = (&vector["input"], optional(&vector["input"]["value"], unhex));
        let reply = Reply {
            tid: input["tid"].as_u64().unwrap() as u16,
            to: address(&input["from"]),
            id: (!input["ephemeral"].as_bool().unwrap()).then(|| fixed(&input["self_id"])),
            token: optional(&input["token_hex"], fixed),
            closer: each(&input["closer_nodes"]).iter().map(address).collect(),
            error: input["error"].as_u64().unwrap(),
            value: value.as_deref(),
        };
        let token = reply.token.map(|_| token(&fixed(&input["token_secret"]), reply.to.ip()));
        assert_eq!(reply.token, token, "{vector}");
        let bytes = unhex(&vector["hex"]);
        assert_eq!(reply.encode(), bytes, "{vector}");
        assert_eq!(Packet::decode(&bytes), Ok(Packet::Reply(reply)), "{vector}");
    }
}

#[test]
fn what_must_be_ignored_is_an_error() {
    let packets = vectors(include_str!("../vectors/dht-rpc-packets.json"));
    for vector in each(&packets["must_ignore"]) {
        assert!(Packet::decode(&unhex(&vector["hex"])).is_err(), "{vector}");
    }
}

#[test]
fn a_live_network_is_read_and_written_alike() {
    let live = vectors(include_str!("../vectors/live-testnet.json"));
    let mut seen = 0;
    for packet in each(&live["runs"]).iter().flat_map(|run| each(&run["packets"])) {
        let bytes = unhex(&packet["hex"]);
        match Packet::decode(&bytes) {
            Ok(Packet::Request(request)) => {
                assert_eq!(packet["kind"], "request");
                assert_eq!(
                    (packet["tid"].as_u64(), packet["command"].as_u64()),
                    (Some(request.tid.into()), Some(request.command))
                );
                assert_eq!(request.internal, packet["internal"].as_bool().unwrap());
                assert_eq!(request.target, optional(&packet["target"], fixed));
                assert_eq!((request.to, request.id), (address(&packet["seen_to"]), optional(&packet["id"], fixed)));
                assert_eq!(request.value.map(<[u8]>::to_vec), optional(&packet["value"], unhex));
                assert_eq!(request.encode(), bytes);
            }
            Ok(Packet::Reply(reply)) => {
                assert_eq!((&packet["kind"], packet["tid"].as_u64()), (&"reply".into(), Some(reply.tid.into())));
                let closer = optional(&packet["closer_nodes"], |list| each(list).iter().map(address).collect());
                assert_eq!((reply.to, &reply.closer), (address(&packet["seen_to"]), &closer.unwrap_or_default()));
                assert_eq!(reply.token, optional(&packet["token"], fixed));
                assert_eq!(reply.error, packet["error"].as_u64().unwrap_or_default());
                assert_eq!(reply.value.map(<[u8]>::to_vec), optional(&packet["value"], unhex));
                assert!(reply.id.is_none_or(|id| id == node_id(&address(&packet["from"]))));
                assert_eq!(reply.encode(), bytes);
            }
            Err(_) => {
                assert!(packet["kind"] != "request" && packet["kind"] != "reply", "{packet}");
                continue;
            }
        }
        seen += 1;
    }
    assert!(seen > 80, "only {seen} datagrams were dht-rpc's");
}

#[test]
fn the_routing_table_takes_what_the_references_takes() {
    let ids = vectors(include_str!("../vectors/dht-ids.json"));
    let vector = &ids["routing_table"];
    let mut table: Table<32, SocketAddrV4> = Table::new(fixed(&vector["self"]), vector["k"].as_u64().unwrap() as usize);
    for node in each(&vector["inserted_in_order"]) {
        let id = fixed(&node["id"]);
        assert_eq!(id, node_id(&address(node)));
        assert_eq!(shared_bits(table.own(), &id), node["row"].as_u64().unwrap() as usize);
        let added = if node["added"].as_bool().unwrap() { Row::Added } else { Row::Full };
        assert_eq!(table.add(Contact::new(id, address(node), Time::ZERO)), added, "{node}");
    }
    // The reference goes through its rows in another order, so that it misses some of the nearest. Ours is exact.
    for closest in each(&vector["closest"]) {
        let (target, k) = (fixed(&closest["target"]), closest["k"].as_u64().unwrap() as usize);
        let mut all: Vec<_> = table.iter().collect();
        all.sort_by(|a, b| closer(&target, &a.id, &b.id));
        let theirs: Vec<SocketAddrV4> = each(&closest["result"]).iter().map(address).collect();
        assert_eq!(table.closest(&target, k), all[..k]);
        assert!(theirs.iter().all(|theirs| all.iter().any(|ours| ours.address == *theirs)));
    }
}

#[test]
fn a_node_believes_of_its_address_what_the_reference_does() {
    let nat = vectors(include_str!("../vectors/nat-logic.json"));
    assert_eq!(each(&nat["sampler"]).len(), 5);
    for vector in each(&nat["sampler"]) {
        let mut sampler = NatSampler::default();
        for step in each(&vector["steps"]) {
            let seen = address(&step["add"]);
            sampler.add(*seen.ip(), seen.port());
            let host = sampler.host().map(|host| host.to_string());
            assert_eq!(
                (host.as_deref(), u64::from(sampler.port())),
                (step["host"].as_str(), step["port"].as_u64().unwrap()),
                "{vector}"
            );
            let (size, threshold) = (step["size"].as_u64().unwrap(), step["threshold"].as_u64().unwrap());
            assert_eq!((sampler.size() as u64, sampler.threshold() as u64), (size, threshold), "{step}");
        }
    }
}

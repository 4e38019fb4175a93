//! KRPC as bittorrent-dht speaks it, and where discovery-channel announces a topic: read and written again byte for byte.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::net::SocketAddr;

use anypath_dht::classic::{Body, Contacts, Item, Mapping, Message, Method, Query, Response, Want, hashed_infohash};
use anypath_interop::vectors::{fixed, unhex};
use anypath_wire::PublicKey;
use serde_json::Value;

fn krpc() -> Value {
    serde_json::from_str(include_str!("../vectors/krpc.json")).unwrap()
}

fn vector(name: &str) -> Value {
    let krpc = krpc();
    krpc["vectors"].as_array().unwrap().iter().find(|vector| vector["name"] == name).unwrap().clone()
}

/// Says what was asked, in our words, and fails unless that gives the recorded bytes.
#[track_caller]
fn asks(name: &str, method: Method<'_>) {
    let query = unhex(&vector(name)["query"]);
    let message = Message::decode(&query).unwrap();
    let id = if name == "missing-id" { None } else { Some([0xaa; 20]) };
    assert_eq!(message.body, Body::Query(Query { id, method }), "{name}");
    assert_eq!(Message::new(message.transaction, message.body.clone()).encode(), query, "{name}");
}

/// Does the same for what was answered.
#[track_caller]
fn answers(name: &str, body: Body<'_>) {
    let bytes = unhex(&vector(name)["response"]);
    let message = Message::decode(&bytes).unwrap();
    assert_eq!(message.body, body, "{name}");
    assert_eq!(Message::new(message.transaction, body).encode(), bytes, "{name}");
}

fn response() -> Response<'static> {
    Response { id: [0xbb; 20], ..Response::default() }
}

fn ours(name: &str) -> Vec<u8> {
    unhex(&vector(name)["decoded"]["r"]["token"])
}

fn nodes(name: &str) -> Contacts {
    let field = unhex(&vector(name)["decoded"]["r"]["nodes"]);
    let node = |node: &[u8]| {
        let ip = <[u8; 4]>::try_from(&node[20..24]).unwrap();
        (node[..20].try_into().unwrap(), SocketAddr::from((ip, u16::from_be_bytes([node[24], node[25]]))))
    };
    Contacts { nodes: Some(field.chunks(26).map(node).collect()), nodes6: None }
}

#[test]
fn every_message_is_read_and_written_alike() {
    let krpc = krpc();
    let mut read = 0;
    for vector in krpc["vectors"].as_array().unwrap() {
        for side in ["query", "response"].iter().filter(|side| vector[*side].is_string()) {
            let bytes = unhex(&vector[side]);
            match Message::decode(&bytes) {
                Ok(message) => assert_eq!(message.encode(), bytes, "{vector}"),
                Err(error) => assert_eq!(vector["name"], "garbage", "{error}: {vector}"),
            }
            read += 1;
        }
    }
    assert_eq!(read, 28);
}

#[test]
fn queries_mean_what_was_asked() {
    let (want, info_hash) = (Want::default(), [7; 20]);
    asks("ping", Method::Ping);
    asks("find_node", Method::FindNode { target: [0x10; 20], want });
    asks("missing-id", Method::FindNode { target: [1; 20], want });
    asks("get_peers-empty", Method::GetPeers { info_hash, want });
    asks("unknown-method", Method::Other(b"bogus"));
    let token = &ours("get_peers-empty")[..];
    let announce = |info_hash, port, implied_port, token| Method::AnnouncePeer { info_hash, port, implied_port, token };
    asks("announce_peer-explicit-port", announce(info_hash, 3282, Some(false), token));
    asks("announce_peer-bad-token", announce(info_hash, 3282, None, &[0; 20]));
    asks("announce_peer-implied", announce([9; 20], 1, Some(true), token));
    asks("bep44-get-missing", Method::Get { target: [3; 20], seq: None });
    let item = Item::of_bytes(b"hello");
    asks("bep44-get-immutable", Method::Get { target: item.target(), seq: None });
    asks("bep44-put-immutable", Method::Put { item, token });
}

#[test]
fn responses_mean_what_was_answered() {
    answers("ping", Body::Response(response()));
    answers("find_node", Body::Response(Response { contacts: nodes("find_node"), ..response() }));
    let token = &ours("get_peers-empty")[..];
    let contacts = nodes("get_peers-empty");
    answers("get_peers-empty", Body::Response(Response { contacts, token: Some(token), ..response() }));
    answers("announce_peer-bad-token", Body::Error(203, b"cannot `announce_peer` with bad token"));
    let values = Some(vec!["127.0.0.1:3282".parse().unwrap()]);
    answers("get_peers-one", Body::Response(Response { values, token: Some(token), ..response() }));
    let item = Some(Item::of_bytes(b"hello"));
    answers("bep44-get-immutable", Body::Response(Response { item, token: Some(token), ..response() }));
}

#[test]
fn topics_lie_where_the_reference_announces_them() {
    let mapping: Value = serde_json::from_str(include_str!("../vectors/mapping.json")).unwrap();
    let key = PublicKey(fixed(&mapping["public_key"]));
    assert_eq!(key.discovery_key().0, fixed(&mapping["discovery_key_blake2b256_keyed"]));
    let (hashed, whole) = (&mapping["observed"]["default-hash"], &mapping["observed"]["hash-false"]);
    assert_eq!(hashed_infohash(&unhex(&hashed["input"])), fixed(&hashed["infohash"]));
    assert_eq!(Mapping::Truncated.infohash(&fixed(&whole["input"])), fixed(&whole["infohash"]));
    assert_eq!(Mapping::Hashed.infohash(&key.0), fixed(&mapping["sha1_of_key"]));
}

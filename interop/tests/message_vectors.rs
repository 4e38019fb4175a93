//! The messages of a core's channel against npm hypercore: every one encodes to the recorded bytes and decodes from them.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use anypath_interop::vectors::unhex;
use anypath_replicate::messages::{
    Bitfield, DataMessage, Handshake, Message, Range, RequestMessage, SyncState, Want, capability,
};
use anypath_replicate::{
    BlockProof, BlockRequest, HashProof, HashRequest, Node, Proof, Request, SeekProof, SeekRequest, UpgradeProof,
    UpgradeRequest,
};
use anypath_wire::{PublicKey, Role};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use serde_json::Value;

const VECTORS: &str = include_str!("../vectors/wire.json");

#[test]
fn messages_encode_to_and_decode_from_the_recorded_bytes() {
    let mut kinds = [false; 10];
    for case in cases().iter().filter(|case| case["type"].is_u64()) {
        let (name, bytes) = (&case["name"], bytes(&case["hex"]));
        let kind = number(&case["type"]);
        let decoded = Message::decode(kind, &bytes, true).unwrap().unwrap();
        let message = message(kind, &case["value"], &decoded);
        assert_eq!(decoded, message, "{name}");
        assert_eq!(message.kind(), kind);
        let mut encoded = b"before".to_vec();
        message.encode(&mut encoded);
        assert_eq!(HEXLOWER.encode(&encoded[6..]), HEXLOWER.encode(&bytes), "{name}");
        kinds[kind as usize] = true;
    }
    assert_eq!(kinds, [true; 10], "every kind has a vector");
}

#[test]
fn the_handshake_encodes_to_and_decodes_from_the_recorded_bytes() {
    for case in cases().iter().filter(|case| case["kind"] == "handshake") {
        let handshake = Handshake {
            seeks: case["value"]["seeks"].as_bool().unwrap(),
            capability: hash(&case["value"]["capability"]),
        };
        let mut encoded = Vec::new();
        handshake.encode(&mut encoded);
        assert_eq!(encoded, bytes(&case["hex"]));
        assert_eq!(Handshake::decode(&encoded), Ok(handshake));
    }
}

/// The values are those of `capability` in the vectors of keys.
#[test]
fn the_capability_is_that_of_the_role() {
    let key: PublicKey = "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c".parse().unwrap();
    for (role, expected) in [
        (Role::Initiator, "575e9ef548a022b49540b07a4ccc5b9d17d0122cfa529d224165b518401555a9"),
        (Role::Responder, "11c99f251e128e68b36724268aa5ddc5da5102f409701c494fb5ce9008d6bc64"),
    ] {
        assert_eq!(HEXLOWER.encode(&capability(&[0x42; 64], role, &key)), expected);
    }
}

#[test]
fn bytes_behind_a_message_are_ignored() {
    // Want and unwant end in an optional field, extension takes the rest.
    for case in cases().iter().filter(|case| case["type"].is_u64() && !case["value"]["manifest"].is_object()) {
        let kind = number(&case["type"]);
        if [5, 6, 9].contains(&kind) {
            continue;
        }
        let body = bytes(&case["hex"]);
        let longer = Bytes::from([&body[..], &[0xff; 3]].concat());
        assert_eq!(Message::decode(kind, &longer, true), Message::decode(kind, &body, true), "{}", case["name"]);
    }
}

#[test]
fn a_message_cut_short_is_an_error() {
    // But for no data, want and unwant, of which older peers send less, and extension, which takes what is there.
    for case in cases().iter().filter(|case| case["type"].is_u64() && !case["value"]["manifest"].is_object()) {
        let (kind, body) = (number(&case["type"]), bytes(&case["hex"]));
        if [4, 5, 6, 9].contains(&kind) {
            continue;
        }
        for length in 0..body.len() {
            let cut = Message::decode(kind, &body.slice(..length), true);
            assert!(cut.is_err(), "{} cut to {length}: {cut:?}", case["name"]);
        }
    }
}

#[test]
fn older_forms_are_understood() {
    let seek = Message::decode(1, &Bytes::from_static(&[4, 1, 0, 100]), false).unwrap();
    let Some(Message::Request(message)) = seek else { panic!("{seek:?}") };
    assert_eq!(message.request.seek, Some(SeekRequest { bytes: 100, padding: 0 }));
    let bare = Message::decode(4, &Bytes::from_static(&[7]), true).unwrap();
    assert_eq!(bare, Some(Message::NoData { request: 7, reason: 0 }));
    assert_eq!(Message::decode(10, &Bytes::new(), true), Ok(None));
}

#[test]
fn a_block_is_a_slice_of_what_arrived() {
    let case = cases().into_iter().find(|case| case["name"] == "data block").unwrap();
    let body = bytes(&case["hex"]);
    let Some(Message::Data(data)) = Message::decode(3, &body, true).unwrap() else { panic!() };
    let value = data.proof.block.unwrap().value;
    assert!(body.as_ptr_range().contains(&value.as_ptr()));
}

fn message(kind: u64, value: &Value, decoded: &Message) -> Message {
    match kind {
        0 => Message::Sync(SyncState {
            fork: number(&value["fork"]),
            length: number(&value["length"]),
            remote_length: number(&value["remoteLength"]),
            can_upgrade: value["canUpgrade"].as_bool().unwrap(),
            uploading: value["uploading"].as_bool().unwrap(),
            downloading: value["downloading"].as_bool().unwrap(),
            has_manifest: value["hasManifest"].as_bool().unwrap(),
            allow_push: value["allowPush"].as_bool().unwrap(),
        }),
        1 => Message::Request(RequestMessage {
            id: number(&value["id"]),
            fork: number(&value["fork"]),
            priority: number(&value["priority"]),
            request: request(value),
        }),
        2 => Message::Cancel { request: number(&value["request"]) },
        3 => Message::Data(data(value, decoded)),
        4 => Message::NoData { request: number(&value["request"]), reason: number(&value["reason"]) },
        5 => Message::Want(want(value)),
        6 => Message::Unwant(want(value)),
        7 => {
            let words = value["bitfield"]["u32"].as_array().unwrap().iter().map(|word| number(word) as u32);
            Message::Bitfield(Bitfield::new(number(&value["start"]), words))
        }
        8 => Message::Range(Range {
            drop: value["drop"].as_bool().unwrap(),
            start: number(&value["start"]),
            length: number(&value["length"]),
        }),
        _ => Message::Extension {
            name: Bytes::copy_from_slice(value["name"].as_str().unwrap().as_bytes()),
            message: bytes(&value["message"]),
        },
    }
}

fn request(value: &Value) -> Request {
    let pair = |part: &str, first: &str, second: &str| {
        let part = &value[part];
        part.is_object().then(|| (number(&part[first]), number(&part[second])))
    };
    Request {
        block: pair("block", "index", "nodes").map(|(index, nodes)| BlockRequest { index, nodes }),
        hash: pair("hash", "index", "nodes").map(|(index, nodes)| HashRequest { index, nodes }),
        seek: pair("seek", "bytes", "padding").map(|(bytes, padding)| SeekRequest { bytes, padding }),
        upgrade: pair("upgrade", "start", "length").map(|(start, length)| UpgradeRequest { start, length }),
        manifest: value["manifest"].as_bool().unwrap(),
    }
}

/// The manifest is taken from the decoded message: manifests have vectors of their own.
fn data(value: &Value, decoded: &Message) -> DataMessage {
    let Message::Data(decoded) = decoded else { panic!("{decoded:?}") };
    assert_eq!(decoded.proof.manifest.is_some(), value["manifest"].is_object());
    let part = |name: &str| Some(&value[name]).filter(|part| part.is_object());
    let proof = Proof {
        fork: number(&value["fork"]),
        block: part("block").map(|block| BlockProof {
            index: number(&block["index"]),
            value: bytes(&block["value"]),
            nodes: nodes(&block["nodes"]),
        }),
        hash: part("hash").map(|hash| HashProof { index: number(&hash["index"]), nodes: nodes(&hash["nodes"]) }),
        seek: part("seek").map(|seek| SeekProof { bytes: number(&seek["bytes"]), nodes: nodes(&seek["nodes"]) }),
        upgrade: part("upgrade").map(|upgrade| UpgradeProof {
            start: number(&upgrade["start"]),
            length: number(&upgrade["length"]),
            nodes: nodes(&upgrade["nodes"]),
            additional_nodes: nodes(&upgrade["additionalNodes"]),
            signature: bytes(&upgrade["signature"]).to_vec(),
        }),
        manifest: decoded.proof.manifest.clone(),
    };
    DataMessage { request: number(&value["request"]), proof }
}

fn nodes(value: &Value) -> Vec<Node> {
    let node =
        |node: &Value| Node { index: number(&node["index"]), size: number(&node["size"]), hash: hash(&node["hash"]) };
    value.as_array().unwrap().iter().map(node).collect()
}

fn want(value: &Value) -> Want {
    Want { start: number(&value["start"]), length: number(&value["length"]), any: value["any"].as_bool().unwrap() }
}

fn cases() -> Vec<Value> {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    vectors["messages"].as_array().unwrap().clone()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

fn bytes(value: &Value) -> Bytes {
    unhex(value).into()
}

fn hash(value: &Value) -> [u8; 32] {
    bytes(value)[..].try_into().unwrap()
}

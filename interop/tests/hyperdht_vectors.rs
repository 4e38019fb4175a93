//! HyperDHT's messages and signables: each value gives the recorded bytes and comes back from them.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::net::{SocketAddrV4, SocketAddrV6};

use anypath_dht::hyperswarm::messages::*;
use anypath_dht::hyperswarm::{Firewall, announce_signable, key_target, mutable_signable, token, unannounce_signable};
use anypath_interop::vectors::{fixed, unhex};
use anypath_wire::{Encode, KeyPair, PublicKey, hash, namespace};
use serde_json::Value;

fn messages() -> Value {
    serde_json::from_str(include_str!("../vectors/hyperdht-messages.json")).unwrap()
}

fn signables() -> Value {
    serde_json::from_str(include_str!("../vectors/hyperdht-signables.json")).unwrap()
}

fn each(list: &Value) -> &Vec<Value> {
    list.as_array().unwrap()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

fn address(value: &Value) -> SocketAddrV4 {
    SocketAddrV4::new(value["host"].as_str().unwrap().parse().unwrap(), number(&value["port"]) as u16)
}

fn addresses(list: &Value) -> Vec<SocketAddrV4> {
    each(list).iter().map(address).collect()
}

fn optional<T>(value: &Value, read: impl Fn(&Value) -> T) -> Option<T> {
    if value.is_null() { None } else { Some(read(value)) }
}

fn firewall(value: &Value) -> Firewall {
    [Firewall::Unknown, Firewall::Open, Firewall::Consistent, Firewall::Random][number(value) as usize]
}

fn peer(value: &Value) -> Peer {
    let relay_addresses = addresses(&value["relayAddresses"]);
    Peer { public_key: PublicKey(fixed(&value["publicKey"])), relay_addresses }
}

fn encoded(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out);
    out
}

#[test]
fn messages_give_their_bytes_and_come_back() {
    let messages = messages();
    assert_eq!(each(&messages["vectors"]).len(), 30);
    for vector in each(&messages["vectors"]) {
        let (input, bytes) = (&vector["input"], unhex(&vector["hex"]));
        let again = match vector["type"].as_str().unwrap() {
            "handshake" => {
                let handshake = handshake(input);
                assert_eq!(Handshake::decode(&bytes).as_ref(), Ok(&handshake));
                handshake.encode()
            }
            "holepunch" => {
                let holepunch = holepunch(input);
                assert_eq!(Holepunch::decode(&bytes).as_ref(), Ok(&holepunch));
                holepunch.encode()
            }
            "noisePayload" => {
                let payload = noise_payload(input);
                assert_eq!(NoisePayload::decode(&bytes).as_ref(), Ok(&payload));
                payload.encode()
            }
            "holepunchPayload" => {
                let payload = holepunch_payload(input);
                assert_eq!(HolepunchPayload::decode(&bytes).as_ref(), Ok(&payload));
                payload.encode()
            }
            "peer" => {
                let peer = peer(input);
                assert_eq!(Peer::decode(&mut anypath_wire::Decoder::new(&bytes)).as_ref(), Ok(&peer));
                encoded(|out| peer.encode(out))
            }
            _ => stored(vector, &bytes),
        };
        assert_eq!(again, bytes, "{vector}");
    }
}

/// Does the same for what storing nodes are sent and answer.
fn stored(vector: &Value, bytes: &[u8]) -> Vec<u8> {
    let input = &vector["input"];
    match vector["type"].as_str().unwrap() {
        "lookupRawReply" => {
            let peers = each(&input["peers"]).iter().map(peer).collect();
            let reply = LookupReply { peers, bump: number(&input["bump"]) };
            assert_eq!(LookupReply::decode(bytes).as_ref(), Ok(&reply));
            encoded(|out| reply.encode(out))
        }
        "announce" => {
            let announce = Announce {
                peer: optional(&input["peer"], peer),
                refresh: optional(&input["refresh"], fixed),
                signature: optional(&input["signature"], fixed),
                bump: number(&input["bump"]),
            };
            assert_eq!(Announce::decode(bytes).as_ref(), Ok(&announce));
            announce.encode()
        }
        "mutableSignable" => encoded(|out| {
            out.uint(number(&input["seq"]));
            out.buffer(&unhex(&input["value"]));
        }),
        "mutablePutRequest" => {
            let put = MutablePut { public_key: PublicKey(fixed(&input["publicKey"])), value: mutable_value(input) };
            assert_eq!(MutablePut::decode(bytes).as_ref(), Ok(&put));
            put.encode()
        }
        "mutableGetResponse" => {
            let value = mutable_value(input);
            assert_eq!(MutableValue::decode(bytes).as_ref(), Ok(&value));
            value.encode()
        }
        "pluginRequest" => {
            let request = PluginRequest {
                plugin: input["plugin"].as_str().unwrap().to_owned(),
                version: number(&input["version"]),
                command: number(&input["command"]),
                value: optional(&input["value"], unhex),
            };
            assert_eq!(PluginRequest::decode(bytes).as_ref(), Ok(&request));
            request.encode()
        }
        unknown => panic!("no message {unknown}"),
    }
}

fn mutable_value(input: &Value) -> MutableValue {
    let (value, signature) = (unhex(&input["value"]), fixed(&input["signature"]));
    MutableValue { seq: number(&input["seq"]), value, signature }
}

fn handshake(input: &Value) -> Handshake {
    Handshake {
        mode: number(&input["mode"]),
        noise: unhex(&input["noise"]),
        peer_address: optional(&input["peerAddress"], address),
        relay_address: optional(&input["relayAddress"], address),
    }
}

fn holepunch(input: &Value) -> Holepunch {
    Holepunch {
        mode: number(&input["mode"]),
        id: number(&input["id"]),
        payload: unhex(&input["payload"]),
        peer_address: optional(&input["peerAddress"], address),
    }
}

fn noise_payload(input: &Value) -> NoisePayload {
    let relay = |relay: &Value| RelayInfo {
        relay_address: address(&relay["relayAddress"]),
        peer_address: address(&relay["peerAddress"]),
    };
    let address6 = |value: &Value| {
        SocketAddrV6::new(value["host"].as_str().unwrap().parse().unwrap(), number(&value["port"]) as u16, 0, 0)
    };
    NoisePayload {
        error: number(&input["error"]),
        firewall: firewall(&input["firewall"]),
        holepunch: optional(&input["holepunch"], |info| HolepunchInfo {
            id: number(&info["id"]),
            relays: each(&info["relays"]).iter().map(relay).collect(),
        }),
        addresses4: addresses(&input["addresses4"]),
        addresses6: each(&input["addresses6"]).iter().map(address6).collect(),
        udx: optional(&input["udx"], |udx| UdxInfo {
            version: 1,
            reusable_socket: udx["reusableSocket"].as_bool().unwrap(),
            id: number(&udx["id"]),
            seq: number(&udx["seq"]),
        }),
        secret_stream: optional(&input["secretStream"], |_| 1),
        relay_through: optional(&input["relayThrough"], |relay| RelayThrough {
            version: 1,
            public_key: PublicKey(fixed(&relay["publicKey"])),
            token: fixed(&relay["token"]),
        }),
        relay_addresses: optional(&input["relayAddresses"], addresses),
    }
}

fn holepunch_payload(input: &Value) -> HolepunchPayload {
    HolepunchPayload {
        error: number(&input["error"]),
        firewall: firewall(&input["firewall"]),
        round: number(&input["round"]),
        connected: input["connected"].as_bool().unwrap(),
        punching: input["punching"].as_bool().unwrap(),
        addresses: optional(&input["addresses"], addresses),
        remote_address: optional(&input["remoteAddress"], address),
        token: optional(&input["token"], fixed),
        remote_token: optional(&input["remoteToken"], fixed),
    }
}

#[test]
fn commands_and_errors_have_the_references_numbers() {
    let messages = messages();
    for (name, command) in [
        ("PEER_HANDSHAKE", PEER_HANDSHAKE),
        ("PEER_HOLEPUNCH", PEER_HOLEPUNCH),
        ("FIND_PEER", FIND_PEER),
        ("LOOKUP", LOOKUP),
        ("ANNOUNCE", ANNOUNCE),
        ("UNANNOUNCE", UNANNOUNCE),
        ("MUTABLE_PUT", MUTABLE_PUT),
        ("MUTABLE_GET", MUTABLE_GET),
        ("IMMUTABLE_PUT", IMMUTABLE_PUT),
        ("IMMUTABLE_GET", IMMUTABLE_GET),
        ("PLUGIN", PLUGIN),
    ] {
        assert_eq!(messages["commands"][name], command, "{name}");
    }
    assert_eq!(
        (&messages["errors"]["SEQ_REUSED"], &messages["errors"]["SEQ_TOO_LOW"]),
        (&SEQ_REUSED.into(), &SEQ_TOO_LOW.into())
    );
}

#[test]
fn tokens_of_holepunching_and_addresses_for_people_are_the_references() {
    let messages = messages();
    for vector in each(&messages["holepunch_tokens"]) {
        let host = vector["host"].as_str().unwrap().parse().unwrap();
        assert_eq!(token(&fixed(&vector["local_secret"]), &host), fixed(&vector["token"]));
    }
    for vector in each(&messages["holepunch_payload_encrypted"]) {
        let plain = unhex(&vector["plaintext"]);
        assert_eq!(HolepunchPayload::decode(&plain).unwrap().encode(), plain);
    }
    for vector in each(&messages["hyperdht_address"]) {
        let (key, nodes) = (PublicKey(fixed(&vector["key"])), optional(&vector["nodes"], addresses));
        let (address, bytes) = (PeerAddress { key, nodes }, unhex(&vector["hex"]));
        assert_eq!(encoded(|out| address.encode(out)), bytes, "{vector}");
        assert_eq!(PeerAddress::decode(&bytes), Ok(address), "{vector}");
    }
}

#[test]
fn announcements_are_signed_as_the_reference_signs() {
    let signables = signables();
    assert_eq!(each(&signables["announce"]).len(), 5);
    for vector in each(&signables["announce"]) {
        let input = &vector["input"];
        let unannounce = fixed::<32>(&input["namespace"]) == namespace("hyperswarm/dht", UNANNOUNCE as u8);
        let (command, signable_of): (_, fn(_, _, _, _, _) -> _) =
            if unannounce { (UNANNOUNCE, unannounce_signable) } else { (ANNOUNCE, announce_signable) };
        let pair = KeyPair::from_seed(&fixed(&input["seed"]));
        let [target, token, node] = ["target", "token", "node_id"].map(|name| fixed(&input[name]));
        let (peer, refresh) = (peer(&input["peer"]), optional(&input["refresh"], fixed));
        assert_eq!(encoded(|out| peer.encode(out)), unhex(&vector["peer_encoding"]));
        let signable = signable_of(&target, &token, &node, &peer, refresh.as_ref());
        assert_eq!(signable, fixed(&vector["signable"]), "{vector}");
        let signature = pair.sign(&signable);
        assert_eq!(signature, fixed(&vector["signature"]), "{vector}");
        let bump = number(&input["bump"]);
        let mut announce = Announce { peer: Some(peer), refresh, signature: Some(signature), bump };
        assert_eq!(announce.encode(), unhex(&vector["request_value"]), "{vector}");
        assert!(announce.is_signed(command, &target, &token, &node));
        assert!(!announce.is_signed(command, &target, &node, &token));
        assert!(!announce.is_signed(command ^ 1, &target, &token, &node));
        announce.peer.as_mut().unwrap().relay_addresses.push("10.0.0.1:1".parse().unwrap());
        assert!(!announce.is_signed(command, &target, &token, &node));
    }
}

#[test]
fn values_are_signed_and_named_as_the_reference_does() {
    let signables = signables();
    for vector in each(&signables["mutable"]) {
        let input = &vector["input"];
        let pair = KeyPair::from_seed(&fixed(&input["seed"]));
        let (seq, bytes) = (number(&input["seq"]), unhex(&input["value"]));
        assert_eq!(mutable_signable(seq, &bytes), fixed(&vector["signable"]), "{vector}");
        let mut value = MutableValue::sign(&pair, seq, &bytes);
        assert_eq!(value.signature, fixed(&vector["signature"]));
        assert_eq!(value.encode(), unhex(&vector["get_reply"]));
        let put = MutablePut { public_key: pair.public(), value: value.clone() };
        assert_eq!(put.encode(), unhex(&vector["put_value"]));
        assert_eq!(key_target(&pair.public()), fixed(&vector["target"]));
        assert!(value.is_signed_by(&pair.public()));
        value.seq += 1;
        assert!(!value.is_signed_by(&pair.public()));
    }
    for vector in each(&signables["immutable"]) {
        assert_eq!(hash(&unhex(&vector["value"])), fixed(&vector["target"]));
    }
    let tokens = each(&signables["refresh_chain"]["tokens"]);
    tokens.windows(2).for_each(|pair| assert_eq!(hash(&unhex(&pair[1])), fixed(&pair[0])));
}

//! Manifests, keys and namespaces are those of npm hypercore (vectors/keys.json).

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use serde_json::Value;

use anypath_interop::vectors::{fixed, unhex};
use anypath_replicate::core::{Manifest, Prologue, Signer};
use anypath_replicate::messages::capability;
use anypath_wire::{Decoder, KeyPair, PublicKey, Role, namespace};

#[test]
fn manifests_encode_to_the_same_bytes_and_keys() {
    for vector in vectors()["manifests"].as_array().unwrap() {
        let name = vector["name"].as_str().unwrap();
        let manifest = manifest(&vector["manifest"]);
        let encoded = unhex(&vector["encoded"]);
        let mut out = Vec::new();
        manifest.encode(&mut out);
        assert_eq!(out, encoded, "{name}");
        assert_eq!(Manifest::decode(&mut Decoder::new(&encoded)), Ok(manifest.clone()), "{name}");
        let key = manifest.key();
        assert_eq!(key, PublicKey(fixed(&vector["key"])), "{name}");
        assert_eq!(key.discovery_key().0, fixed(&vector["discoveryKey"]), "{name}");
        assert_eq!(key.to_string(), vector["id"].as_str().unwrap(), "{name}");
        assert!(manifest.fits(&key) && !manifest.is_compat(&key) && !manifest.fits(&PublicKey([1; 32])), "{name}");
    }
}

#[test]
fn cut_manifests_are_refused_everywhere() {
    for vector in vectors()["manifests"].as_array().unwrap() {
        let encoded = unhex(&vector["encoded"]);
        for end in 0..encoded.len() {
            assert!(Manifest::decode(&mut Decoder::new(&encoded[..end])).is_err(), "{} to {end}", vector["name"]);
        }
    }
}

#[test]
fn impossible_manifests_are_refused() {
    let single = unhex(&vectors()["manifests"][0]["encoded"]);
    for (place, value) in [(0, 4), (1, 4), (1, 8), (2, 1), (3, 2), (5, 1)] {
        let mut encoded = single.clone();
        encoded[place] = value;
        assert!(Manifest::decode(&mut Decoder::new(&encoded)).is_err(), "byte {place} = {value}");
    }
}

#[test]
fn a_single_signer_may_be_the_key_itself() {
    let pair = KeyPair::from_seed(&[1; 32]);
    let manifest = Manifest::single(Signer::new(pair.public()));
    assert!(manifest.is_compat(&pair.public()) && manifest.fits(&pair.public()));
    assert_eq!(manifest.key(), PublicKey(fixed(&vectors()["manifests"][0]["key"])));
}

#[test]
fn pairs_and_namespaces_are_the_same() {
    let vectors = vectors();
    for vector in vectors["pairs"].as_array().unwrap() {
        let pair = KeyPair::from_seed(&fixed(&vector["seed"]));
        assert_eq!(pair.public().0, fixed(&vector["publicKey"]));
        assert_eq!(pair.public().discovery_key().0, fixed(&vector["discoveryKeyOfPublicKey"]));
    }
    let names =
        ["TREE", "REPLICATE_INITIATOR", "REPLICATE_RESPONDER", "MANIFEST", "DEFAULT_NAMESPACE", "DEFAULT_ENCRYPTION"];
    for (index, name) in (0..).zip(names) {
        assert_eq!(namespace("hypercore", index), fixed(&vectors["namespaces"]["hypercore"][name]), "{name}");
    }
    for (name, field) in
        [("corestore", "corestore"), ("hyperdrive", "hyperdrive"), ("hyperswarm/secret-stream", "secretStream")]
    {
        for (index, value) in (0..).zip(vectors["namespaces"][field].as_array().unwrap()) {
            assert_eq!(namespace(name, index), fixed(value), "{name} {index}");
        }
    }
}

#[test]
fn the_capability_is_the_same() {
    let vector = &vectors()["capability"];
    let (hash, key) = (fixed(&vector["handshakeHash"]), PublicKey(fixed(&vector["key"])));
    assert_eq!(capability(&hash, Role::Initiator, &key), fixed::<32>(&vector["initiator"]));
    assert_eq!(capability(&hash, Role::Responder, &key), fixed::<32>(&vector["responder"]));
}

fn manifest(value: &Value) -> Manifest {
    Manifest {
        version: value["version"].as_u64().unwrap(),
        allow_patch: value["allowPatch"].as_bool().unwrap(),
        quorum: value["quorum"].as_u64().unwrap(),
        signers: value["signers"].as_array().unwrap().iter().map(signer).collect(),
        prologue: value["prologue"]
            .as_object()
            .map(|prologue| Prologue { hash: fixed(&prologue["hash"]), length: prologue["length"].as_u64().unwrap() }),
        linked: value["linked"].as_array().map(|keys| keys.iter().map(|key| PublicKey(fixed(key))).collect()),
        user_data: value["userData"].as_str().map(|_| unhex(&value["userData"])),
    }
}

fn signer(value: &Value) -> Signer {
    Signer { namespace: fixed(&value["namespace"]), public_key: PublicKey(fixed(&value["publicKey"])) }
}

fn vectors() -> Value {
    serde_json::from_str(include_str!("../vectors/keys.json")).unwrap()
}

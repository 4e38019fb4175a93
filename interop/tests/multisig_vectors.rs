//! Quorum signatures are made and judged as by npm hypercore (vectors/multisig.json).

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::sync::Arc;

use serde_json::Value;

use anypath_interop::vectors::{fixed, unhex};
use anypath_replicate::core::{Authority, Core, Manifest, Part, Tree, leaf};
use anypath_replicate::store::MemoryStore;
use anypath_wire::{Decoder, KeyPair, PublicKey};

#[test]
fn quorums_are_judged_the_same() {
    for case in cases() {
        let (authority, verifies) = (authority(&case), &case["verifies"]);
        let quorum = unhex(&case["quorumSignatureAt4"]);
        let patched = unhex(&case["patchedSignatureAt4"]);
        let (one, _, _) = parts(&case);
        assert_eq!(tree(4).hash(), fixed(&case["treeHash4"]));
        assert_eq!(tree(5).hash(), fixed(&case["treeHash5"]));
        assert_eq!(Some(authority.verify(&tree(4), &quorum)), verifies["quorum"].as_bool());
        assert_eq!(Some(authority.verify(&tree(4), &patched)), verifies["patched"].as_bool());
        let single = authority.assemble(std::slice::from_ref(&one));
        assert_eq!(Some(authority.verify(&tree(4), &single)), verifies["single"].as_bool());
        let twice = authority.assemble(&[one.clone(), one]);
        assert_eq!(Some(authority.verify(&tree(4), &twice)), verifies["duplicateSigner"].as_bool());
        assert!(!authority.verify(&tree(5), &quorum) && !authority.verify(&tree(3), &patched));
        for end in 0..quorum.len() {
            assert!(!authority.verify(&tree(4), &quorum[..end]), "cut at {end}");
        }
    }
}

#[test]
fn parts_are_signed_and_assembled_to_the_same_bytes() {
    for case in cases() {
        let authority = authority(&case);
        let (first, second, longer) = parts(&case);
        assert_eq!(first.signature, fixed(&case["sig0At4"]));
        assert_eq!(second.signature, fixed(&case["sig1At4"]));
        assert_eq!(longer.signature, fixed(&case["sig1At5"]));
        assert_eq!(authority.assemble(&[first.clone(), second]), unhex(&case["quorumSignatureAt4"]));
        let longer = Part { patch: 1, nodes: vec![leaf(4, &block(4))], ..longer };
        assert_eq!(authority.assemble(&[first, longer]), unhex(&case["patchedSignatureAt4"]));
    }
}

#[test]
fn version_zero_has_its_own_shape() {
    let case = &cases()[1];
    let manifest = Manifest { version: 0, ..authority(case).manifest().clone() };
    let authority = Authority::new(manifest.key(), manifest).unwrap();
    let part = |seed, length| authority.sign_part(&tree(length), &KeyPair::from_seed(&[seed; 32])).unwrap();
    let longer = Part { patch: 1, nodes: vec![leaf(4, &block(4))], ..part(3, 5) };
    let signature = authority.assemble(&[part(1, 4), longer]);
    assert!(authority.verify(&tree(4), &signature) && !authority.verify(&tree(5), &signature));
    assert_eq!(signature[0..3], [2, 0, 0]);
    assert_eq!(signature[67..69], [1, 2]);
    assert_eq!(signature[133..137], [5, 1, 1, 0]);
}

#[test]
fn one_of_several_signers_is_no_writer() {
    let mut core = Core::create(
        Arc::new(MemoryStore::new()),
        authority(&cases()[0]).manifest().clone(),
        Some(KeyPair::from_seed(&[1; 32])),
    );
    assert!(!core.writable() && core.append(&[block(0).into()]).is_err());
    assert_eq!(core.length(), 0);
}

fn parts(case: &Value) -> (Part, Part, Part) {
    let part = |seed, length| authority(case).sign_part(&tree(length), &KeyPair::from_seed(&[seed; 32])).unwrap();
    (part(1, 4), part(2, 4), part(2, 5))
}

fn authority(case: &Value) -> Authority {
    let manifest = Manifest::decode(&mut Decoder::new(&unhex(&case["encodedManifest"]))).unwrap();
    Authority::new(PublicKey(fixed(&case["key"])), manifest).unwrap()
}

fn tree(length: usize) -> Tree {
    let mut core = Core::create_compat(Arc::new(MemoryStore::new()), KeyPair::from_seed(&[9; 32]));
    core.append(&(0..length).map(|i| block(i).into()).collect::<Vec<_>>()).unwrap();
    core.tree().clone()
}

fn block(i: usize) -> Vec<u8> {
    format!("block #{i}{}", " ".repeat(i % 5)).into_bytes()
}

fn cases() -> Vec<Value> {
    let vectors: Value = serde_json::from_str(include_str!("../vectors/multisig.json")).unwrap();
    vectors["cases"].as_array().unwrap().clone()
}

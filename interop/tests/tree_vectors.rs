//! Trees, tree hashes and signatures are those of npm hypercore (vectors/tree.json).

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::sync::Arc;

use serde_json::Value;

use anypath_interop::vectors::{fixed, unhex};
use anypath_replicate::Node;
use anypath_replicate::core::{Core, Manifest, Signer, flat_tree, leaf};
use anypath_replicate::store::MemoryStore;
use anypath_wire::{KeyPair, PublicKey};

#[test]
fn trees_of_every_length_are_the_same() {
    for case in vectors()["cases"].as_array().unwrap() {
        let length = case["length"].as_u64().unwrap();
        for (kind, mut core) in [("compat", compat()), ("v1", v1())] {
            append(&mut core, 0..length);
            assert_eq!(core.byte_length(), case["byteLength"].as_u64().unwrap(), "{length}");
            assert_eq!(core.tree().roots, nodes(&case["roots"]), "{length}");
            assert_eq!(core.tree().hash(), fixed(&case["treeHash"]), "{length}");
            assert_eq!(*core.key(), PublicKey(fixed(&case[kind]["key"])), "{kind}");
            assert_eq!(core.signature(), unhex(&case[kind]["signature"]), "{kind} {length}");
        }
        let roots: Vec<_> = case["rootIndexes"].as_array().unwrap().iter().map(|root| root.as_u64().unwrap()).collect();
        assert_eq!(flat_tree::full_roots(length).collect::<Vec<_>>(), roots);
    }
}

/// The oldest signatures are over 48 bytes: tree hash, length, fork. Nothing makes them any more.
#[test]
fn the_oldest_signatures_are_over_our_tree_hashes() {
    let vectors = vectors();
    let signer = PublicKey(fixed(&vectors["keyPair"]["publicKey"]));
    for case in vectors["cases"].as_array().unwrap() {
        let (length, legacy) = (case["length"].as_u64().unwrap(), &case["legacyNoHeader"]);
        let mut core = v1();
        append(&mut core, 0..length);
        let signable = [&core.tree().hash()[..], &length.to_le_bytes(), &core.fork().to_le_bytes()].concat();
        assert_eq!(signable, unhex(&legacy["signable"]));
        assert!(signer.verify(&signable, &fixed(&legacy["signature"])), "{length}");
    }
}

#[test]
fn blocks_appended_one_by_one_or_together_give_the_same_nodes() {
    let cases = vectors();
    let case = cases["cases"].as_array().unwrap().iter().find(|case| case["length"] == 13).unwrap();
    let (mut together, mut single) = (v1(), v1());
    append(&mut together, 0..13);
    (0..13).for_each(|block| append(&mut single, block..block + 1));
    let nodes = nodes(&case["allNodes"]);
    assert!(nodes.len() > 20);
    for node in nodes {
        assert_eq!(together.node(node.index).unwrap(), Some(node));
        assert_eq!(single.node(node.index).unwrap(), Some(node));
    }
    assert_eq!(together.signature(), single.signature());
}

#[test]
fn a_leaf_is_hashed_with_its_length() {
    let vector = &vectors()["leaf0"];
    assert_eq!(leaf(0, &unhex(&vector["data"])).hash, fixed(&vector["hash"]));
}

#[test]
fn truncations_sign_the_same_heads() {
    let vectors = vectors();
    let steps = vectors["truncation"].as_array().unwrap();
    let mut core = v1();
    let actions: [&dyn Fn(&mut Core); 5] = [
        &|core| append(core, 0..6),
        &|core| core.truncate(4, None).unwrap(),
        &|core| assert_eq!(core.append(&[(&b"after truncate"[..]).into()]).unwrap(), 5),
        &|core| core.truncate(2, Some(7)).unwrap(),
        &|core| core.truncate(0, None).unwrap(),
    ];
    assert_eq!(steps.len(), actions.len());
    for (step, action) in steps.iter().zip(actions) {
        action(&mut core);
        assert_eq!(core.length(), step["length"].as_u64().unwrap(), "{}", step["op"]);
        assert_eq!(core.fork(), step["fork"].as_u64().unwrap(), "{}", step["op"]);
        assert_eq!(core.byte_length(), step["byteLength"].as_u64().unwrap(), "{}", step["op"]);
        assert_eq!(core.tree().hash(), fixed(&step["treeHash"]), "{}", step["op"]);
        assert_eq!(core.tree().roots, nodes(&step["roots"]), "{}", step["op"]);
        assert_eq!(core.signature(), unhex(&step["signature"]), "{}", step["op"]);
        assert_eq!(core.contiguous_length(), core.length());
    }
}

fn compat() -> Core {
    Core::create_compat(Arc::new(MemoryStore::new()), pair())
}

fn v1() -> Core {
    let manifest = Manifest::single(Signer::new(pair().public()));
    Core::create(Arc::new(MemoryStore::new()), manifest, Some(pair()))
}

fn pair() -> KeyPair {
    KeyPair::from_seed(&[1; 32])
}

fn append(core: &mut Core, blocks: std::ops::Range<u64>) {
    let blocks: Vec<_> =
        blocks.map(|i| format!("block #{i}{}", " ".repeat(i as usize % 5)).into_bytes().into()).collect();
    core.append(&blocks).unwrap();
}

fn nodes(value: &Value) -> Vec<Node> {
    let node = |node: &Value| Node {
        index: node["index"].as_u64().unwrap(),
        size: node["size"].as_u64().unwrap(),
        hash: fixed(&node["hash"]),
    };
    value.as_array().unwrap().iter().map(node).collect()
}

fn vectors() -> Value {
    serde_json::from_str(include_str!("../vectors/tree.json")).unwrap()
}

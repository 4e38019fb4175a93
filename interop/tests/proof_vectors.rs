//! Proofs are made and judged as by npm hypercore (vectors/proofs.json, vectors/proof-shapes.json).

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use anypath_interop::vectors::unhex;
use anypath_replicate::core::{Core, Manifest, Signer, VerifyError};
use anypath_replicate::store::MemoryStore;
use anypath_replicate::{
    BlockProof, BlockRequest, HashProof, HashRequest, Node, Proof, Request, SeekProof, SeekRequest, UpgradeProof,
    UpgradeRequest,
};
use anypath_wire::KeyPair;

#[test]
fn requests_are_answered_with_the_same_proofs() {
    for case in cases() {
        let expected = proof(&case);
        let asked = Request { manifest: true, ..request(&case["request"]) };
        assert_eq!(writer(&case, 13).prove(&asked).unwrap(), expected, "{}", case["name"]);
    }
}

#[test]
fn the_same_proofs_are_accepted_and_refused() {
    for case in cases() {
        let (mut reader, name) = (reader(&case), &case["name"]);
        let result = reader.accept(proof(&case), &request(&case["request"]));
        assert_eq!(Some(result.is_ok()), case["accepted"].as_bool(), "{name}");
        assert_eq!(result.as_ref().err().map(code), case["rejectCode"].as_str(), "{name}");
        assert_eq!(reader.length(), case["readerLengthAfter"].as_u64().unwrap(), "{name}");
        let block = case["request"]["block"]["index"].as_u64();
        assert_eq!(block.map(|block| reader.has(block)), case["readerHasBlock"].as_bool(), "{name}");
        if let Ok(accepted) = result {
            let before = case["readerLengthBefore"].as_u64().unwrap();
            assert_eq!((accepted.block, accepted.length_before, accepted.length), (block, before, 13), "{name}");
        }
    }
}

#[test]
fn tampered_proofs_are_refused_for_the_same_reason() {
    for case in cases() {
        let mut reader = reader(&case);
        let mut proof = proof(&case);
        tamper(&mut proof);
        let result = reader.accept(proof, &request(&case["request"]));
        assert_eq!(Some(result.is_ok()), case["tamperedAccepted"].as_bool(), "{}", case["name"]);
        assert_eq!(result.as_ref().err().map(code), case["tamperedCode"].as_str(), "{}", case["name"]);
    }
}

#[test]
fn any_changed_hash_or_surplus_node_is_refused_and_leaves_nothing() {
    for case in cases().iter().filter(|case| case["accepted"] == true) {
        let (proof, asked) = (proof(case), request(&case["request"]));
        for change in 0.. {
            let mut changed = proof.clone();
            let mut lists = lists(&mut changed);
            let Some(nodes) = lists.get_mut(change / 4) else { break };
            match (change % 4, nodes.last_mut()) {
                (0, Some(node)) => node.hash[5] ^= 1,
                (1, Some(node)) => node.index += 2,
                (2, Some(_)) => drop(nodes.pop()),
                (3, _) => nodes.push(Node { index: 1, size: 1, hash: [0; 32] }),
                _ => continue,
            }
            let mut reader = reader(case);
            reader.take_changes();
            reader.committed();
            assert!(reader.accept(changed, &asked).is_err(), "{} change {change}", case["name"]);
            assert!(reader.take_changes().is_none(), "{} change {change}", case["name"]);
        }
    }
}

#[test]
fn requests_of_every_shape_list_the_same_nodes() {
    let vectors: Value = serde_json::from_str(include_str!("../vectors/proof-shapes.json")).unwrap();
    let mut writers = BTreeMap::new();
    for case in vectors["cases"].as_array().unwrap() {
        let length = case["length"].as_u64().unwrap();
        let writer = writers.entry(length).or_insert_with(|| writer(&json!({ "compat": true }), length as usize));
        let pair = |part: &str| Some((case[part][0].as_u64()?, case[part][1].as_u64()?));
        let request = Request {
            block: pair("block").map(|(index, nodes)| BlockRequest { index, nodes }),
            hash: pair("hash").map(|(index, nodes)| HashRequest { index, nodes }),
            seek: pair("seek").map(|(bytes, padding)| SeekRequest { bytes, padding }),
            upgrade: pair("upgrade").map(|(start, length)| UpgradeRequest { start, length }),
            manifest: false,
        };
        assert_eq!(writer.prove(&request).ok().map(|proof| shape(&proof)), case.get("proof").cloned(), "{case}");
    }
}

/// Returns the indices of a proof's nodes, part by part.
fn shape(proof: &Proof) -> Value {
    let parts = [
        ("block", proof.block.as_ref().map(|block| &block.nodes)),
        ("hash", proof.hash.as_ref().map(|hash| &hash.nodes)),
        ("seek", proof.seek.as_ref().map(|seek| &seek.nodes)),
        ("upgrade", proof.upgrade.as_ref().map(|upgrade| &upgrade.nodes)),
        ("additional", proof.upgrade.as_ref().map(|upgrade| &upgrade.additional_nodes)),
    ];
    let indices = |nodes: &Vec<Node>| nodes.iter().map(|node| node.index).collect();
    parts.into_iter().filter_map(|(part, nodes)| Some((part.to_owned(), indices(nodes?)))).collect::<Map<_, _>>().into()
}

fn lists(proof: &mut Proof) -> Vec<&mut Vec<Node>> {
    let mut lists = Vec::new();
    lists.extend(proof.block.as_mut().map(|block| &mut block.nodes));
    lists.extend(proof.hash.as_mut().map(|hash| &mut hash.nodes));
    lists.extend(proof.seek.as_mut().map(|seek| &mut seek.nodes));
    if let Some(upgrade) = &mut proof.upgrade {
        lists.extend([&mut upgrade.nodes, &mut upgrade.additional_nodes]);
    }
    lists
}

/// Flips the bit that the vectors' generator flipped.
fn tamper(proof: &mut Proof) {
    if let Some(block) = &mut proof.block {
        let mut value = block.value.to_vec();
        value[0] ^= 1;
        block.value = value.into();
    } else if let Some(upgrade) = &mut proof.upgrade {
        let last = upgrade.signature.len() - 2;
        upgrade.signature[last] ^= 1;
    } else if let Some(hash) = &mut proof.hash {
        hash.nodes[0].hash[0] ^= 1;
    }
}

fn code(error: &VerifyError) -> &'static str {
    match error {
        VerifyError::InvalidChecksum => "INVALID_CHECKSUM",
        VerifyError::InvalidOperation => "INVALID_OPERATION",
        VerifyError::InvalidSignature => "INVALID_SIGNATURE",
        VerifyError::InvalidProof => "INVALID_PROOF",
        _ => "another",
    }
}

fn writer(case: &Value, length: usize) -> Core {
    let pair = KeyPair::from_seed(&[1; 32]);
    let store = Arc::new(MemoryStore::new());
    let mut core = match case["compat"].as_bool().unwrap() {
        true => Core::create_compat(store, pair),
        false => Core::create(store, Manifest::single(Signer::new(pair.public())), Some(pair)),
    };
    let block = |i| format!("block #{i}{}", " ".repeat(i % 5)).into_bytes().into();
    core.append(&(0..length).map(block).collect::<Vec<_>>()).unwrap();
    core
}

/// Returns a core that knows the roots of the length the case starts from.
fn reader(case: &Value) -> Core {
    let length = case["readerLengthBefore"].as_u64().unwrap();
    let mut reader = Core::remote(Arc::new(MemoryStore::new()), *writer(case, 0).key());
    if length > 0 {
        let upgrade = Some(UpgradeRequest { start: 0, length });
        let asked = Request { upgrade, manifest: true, ..Request::default() };
        let proof = writer(case, length as usize).prove(&asked).unwrap();
        assert!(reader.accept(proof, &asked).unwrap().manifest);
    }
    reader
}

fn request(value: &Value) -> Request {
    let part = |part: &str, name: &str| value[part][name].as_u64();
    Request {
        block: part("block", "index").map(|index| BlockRequest { index, nodes: part("block", "nodes").unwrap() }),
        hash: part("hash", "index").map(|index| HashRequest { index, nodes: part("hash", "nodes").unwrap() }),
        seek: part("seek", "bytes").map(|bytes| SeekRequest { bytes, padding: part("seek", "padding").unwrap() }),
        upgrade: part("upgrade", "start")
            .map(|start| UpgradeRequest { start, length: part("upgrade", "length").unwrap() }),
        manifest: false,
    }
}

fn proof(case: &Value) -> Proof {
    let data = &case["data"];
    let index = |part: &str| data[part]["index"].as_u64();
    Proof {
        fork: data["fork"].as_u64().unwrap(),
        block: index("block").map(|index| BlockProof {
            index,
            value: unhex(&data["block"]["value"]).into(),
            nodes: nodes(&data["block"]["nodes"]),
        }),
        hash: index("hash").map(|index| HashProof { index, nodes: nodes(&data["hash"]["nodes"]) }),
        seek: data["seek"]["bytes"].as_u64().map(|bytes| SeekProof { bytes, nodes: nodes(&data["seek"]["nodes"]) }),
        upgrade: data["upgrade"].as_object().map(|upgrade| UpgradeProof {
            start: upgrade["start"].as_u64().unwrap(),
            length: upgrade["length"].as_u64().unwrap(),
            nodes: nodes(&upgrade["nodes"]),
            additional_nodes: nodes(&upgrade["additionalNodes"]),
            signature: unhex(&upgrade["signature"]),
        }),
        manifest: data["manifest"].as_object().map(|_| writer(case, 0).manifest().unwrap().clone()),
    }
}

fn nodes(value: &Value) -> Vec<Node> {
    let node = |node: &Value| Node {
        index: node["index"].as_u64().unwrap(),
        size: node["size"].as_u64().unwrap(),
        hash: unhex(&node["hash"]).try_into().unwrap(),
    };
    value.as_array().unwrap().iter().map(node).collect()
}

fn cases() -> Vec<Value> {
    let vectors: Value = serde_json::from_str(include_str!("../vectors/proofs.json")).unwrap();
    vectors["cases"].as_array().unwrap().clone()
}

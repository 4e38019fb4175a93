//! What a core takes and what it refuses: manifests, prologues, quorums, late and wrong answers.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::sync::Arc;

use anypath_replicate::core::{AppendError, Core, Manifest, Position, Prologue, ProveError, Signer, VerifyError};
use anypath_replicate::store::{Batch, MemoryStore, Store};
use anypath_replicate::{BlockRequest, HashRequest, Proof, Request, SeekRequest, UpgradeRequest};
use anypath_wire::{KeyPair, PublicKey};
use bytes::Bytes;

#[test]
fn a_block_that_no_frame_could_carry_is_not_appended() {
    let mut core = writer(single());
    let block = Bytes::from(vec![0; (15 << 20) + 1]);
    let outcome = core.append(&[Bytes::new(), block.clone()]);
    assert!(matches!(outcome, Err(AppendError::BlockTooLarge { bytes, .. }) if bytes == block.len()));
    assert_eq!((core.length(), core.append(&[block.slice(1..)]).unwrap()), (0, 1));
}

#[test]
fn the_manifest_is_learnt_with_the_first_upgrade_and_asked_for_alone() {
    let mut writer = writer(single());
    let alone = Request { manifest: true, ..Request::default() };
    assert_eq!(writer.prove(&upgrade(0, 1)).unwrap(), writer.prove(&alone).unwrap());
    let mut reader = reader(&writer);
    assert!(reader.accept(writer.prove(&alone).unwrap(), &alone).unwrap().manifest);
    assert_eq!((reader.manifest(), reader.length()), (writer.manifest(), 0));
    writer.append(&blocks(0..3)).unwrap();
    let mut reader = self::reader(&writer);
    let without = Proof { manifest: None, ..writer.prove(&upgrade(0, 3)).unwrap() };
    assert!(matches!(reader.accept(without, &upgrade(0, 3)), Err(VerifyError::InvalidSignature)));
    let foreign = Proof { manifest: Some(two_of_three()), ..writer.prove(&upgrade(0, 3)).unwrap() };
    assert!(matches!(reader.accept(foreign.clone(), &upgrade(0, 3)), Err(VerifyError::InvalidSignature)));
    let foreign = Proof { upgrade: None, ..foreign };
    assert!(matches!(reader.accept(foreign, &alone), Err(VerifyError::InvalidChecksum)));
    assert!(reader.manifest().is_none() && reader.length() == 0);
    assert!(reader.accept(writer.prove(&upgrade(0, 3)).unwrap(), &upgrade(0, 3)).unwrap().manifest);
}

#[test]
fn a_compat_core_sends_no_manifest_and_needs_none() {
    let mut writer = Core::create_compat(Arc::new(MemoryStore::new()), pair(1));
    writer.append(&blocks(0..3)).unwrap();
    let proof = writer.prove(&upgrade(0, 3)).unwrap();
    assert_eq!((proof.manifest.clone(), proof.upgrade.as_ref().unwrap().signature.len()), (None, 64));
    let mut reader = reader(&writer);
    assert!(reader.accept(proof, &upgrade(0, 3)).unwrap().manifest && reader.is_compat());
    let alone = Request { manifest: true, ..Request::default() };
    assert!(matches!(reader.prove(&alone), Err(ProveError::NotHeld)));
    let mut restored = Core::remote(Arc::new(MemoryStore::new()), pair(1).public());
    restored.sign_with(pair(1));
    assert!(restored.writable() && restored.is_compat());
}

#[test]
fn only_what_was_asked_of_this_fork_is_taken() {
    let mut writer = writer(single());
    writer.append(&blocks(0..8)).unwrap();
    let mut reader = reader(&writer);
    reader.accept(writer.prove(&upgrade(0, 8)).unwrap(), &upgrade(0, 8)).unwrap();
    let proof = writer.prove(&block(3, 3)).unwrap();
    assert!(matches!(reader.accept(proof.clone(), &block(4, 3)), Err(VerifyError::NotAsked)));
    assert!(matches!(reader.accept(proof.clone(), &upgrade(0, 8)), Err(VerifyError::NotAsked)));
    let late = Proof { fork: 1, ..proof.clone() };
    assert!(matches!(reader.accept(late, &block(3, 3)), Err(VerifyError::Fork { theirs: 1, ours: 0 })));
    assert_eq!(reader.accept(proof.clone(), &block(3, 3)).unwrap().block, Some(3));
    assert_eq!(reader.accept(proof, &block(3, 3)).unwrap().block, None);
}

#[test]
fn answers_that_come_late_are_nobodys_fault() {
    let mut writer = writer(single());
    writer.append(&blocks(0..5)).unwrap();
    let (mut reader, early) = (reader(&writer), upgrade(0, 5));
    let old = writer.prove(&early).unwrap();
    writer.append(&blocks(5..9)).unwrap();
    let new = writer.prove(&early).unwrap();
    assert_eq!(reader.accept(old.clone(), &early).unwrap().length, 5);
    assert!(matches!(reader.accept(new, &early), Err(VerifyError::Stale)));
    assert_eq!(reader.accept(old, &early).unwrap().length, 5);
    let both = Request { block: block(7, 0).block, ..upgrade(5, 4) };
    let answer = writer.prove(&both).unwrap();
    reader.accept(writer.prove(&upgrade(5, 4)).unwrap(), &upgrade(5, 4)).unwrap();
    assert_eq!(reader.accept(answer, &both).unwrap().block, Some(7));
}

#[test]
fn a_claimed_size_never_replaces_a_known_one() {
    let mut writer = writer(single());
    writer.append(&blocks(0..8)).unwrap();
    let mut reader = reader(&writer);
    reader.accept(writer.prove(&upgrade(0, 8)).unwrap(), &upgrade(0, 8)).unwrap();
    let asked = Request { hash: Some(HashRequest { index: 7, nodes: 0 }), ..Request::default() };
    let mut proof = writer.prove(&asked).unwrap();
    proof.hash.as_mut().unwrap().nodes[0].size = 1_000_000;
    reader.accept(proof, &asked).unwrap();
    assert_eq!(reader.node(7).unwrap(), writer.node(7).unwrap());
    let asked = Request { hash: Some(HashRequest { index: 3, nodes: 1 }), ..Request::default() };
    let mut proof = writer.prove(&asked).unwrap();
    let nodes = &mut proof.hash.as_mut().unwrap().nodes;
    (nodes[0].size, nodes[1].size) = (nodes[0].size + 5, nodes[1].size - 5);
    reader.accept(proof, &asked).unwrap(); // two claims whose sum is right: found out by what lies below
    reader.accept(writer.prove(&block(2, 2)).unwrap(), &block(2, 2)).unwrap();
    assert_eq!(reader.node(3).unwrap(), writer.node(3).unwrap());
}

#[test]
fn a_prologue_comes_first_and_whole() {
    let mut plain = writer(single());
    plain.append(&blocks(0..5)).unwrap();
    let prologue = Some(Prologue { hash: plain.tree().hash(), length: 5 });
    let mut writer = writer(Manifest { prologue, ..single() });
    assert!(matches!(writer.append(&blocks(0..4)), Err(AppendError::Prologue { prologue: 5 })));
    assert!(matches!(writer.append(&blocks(1..7)), Err(AppendError::Prologue { prologue: 5 })));
    assert_eq!(writer.append(&blocks(0..7)).unwrap(), 7);
    assert!(matches!(writer.truncate(4, None), Err(AppendError::Prologue { prologue: 5 })));
    let mut reader = reader(&writer);
    let proof = writer.prove(&upgrade(0, 2)).unwrap();
    assert_eq!(proof.upgrade.as_ref().map(|upgrade| (upgrade.start, upgrade.length)), Some((0, 5)));
    let mut short = proof.clone();
    short.upgrade.as_mut().unwrap().length = 4;
    assert!(matches!(reader.accept(short, &upgrade(0, 2)), Err(VerifyError::InvalidProof)));
    assert_eq!(reader.accept(proof, &upgrade(0, 2)).unwrap().length, 7);
}

#[test]
fn a_static_core_is_its_prologue() {
    let mut plain = writer(single());
    plain.append(&blocks(0..5)).unwrap();
    let prologue = Some(Prologue { hash: plain.tree().hash(), length: 5 });
    let manifest = Manifest { quorum: 0, signers: Vec::new(), prologue, ..single() };
    let mut writer = Core::create(Arc::new(MemoryStore::new()), manifest, None);
    assert_eq!(writer.append(&blocks(0..5)).unwrap(), 5);
    assert!(!writer.writable() && writer.append(&blocks(5..6)).is_err() && writer.truncate(5, None).is_err());
    let mut reader = reader(&writer);
    let mut forged = writer.prove(&upgrade(0, 5)).unwrap();
    forged.upgrade.as_mut().unwrap().nodes[0].hash[0] ^= 1;
    assert!(matches!(reader.accept(forged, &upgrade(0, 5)), Err(VerifyError::InvalidProof)));
    assert_eq!(reader.accept(writer.prove(&upgrade(0, 5)).unwrap(), &upgrade(0, 5)).unwrap().length, 5);
}

#[test]
fn a_quorum_signs_what_one_signer_may_not() {
    let mut plain = writer(single());
    plain.append(&blocks(0..4)).unwrap();
    let manifest = two_of_three();
    let authority = anypath_replicate::core::Authority::new(manifest.key(), manifest.clone()).unwrap();
    let parts = [1, 3].map(|seed| authority.sign_part(plain.tree(), &pair(seed)).unwrap());
    let mut proof = plain.prove(&upgrade(0, 4)).unwrap();
    proof.manifest = Some(manifest.clone());
    let mut reader = Core::remote(Arc::new(MemoryStore::new()), manifest.key());
    proof.upgrade.as_mut().unwrap().signature = authority.assemble(&parts[..1]);
    assert!(matches!(reader.accept(proof.clone(), &upgrade(0, 4)), Err(VerifyError::InvalidSignature)));
    proof.upgrade.as_mut().unwrap().signature = authority.assemble(&parts);
    assert_eq!(reader.accept(proof, &upgrade(0, 4)).unwrap().length, 4);
}

#[test]
fn a_quorum_appends_under_a_signature_it_made_together() {
    for version in 0..3 {
        let manifest = Manifest { version, ..two_of_three() };
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let mut core = Core::create(store.clone(), manifest.clone(), Some(pair(1)));
        assert!(!core.writable() && matches!(core.append(&blocks(0..3)), Err(AppendError::NotWritable)));
        let sign = |core: &Core, appended: &[Bytes], seeds: &[u8]| {
            let (authority, tree) = (core.authority().unwrap(), core.tree_after(appended).unwrap());
            let parts: Vec<_> = seeds.iter().map(|seed| authority.sign_part(&tree, &pair(*seed)).unwrap()).collect();
            authority.assemble(&parts)
        };
        let alone = sign(&core, &blocks(0..3), &[1]);
        assert!(matches!(core.append_signed(&blocks(0..3), alone), Err(AppendError::Signature)));
        let of_others = sign(&core, &blocks(1..4), &[1, 3]);
        assert!(matches!(core.append_signed(&blocks(0..3), of_others), Err(AppendError::Signature)));
        assert_eq!((core.length(), core.contiguous_length()), (0, 0));

        let together = sign(&core, &blocks(0..3), &[1, 3]);
        assert_eq!(core.append_signed(&blocks(0..3), together).unwrap(), 3);
        let others = sign(&core, &blocks(3..4), &[3, 2]);
        assert_eq!(core.append_signed(&blocks(3..4), others).unwrap(), 4);
        store.commit(Batch { cores: vec![core.take_changes().unwrap()], ..Batch::default() }).unwrap();
        let kept = Core::open(store, core.discovery_key()).unwrap().unwrap();
        let mut reader = reader(&kept);
        reader.accept(kept.prove(&upgrade(0, 4)).unwrap(), &upgrade(0, 4)).unwrap();
        assert_eq!(reader.tree(), core.tree());
    }
}

#[test]
fn a_position_is_found_as_deep_as_the_tree_is_known() {
    let mut writer = writer(single());
    let appended: Vec<Bytes> = (0..8u8).map(|block| vec![block; 10].into()).collect();
    writer.append(&appended).unwrap();
    let mut reader = reader(&writer);
    reader.accept(writer.prove(&upgrade(0, 8)).unwrap(), &upgrade(0, 8)).unwrap();
    assert_eq!(reader.position(0).unwrap(), Position::In { block: 0, offset: 0 });
    assert_eq!(reader.position(35).unwrap(), Position::Below { node: 7 });
    assert_eq!(reader.position(80).unwrap(), Position::In { block: 8, offset: 0 });
    assert_eq!(reader.position(81).unwrap(), Position::Beyond);
    let far = Request { hash: Some(HashRequest { index: 14, nodes: 2 }), ..Request::default() };
    assert!(reader.accept(writer.prove(&far).unwrap(), &far).is_err(), "node 14 is 3 levels below what is known");
    let far = Request { hash: Some(HashRequest { index: 14, nodes: 3 }), ..Request::default() };
    reader.accept(writer.prove(&far).unwrap(), &far).unwrap();
    assert_eq!(reader.position(35).unwrap(), Position::Below { node: 3 });
    assert_eq!(reader.position(45).unwrap(), Position::Below { node: 9 });
    assert_eq!(reader.position(65).unwrap(), Position::In { block: 6, offset: 5 }, "the sibling came with the leaf");
    let seek = Some(SeekRequest { bytes: 35, padding: 0 });
    let path = Request { hash: Some(HashRequest { index: 0, nodes: 2 }), seek, ..Request::default() };
    reader.accept(writer.prove(&path).unwrap(), &path).unwrap();
    assert_eq!(reader.position(35).unwrap(), Position::In { block: 3, offset: 5 });
    assert_eq!(reader.bitfield().next_set(0), None);
}

#[test]
fn a_core_may_move_between_threads() {
    fn check<T: Send>() {}
    check::<Core>();
}

fn single() -> Manifest {
    Manifest::single(Signer::new(pair(1).public()))
}

fn two_of_three() -> Manifest {
    let signers = [1, 2, 3].map(|seed| Signer::new(pair(seed).public())).to_vec();
    Manifest { quorum: 2, signers, ..single() }
}

fn writer(manifest: Manifest) -> Core {
    Core::create(Arc::new(MemoryStore::new()), manifest, Some(pair(1)))
}

fn reader(writer: &Core) -> Core {
    Core::remote(Arc::new(MemoryStore::new()), PublicKey(writer.key().0))
}

fn pair(seed: u8) -> KeyPair {
    KeyPair::from_seed(&[seed; 32])
}

fn blocks(range: std::ops::Range<u64>) -> Vec<Bytes> {
    range.map(|block| format!("block {block}").into_bytes().into()).collect()
}

fn upgrade(start: u64, length: u64) -> Request {
    Request { upgrade: Some(UpgradeRequest { start, length }), manifest: start == 0, ..Request::default() }
}

fn block(index: u64, nodes: u64) -> Request {
    Request { block: Some(BlockRequest { index, nodes }), ..Request::default() }
}

//! Cores whose writers signed two histories: found out, kept as evidence, frozen, and parted with.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod wired;

use std::sync::Arc;

use anypath_replicate::core::{
    Contradiction, Core, EVIDENCE_BYTES_MAX, Evidence, EvidenceError, Manifest, Prologue, Signer, VerifyError,
};
use anypath_replicate::replicator::{CoreId, Event, Replicator};
use anypath_replicate::store::{Config, DiskStore, MemoryStore};
use anypath_replicate::{Proof, Request, UpgradeRequest};
use anypath_wire::{KeyPair, Role};
use bytes::Bytes;

use wired::{Link, shaken};

#[test]
fn whichever_history_came_first_both_are_kept_and_prove_it_to_anybody() {
    for kind in KINDS {
        for (first, second) in [(10, 12), (12, 10), (10, 10), (33, 34)] {
            let (mut one, core) = history(kind, "one", first);
            let (mut other, theirs) = history(kind, "other", second);
            let mut reader = Replicator::new(Arc::new(MemoryStore::default()));
            let copy = reader.open(one.core(core).key()).unwrap();
            // The rest is asked of the second, which can be asked only once the roots of its length are known.
            [0..5, 8..10].into_iter().for_each(|blocks| reader.want(copy, blocks).unwrap());
            let mut honest = Link::new(&mut one, &mut reader);
            honest.settle(&mut one, &mut reader);
            reader.want(copy, 0..u64::MAX).unwrap();
            one.disconnect(honest.left).unwrap();
            reader.disconnect(honest.right).unwrap();
            let mut link = Link::new(&mut other, &mut reader);
            link.settle(&mut other, &mut reader);

            let conflict = reader.conflict(copy).unwrap_or_else(|| panic!("{kind:?} {first} {second}")).clone();
            assert!(link.events.contains(&Event::Conflict { core: copy, conflict: conflict.clone() }));
            assert!(link.events.contains(&Event::Closed { peer: link.right, core: copy }), "{:?}", link.events);
            let (evidence, peer) = (conflict.evidence.unwrap(), conflict.peer);
            assert_eq!(peer, Some(link.right));
            let contradiction = evidence.verify().unwrap();
            check(&contradiction, one.core(core), [first, second], kind);
            assert_eq!(Evidence::decode(&evidence.encode()).as_ref(), Ok(&*evidence));

            let theirs = other.conflict(theirs).unwrap().evidence.clone().unwrap();
            check(&theirs.verify().unwrap(), one.core(core), [second, first], kind);
            assert!(one.conflict(core).is_none(), "nobody told the first");

            let again = Core::open(reader.store().clone(), &conflict.key.discovery_key()).unwrap().unwrap();
            assert!(again.is_frozen() && again.evidence() == Some(&evidence));
        }
    }
}

#[test]
fn a_frozen_core_is_neither_asked_for_nor_served_nor_written() {
    let (mut one, core) = history(Kind::Single, "one", 10);
    let (mut other, _) = history(Kind::Single, "other", 12);
    let key = *one.core(core).key();
    let store = Arc::new(MemoryStore::default());
    let mut reader = Replicator::new(store.clone());
    let copy = reader.open(&key).unwrap();
    reader.want(copy, 0..u64::MAX).unwrap();
    let mut honest = Link::new(&mut one, &mut reader);
    honest.settle(&mut one, &mut reader);
    let mut link = Link::new(&mut other, &mut reader);
    link.settle(&mut other, &mut reader);
    assert!(link.events.contains(&Event::Closed { peer: honest.right, core: copy }), "{:?}", link.events);
    honest.settle(&mut one, &mut reader);
    assert!(one.conflict(core).is_none(), "it was shown its own history");

    for mut reader in [reader, Replicator::new(store)] {
        let copy = reader.open(&key).unwrap();
        reader.want(copy, 0..u64::MAX).unwrap();
        reader.follow(copy).unwrap();
        let peer = reader.connect(shaken(Role::Initiator));
        assert!(!reader.has_frame(peer), "nothing is asked for");
        let mut late = Replicator::new(Arc::new(MemoryStore::default()));
        let wanted = late.open(&key).unwrap();
        late.want(wanted, 0..u64::MAX).unwrap();
        let mut link = Link::new(&mut reader, &mut late);
        link.settle(&mut reader, &mut late);
        assert_eq!(link.events, [Event::Absent { peer: link.right, core: wanted }]);
        let again = reader.open_writable(manifest(Kind::Single), pair(1)).unwrap();
        assert!(again == copy && reader.append(copy, &[Bytes::new()]).is_err());
        let conflict = reader.conflict(copy).unwrap();
        assert!(conflict.evidence.as_ref().unwrap().verify().is_ok());
    }
}

#[test]
fn a_core_is_frozen_with_its_evidence_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let store = || Arc::new(DiskStore::open(folder.path(), Config::default()).unwrap());
    let (mut other, theirs) = history(Kind::Single, "other", 12);
    let key = *other.core(theirs).key();
    {
        let (mut one, _) = history(Kind::Single, "one", 10);
        let mut reader = Replicator::new(store());
        let copy = reader.open(&key).unwrap();
        reader.want(copy, 0..u64::MAX).unwrap();
        Link::new(&mut one, &mut reader).settle(&mut one, &mut reader);
    }
    for commits in [false, true] {
        let mut reader = Replicator::new(store());
        let copy = reader.open(&key).unwrap();
        assert!(!reader.core(copy).is_frozen());
        reader.want(copy, 0..u64::MAX).unwrap();
        let (left, right) = (other.connect(shaken(Role::Responder)), reader.connect(shaken(Role::Initiator)));
        while !reader.core(copy).is_frozen() {
            let (mut there, mut back) = (Vec::new(), Vec::new());
            other.poll_frame(left, &mut there).unwrap();
            reader.poll_frame(right, &mut back).unwrap();
            reader.handle_frame(right, there.into()).unwrap();
            other.handle_frame(left, back.into()).unwrap();
        }
        let batch = reader.begin_commit().unwrap();
        let told = std::iter::from_fn(|| reader.poll_event()).any(|event| matches!(event, Event::Conflict { .. }));
        assert!(!told && reader.conflict(copy).is_none(), "told before it is committed");
        if commits {
            reader.store().commit(batch).unwrap();
            reader.finish_commit().unwrap();
            assert!(reader.conflict(copy).is_some());
        }
        other.disconnect(left).unwrap();
    }
    let reopened = Core::open(store(), &key.discovery_key()).unwrap().unwrap();
    assert!(reopened.is_frozen() && reopened.evidence().unwrap().verify().is_ok());
}

#[test]
fn evidence_that_was_changed_anywhere_proves_nothing() {
    for kind in KINDS {
        let evidence = evidence(kind, 9, 12);
        let bytes = evidence.encode();
        assert!(bytes.len() < 2_000, "{} bytes", bytes.len());
        for at in 0..bytes.len() {
            for bit in [1, 0x80] {
                let mut spoilt = bytes.clone();
                spoilt[at] ^= bit;
                let proven = Evidence::decode(&spoilt).and_then(|spoilt| spoilt.verify());
                assert!(proven.is_err(), "{kind:?}: byte {at}");
            }
            assert!(Evidence::decode(&bytes[..at]).is_err());
        }
        assert_eq!(Evidence::decode(&[&bytes[..], &[0]].concat()), Err(EvidenceError::Surplus));
        let same = Evidence { heads: [evidence.heads[0].clone(), evidence.heads[0].clone()], ..evidence.clone() };
        assert_eq!(same.verify(), Err(EvidenceError::Agreed));
        let (_, grown) = (evidence, [core(kind, "one", 9), core(kind, "one", 12)].map(|core| whole(&core, 9)));
        let reader = core(kind, "one", 12);
        assert!(grown.into_iter().all(|proof| reader.conflicts(proof).unwrap().is_none()), "{kind:?} grew");
    }
    assert_eq!(Evidence::decode(b"hello"), Err(EvidenceError::Unknown));
    assert_eq!(Evidence::decode(b"conflict\x02"), Err(EvidenceError::Version(2)));
    assert_eq!(Evidence::decode(&[0; EVIDENCE_BYTES_MAX + 1]), Err(EvidenceError::TooLong));
}

#[test]
fn whoever_passes_a_head_on_cannot_blow_up_the_evidence() {
    let reader = core(Kind::Quorum, "one", 9);
    let honest = reader.conflicts(whole(&core(Kind::Quorum, "other", 12), 9)).unwrap().unwrap();
    let mut padded = whole(&core(Kind::Quorum, "other", 12), 9);
    let signature = &mut padded.upgrade.as_mut().unwrap().signature;
    let mut nodes = Vec::new();
    nodes.extend_from_slice(&signature[..signature.len() - 1]);
    nodes.extend_from_slice(&[0xfe, 0, 0, 1, 0]);
    nodes.resize(nodes.len() + 34 * 65_536, 0);
    *signature = nodes;
    assert_eq!(reader.conflicts(padded).unwrap().unwrap(), honest, "what is surplus is left out");

    let mut leaves = whole(&core(Kind::Quorum, "other", 300), 9);
    let other = core(Kind::Quorum, "other", 300);
    let leaf = |block: u64| other.node(2 * block).unwrap().unwrap();
    let upgrade = leaves.upgrade.as_mut().unwrap();
    (upgrade.nodes, upgrade.additional_nodes) = ((0..9).map(leaf).collect(), (9..300).map(leaf).collect());
    assert!(matches!(reader.conflicts(leaves), Err(VerifyError::InvalidProof)), "more nodes than any tree needs");
}

#[test]
fn heads_are_compared_as_far_as_the_tree_is_known() {
    let (one, other) = (core(Kind::Single, "one", 12), core(Kind::Single, "other", 10));
    let mut reader = Core::remote(Arc::new(MemoryStore::default()), *one.key());
    let upgrade = Some(UpgradeRequest { start: 0, length: 12 });
    let asked = Request { upgrade, manifest: true, ..Request::default() };
    reader.accept(one.prove(&asked).unwrap(), &asked).unwrap();
    let evidence = reader.conflicts(whole(&other, 10)).unwrap().unwrap();
    assert_eq!(evidence.verify().unwrap().blocks, 0..8, "blocks 8 and 9 are no root of ours");
    let all = one.conflicts(whole(&other, 10)).unwrap().unwrap().verify().unwrap();
    assert_eq!((all.heads[0].length, all.blocks), (12, 8..10));
}

#[test]
fn evidence_that_is_too_long_is_not_kept_but_the_core_is_frozen() {
    let user_data = Some(vec![7; EVIDENCE_BYTES_MAX]);
    let manifest = Manifest { version: 2, user_data, ..manifest(Kind::Single) };
    let written = |text: &str| {
        let mut core = Core::create(Arc::new(MemoryStore::default()), manifest.clone(), Some(pair(1)));
        core.append(&blocks(text, 0, 9)).unwrap();
        core
    };
    let mut core = written("one");
    let evidence = core.conflicts(whole(&written("other"), 9)).unwrap().unwrap();
    core.freeze(evidence);
    assert!(core.is_frozen() && core.evidence().is_none());
    assert!(core.take_changes().unwrap().info.unwrap().len() < EVIDENCE_BYTES_MAX + 1_000);
}

#[test]
fn signers_without_a_common_member_are_named_apart() {
    let signers = [1, 2].map(|seed| Signer::new(pair(seed).public())).to_vec();
    let manifest = Manifest { quorum: 1, signers, ..manifest(Kind::Single) };
    let written = |text: &str, seed| {
        let mut core = Core::create(Arc::new(MemoryStore::default()), manifest.clone(), Some(pair(seed)));
        core.append(&blocks(text, 0, 9)).unwrap();
        core
    };
    let evidence = written("one", 1).conflicts(whole(&written("other", 2), 9)).unwrap().unwrap();
    let contradiction = evidence.verify().unwrap();
    let signers = contradiction.heads.each_ref().map(|head| head.signers.clone());
    assert_eq!((signers, contradiction.signers_of_both()), ([vec![0], vec![1]], vec![]));
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Single,
    Compat,
    /// Two of three.
    Quorum,
    /// Starts with two blocks that the manifest has.
    Prologue,
    /// As version 0 had it, two of three.
    Old,
}

const KINDS: [Kind; 5] = [Kind::Single, Kind::Compat, Kind::Quorum, Kind::Prologue, Kind::Old];

fn check(contradiction: &Contradiction, core: &Core, lengths: [u64; 2], kind: Kind) {
    let signers = if matches!(kind, Kind::Quorum | Kind::Old) { vec![0, 2] } else { vec![0] };
    assert_eq!(contradiction.heads.each_ref().map(|head| head.length), lengths);
    assert!(contradiction.heads.iter().all(|head| head.signers == signers), "{contradiction:?}");
    assert_eq!((contradiction.signers_of_both(), contradiction.fork), (signers, 0));
    assert_eq!((&contradiction.key, &contradiction.discovery_key), (core.key(), core.discovery_key()));
    let hashes = contradiction.heads.each_ref().map(|head| head.tree_hash);
    assert!(hashes.contains(&core.tree().hash()) && hashes[0] != hashes[1]);
    assert!(contradiction.blocks.end > 2, "the first two blocks are the same: {:?}", contradiction.blocks);
}

fn evidence(kind: Kind, first: u64, second: u64) -> Evidence {
    core(kind, "one", first).conflicts(whole(&core(kind, "other", second), first)).unwrap().unwrap()
}

/// A history of a core that starts as all others of its kind do, in a replicator of its own.
fn history(kind: Kind, text: &str, length: u64) -> (Replicator, CoreId) {
    let written = core(kind, text, length);
    let mut replicator = Replicator::new(Arc::new(MemoryStore::default()));
    let id = match kind {
        Kind::Compat => replicator.open_compat(pair(1)).unwrap(),
        _ => replicator.open_manifest(manifest(kind)).unwrap(),
    };
    let signature = written.signature().to_vec();
    replicator.append_signed(id, &blocks(text, 0, length), signature).unwrap();
    replicator.commit().unwrap();
    (replicator, id)
}

fn core(kind: Kind, text: &str, length: u64) -> Core {
    let store = Arc::new(MemoryStore::default());
    let mut core = match kind {
        Kind::Compat => Core::create_compat(store, pair(1)),
        kind => Core::create(store, manifest(kind), Some(pair(1))),
    };
    let (authority, tree) = (core.authority().unwrap(), core.tree_after(&blocks(text, 0, length)).unwrap());
    let seeds: &[u8] = if matches!(kind, Kind::Quorum | Kind::Old) { &[3, 1] } else { &[1] };
    let parts: Vec<_> = seeds.iter().map(|seed| authority.sign_part(&tree, &pair(*seed)).unwrap()).collect();
    let signature = authority.assemble(&parts);
    core.append_signed(&blocks(text, 0, length), signature).unwrap();
    core
}

fn manifest(kind: Kind) -> Manifest {
    let single = Manifest::single(Signer::new(pair(1).public()));
    let signers = [1, 2, 3].map(|seed| Signer::new(pair(seed).public())).to_vec();
    match kind {
        Kind::Single | Kind::Compat => single,
        Kind::Quorum => Manifest { quorum: 2, signers, ..single },
        Kind::Old => Manifest { version: 0, quorum: 2, signers, ..single },
        Kind::Prologue => {
            let start = core(Kind::Single, "", 2);
            Manifest { prologue: Some(Prologue { hash: start.tree().hash(), length: 2 }), ..single }
        }
    }
}

fn blocks(text: &str, start: u64, end: u64) -> Vec<Bytes> {
    (start..end).map(|i| if i < 2 { "same".to_owned() } else { format!("{text} {i}") }.into_bytes().into()).collect()
}

/// A proof of a core's head that shows its first blocks by themselves.
fn whole(core: &Core, length: u64) -> Proof {
    let upgrade = Some(UpgradeRequest { start: 0, length });
    core.prove(&Request { upgrade, ..Request::default() }).unwrap()
}

fn pair(seed: u8) -> KeyPair {
    KeyPair::from_seed(&[seed; 32])
}

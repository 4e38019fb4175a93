//! Cores between replicators that are wired together without sockets.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod wired;

use std::ops::Range;
use std::sync::Arc;

use anypath_replicate::core::{Manifest, OpenError, Position, Signer};
use anypath_replicate::mux::{self, Mux, Protocol};
use anypath_replicate::replicator::{CoreId, Event, FrameError, PeerId, Replicator};
use anypath_replicate::store::{MemoryStore, Store, StoreError};
use anypath_replicate::{SeekRequest, messages};
use anypath_wire::{KeyPair, PublicKey, Role};
use bytes::Bytes;

use wired::{Link, shaken};

#[test]
fn a_reader_gets_every_block_and_follows_what_is_appended() {
    let (mut writer, core) = writer(300);
    let mut reader = reader();
    let copy = reader.open(writer.core(core).key()).unwrap();
    reader.want(copy, 0..u64::MAX).unwrap();
    let mut link = Link::new(&mut writer, &mut reader);
    link.settle(&mut writer, &mut reader);
    assert_same(&writer, core, &reader, copy, 0..300);

    writer.append(core, &[block(300), block(301)]).unwrap();
    writer.commit().unwrap();
    link.settle(&mut writer, &mut reader);
    assert_same(&writer, core, &reader, copy, 0..302);
    assert_eq!(reader.remotes(copy).next().unwrap().in_flight, 0);
}

#[test]
fn only_what_is_wanted_is_fetched_and_a_third_peer_gets_it_from_both() {
    let (mut writer, core) = writer(100);
    let key = *writer.core(core).key();
    let (mut middle, mut last) = (reader(), reader());
    let held = middle.open(&key).unwrap();
    middle.want(held, 40..60).unwrap();
    Link::new(&mut writer, &mut middle).settle(&mut writer, &mut middle);
    assert_eq!((middle.core(held).has(39), middle.core(held).has(40), middle.core(held).has(60)), (false, true, false));

    let copy = last.open(&key).unwrap();
    last.want(copy, 0..100).unwrap();
    Link::new(&mut middle, &mut last).settle(&mut middle, &mut last);
    assert_eq!(last.core(copy).length(), 100);
    let have: Vec<_> = (0..100).filter(|index| last.core(copy).has(*index)).collect();
    assert_eq!(have, (40..60).collect::<Vec<_>>());
    Link::new(&mut writer, &mut last).settle(&mut writer, &mut last);
    assert_same(&writer, core, &last, copy, 0..100);
}

#[test]
fn a_search_through_many_holes_lets_others_in_between() {
    let (mut writer, core) = empty_blocks(20_000);
    let key = *writer.core(core).key();
    let (mut middle, mut last) = (reader(), reader());
    let held = middle.open(&key).unwrap();
    (1..20_000).step_by(2).for_each(|odd| middle.want(held, odd..odd + 1).unwrap());
    Link::new(&mut writer, &mut middle).settle(&mut writer, &mut middle);
    let copy = last.open(&key).unwrap();
    (0..20_000).step_by(2).for_each(|even| last.want(copy, even..even + 1).unwrap());
    let mut link = Link::new(&mut middle, &mut last);
    let mut halves = 0;
    while link.step(&mut middle, &mut last).unwrap() {
        halves += usize::from(last.has_frame(link.right) && last.is_ready());
    }
    assert!(halves > 1, "10,000 holes were looked over in one go");
    assert_eq!((last.core(copy).length(), last.core(copy).contiguous_length()), (20_000, 0));
    Link::new(&mut writer, &mut last).settle(&mut writer, &mut last);
    assert!((0..20_000).all(|index| last.core(copy).has(index) == (index % 2 == 0)));
}

#[test]
fn a_truncated_core_is_followed_at_any_depth() {
    for kept in [0, 1, 5, 8, 31, 39] {
        let (mut writer, core) = writer(40);
        let mut reader = reader();
        let copy = reader.open(writer.core(core).key()).unwrap();
        reader.want(copy, 0..u64::MAX).unwrap();
        let mut link = Link::new(&mut writer, &mut reader);
        link.settle(&mut writer, &mut reader);

        writer.truncate(core, kept, None).unwrap();
        writer.append(core, &[block(1000), block(1001)]).unwrap();
        writer.commit().unwrap();
        link.settle(&mut writer, &mut reader);
        assert_eq!(reader.core(copy).fork(), 1, "kept {kept}");
        assert_same(&writer, core, &reader, copy, 0..kept + 2);
        let truncated = link.events.contains(&Event::Truncated { core: copy, kept });
        assert!(truncated, "kept {kept}: {:?}", link.events);
    }
}

#[test]
fn a_core_nobody_has_is_absent() {
    let (mut writer, _) = writer(1);
    let mut reader = reader();
    let other = reader.open(&PublicKey([9; 32])).unwrap();
    reader.want(other, 0..1).unwrap();
    let mut link = Link::new(&mut writer, &mut reader);
    link.settle(&mut writer, &mut reader);
    assert_eq!(link.events, [Event::Absent { peer: link.right, core: other }]);
}

#[test]
fn a_peer_that_vanishes_is_replaced_by_another() {
    let (mut writer, core) = writer(200);
    let mut reader = reader();
    let copy = reader.open(writer.core(core).key()).unwrap();
    reader.want(copy, 0..200).unwrap();
    let mut link = Link::new(&mut writer, &mut reader);
    (0..4).for_each(|_| drop(link.step(&mut writer, &mut reader)));
    assert!(reader.remotes(copy).next().unwrap().in_flight > 0);
    writer.disconnect(link.left).unwrap();
    reader.disconnect(link.right).unwrap();
    Link::new(&mut writer, &mut reader).settle(&mut writer, &mut reader);
    assert_same(&writer, core, &reader, copy, 0..200);
}

#[test]
fn extension_messages_reach_who_listens_for_their_name() {
    let (mut writer, core) = writer(1);
    let mut reader = reader();
    let copy = reader.open(writer.core(core).key()).unwrap();
    reader.want(copy, 0..1).unwrap();
    reader.hear(copy, "chat");
    let mut link = Link::new(&mut writer, &mut reader);
    link.settle(&mut writer, &mut reader);
    for name in ["noise", "chat"] {
        assert!(writer.say(core, link.left, name, Bytes::from_static(b"hello")));
    }
    link.settle(&mut writer, &mut reader);
    let heard: Vec<_> = link.events.iter().filter(|event| matches!(event, Event::Extension { .. })).collect();
    let (name, message) = (Bytes::from_static(b"chat"), Bytes::from_static(b"hello"));
    assert_eq!(heard, [&Event::Extension { peer: link.right, core: copy, name, message }]);
}

#[test]
fn the_head_is_followed_without_any_block() {
    let (mut writer, core) = writer(20);
    let mut reader = reader();
    let copy = reader.open(writer.core(core).key()).unwrap();
    let mut link = Link::new(&mut writer, &mut reader);
    link.settle(&mut writer, &mut reader);
    assert_eq!((reader.core(copy).length(), reader.remotes(copy).count()), (0, 0));
    reader.follow(copy).unwrap();
    link.settle(&mut writer, &mut reader);
    assert_eq!(reader.core(copy).length(), 20);
    writer.append(core, &[block(20)]).unwrap();
    writer.commit().unwrap();
    link.settle(&mut writer, &mut reader);
    assert_eq!((reader.core(copy).length(), reader.core(copy).bitfield().next_set(0)), (21, None));
    writer.truncate(core, 9, None).unwrap();
    writer.append(core, &[block(100)]).unwrap();
    writer.commit().unwrap();
    link.settle(&mut writer, &mut reader);
    assert_eq!((reader.core(copy).length(), reader.core(copy).fork()), (10, 1));
}

#[test]
fn a_fork_that_was_told_before_anything_was_wanted_is_followed_later() {
    let (mut writer, core) = writer(20);
    let mut reader = reader();
    let copy = reader.open(writer.core(core).key()).unwrap();
    reader.want(copy, 0..20).unwrap();
    let mut link = Link::new(&mut writer, &mut reader);
    link.settle(&mut writer, &mut reader);
    reader.want_nothing(copy);
    writer.truncate(core, 5, None).unwrap();
    writer.append(core, &[block(100)]).unwrap();
    writer.commit().unwrap();
    link.settle(&mut writer, &mut reader);
    assert_eq!((reader.core(copy).length(), reader.core(copy).fork()), (20, 0));
    reader.want(copy, 0..u64::MAX).unwrap();
    link.settle(&mut writer, &mut reader);
    assert_same(&writer, core, &reader, copy, 0..6);
}

#[test]
fn bytes_are_found_without_their_blocks() {
    let (mut writer, core) = writer_of((0..500).map(|index| [&[0; 8], &block(index)[..]].concat().into()).collect());
    let mut reader = reader();
    let copy = reader.open(writer.core(core).key()).unwrap();
    reader.follow(copy).unwrap();
    let mut link = Link::new(&mut writer, &mut reader);
    link.settle(&mut writer, &mut reader);
    reader.want_nothing(copy);
    let total = writer.core(core).byte_length();
    let stored = [1, 36, 37, 100_000, total / 2, total - 1].map(SeekRequest::from);
    let plain = [1, 30, 31, 90_000, total / 2, total - 500 * 8 - 1].map(SeekRequest::encrypted);
    let sought = [stored, plain].concat();
    for seek in &sought {
        assert!(matches!(reader.seek(copy, *seek).unwrap(), Position::Below { .. }));
    }
    link.settle(&mut writer, &mut reader);
    for seek in sought {
        let (block, offset) = writer.core(core).seek(seek).unwrap().unwrap();
        let before: u64 = (0..block).map(|index| writer.core(core).block(index).unwrap().unwrap().len() as u64).sum();
        assert_eq!(before - block * seek.padding + offset, seek.bytes, "{seek:?}");
        let at = Position::In { block, offset };
        assert_eq!(reader.seek(copy, seek).unwrap(), at);
        let told = link.events.iter().filter(|event| **event == Event::Sought { core: copy, seek, at });
        assert_eq!(told.count(), 1, "{seek:?}");
    }
    assert_eq!(reader.seek(copy, total).unwrap(), Position::In { block: 500, offset: 0 });
    assert_eq!(reader.seek(copy, total + 1).unwrap(), Position::Beyond);
    assert_eq!(reader.core(copy).bitfield().next_set(0), None);
}

#[test]
fn bytes_are_found_by_another_peer_when_the_first_has_gone() {
    let (mut writer, core) = writer(500);
    let mut reader = reader();
    let copy = reader.open(writer.core(core).key()).unwrap();
    reader.follow(copy).unwrap();
    let mut link = Link::new(&mut writer, &mut reader);
    link.settle(&mut writer, &mut reader);
    reader.seek(copy, 100_000).unwrap();
    reader.poll_frame(link.right, &mut Vec::new()).unwrap();
    reader.disconnect(link.right).unwrap();
    let mut link = Link::new(&mut writer, &mut reader);
    link.settle(&mut writer, &mut reader);
    let (block, offset) = writer.core(core).seek(100_000).unwrap().unwrap();
    assert_eq!(reader.core(copy).position(100_000).unwrap(), Position::In { block, offset });
}

#[test]
fn bytes_are_found_at_two_peers_of_which_each_holds_a_part_of_the_way() {
    let (mut writer, core) = writer(600);
    let key = *writer.core(core).key();
    let part = |blocks: Range<u64>, writer: &mut Replicator| {
        let mut source = reader();
        let copy = source.open(&key).unwrap();
        source.want(copy, blocks).unwrap();
        Link::new(writer, &mut source).settle(writer, &mut source);
        source
    };
    let (mut far, mut near) = (part(200..300, &mut writer), part(1..100, &mut writer));
    let mut reader = reader();
    let copy = reader.open(&key).unwrap();
    reader.follow(copy).unwrap();
    let (mut to_far, mut to_near) = (Link::new(&mut far, &mut reader), Link::new(&mut near, &mut reader));
    to_far.settle(&mut far, &mut reader);
    to_near.settle(&mut near, &mut reader);
    reader.want_nothing(copy);
    reader.seek(copy, 1_000).unwrap();
    // The far one tells what it holds and is asked; while its answer is on its way the near one tells what it holds.
    for _ in 0..3 {
        to_far.step(&mut far, &mut reader).unwrap();
    }
    to_near.settle(&mut near, &mut reader);
    to_far.settle(&mut far, &mut reader);
    to_near.settle(&mut near, &mut reader);
    let (block, offset) = writer.core(core).seek(1_000).unwrap().unwrap();
    assert_eq!(reader.core(copy).position(1_000).unwrap(), Position::In { block, offset });
}

#[test]
fn forgotten_blocks_are_no_longer_offered_and_not_wanted_again() {
    let (mut writer, core) = writer(100);
    let (mut reader, mut late) = (reader(), reader());
    let key = *writer.core(core).key();
    let (copy, other) = (reader.open(&key).unwrap(), late.open(&key).unwrap());
    reader.want(copy, 0..10).unwrap();
    late.want(other, 0..100).unwrap();
    let mut link = Link::new(&mut writer, &mut reader);
    link.settle(&mut writer, &mut reader);

    writer.clear(core, 20..30);
    writer.clear(core, 50..60);
    writer.commit().unwrap();
    reader.clear(copy, 5..8);
    reader.want(copy, 10..100).unwrap();
    reader.commit().unwrap();
    link.settle(&mut writer, &mut reader);
    let gone = |index: &u64| (20..30).contains(index) || (50..60).contains(index);
    let held: Vec<u64> = (0..100).filter(|index| reader.core(copy).has(*index)).collect();
    let expected: Vec<u64> = (0..100).filter(|index| !gone(index) && !(5..8).contains(index)).collect();
    assert_eq!(held, expected);
    assert_eq!(writer.core(core).block(25).unwrap(), None);

    Link::new(&mut writer, &mut late).settle(&mut writer, &mut late);
    let held: Vec<u64> = (0..100).filter(|index| late.core(other).has(*index)).collect();
    assert_eq!(held, (0..100).filter(|index| !gone(index)).collect::<Vec<_>>());
    reader.want(copy, 5..8).unwrap();
    link.settle(&mut writer, &mut reader);
    assert_eq!(reader.core(copy).contiguous_length(), 20);
}

#[test]
fn a_sparse_peer_offers_its_head_once_it_knows_the_nodes_that_prove_it() {
    let (mut writer, core) = writer(50);
    let key = *writer.core(core).key();
    let (mut middle, mut late) = (reader(), reader());
    let (held, copy) = (middle.open(&key).unwrap(), late.open(&key).unwrap());
    late.follow(copy).unwrap();
    Link::new(&mut writer, &mut late).settle(&mut writer, &mut late);
    let more: Vec<_> = (50..100).map(block).collect();
    writer.append(core, &more).unwrap();
    writer.commit().unwrap();
    middle.follow(held).unwrap();
    let mut source = Link::new(&mut writer, &mut middle);
    source.settle(&mut writer, &mut middle);
    let mut link = Link::new(&mut middle, &mut late);
    link.settle(&mut middle, &mut late);
    assert_eq!((middle.core(held).length(), late.core(copy).length()), (100, 50));
    middle.want(held, 48..49).unwrap();
    source.settle(&mut writer, &mut middle);
    link.settle(&mut middle, &mut late);
    assert_eq!(late.core(copy).length(), 100);
}

#[test]
fn a_core_opened_late_is_offered_to_the_peers_that_asked_for_it() {
    let (mut source, _) = writer(1);
    let mut reader = reader();
    let pair = KeyPair::from_seed(&[6; 32]);
    let manifest = Manifest::single(Signer::new(pair.public()));
    let copy = reader.open(&manifest.key()).unwrap();
    reader.want(copy, 0..u64::MAX).unwrap();
    let mut link = Link::new(&mut source, &mut reader);
    link.settle(&mut source, &mut reader);
    assert_eq!(link.events, [Event::Absent { peer: link.right, core: copy }]);
    let core = source.open_writable(manifest, pair).unwrap();
    source.append(core, &[block(5)]).unwrap();
    source.commit().unwrap();
    link.settle(&mut source, &mut reader);
    assert_same(&source, core, &reader, copy, 0..1);
}

#[test]
fn a_channel_closed_for_idleness_is_opened_again_when_it_is_needed() {
    let key = PublicKey([9; 32]);
    let mut reader = reader();
    let copy = reader.open(&key).unwrap();
    let peer = reader.connect(shaken(Role::Initiator));
    let protocol = Protocol::new("hypercore/alpha", key.discovery_key().0).alias("hypercore");
    let mut theirs = Vec::new();
    let capability = messages::capability(&[3; 64], Role::Responder, &key);
    messages::Handshake { seeks: true, capability }.encode(&mut theirs);

    let mut mux = Mux::new();
    reader.follow(copy).unwrap();
    for _ in 0..2 {
        assert_eq!(offers(&mut reader, peer, &mut mux), 1);
        let channel = mux.open(&protocol, &theirs);
        assert_eq!(offers(&mut reader, peer, &mut mux), 0);
        assert_eq!(reader.poll_event(), Some(Event::Opened { peer, core: copy }));
        reader.want_nothing(copy);
        mux.close(channel);
        assert_eq!(offers(&mut reader, peer, &mut mux), 0, "nothing is wanted");
        assert_eq!(reader.poll_event(), Some(Event::Closed { peer, core: copy }));
        reader.want(copy, 0..1).unwrap();
    }
    assert_eq!(offers(&mut reader, peer, &mut mux), 1);
    let channel = mux.open(&protocol, &theirs);
    assert_eq!(offers(&mut reader, peer, &mut mux), 0);
    mux.close(channel);
    assert_eq!(offers(&mut reader, peer, &mut mux), 1, "what is wanted is asked for again at once");
}

/// Carries all frames between a replicator and the bare channels of its peer; returns how many channels it offers.
fn offers(replicator: &mut Replicator, peer: PeerId, mux: &mut Mux) -> usize {
    let mut offers = 0;
    loop {
        let (mut there, mut back) = (Vec::new(), Vec::new());
        if replicator.poll_frame(peer, &mut there).unwrap() {
            mux.handle_frame(there.into());
        }
        while let Some(event) = mux.poll_event().unwrap() {
            offers += usize::from(matches!(event, mux::Event::Offered { .. }));
        }
        if mux.poll_frame(&mut back) {
            replicator.handle_frame(peer, back.into()).unwrap();
        } else if !replicator.has_frame(peer) {
            return offers;
        }
    }
}

#[test]
fn a_store_that_fails_while_a_core_is_opened_is_not_the_peers_fault() {
    let source = std::io::Error::other("the disk is gone");
    let error = StoreError::Io { path: "store".into(), source };
    assert!(matches!(FrameError::from(OpenError::Store(error)), FrameError::Store(_)));
}

#[test]
fn a_compat_core_is_opened_again_by_its_pair() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let pair = KeyPair::from_seed(&[4; 32]);
    for length in 1..3 {
        let mut replicator = Replicator::new(store.clone());
        let core = replicator.open_compat(pair.clone()).unwrap();
        assert_eq!(replicator.core(core).key(), &pair.public());
        assert_eq!(replicator.append(core, &[block(1)]).unwrap(), length);
        replicator.commit().unwrap();
    }
}

#[test]
fn several_signers_append_to_a_core_that_none_may_write_alone() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let pairs = [1, 2].map(|seed| KeyPair::from_seed(&[seed; 32]));
    let signers = pairs.iter().map(|pair| Signer::new(pair.public())).collect();
    let manifest = Manifest { quorum: 2, signers, ..Manifest::single(Signer::new(pairs[0].public())) };
    for length in 1..3 {
        let mut replicator = Replicator::new(store.clone());
        let core = replicator.open_manifest(manifest.clone()).unwrap();
        let (authority, tree) =
            (replicator.core(core).authority().unwrap(), replicator.core(core).tree_after(&[block(1)]).unwrap());
        let parts = pairs.each_ref().map(|pair| authority.sign_part(&tree, pair).unwrap());
        let signature = authority.assemble(&parts);
        assert_eq!(replicator.append_signed(core, &[block(1)], signature).unwrap(), length);
        replicator.commit().unwrap();
    }
}

fn writer(blocks: u64) -> (Replicator, CoreId) {
    writer_of((0..blocks).map(block).collect())
}

fn empty_blocks(blocks: usize) -> (Replicator, CoreId) {
    writer_of(vec![Bytes::new(); blocks])
}

fn writer_of(blocks: Vec<Bytes>) -> (Replicator, CoreId) {
    let mut replicator = Replicator::new(Arc::new(MemoryStore::default()));
    let pair = KeyPair::from_seed(&[1; 32]);
    let core = replicator.open_writable(Manifest::single(Signer::new(pair.public())), pair).unwrap();
    replicator.append(core, &blocks).unwrap();
    replicator.commit().unwrap();
    (replicator, core)
}

fn reader() -> Replicator {
    Replicator::new(Arc::new(MemoryStore::default()))
}

fn block(index: u64) -> Bytes {
    vec![index as u8; (index * 37 % 5000) as usize].into()
}

fn assert_same(a: &Replicator, in_a: CoreId, b: &Replicator, in_b: CoreId, blocks: Range<u64>) {
    assert_eq!(a.core(in_a).length(), b.core(in_b).length());
    for index in blocks {
        let (theirs, ours) = (a.core(in_a).block(index).unwrap(), b.core(in_b).block(index).unwrap());
        assert!(ours.is_some() && ours == theirs, "block {index}");
    }
}

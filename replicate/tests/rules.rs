//! Blocks that the application refuses: never stored, served or asked for again; all others come.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use anypath_replicate::core::{AppendError, Manifest, Signer};
use anypath_replicate::messages::{self, DataMessage, Message, SyncState};
use anypath_replicate::mux::{Event as MuxEvent, Mux, Protocol};
use anypath_replicate::replicator::{CoreId, Event, Misbehaviour, PeerId, Replicator};
use anypath_replicate::store::MemoryStore;
use anypath_replicate::{BlockProof, Proof};
use anypath_wire::{Handshake, KeyPair, PublicKey, Role};
use bytes::Bytes;

#[test]
fn a_refused_block_stays_missing_is_told_once_and_is_not_passed_on() {
    let mut world = World::new(&["good", "bad", "good", "bad", "good"]);
    let reader = world.reader(true);
    let last = world.reader(false);
    world.link(0, reader);
    world.settle();
    assert_eq!(world.held(reader), [0, 2, 4]);
    let peer = world.lines[0].ends[1].1;
    let broken = |index| Event::RuleBroken { peer, core: world.nodes[reader].core, index };
    assert_eq!(world.broken(reader), [broken(1), broken(3)]);
    assert!(world.nodes[reader].core().is_refused(1) && !world.nodes[reader].core().is_refused(2));

    // Who has it from the reader alone has what the reader has, and knows of the rest.
    world.link(reader, last);
    world.settle();
    assert_eq!((world.held(last), world.nodes[last].core().length()), (vec![0, 2, 4], 5));
    world.link(0, last);
    world.settle();
    assert_eq!(world.held(last), [0, 1, 2, 3, 4]);
    assert_eq!(world.held(reader), [0, 2, 4], "now that another peer has it as well");
    assert_eq!(world.broken(reader).len(), 2);
    assert_eq!(world.nodes[reader].asked(), 5, "each block is asked about once");
}

#[test]
fn the_rest_of_a_core_is_followed_and_a_truncated_block_is_forgotten() {
    let mut world = World::new(&["good", "bad", "good"]);
    let reader = world.reader(true);
    world.link(0, reader);
    world.settle();
    world.append(&["good", "bad", "good"]);
    world.settle();
    assert_eq!(world.held(reader), [0, 2, 3, 5]);
    world.truncate(1);
    world.append(&["good again", "good again"]);
    world.settle();
    assert_eq!(world.held(reader), [0, 1, 2]);
    assert_eq!(world.nodes[reader].core().contiguous_length(), 3);
    assert_eq!(world.nodes[reader].core().fork(), 1);
}

#[test]
fn what_is_forgotten_and_wanted_again_is_not_asked_for_if_it_was_refused() {
    let mut world = World::new(&["good", "bad", "good"]);
    let reader = world.reader(true);
    world.link(0, reader);
    world.settle();
    let Node { replicator, core, .. } = &mut world.nodes[reader];
    replicator.clear(*core, 0..3);
    replicator.want(*core, 0..3).unwrap();
    world.settle();
    assert_eq!(world.held(reader), [0, 2]);
    assert_eq!(world.nodes[reader].asked(), 3 + 2);
}

#[test]
fn who_has_the_rule_cannot_break_it() {
    let mut world = World::new(&["good"]);
    world.nodes[0].demand_good();
    let Node { replicator, core, .. } = &mut world.nodes[0];
    let refused = replicator.append(*core, &["good".into(), "bad".into()]);
    assert!(matches!(refused, Err(AppendError::Refused { index: 2 })), "{refused:?}");
    let refused = replicator.append_signed(*core, &["bad".into()], vec![0; 64]);
    assert!(matches!(refused, Err(AppendError::Refused { index: 1 })), "{refused:?}");
    assert!(matches!(replicator.core(*core).tree_after(&["bad".into()]), Err(AppendError::Refused { .. })));
    assert!(!replicator.is_staged());
    assert_eq!(replicator.append(*core, &["good".into()]).unwrap(), 2);
}

/// A peer cannot make us refuse a block that the writer never wrote: what does not verify is not shown to the rule.
#[test]
fn a_forged_block_is_the_peers_breach_and_not_the_writers() {
    let mut world = World::new(&["good", "good", "good"]);
    let reader = world.reader(true);
    let key = *world.nodes[0].core().key();
    let Node { replicator, core, .. } = &mut world.nodes[reader];
    replicator.want_nothing(*core);
    replicator.follow(*core).unwrap();
    // The foe comes first, so that it is asked first; the head comes from the writer.
    let mut foe = Mux::new();
    let id = replicator.connect(shake(Role::Responder));
    let capability = messages::capability(&[3; 64], Role::Initiator, &key);
    let mut body = Vec::new();
    messages::Handshake { seeks: true, capability }.encode(&mut body);
    let channel = foe.open(&Protocol::new("hypercore/alpha", key.discovery_key().0), &body);
    let mut frame = Vec::new();
    while foe.poll_frame(&mut frame) {
        world.nodes[reader].replicator.handle_frame(id, std::mem::take(&mut frame).into()).unwrap();
    }
    world.link(0, reader);
    world.settle();
    assert_eq!((world.nodes[reader].core().length(), world.held(reader)), (3, vec![]));
    let sync = SyncState { length: 3, uploading: true, can_upgrade: true, ..SyncState::default() };
    Message::Sync(sync).send(&mut foe, channel).unwrap();
    Message::Range(messages::Range { drop: false, start: 0, length: 3 }).send(&mut foe, channel).unwrap();
    while foe.poll_frame(&mut frame) {
        world.nodes[reader].replicator.handle_frame(id, std::mem::take(&mut frame).into()).unwrap();
    }
    let Node { replicator, core, .. } = &mut world.nodes[reader];
    replicator.want(*core, 0..u64::MAX).unwrap();
    let mut forged = 0;
    for _ in 0..20 {
        // The foe answers all it is asked with a block that would break the rule.
        let victim = &mut world.nodes[reader];
        while victim.replicator.poll_frame(id, &mut frame).unwrap() {
            foe.handle_frame(std::mem::take(&mut frame).into());
        }
        while let Some(event) = foe.poll_event().unwrap() {
            let MuxEvent::Message { kind, body, .. } = event else { continue };
            let Some(Message::Request(asked)) = Message::decode(kind, &body, true).unwrap() else { continue };
            let Some(block) = asked.request.block else { continue };
            let value = Bytes::from_static(b"bad");
            let block = Some(BlockProof { index: block.index, value, nodes: Vec::new() });
            let proof = Proof { fork: 0, block, ..Proof::default() };
            Message::Data(DataMessage { request: asked.id, proof }).send(&mut foe, channel).unwrap();
            forged += 1;
        }
        while foe.poll_frame(&mut frame) {
            world.nodes[reader].replicator.handle_frame(id, std::mem::take(&mut frame).into()).unwrap();
        }
        world.step();
    }
    world.settle();
    assert!(forged > 0, "the foe was asked for nothing");
    assert_eq!(world.broken(reader), []);
    let refused = |event: &Event| matches!(event, Event::Refused { misbehaviour: Misbehaviour::InvalidData, .. });
    assert!(world.nodes[reader].events.iter().any(refused));
    assert_eq!(world.held(reader), [0, 1, 2]);
}

/// Readers with the rule and without, in a mesh whose frames are delayed as chance has it, and a writer who breaks the
/// rule, truncates and goes on: it comes to rest, and everybody holds exactly what is allowed.
#[test]
fn whatever_a_writer_does_all_hold_what_their_rule_allows() {
    let mut refused = 0;
    for seed in 0..60u64 {
        let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut world = World::new(&["good", "bad"]);
        let readers: Vec<_> = (0..3).map(|number| world.reader(number != 1)).collect();
        let lines: Vec<_> = (0..4).flat_map(|a| (0..a).map(move |b| (b, a))).collect();
        lines.into_iter().filter(|_| chance.below(3) > 0).for_each(|(a, b)| world.link(a, b));
        world.link(0, readers[0]);
        for _ in 0..200 {
            match chance.below(12) {
                0 => world.append(&["bad"]),
                1 => world.append(&["good", "bad", "good"]),
                2 => {
                    let length = world.nodes[0].core().length();
                    world.truncate(chance.below(length + 1).min(length.saturating_sub(1)));
                }
                _ => {}
            }
            let line = chance.below(world.lines.len() as u64) as usize;
            world.move_on(line, chance.below(2) as usize);
        }
        world.append(&["good"]); // of an empty core nobody can prove that it is on a new fork
        for reader in [readers[1], readers[2]] {
            world.link(0, reader);
        }
        world.settle();
        let writer = &world.nodes[0];
        for reader in readers {
            let copy = world.nodes[reader].core();
            assert_eq!((copy.length(), copy.fork()), (writer.core().length(), writer.core().fork()), "seed {seed}");
            for index in 0..copy.length() {
                let block = writer.core().block(index).unwrap().unwrap();
                let allowed = !world.nodes[reader].strict || is_good(&block);
                assert_eq!(copy.block(index).unwrap(), allowed.then_some(block), "seed {seed}, block {index}");
            }
        }
        refused += world.nodes.iter().flat_map(|node| &node.events).filter(|event| is_broken(event)).count();
    }
    assert!(refused > 100, "only {refused} blocks were refused");
}

fn is_good(block: &[u8]) -> bool {
    block.starts_with(b"good")
}

fn is_broken(event: &Event) -> bool {
    matches!(event, Event::RuleBroken { .. })
}

/// A writer, which is the first, and readers.
struct World {
    nodes: Vec<Node>,
    lines: Vec<Line>,
}

struct Node {
    replicator: Replicator,
    core: CoreId,
    strict: bool,
    /// Blocks the rule was asked about.
    asked: Arc<Mutex<u64>>,
    events: Vec<Event>,
}

/// A connection; `ways` are the frames from its first end to its second, and back.
struct Line {
    ends: [(usize, PeerId); 2],
    ways: [VecDeque<Vec<u8>>; 2],
}

impl World {
    fn new(blocks: &[&'static str]) -> Self {
        let mut replicator = Replicator::new(Arc::new(MemoryStore::default()));
        let pair = KeyPair::from_seed(&[1; 32]);
        let core = replicator.open_writable(Manifest::single(Signer::new(pair.public())), pair).unwrap();
        let writer = Node { replicator, core, strict: false, asked: Arc::default(), events: Vec::new() };
        let mut world = Self { nodes: vec![writer], lines: Vec::new() };
        world.append(blocks);
        world
    }

    fn reader(&mut self, strict: bool) -> usize {
        let mut replicator = Replicator::new(Arc::new(MemoryStore::default()));
        let core = replicator.open(self.nodes[0].core().key()).unwrap();
        replicator.want(core, 0..u64::MAX).unwrap();
        let mut node = Node { replicator, core, strict, asked: Arc::default(), events: Vec::new() };
        if strict {
            node.demand_good();
        }
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn append(&mut self, blocks: &[&'static str]) {
        let blocks: Vec<Bytes> = blocks.iter().map(|block| Bytes::from_static(block.as_bytes())).collect();
        let Node { replicator, core, .. } = &mut self.nodes[0];
        replicator.append(*core, &blocks).unwrap();
        replicator.commit().unwrap();
    }

    fn truncate(&mut self, length: u64) {
        let Node { replicator, core, .. } = &mut self.nodes[0];
        replicator.truncate(*core, length, None).unwrap();
        replicator.commit().unwrap();
    }

    fn link(&mut self, a: usize, b: usize) {
        let left = self.nodes[a].replicator.connect(shake(Role::Responder));
        let right = self.nodes[b].replicator.connect(shake(Role::Initiator));
        self.lines.push(Line { ends: [(a, left), (b, right)], ways: Default::default() });
    }

    /// Makes a frame on one end of a line, and takes one in at the other; returns whether there was any.
    fn move_on(&mut self, line: usize, way: usize) -> bool {
        let Line { ends, ways } = &mut self.lines[line];
        let [(from, sender), (to, receiver)] = if way == 0 { *ends } else { [ends[1], ends[0]] };
        let mut frame = Vec::new();
        let made = self.nodes[from].replicator.poll_frame(sender, &mut frame).unwrap();
        ways[way].extend(made.then_some(frame));
        let taken = ways[way].pop_front();
        let moved = made || taken.is_some();
        let node = &mut self.nodes[to];
        node.replicator.handle_frame(receiver, taken.unwrap_or_default().into()).unwrap();
        let staged = node.replicator.is_staged();
        node.replicator.commit().unwrap();
        node.events.extend(std::iter::from_fn(|| node.replicator.poll_event()));
        moved || staged
    }

    fn step(&mut self) -> bool {
        (0..self.lines.len()).fold(false, |moved, line| moved | self.move_on(line, 0) | self.move_on(line, 1))
    }

    fn settle(&mut self) {
        for _ in 0..10_000 {
            if !self.step() {
                return;
            }
        }
        panic!("never settles");
    }

    fn held(&self, node: usize) -> Vec<u64> {
        let core = self.nodes[node].core();
        (0..core.length()).filter(|index| core.block(*index).unwrap().is_some()).collect()
    }

    fn broken(&self, node: usize) -> Vec<Event> {
        self.nodes[node].events.iter().filter(|event| is_broken(event)).cloned().collect()
    }
}

impl Node {
    fn core(&self) -> &anypath_replicate::core::Core {
        self.replicator.core(self.core)
    }

    fn demand_good(&mut self) {
        let asked = self.asked.clone();
        self.replicator.set_rule(self.core, move |_, block: &[u8]| {
            *asked.lock().unwrap() += 1;
            is_good(block)
        });
    }

    fn asked(&self) -> u64 {
        *self.asked.lock().unwrap()
    }
}

struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

fn shake(role: Role) -> Handshake {
    Handshake { role, remote: PublicKey([7; 32]), hash: [3; 64], tx: [0; 32], rx: [0; 32] }
}

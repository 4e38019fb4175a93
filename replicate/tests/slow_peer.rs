//! Two sources of one core, of which one is a hundred times slower: it does not hold up the end.
#![allow(clippy::unwrap_used, clippy::single_range_in_vec_init)]

use std::collections::VecDeque;
use std::sync::Arc;

use anypath_replicate::core::{Manifest, Signer};
use anypath_replicate::replicator::{CoreId, PeerId, Replicator};
use anypath_replicate::store::MemoryStore;
use anypath_wire::{Handshake, KeyPair, PublicKey, Role};
use bytes::Bytes;

#[test]
fn a_slow_peer_does_not_hold_up_the_tail() {
    let (alone, _) = steps(&[FAST]);
    let (both, fetched) = steps(&[FAST, FAST / 100]);
    let (silent, _) = steps(&[FAST, 0]);
    println!("{alone} steps with a fast peer, {both} with a slow one beside it, {silent} with a silent one");
    assert!(both <= alone + alone / 20 && silent <= alone + alone / 20, "{alone}, {both}, {silent} steps");
    assert!(fetched < BLOCKS * 11 / 10, "{fetched} blocks came for {BLOCKS}");
}

#[test]
fn two_equal_peers_share_the_work() {
    let (alone, _) = steps(&[FAST]);
    let (both, fetched) = steps(&[FAST, FAST]);
    println!("{alone} steps with one peer, {both} with two; {fetched} blocks came for {BLOCKS}");
    assert!(both <= alone * 6 / 10 && fetched <= BLOCKS * 21 / 20, "{alone}, {both} steps, {fetched} blocks");
}

#[test]
fn what_is_appended_comes_from_one_of_two_equal_peers() {
    let mut world = World::new(&[FAST, FAST], 1);
    world.until_whole(1);
    let before = world.fetched();
    for _ in 0..50 {
        world.sources.iter_mut().for_each(|(source, core)| append(source, *core, 1));
        let length = world.sources[0].0.core(world.sources[0].1).length();
        world.until_whole(length);
    }
    assert_eq!(world.fetched() - before, 50);
}

/// A block that somebody waits for comes before those that were asked for long ago.
#[test]
fn what_somebody_waits_for_comes_first() {
    let mut world = World::new(&[FAST / 10], BLOCKS);
    world.reader.want(world.copy, 0..u64::MAX).unwrap();
    (0..300).for_each(|_| world.step());
    let before = world.fetched();
    assert!(before < BLOCKS / 2, "{before} blocks are here already");
    world.reader.want_now(world.copy, BLOCKS - 2..BLOCKS).unwrap();
    while !(BLOCKS - 2..BLOCKS).all(|index| world.reader.core(world.copy).has(index)) {
        world.step();
    }
    let between = world.fetched() - before;
    assert!(between < 20, "{between} blocks came before it");
}

/// Returns how many steps all blocks take, and how many blocks were sent, by sources of so many bytes a step.
fn steps(rates: &[usize]) -> (u64, u64) {
    let mut world = World::new(rates, BLOCKS);
    world.reader.want(world.copy, 0..u64::MAX).unwrap();
    let steps = world.until_whole(BLOCKS);
    (steps, world.fetched())
}

struct World {
    sources: Vec<(Replicator, CoreId)>,
    reader: Replicator,
    copy: CoreId,
    lines: Vec<Line>,
    steps: u64,
}

/// A line from a source to the reader, that takes so many bytes a step; back, it takes any.
struct Line {
    ends: (PeerId, PeerId),
    rate: usize,
    /// Bytes that may pass.
    credit: usize,
    on_the_way: VecDeque<Vec<u8>>,
    blocks: u64,
}

impl World {
    fn new(rates: &[usize], blocks: u64) -> Self {
        let sources: Vec<_> = rates.iter().map(|_| source(blocks)).collect();
        let mut reader = Replicator::new(Arc::new(MemoryStore::default()));
        let copy = reader.open(sources[0].0.core(sources[0].1).key()).unwrap();
        reader.want(copy, 0..1).unwrap();
        let mut world = Self { sources, reader, copy, lines: Vec::new(), steps: 0 };
        for (source, rate) in rates.iter().enumerate() {
            let ends =
                (world.sources[source].0.connect(shake(Role::Responder)), world.reader.connect(shake(Role::Initiator)));
            world.lines.push(Line {
                ends,
                rate: *rate,
                credit: usize::MAX / 2,
                on_the_way: VecDeque::new(),
                blocks: 0,
            });
        }
        // The heads and the first block come at once.
        (0..20).for_each(|_| world.step());
        world.lines.iter_mut().for_each(|line| (line.credit, line.blocks) = (0, 0));
        world.steps = 0;
        world
    }

    /// Lets a step pass, for all lines alike.
    fn step(&mut self) {
        self.steps += 1;
        for (line, (source, _)) in self.lines.iter_mut().zip(&mut self.sources) {
            let mut back = Vec::new();
            while self.reader.poll_frame(line.ends.1, &mut back).unwrap() {
                source.handle_frame(line.ends.0, std::mem::take(&mut back).into()).unwrap();
            }
            let mut frame = Vec::new();
            while line.on_the_way.len() < 4 && source.poll_frame(line.ends.0, &mut frame).unwrap() {
                line.on_the_way.push_back(std::mem::take(&mut frame));
            }
            line.credit += line.rate;
            while line.on_the_way.front().is_some_and(|frame| frame.len() <= line.credit) {
                let frame = line.on_the_way.pop_front().unwrap();
                line.credit -= frame.len();
                line.blocks += (frame.len() / BLOCK_BYTES) as u64;
                self.reader.handle_frame(line.ends.1, frame.into()).unwrap();
            }
        }
        self.reader.commit().unwrap();
        self.reader.check_books(self.copy);
        if self.steps.is_multiple_of(TICK_STEPS) {
            self.lines.iter().for_each(|line| self.reader.tick(line.ends.1).unwrap());
        }
    }

    fn until_whole(&mut self, length: u64) -> u64 {
        let before = self.steps;
        self.reader.want(self.copy, 0..u64::MAX).unwrap();
        while self.reader.core(self.copy).contiguous_length() < length {
            self.step();
            assert!(self.steps - before < 1_000_000, "never whole");
        }
        self.steps - before
    }

    fn fetched(&self) -> u64 {
        self.lines.iter().map(|line| line.blocks).sum()
    }
}

fn source(blocks: u64) -> (Replicator, CoreId) {
    let mut replicator = Replicator::new(Arc::new(MemoryStore::default()));
    let pair = KeyPair::from_seed(&[1; 32]);
    let core = replicator.open_writable(Manifest::single(Signer::new(pair.public())), pair).unwrap();
    append(&mut replicator, core, blocks);
    (replicator, core)
}

fn append(replicator: &mut Replicator, core: CoreId, blocks: u64) {
    let block = Bytes::from(vec![7; BLOCK_BYTES]);
    replicator.append(core, &(0..blocks).map(|_| block.clone()).collect::<Vec<_>>()).unwrap();
    replicator.commit().unwrap();
}

fn shake(role: Role) -> Handshake {
    Handshake { role, remote: PublicKey([7; 32]), hash: [3; 64], tx: [0; 32], rx: [0; 32] }
}

const BLOCK_BYTES: usize = 64 << 10;
const BLOCKS: u64 = 2_000;
/// Bytes a step: one block and its proof.
const FAST: usize = BLOCK_BYTES + 1_000;
/// A tick comes this seldom: with a step of a millisecond it is five seconds, as in the node.
const TICK_STEPS: u64 = 5_000;

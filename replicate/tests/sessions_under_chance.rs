//! Replicators over lines that delay, break and come back, and processes that crash: in the end all hold the same.
//!
//! `ANYPATH_LONG=1` runs thousands of seeds instead of hundreds.
#![allow(
    clippy::disallowed_methods,
    clippy::single_range_in_vec_init,
    reason = "the long run is asked for by the environment; a goal is a range, one or more"
)]
#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use anypath_replicate::core::{Manifest, Signer};
use anypath_replicate::replicator::{CoreId, PeerId, Replicator};
use anypath_replicate::store::{Batch, MemoryStore, Store};
use anypath_wire::{Handshake, KeyPair, PublicKey, Role};
use bytes::Bytes;

#[test]
fn whatever_happens_on_the_way_all_get_what_they_want() {
    let seeds = if std::env::var_os("ANYPATH_LONG").is_some() { 5_000 } else { 200 };
    let mut forks = 0;
    for seed in 0..seeds {
        let mut world = World::new(seed);
        for _ in 0..400 {
            world.act();
        }
        world.heal();
        world.check();
        forks += u64::from(world.nodes[0].core().fork() > 0);
    }
    assert!(forks > seeds / 4, "only {forks} of {seeds} runs had a fork");
}

/// One writer, then readers; and the lines between them.
struct World {
    seed: u64,
    chance: Chance,
    nodes: Vec<Node>,
    lines: Vec<Line>,
}

struct Node {
    replicator: Replicator,
    store: Arc<MemoryStore>,
    id: CoreId,
    /// A commit under way.
    committing: Option<Batch>,
    /// What it wants; the writer, nothing.
    goals: Vec<Range<u64>>,
}

/// A connection; `ways` are the frames from its first end to its second, and back.
struct Line {
    ends: [(usize, PeerId); 2],
    ways: [VecDeque<Vec<u8>>; 2],
}

impl World {
    fn new(seed: u64) -> Self {
        let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut nodes = vec![Node::writer()];
        let key = *nodes[0].core().key();
        for _ in 0..1 + chance.below(3) {
            let full = chance.below(2) == 0;
            let goals =
                if full { std::iter::once(0..u64::MAX).collect() } else { (0..3).map(|_| chance.range(60)).collect() };
            nodes.push(Node::reader(&key, goals));
        }
        Self { seed, chance, nodes, lines: Vec::new() }
    }

    /// Does one thing.
    fn act(&mut self) {
        let node = self.chance.below(self.nodes.len() as u64) as usize;
        match self.chance.below(40) {
            0 => self.write(),
            1 => self.truncate(),
            2 => self.cut(),
            3 | 4 => self.connect_any(),
            5 if self.chance.below(4) == 0 => self.crash(node),
            6 => self.tick(),
            7..12 => self.nodes[node].commit(self.chance.below(2) == 0),
            12..26 => self.send(),
            _ => self.deliver(),
        }
        self.nodes.iter_mut().for_each(|node| while node.replicator.poll_event().is_some() {});
    }

    fn write(&mut self) {
        let blocks = 1 + self.chance.below(20);
        let blocks: Vec<_> = (0..blocks).map(|_| self.chance.block()).collect();
        self.nodes[0].append(&blocks);
    }

    fn truncate(&mut self) {
        let length = self.nodes[0].core().length();
        if length > 0 {
            let kept = self.chance.below(length);
            let id = self.nodes[0].id;
            self.nodes[0].replicator.truncate(id, kept, None).unwrap();
            self.write();
        }
    }

    fn cut(&mut self) {
        if let Some(at) = self.any_line() {
            let line = self.lines.swap_remove(at);
            line.ends.into_iter().for_each(|(node, peer)| self.nodes[node].replicator.disconnect(peer).unwrap());
        }
    }

    fn connect_any(&mut self) {
        let count = self.nodes.len() as u64;
        let (a, b) = (self.chance.below(count) as usize, self.chance.below(count) as usize);
        if a != b && !self.lines.iter().any(|line| line.joins(a, b)) {
            self.connect(a, b);
        }
    }

    fn connect(&mut self, a: usize, b: usize) {
        let shake = |role| Handshake { role, remote: PublicKey([7; 32]), hash: [3; 64], tx: [0; 32], rx: [0; 32] };
        let first = self.nodes[a].replicator.connect(shake(Role::Initiator));
        let second = self.nodes[b].replicator.connect(shake(Role::Responder));
        self.lines.push(Line { ends: [(a, first), (b, second)], ways: Default::default() });
    }

    /// Ends a process without a commit, and starts it again.
    fn crash(&mut self, node: usize) {
        let (dead, alive) = std::mem::take(&mut self.lines).into_iter().partition(|line| line.ends_at(node));
        self.lines = alive;
        for (other, peer) in Vec::<Line>::into_iter(dead).flat_map(|line| line.ends).filter(|end| end.0 != node) {
            self.nodes[other].replicator.disconnect(peer).unwrap();
        }
        let key = *self.nodes[node].core().key();
        self.nodes[node].restart(&key);
    }

    fn tick(&mut self) {
        if let Some(at) = self.any_line() {
            let (node, peer) = self.lines[at].ends[self.chance.below(2) as usize];
            self.nodes[node].replicator.tick(peer).unwrap();
        }
    }

    fn send(&mut self) {
        if let Some(at) = self.any_line() {
            let way = self.chance.below(2) as usize;
            self.send_on(at, way);
        }
    }

    fn send_on(&mut self, at: usize, way: usize) -> bool {
        let line = &mut self.lines[at];
        let (node, peer) = line.ends[way];
        let mut frame = Vec::new();
        let sent = line.ways[way].len() < 4 && self.nodes[node].replicator.poll_frame(peer, &mut frame).unwrap();
        if sent {
            line.ways[way].push_back(frame);
        }
        sent
    }

    fn deliver(&mut self) {
        if let Some(at) = self.any_line() {
            let way = self.chance.below(2) as usize;
            self.deliver_on(at, way);
        }
    }

    fn deliver_on(&mut self, at: usize, way: usize) -> bool {
        let line = &mut self.lines[at];
        let Some(frame) = line.ways[way].pop_front() else { return false };
        let (node, peer) = line.ends[1 - way];
        self.nodes[node].replicator.handle_frame(peer, frame.into()).unwrap();
        true
    }

    fn any_line(&mut self) -> Option<usize> {
        let count = self.lines.len() as u64;
        (count > 0).then(|| self.chance.below(count) as usize)
    }

    /// Joins all nodes, each through one that has everything, and lets them finish.
    fn heal(&mut self) {
        self.write();
        for node in 1..self.nodes.len() {
            let whole: Vec<_> = (0..node).filter(|other| self.nodes[*other].is_whole()).collect();
            let through = whole[self.chance.below(whole.len() as u64) as usize];
            if !self.lines.iter().any(|line| line.joins(node, through)) {
                self.connect(node, through);
            }
        }
        for _ in 0..3_000 {
            let mut moved = false;
            for at in 0..self.lines.len() {
                moved |= self.send_on(at, 0) | self.send_on(at, 1);
                moved |= self.deliver_on(at, 0) | self.deliver_on(at, 1);
            }
            for node in &mut self.nodes {
                moved |= node.replicator.is_staged() || node.committing.is_some();
                node.commit(false);
                node.commit(true);
            }
            if !moved {
                return;
            }
        }
        panic!("seed {} never comes to rest", self.seed);
    }

    fn check(&self) {
        let source = self.nodes[0].core();
        for (number, node) in self.nodes.iter().enumerate().skip(1) {
            let (seed, core) = (self.seed, node.core());
            let remotes: Vec<_> = node.replicator.remotes(node.id).collect();
            let heads = ((core.fork(), core.length()), (source.fork(), source.length()));
            assert_eq!(heads.0, heads.1, "seed {seed}, reader {number}: {remotes:?}");
            let wanted = node.goals.iter().flat_map(|run| run.start..run.end.min(source.length()));
            for index in wanted {
                let (theirs, ours) = (source.block(index).unwrap(), core.block(index).unwrap());
                assert!(ours.is_some(), "seed {seed}, reader {number} lacks {index} of {:?}: {remotes:?}", node.goals);
                assert_eq!(ours, theirs, "seed {seed}, reader {number}, block {index}");
            }
        }
    }
}

impl Node {
    fn writer() -> Self {
        let store = Arc::new(MemoryStore::default());
        let mut replicator = Replicator::new(store.clone());
        let id = open_writable(&mut replicator);
        replicator.commit().unwrap();
        Self { replicator, store, id, committing: None, goals: Vec::new() }
    }

    fn reader(key: &PublicKey, goals: Vec<Range<u64>>) -> Self {
        let store = Arc::new(MemoryStore::default());
        let replicator = Replicator::new(store.clone());
        let mut node = Self { replicator, store, id: open_nowhere(), committing: None, goals };
        node.restart(key);
        node
    }

    fn restart(&mut self, key: &PublicKey) {
        self.replicator = Replicator::new(self.store.clone());
        self.committing = None;
        if self.goals.is_empty() {
            self.id = open_writable(&mut self.replicator);
        } else {
            self.id = self.replicator.open(key).unwrap();
        }
        for run in self.goals.clone() {
            self.replicator.want(self.id, run).unwrap();
        }
    }

    /// Ends the commit that is under way, or else makes one, of which the end may be left for later.
    fn commit(&mut self, wholly: bool) {
        match self.committing.take() {
            Some(batch) => self.store.commit(batch).unwrap(),
            None if !wholly => return self.committing = Some(self.replicator.begin_commit().unwrap()),
            None => return self.replicator.commit().unwrap(),
        }
        self.replicator.finish_commit().unwrap();
    }

    fn append(&mut self, blocks: &[Bytes]) {
        self.replicator.append(self.id, blocks).unwrap();
    }

    fn core(&self) -> &anypath_replicate::core::Core {
        self.replicator.core(self.id)
    }

    fn is_whole(&self) -> bool {
        self.goals.is_empty() || self.goals[0] == (0..u64::MAX)
    }
}

impl Line {
    fn ends_at(&self, node: usize) -> bool {
        self.ends.iter().any(|end| end.0 == node)
    }

    fn joins(&self, a: usize, b: usize) -> bool {
        self.ends_at(a) && self.ends_at(b)
    }
}

fn open_writable(replicator: &mut Replicator) -> CoreId {
    let pair = KeyPair::from_seed(&[1; 32]);
    replicator.open_writable(Manifest::single(Signer::new(pair.public())), pair).unwrap()
}

/// Returns the id of a core in no replicator of interest, to be replaced.
fn open_nowhere() -> CoreId {
    open_writable(&mut Replicator::new(Arc::new(MemoryStore::default())))
}

/// A small generator of chance (xorshift64*), so that a seed says everything.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn range(&mut self, end: u64) -> Range<u64> {
        let start = self.below(end);
        start..start + 1 + self.below(end / 3)
    }

    fn block(&mut self) -> Bytes {
        let bytes = self.below(300);
        (0..bytes).map(|_| self.next() as u8).collect()
    }
}

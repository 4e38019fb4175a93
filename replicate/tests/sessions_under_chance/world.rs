//! Nodes, strangers, and the lines between them, all moved by one source of chance.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use anypath_replicate::core::{Core, Manifest, Signer};
use anypath_replicate::replicator::{CoreId, Event, FrameError, PeerId, Replicator};
use anypath_replicate::store::{Batch, MemoryStore, Store};
use anypath_wire::{Handshake, KeyPair, PublicKey, Role};
use bytes::Bytes;

use crate::foe::{Foe, Library};

/// One writer, then readers, then strangers; and the lines between them.
pub(super) struct World {
    seed: u64,
    chance: Chance,
    nodes: Vec<Node>,
    foes: Vec<Foe>,
    lines: Vec<Line>,
    /// Whether a stranger has the writer's key and signs another history.
    two_faced: bool,
    pub(super) named: Named,
}

/// What the nodes have said of others.
#[derive(Debug, Default)]
pub(super) struct Named {
    /// Peers that sent what does not verify.
    pub(super) refused: u64,
    /// Connections that were ended.
    pub(super) ended: u64,
    /// Proofs of two histories.
    pub(super) conflicts: u64,
    /// Whether an honest node was refused, since another history was believed before its own.
    pub(super) torn: bool,
}

struct Node {
    replicator: Replicator,
    store: Arc<MemoryStore>,
    id: CoreId,
    /// A commit under way.
    committing: Option<Batch>,
    /// What it wants; the writer, nothing.
    goals: Vec<Range<u64>>,
    /// Whether it takes what it did not ask for.
    takes_pushes: bool,
}

/// One end of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Node(usize, PeerId),
    Foe(usize),
}

/// A connection; `ways` are the frames from its first end to its second, and back.
struct Line {
    ends: [End; 2],
    ways: [VecDeque<Vec<u8>>; 2],
}

impl World {
    pub(super) fn new(seed: u64, foes: u64) -> Self {
        let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut nodes = vec![Node::writer()];
        let key = *nodes[0].core().key();
        for _ in 0..1 + chance.below(3) {
            let full = chance.below(2) == 0;
            let goals =
                if full { std::iter::once(0..u64::MAX).collect() } else { (0..3).map(|_| chance.range(60)).collect() };
            let takes_pushes = chance.below(3) == 0;
            nodes.push(Node::reader(&key, goals, takes_pushes));
        }
        let two_faced = foes > 0 && chance.below(8) == 0;
        let foes = (0..foes).map(|_| Foe::new(&mut chance, key)).collect();
        Self { seed, chance, nodes, foes, lines: Vec::new(), two_faced, named: Named::default() }
    }

    /// Does one thing.
    pub(super) fn act(&mut self) {
        let node = self.chance.below(self.nodes.len() as u64) as usize;
        let kinds = if self.foes.is_empty() { 40 } else { 55 };
        match self.chance.below(kinds) {
            0 => self.write(),
            1 if !self.two_faced => self.truncate(),
            2 => self.cut(),
            3 | 4 => self.connect_any(),
            5 if self.chance.below(4) == 0 => self.crash(node),
            6 => self.tick(),
            7..12 => self.nodes[node].commit(self.chance.below(2) == 0),
            12 => self.hurry(node),
            13..26 => self.send(),
            40.. => self.mischief(),
            _ => self.deliver(),
        }
        self.hear();
    }

    fn write(&mut self) {
        let blocks = 1 + self.chance.below(20);
        let blocks: Vec<_> = (0..blocks).map(|_| self.chance.block()).collect();
        let before = self.nodes[0].core().length();
        self.nodes[0].append(&blocks);
        if self.chance.below(3) == 0 {
            let Node { replicator, id, .. } = &mut self.nodes[0];
            replicator.push(*id, &(before..before + blocks.len() as u64));
        }
    }

    /// Lets somebody wait for blocks of those a reader wants.
    fn hurry(&mut self, node: usize) {
        let Node { replicator, id, goals, .. } = &mut self.nodes[node];
        if let Some(run) = goals.first() {
            let start = run.start + self.chance.below(40).min(run.end - 1 - run.start);
            replicator.want_now(*id, start..(start + 3).min(run.end)).unwrap();
        }
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
            self.hang_up(&line);
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
        let first = self.nodes[a].replicator.connect(shake(Role::Initiator));
        let second = self.nodes[b].replicator.connect(shake(Role::Responder));
        self.lines.push(Line { ends: [End::Node(a, first), End::Node(b, second)], ways: Default::default() });
    }

    /// Ends a process without a commit, and starts it again.
    fn crash(&mut self, node: usize) {
        let (dead, alive) = std::mem::take(&mut self.lines).into_iter().partition(|line| line.ends_at(node));
        self.lines = alive;
        let dead: Vec<Line> = dead;
        dead.iter().for_each(|line| self.hang_up(line));
        let key = *self.nodes[node].core().key();
        self.nodes[node].restart(&key);
    }

    fn tick(&mut self) {
        if let Some(at) = self.any_line() {
            let end = self.lines[at].ends[self.chance.below(2) as usize];
            self.tick_at(end);
        }
    }

    fn tick_at(&mut self, end: End) {
        if let End::Node(node, peer) = end {
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
        let Some(line) = self.lines.get(at).filter(|line| line.ways[way].len() < 4) else { return false };
        let (end, mut frame) = (line.ends[way], Vec::new());
        let sent = match end {
            End::Node(node, peer) => self.nodes[node].replicator.poll_frame(peer, &mut frame),
            End::Foe(foe) => Ok(self.foes[foe].poll_frame(&mut frame)),
        };
        let Some(sent) = self.judge(at, sent) else { return true };
        if sent {
            self.lines[at].ways[way].push_back(frame);
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
        let Some(line) = self.lines.get_mut(at) else { return false };
        let Some(frame) = line.ways[way].pop_front() else { return false };
        let taken = match line.ends[1 - way] {
            End::Node(node, peer) => self.nodes[node].replicator.handle_frame(peer, frame.into()).map(|()| true),
            End::Foe(foe) => {
                self.foes[foe].handle_frame(frame);
                Ok(true)
            }
        };
        self.judge(at, taken).is_none_or(|taken| taken)
    }

    fn any_line(&mut self) -> Option<usize> {
        let count = self.lines.len() as u64;
        (count > 0).then(|| self.chance.below(count) as usize)
    }

    /// Ends a line whose stranger broke the rules; honest nodes never do.
    fn judge(&mut self, at: usize, outcome: Result<bool, FrameError>) -> Option<bool> {
        let seed = self.seed;
        let error = match outcome {
            Ok(outcome) => return Some(outcome),
            Err(error) => error,
        };
        assert!(!matches!(error, FrameError::Store(_)), "seed {seed}: {error}");
        assert!(self.lines[at].has_foe(), "seed {seed}: an honest node is blamed: {error}");
        let line = self.lines.swap_remove(at);
        self.hang_up(&line);
        self.named.ended += 1;
        None
    }

    fn hang_up(&mut self, line: &Line) {
        for end in line.ends {
            match end {
                End::Node(node, peer) => self.nodes[node].replicator.disconnect(peer).unwrap(),
                End::Foe(foe) => self.foes[foe].hang_up(),
            }
        }
    }

    /// Lets a stranger come, or do something.
    fn mischief(&mut self) {
        let foe = self.chance.below(self.foes.len() as u64) as usize;
        if self.foes[foe].is_connected() {
            let library = Library { store: self.nodes[0].store.clone(), two_faced: self.two_faced };
            return self.foes[foe].act(&mut self.chance, &library);
        }
        let node = self.chance.below(self.nodes.len() as u64) as usize;
        let peer = self.nodes[node].replicator.connect(shake(Role::Responder));
        let library = Library { store: self.nodes[0].store.clone(), two_faced: self.two_faced };
        self.foes[foe].connect(&mut self.chance, &library);
        self.lines.push(Line { ends: [End::Foe(foe), End::Node(node, peer)], ways: Default::default() });
    }

    /// Listens to what the nodes have to say.
    fn hear(&mut self) {
        let lines = &self.lines;
        for (number, node) in self.nodes.iter_mut().enumerate() {
            while let Some(event) = node.replicator.poll_event() {
                match event {
                    Event::Refused { peer, .. } => {
                        let foe =
                            !lines.iter().any(|line| line.ends.contains(&End::Node(number, peer)) && !line.has_foe());
                        assert!(foe || self.two_faced, "seed {}: an honest node is refused by {number}", self.seed);
                        self.named.refused += 1;
                        self.named.torn |= !foe;
                    }
                    Event::Conflict { .. } => self.named.conflicts += 1,
                    _ => {}
                }
            }
        }
    }

    /// Joins all nodes, each through one that has everything, and lets them finish, whatever the strangers do.
    pub(super) fn heal(&mut self) {
        self.write();
        for node in 1..self.nodes.len() {
            let whole: Vec<_> = (0..node).filter(|other| self.nodes[*other].is_whole()).collect();
            let through = whole[self.chance.below(whole.len() as u64) as usize];
            if !self.lines.iter().any(|line| line.joins(node, through)) {
                self.connect(node, through);
            }
        }
        self.settle();
        for _ in 0..if self.foes.is_empty() { 0 } else { TICKS_MAX } {
            for at in 0..self.lines.len() {
                self.lines[at].ends.into_iter().for_each(|end| self.tick_at(end));
            }
            self.settle();
        }
    }

    /// Carries frames until there are none; strangers grow tired meanwhile.
    fn settle(&mut self) {
        for round in 0..3_000 {
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
            if !self.foes.is_empty() && round < 30 {
                self.mischief();
            }
            self.hear();
            if !moved {
                return;
            }
        }
        panic!("seed {} never comes to rest", self.seed);
    }

    /// Returns whether a node's peer is a node.
    fn is_honest(&self, node: usize, peer: PeerId) -> bool {
        let line = self.lines.iter().find(|line| line.ends.contains(&End::Node(node, peer)));
        line.is_some_and(|line| !line.has_foe())
    }

    pub(super) fn has_forked(&self) -> bool {
        self.nodes[0].core().fork() > 0
    }

    pub(super) fn check_books(&self) {
        self.nodes.iter().for_each(|node| node.replicator.check_books(node.id));
    }

    pub(super) fn check(&self) {
        let frozen = self.nodes.iter().any(|node| node.core().is_frozen());
        assert!(!frozen || self.two_faced && self.named.conflicts > 0, "seed {}: frozen without a reason", self.seed);
        if frozen || self.named.torn {
            return;
        }
        let source = self.nodes[0].core();
        for (number, node) in self.nodes.iter().enumerate().skip(1) {
            let (seed, core) = (self.seed, node.core());
            let remotes: Vec<_> =
                node.replicator.remotes(node.id).filter(|remote| self.is_honest(number, remote.peer)).collect();
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
        Self { replicator, store, id, committing: None, goals: Vec::new(), takes_pushes: false }
    }

    fn reader(key: &PublicKey, goals: Vec<Range<u64>>, takes_pushes: bool) -> Self {
        let store = Arc::new(MemoryStore::default());
        let replicator = Replicator::new(store.clone());
        let mut node = Self { replicator, store, id: open_nowhere(), committing: None, goals, takes_pushes };
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
        self.replicator.allow_push(self.id, self.takes_pushes);
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
        if !self.core().is_frozen() {
            self.replicator.append(self.id, blocks).unwrap();
        }
    }

    fn core(&self) -> &Core {
        self.replicator.core(self.id)
    }

    fn is_whole(&self) -> bool {
        self.goals.is_empty() || self.goals[0] == (0..u64::MAX)
    }
}

impl Line {
    fn ends_at(&self, node: usize) -> bool {
        self.ends.iter().any(|end| matches!(end, End::Node(at, _) if *at == node))
    }

    fn has_foe(&self) -> bool {
        self.ends.iter().any(|end| matches!(end, End::Foe(_)))
    }

    fn joins(&self, a: usize, b: usize) -> bool {
        self.ends_at(a) && self.ends_at(b)
    }
}

fn shake(role: Role) -> Handshake {
    Handshake { role, remote: PublicKey([7; 32]), hash: [3; 64], tx: [0; 32], rx: [0; 32] }
}

pub(super) fn open_writable(replicator: &mut Replicator) -> CoreId {
    let pair = KeyPair::from_seed(&[1; 32]);
    replicator.open_writable(Manifest::single(Signer::new(pair.public())), pair).unwrap()
}

/// Returns the id of a core in no replicator of interest, to be replaced.
fn open_nowhere() -> CoreId {
    open_writable(&mut Replicator::new(Arc::new(MemoryStore::default())))
}

/// A small generator of chance (xorshift64*), so that a seed says everything.
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(super) fn range(&mut self, end: u64) -> Range<u64> {
        let start = self.below(end);
        start..start + 1 + self.below(end / 3)
    }

    pub(super) fn block(&mut self) -> Bytes {
        let bytes = self.below(300);
        (0..bytes).map(|_| self.next() as u8).collect()
    }
}

/// Ticks after which a stranger's silence holds up nobody: two for each question that one peer is asked at a time.
const TICKS_MAX: u32 = 12;

//! A writer and its readers, each on a disk that may fail at any operation: no two signed heads that contradict each
//! other ever leave the writer, nothing is served that does not verify, and in the end all hold the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use anypath_replicate::core::{Core, Manifest, Signer, leaf};
use anypath_replicate::replicator::{CoreId, Event, FrameError, PeerId, Replicator};
use anypath_replicate::store::Durability;
use anypath_wire::{Handshake, Hash, KeyPair, PublicKey, Role};

use crate::{Chance, SimulatedDisk, open, seeds};

#[test]
fn a_writer_that_loses_power_never_contradicts_itself() {
    let (mut cuts, mut heads) = (0, 0);
    for seed in seeds(150) {
        let mut world = World::new(seed);
        (0..250).for_each(|_| world.act());
        world.heal();
        world.check();
        cuts += world.cuts;
        heads += world.heads.len() as u64;
    }
    let seeds = seeds(150).end;
    assert!(cuts > 2 * seeds && heads > 4 * seeds, "{cuts} cuts and {heads} heads in {seeds} runs prove nothing");
}

/// The writer first, then readers; each joined to all others that have power.
struct World {
    seed: u64,
    chance: Chance,
    nodes: Vec<Node>,
    /// Every head that left the writer.
    heads: BTreeMap<(u64, u64), Hash>,
    cuts: u64,
}

struct Node {
    writes: bool,
    durability: Durability,
    disk: SimulatedDisk,
    replicator: Replicator,
    id: CoreId,
    /// By the other's place.
    peers: BTreeMap<usize, PeerId>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut chance = Chance::of(seed + 77);
        let nodes = (0..3).map(|place| Node::new(place == 0, &mut chance)).collect();
        let mut world = Self { seed, chance, nodes, heads: BTreeMap::new(), cuts: 0 };
        world.join();
        world
    }

    /// Does one thing.
    fn act(&mut self) {
        let place = self.chance.below(3) as usize;
        match self.chance.below(30) {
            0 => self.nodes[place].disk.fail_after(self.chance.below(60)),
            1 => self.lose_power(place),
            2..5 => self.write(),
            5..9 => self.commit(place),
            _ => {
                self.exchange(place);
            }
        }
    }

    fn write(&mut self) {
        let Node { replicator, id, .. } = &mut self.nodes[0];
        let length = replicator.core(*id).length();
        if length > 0 && self.chance.once_in(12) {
            replicator.truncate(*id, self.chance.below(length), None).unwrap();
        }
        let blocks: Vec<_> = (0..1 + self.chance.below(4)).map(|_| self.chance.block(600)).collect();
        replicator.append(*id, &blocks).unwrap();
    }

    fn commit(&mut self, place: usize) {
        if self.nodes[place].replicator.commit().is_err() {
            self.lose_power(place);
        }
    }

    /// Moves one frame from a node to each of the others.
    fn exchange(&mut self, from: usize) -> bool {
        let mut moved = false;
        for (to, peer) in self.nodes[from].peers.clone() {
            let mut frame = Vec::new();
            match self.nodes[from].replicator.poll_frame(peer, &mut frame) {
                Ok(true) => {
                    let back = self.nodes[to].peers[&from];
                    let handled = self.nodes[to].replicator.handle_frame(back, frame.into());
                    self.expect_sound(handled);
                    self.note_head(to);
                    moved = true;
                }
                polled => self.expect_sound(polled.map(drop)),
            }
        }
        moved
    }

    fn expect_sound(&self, outcome: Result<(), FrameError>) {
        if let Err(error) = outcome {
            panic!("seed {}: {error}", self.seed);
        }
    }

    /// Whatever a reader took over has left the writer.
    fn note_head(&mut self, place: usize) {
        let (seed, node) = (self.seed, &mut self.nodes[place]);
        while let Some(event) = node.replicator.poll_event() {
            assert!(!matches!(event, Event::Conflict { .. } | Event::Refused { .. }), "seed {seed}: {event:?}");
        }
        let core = node.replicator.core(node.id);
        assert!(!core.is_frozen(), "seed {seed}: node {place} saw two histories");
        if !node.writes && core.length() > 0 {
            let (head, hash) = ((core.fork(), core.length()), core.tree().hash());
            assert_eq!(*self.heads.entry(head).or_insert(hash), hash, "seed {seed}: two heads {head:?}");
        }
    }

    fn lose_power(&mut self, place: usize) {
        self.cuts += 1;
        for (other, peer) in std::mem::take(&mut self.nodes[place].peers) {
            let Node { replicator, peers, .. } = &mut self.nodes[other];
            replicator.disconnect(peer).unwrap();
            assert!(peers.remove(&place).is_some());
        }
        self.nodes[place].disk.fail_after(0);
        self.nodes[place].restart(&mut self.chance);
        check_blocks(self.nodes[place].core(), self.seed);
        self.join();
    }

    fn join(&mut self) {
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            if self.nodes[a].peers.contains_key(&b) {
                continue;
            }
            for (place, other, role) in [(a, b, Role::Initiator), (b, a, Role::Responder)] {
                let shake = Handshake { role, remote: PublicKey([7; 32]), hash: [3; 64], tx: [0; 32], rx: [0; 32] };
                let Node { replicator, peers, .. } = &mut self.nodes[place];
                peers.insert(other, replicator.connect(shake));
            }
        }
    }

    /// Gives everybody power for as long as it takes.
    fn heal(&mut self) {
        (0..3).for_each(|place| self.lose_power(place));
        self.write();
        for _ in 0..2_000 {
            let mut moved = false;
            for place in 0..3 {
                moved |= self.nodes[place].replicator.is_staged();
                self.nodes[place].replicator.commit().unwrap();
                moved |= self.exchange(place);
            }
            if !moved {
                return;
            }
        }
        panic!("seed {} never comes to rest", self.seed);
    }

    fn check(&self) {
        let (seed, whole) = (self.seed, self.nodes[0].core());
        for node in &self.nodes {
            let core = node.core();
            assert_eq!((core.fork(), core.length()), (whole.fork(), whole.length()), "seed {seed}");
            assert_eq!(core.contiguous_length(), whole.length(), "seed {seed}");
            assert_eq!(core.tree().hash(), whole.tree().hash(), "seed {seed}");
            check_blocks(core, seed);
        }
    }
}

/// Every block that would be served is the one its tree speaks of.
fn check_blocks(core: &Core, seed: u64) {
    for index in (0..core.length()).filter(|index| core.has(*index)) {
        let block = core.block(index).unwrap().unwrap_or_else(|| panic!("seed {seed}: block {index} is gone"));
        assert_eq!(core.node(2 * index).unwrap(), Some(leaf(index, &block)), "seed {seed}");
    }
}

impl Node {
    fn new(writes: bool, chance: &mut Chance) -> Self {
        let durability = if chance.once_in(4) { Durability::Full } else { Durability::Relaxed };
        let disk = SimulatedDisk::default();
        let (replicator, id) = start(&disk, durability, writes);
        Self { writes, durability, disk, replicator, id, peers: BTreeMap::new() }
    }

    fn restart(&mut self, chance: &mut Chance) {
        self.disk = self.disk.after_the_cut(chance);
        (self.replicator, self.id) = start(&self.disk, self.durability, self.writes);
    }

    fn core(&self) -> &Core {
        self.replicator.core(self.id)
    }
}

fn start(disk: &SimulatedDisk, durability: Durability, writes: bool) -> (Replicator, CoreId) {
    let pair = KeyPair::from_seed(&[1; 32]);
    let manifest = Manifest::single(Signer::new(pair.public()));
    let mut replicator = Replicator::new(Arc::new(open(disk, durability).unwrap()));
    let id = if writes {
        replicator.open_writable(manifest, pair).unwrap()
    } else {
        let id = replicator.open(&manifest.key()).unwrap();
        replicator.want(id, 0..u64::MAX).unwrap();
        id
    };
    (replicator, id)
}

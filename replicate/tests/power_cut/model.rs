//! Random batches over a disk that fails again and again: what is there is always the first so many batches, whole, and
//! no fewer than were promised.

use anypath_replicate::Node;
use anypath_replicate::store::{Batch, CoreChanges, DiskStore, Durability, MemoryStore, Store};
use anypath_wire::DiscoveryKey;
use bytes::Bytes;

use crate::{Chance, SimulatedDisk, open, seeds};

#[test]
fn whole_batches_survive_and_none_that_was_promised_is_lost() {
    let mut lost = 0;
    for seed in seeds(300) {
        let durability = if seed % 4 == 0 { Durability::Full } else { Durability::Relaxed };
        lost += Life::new(seed, durability).live();
    }
    assert!(lost > seeds(300).end / 4, "the simulation is too kind: only {lost} batches were lost");
}

#[test]
fn a_store_whose_making_fails_again_and_again_is_made_in_the_end() {
    for seed in 0..seeds(1_000).end {
        let (mut chance, mut disk) = (Chance::of(seed), SimulatedDisk::default());
        for _ in 0..3 {
            disk.fail_after(chance.below(25));
            drop(open(&disk, Durability::Relaxed));
            disk = disk.after_the_cut(&mut chance);
        }
        assert!(open(&disk, Durability::Relaxed).is_some());
    }
}

struct Life {
    seed: u64,
    chance: Chance,
    durability: Durability,
    disk: SimulatedDisk,
    /// Every batch that was tried, as far as it is there.
    batches: Vec<Batch>,
    /// How many of them must be there.
    promised: usize,
    /// How many were acknowledged and are gone, which only a relaxed store may do.
    lost: u64,
}

impl Life {
    fn new(seed: u64, durability: Durability) -> Self {
        let (chance, disk) = (Chance::of(seed + 1), SimulatedDisk::default());
        Self { seed, chance, durability, disk, batches: Vec::new(), promised: 0, lost: 0 }
    }

    /// Lives through some power cuts; returns how many acknowledged batches were lost.
    fn live(mut self) -> u64 {
        for _ in 0..3 {
            let power = if self.chance.once_in(3) { self.chance.below(40) } else { self.chance.below(400) };
            self.disk.fail_after(power);
            if let Some(store) = open(&self.disk, self.durability) {
                self.check(&store);
                self.write(&store);
                // Closing it in order costs power as well.
                drop(store);
            }
            self.disk = self.disk.after_the_cut(&mut self.chance);
        }
        let store = open(&self.disk, self.durability).unwrap();
        self.check(&store);
        drop(store);
        let store = open(&self.disk, self.durability).unwrap();
        self.check(&store);
        self.lost
    }

    fn write(&mut self, store: &DiskStore) {
        for _ in 0..self.chance.below(60) {
            let batch = self.batch();
            let lasting = batch.cores.iter().any(|changes| changes.lasting);
            self.batches.push(batch.clone());
            match store.commit(batch) {
                Ok(()) if lasting || self.durability == Durability::Full => self.promised = self.batches.len(),
                Ok(()) => {}
                Err(_) => {
                    assert!(self.disk.is_dead(), "seed {}", self.seed);
                    return;
                }
            }
        }
    }

    fn batch(&mut self) -> Batch {
        let number = self.batches.len() as u64;
        let mut records = vec![("number".to_owned(), Some(number.to_le_bytes().to_vec()))];
        if self.seed.is_multiple_of(8) && self.chance.once_in(8) {
            // Soon enough of it to settle the journal, in some runs: it takes most of the time.
            records.push(("large".to_owned(), Some(vec![number as u8; 2 << 20])));
        }
        let cores = (0..self.chance.below(3)).map(|_| self.changes(number)).collect();
        Batch { records, cores }
    }

    fn changes(&mut self, number: u64) -> CoreChanges {
        let chance = &mut self.chance;
        let first = chance.below(BLOCKS);
        let count = chance.below(BLOCKS - first);
        let hash = [number as u8; 32];
        let bytes_max = if chance.once_in(8) { 20_000 } else { 100 };
        CoreChanges {
            head: Some(number.to_le_bytes().to_vec()),
            lasting: chance.once_in(12),
            truncate: chance.once_in(6).then(|| chance.below(BLOCKS)),
            clear: if chance.once_in(8) { std::iter::once(first / 2..first).collect() } else { Vec::new() },
            nodes: (2 * first..2 * (first + count)).map(|index| Node { index, size: number, hash }).collect(),
            blocks: (first..first + count).map(|index| (index, chance.block(bytes_max))).collect(),
            bitfield: vec![(chance.below(3), Box::new([number as u8; 4096]))],
            ..CoreChanges::new(DiscoveryKey([chance.below(CORES) as u8; 32]))
        }
    }

    /// Compares everything with a store in memory after as many batches.
    fn check(&mut self, store: &DiskStore) {
        let seed = self.seed;
        let last = store.record("number").unwrap().map(|row| u64::from_le_bytes(row.try_into().unwrap()) as usize);
        let there = last.map_or(0, |last| last + 1);
        assert!(there >= self.promised, "seed {seed}: {} batches promised, {there} are there", self.promised);
        assert!(there <= self.batches.len(), "seed {seed}: {there} batches of {}", self.batches.len());
        self.lost += (self.batches.len() - there) as u64;
        self.batches.truncate(there);
        let model = MemoryStore::new();
        self.batches.iter().for_each(|batch| model.commit(batch.clone()).unwrap());
        assert_eq!(store.record("large").unwrap(), model.record("large").unwrap(), "seed {seed}");
        assert_eq!(store.cores().unwrap(), model.cores().unwrap(), "seed {seed}");
        for core in model.cores().unwrap() {
            assert_eq!(store.head(&core).unwrap(), model.head(&core).unwrap(), "seed {seed}");
            assert_eq!(store.bitfield(&core).unwrap(), model.bitfield(&core).unwrap(), "seed {seed}");
            for index in 0..BLOCKS {
                let blocks: [Option<Bytes>; 2] =
                    [store.block(&core, index).unwrap(), model.block(&core, index).unwrap()];
                assert_eq!(blocks[0], blocks[1], "seed {seed}, block {index} after {there} batches");
            }
            for index in 0..2 * BLOCKS {
                let nodes = [store.node(&core, index).unwrap(), model.node(&core, index).unwrap()];
                assert_eq!(nodes[0], nodes[1], "seed {seed}, node {index} after {there} batches");
            }
        }
    }
}

/// Cores in play.
const CORES: u64 = 3;
/// Blocks of each, at most.
const BLOCKS: u64 = 40;

//! What every store does alike: the same cases over memory and disk, and random batches over both side by side.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::collections::BTreeSet;
use std::ops::Range;

use anypath_replicate::Node;
use anypath_replicate::store::{Batch, Config, CoreChanges, DiskStore, Durability, MemoryStore, Page, Store};
use anypath_wire::DiscoveryKey;
use bytes::Bytes;

const CORE: DiscoveryKey = DiscoveryKey([7; 32]);
const OTHER: DiscoveryKey = DiscoveryKey([8; 32]);

/// Runs a case over a store of each kind.
fn over_all(case: impl Fn(&dyn Store)) {
    case(&MemoryStore::new());
    for durability in [Durability::Relaxed, Durability::Full] {
        let folder = tempfile::tempdir().unwrap();
        case(&DiskStore::open(folder.path(), Config { durability, ..Config::default() }).unwrap());
    }
}

fn node(index: u64, salt: u8) -> Node {
    Node { index, size: index * 3 + u64::from(salt), hash: [salt; 32] }
}

fn block(index: u64, salt: u8) -> (u64, Bytes) {
    (index, Bytes::from(vec![salt; (index % 5) as usize]))
}

fn page(bits: &[usize]) -> Page {
    let mut page = Box::new([0; 4096]);
    bits.iter().for_each(|bit| page[bit / 8] |= 1 << (bit % 8));
    page
}

fn commit(store: &dyn Store, changes: CoreChanges) {
    store.commit(Batch { cores: vec![changes], ..Batch::default() }).unwrap();
}

fn blocks_held(store: &dyn Store, indices: impl Iterator<Item = u64>) -> Vec<u64> {
    indices.filter(|index| store.block(&CORE, *index).unwrap().is_some()).collect()
}

fn nodes_held(store: &dyn Store, indices: impl Iterator<Item = u64>) -> Vec<u64> {
    indices.filter(|index| store.node(&CORE, *index).unwrap().is_some()).collect()
}

#[test]
fn an_empty_store_knows_nothing() {
    over_all(|store| {
        assert_eq!(store.record("primary key").unwrap(), None);
        assert_eq!(store.cores().unwrap(), []);
        assert_eq!(store.info(&CORE).unwrap(), None);
        assert_eq!(store.head(&CORE).unwrap(), None);
        assert_eq!(store.node(&CORE, 0).unwrap(), None);
        assert_eq!(store.block(&CORE, 0).unwrap(), None);
        assert_eq!(store.bitfield(&CORE).unwrap(), []);
        store.commit(Batch::default()).unwrap();
    });
}

#[test]
fn what_is_committed_is_read_back() {
    over_all(|store| {
        let changes = CoreChanges {
            info: Some(vec![1]),
            head: Some(vec![]),
            nodes: vec![node(1, 1), node(0, 1), node(1 << 50, 1)],
            blocks: vec![block(3, 1), (4, Bytes::new()), (u64::MAX - 1, Bytes::from_static(b"far"))],
            bitfield: vec![(0, page(&[0, 32767])), (9, page(&[5]))],
            ..CoreChanges::new(CORE)
        };
        let records = vec![("primary key".to_owned(), Some(vec![5; 32])), ("gone".to_owned(), None)];
        store.commit(Batch { records, cores: vec![changes, CoreChanges::new(OTHER)] }).unwrap();
        assert_eq!(store.record("primary key").unwrap(), Some(vec![5; 32]));
        assert_eq!(store.cores().unwrap(), [CORE, OTHER]);
        assert_eq!(store.info(&CORE).unwrap(), Some(vec![1]));
        assert_eq!(store.head(&CORE).unwrap(), Some(vec![]));
        assert_eq!(store.node(&CORE, 1).unwrap(), Some(node(1, 1)));
        assert_eq!(store.node(&CORE, 1 << 50).unwrap(), Some(node(1 << 50, 1)));
        assert_eq!(nodes_held(store, 0..100), [0, 1]);
        assert_eq!(store.block(&CORE, 3).unwrap(), Some(block(3, 1).1));
        assert_eq!(store.block(&CORE, 4).unwrap(), Some(Bytes::new()));
        assert_eq!(store.block(&CORE, u64::MAX - 1).unwrap().unwrap(), "far");
        assert_eq!(store.block(&CORE, u64::MAX).unwrap(), None);
        assert_eq!(blocks_held(store, 0..100), [3, 4]);
        assert_eq!(store.bitfield(&CORE).unwrap(), [(0, page(&[0, 32767])), (9, page(&[5]))]);
        assert_eq!(store.info(&OTHER).unwrap(), None);
        assert_eq!(store.block(&OTHER, 3).unwrap(), None);
    });
}

#[test]
fn later_values_replace_earlier_ones_and_absent_ones_leave_them() {
    over_all(|store| {
        let first = CoreChanges {
            info: Some(vec![1]),
            head: Some(vec![2]),
            nodes: vec![node(4, 1)],
            blocks: (0..600).map(|index| block(index, 1)).collect(),
            bitfield: vec![(0, page(&[1])), (1, page(&[2]))],
            ..CoreChanges::new(CORE)
        };
        commit(store, first);
        let twice = (50, Bytes::from_static(b"earlier"));
        let second = CoreChanges {
            head: Some(vec![3]),
            nodes: vec![node(4, 2), node(4, 3)],
            blocks: vec![twice, block(510, 2), block(511, 2), block(512, 2), (50, Bytes::from_static(b"later"))],
            bitfield: vec![(1, page(&[]))],
            ..CoreChanges::new(CORE)
        };
        commit(store, second);
        assert_eq!(store.info(&CORE).unwrap(), Some(vec![1]));
        assert_eq!(store.head(&CORE).unwrap(), Some(vec![3]));
        assert_eq!(store.node(&CORE, 4).unwrap(), Some(node(4, 3)));
        assert_eq!(store.block(&CORE, 50).unwrap().unwrap(), "later");
        for index in (0..600).filter(|index| *index != 50) {
            let salt = if (510..=512).contains(&index) { 2 } else { 1 };
            assert_eq!(store.block(&CORE, index).unwrap(), Some(block(index, salt).1), "block {index}");
        }
        assert_eq!(store.bitfield(&CORE).unwrap(), [(0, page(&[1]))]);
        store.commit(Batch { records: vec![("a".into(), Some(vec![1])), ("a".into(), None)], cores: vec![] }).unwrap();
        assert_eq!(store.record("a").unwrap(), None);
    });
}

#[test]
fn truncation_keeps_what_lies_wholly_below() {
    // Eight leaves and their parents: the tree of the flat-tree paper.
    let tree = || (0..15).map(|index| node(index, 1)).collect::<Vec<_>>();
    let kept: [(u64, &[u64]); 6] = [
        (0, &[]),
        (1, &[0]),
        (4, &[0, 1, 2, 3, 4, 5, 6]),
        (5, &[0, 1, 2, 3, 4, 5, 6, 8]),
        (7, &[0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 12]),
        (8, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]),
    ];
    over_all(|store| {
        for (length, nodes) in kept {
            let blocks = (0..8).map(|index| block(index, 1)).collect();
            commit(store, CoreChanges { nodes: tree(), blocks, ..CoreChanges::new(CORE) });
            commit(store, CoreChanges { truncate: Some(length), ..CoreChanges::new(CORE) });
            assert_eq!(nodes_held(store, 0..15), nodes, "to {length}");
            assert_eq!(blocks_held(store, 0..8), Vec::from_iter(0..length), "to {length}");
        }
    });
}

#[test]
fn truncation_comes_before_the_rest_of_its_batch() {
    over_all(|store| {
        let blocks = (0..20).map(|index| block(index, 1)).collect();
        commit(store, CoreChanges { blocks, bitfield: vec![(0, page(&[19]))], ..CoreChanges::new(CORE) });
        commit(
            store,
            CoreChanges {
                truncate: Some(10),
                nodes: vec![node(30, 2)],
                blocks: vec![block(10, 2), block(15, 2)],
                ..CoreChanges::new(CORE)
            },
        );
        assert_eq!(blocks_held(store, 0..20), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15]);
        assert_eq!(store.block(&CORE, 15).unwrap(), Some(block(15, 2).1));
        assert_eq!(nodes_held(store, 0..40), [30]);
        assert_eq!(store.bitfield(&CORE).unwrap(), [(0, page(&[19]))], "pages come with the batch or stay");
    });
}

#[test]
fn forgotten_blocks_leave_everything_else() {
    over_all(|store| {
        let first = CoreChanges {
            nodes: vec![node(12, 1)],
            blocks: (0..1100).map(|index| block(index, 1)).collect(),
            bitfield: vec![(0, page(&[6]))],
            ..CoreChanges::new(CORE)
        };
        commit(store, first);
        let second = CoreChanges {
            clear: vec![5..10, 500..1000, 7..7, 2000..u64::MAX],
            blocks: vec![block(7, 2), block(600, 2)],
            ..CoreChanges::new(CORE)
        };
        commit(store, second);
        let held: Vec<u64> = (0..5).chain([7]).chain(10..500).chain([600]).chain(1000..1100).collect();
        assert_eq!(blocks_held(store, 0..1200), held);
        assert_eq!(store.block(&CORE, 600).unwrap(), Some(block(600, 2).1), "what the batch brings comes later");
        assert_eq!(store.block(&CORE, 1000).unwrap(), Some(block(1000, 1).1));
        assert_eq!(store.node(&CORE, 12).unwrap(), Some(node(12, 1)));
        assert_eq!(store.bitfield(&CORE).unwrap(), [(0, page(&[6]))], "pages come with the batch or stay");
    });
}

#[test]
fn extreme_truncations_are_harmless() {
    over_all(|store| {
        commit(store, CoreChanges { nodes: vec![node(5, 1)], blocks: vec![block(5, 1)], ..CoreChanges::new(CORE) });
        for length in [u64::MAX, u64::MAX / 2, u64::MAX / 2 + 1, 1 << 62, 1 << 40] {
            commit(store, CoreChanges { truncate: Some(length), ..CoreChanges::new(CORE) });
            assert_eq!(store.node(&CORE, 5).unwrap(), Some(node(5, 1)));
            assert_eq!(blocks_held(store, 0..8), [5]);
        }
    });
}

#[test]
fn disk_and_memory_agree_over_random_batches_and_reopening() {
    for seed in 0..8 {
        let mut random = Random(seed);
        let durability = if seed % 2 == 0 { Durability::Relaxed } else { Durability::Full };
        let config = Config { durability, ..Config::default() };
        let folder = tempfile::tempdir().unwrap();
        let memory = MemoryStore::new();
        let mut disk = DiskStore::open(folder.path(), config.clone()).unwrap();
        for step in 0..60 {
            let batch = random.batch();
            memory.commit(batch.clone()).unwrap();
            disk.commit(batch).unwrap();
            if random.below(5) == 0 {
                drop(disk);
                disk = DiskStore::open(folder.path(), config.clone()).unwrap();
            }
            if step % 6 == 5 {
                assert_same(&disk, &memory, seed);
            }
        }
    }
}

fn assert_same(disk: &dyn Store, memory: &dyn Store, seed: u64) {
    assert_eq!(disk.cores().unwrap(), memory.cores().unwrap(), "seed {seed}");
    for name in ["a", "b"] {
        assert_eq!(disk.record(name).unwrap(), memory.record(name).unwrap(), "seed {seed}");
    }
    for core in memory.cores().unwrap() {
        assert_eq!(disk.info(&core).unwrap(), memory.info(&core).unwrap(), "seed {seed}");
        assert_eq!(disk.head(&core).unwrap(), memory.head(&core).unwrap(), "seed {seed}");
        assert_eq!(disk.bitfield(&core).unwrap(), memory.bitfield(&core).unwrap(), "seed {seed}");
        for index in 0..2 * SPAN {
            assert_eq!(disk.node(&core, index).unwrap(), memory.node(&core, index).unwrap(), "seed {seed}, {index}");
            assert_eq!(disk.block(&core, index).unwrap(), memory.block(&core, index).unwrap(), "seed {seed}, {index}");
        }
    }
}

/// Blocks a random core may have: enough for several runs and groups.
const SPAN: u64 = 1400;

/// SplitMix64: small, seeded, good enough to choose cases.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn salt(&mut self) -> u8 {
        self.next() as u8
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.below(3) == 0).then(|| make(self))
    }

    fn batch(&mut self) -> Batch {
        let value = self.maybe(|random| vec![random.salt()]);
        let name = if self.below(2) == 0 { "a" } else { "b" };
        let cores = (0..self.below(4)).map(|_| self.changes()).collect();
        Batch { records: vec![(name.to_owned(), value)], cores }
    }

    fn changes(&mut self) -> CoreChanges {
        let salt = self.salt();
        CoreChanges {
            core: DiscoveryKey([self.below(3) as u8; 32]),
            info: self.maybe(|random| vec![random.salt()]),
            head: self.maybe(|random| vec![random.salt(); 100]),
            truncate: self.maybe(|random| random.below(SPAN)),
            clear: (0..self.below(3)).map(|_| self.stretch()).collect(),
            nodes: self.indices(2 * SPAN).map(|index| node(index, salt)).collect(),
            blocks: self.indices(SPAN).map(|index| block(index, salt)).collect(),
            bitfield: (0..self.below(3)).map(|number| (number, page(&[self.below(32768) as usize]))).collect(),
            lasting: self.below(2) == 0,
        }
    }

    fn stretch(&mut self) -> Range<u64> {
        let start = self.below(SPAN);
        start..start + self.below(600)
    }

    /// A stretch, or a handful here and there.
    fn indices(&mut self, limit: u64) -> impl Iterator<Item = u64> + use<> {
        let indices: BTreeSet<u64> = if self.below(2) == 0 {
            let start = self.below(limit);
            (start..limit.min(start + self.below(700))).collect()
        } else {
            (0..self.below(20)).map(|_| self.below(limit)).collect()
        };
        indices.into_iter()
    }
}

//! Tests: bees are what sorted maps are, at every version, whole, in parts, and when somebody means harm.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::block::{Level, encode_block};
use super::held::{Held, ready};
use super::*;

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }
}

type Model = BTreeMap<Bytes, Bytes>;

fn key(number: u64) -> Bytes {
    format!("k{number}").into()
}

fn put(number: u64, value: impl Into<Bytes>) -> Change {
    Change::Put { key: key(number), value: value.into() }
}

/// Makes random changes and returns the core and the model of each version that was committed.
fn grow(seed: u64, commits: u64, keys: u64, batch_max: u64) -> (Held, Vec<(u64, Model)>) {
    let (mut core, mut bee, mut dice) = (Held::default(), Bee::default(), Dice(seed));
    let (mut model, mut versions) = (Model::new(), Vec::new());
    for _ in 0..commits {
        let mut changes = Vec::new();
        for _ in 0..=dice.roll(batch_max) {
            let number = dice.roll(keys);
            let deletes = dice.roll(100) < 40;
            changes.push(if deletes { Change::Delete { key: key(number) } } else { put(number, dice.0.to_string()) });
        }
        for change in &changes {
            match change {
                Change::Put { key, value } => _ = model.insert(key.clone(), value.clone()),
                Change::Delete { key } => _ = model.remove(key),
            }
        }
        let version = ready(bee.apply(&mut core, &changes).unwrap());
        versions.push((version, model.clone()));
    }
    (core, versions)
}

fn pairs(entries: Vec<Entry>) -> Vec<(Bytes, Bytes)> {
    entries.into_iter().map(|entry| (entry.key, entry.value.unwrap())).collect()
}

fn expected(model: &Model) -> Vec<(Bytes, Bytes)> {
    model.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Checks the sizes of all nodes of a version, and that all leaves are equally deep; returns how deep.
fn check_shape(core: &Held, place: Place, is_root: bool) -> usize {
    let block = read::read_block(core, place.seq).unwrap().unwrap();
    let level = read::read_level(&block, place, is_root).unwrap();
    assert!(level.keys.len() <= 8 && (is_root || level.keys.len() >= 4), "{place:?} has {} keys", level.keys.len());
    let depths: BTreeSet<usize> = level.children.iter().map(|child| check_shape(core, *child, false)).collect();
    assert!(depths.len() <= 1, "{place:?} has leaves at depths {depths:?}");
    1 + depths.first().copied().unwrap_or(0)
}

#[test]
fn every_version_stays_what_it_was() {
    for (seed, commits, keys, batch_max) in [(1, 1500, 60, 1), (2, 400, 400, 12), (3, 30, 3000, 300), (4, 600, 6, 3)] {
        let (core, versions) = grow(seed, commits, keys, batch_max);
        let mut bee = Bee::default();
        for (version, model) in &versions {
            let entries = ready(bee.range(&core, *version, Range::all()).unwrap());
            assert_eq!(pairs(entries), expected(model), "seed {seed}, version {version}");
            root(*version).into_iter().for_each(|place| _ = check_shape(&core, place, true));
        }
        let (version, model) = versions.last().unwrap();
        for number in 0..keys {
            let found = ready(bee.get(&core, *version, &key(number)).unwrap());
            assert_eq!(found.and_then(|entry| entry.value).as_ref(), model.get(&key(number)));
        }
    }
}

#[test]
fn a_writer_that_starts_anew_writes_the_same_blocks() {
    let mut cores = [Held::default(), Held::default()];
    let mut bee = Bee::default();
    let mut dice = Dice(9);
    for _ in 0..300 {
        let changes: Vec<Change> = (0..=dice.roll(9)).map(|_| put(dice.roll(500), "x")).collect();
        ready(bee.apply(&mut cores[0], &changes).unwrap());
        ready(Bee::default().apply(&mut cores[1], &changes).unwrap());
    }
    assert_eq!(cores[0].0, cores[1].0);
}

#[test]
fn nothing_is_written_where_nothing_changes() {
    let (mut core, mut bee) = (Held::default(), Bee::default());
    assert_eq!(ready(bee.apply(&mut core, &[]).unwrap()), 0);
    assert_eq!(ready(bee.apply(&mut core, &[Change::Delete { key: key(1) }]).unwrap()), 1);
    assert!(ready(header(&core).unwrap()).is_bee());
    ready(
        bee.apply(&mut core, &[put(1, "x"), Change::Delete { key: key(2) }, Change::Delete { key: key(1) }]).unwrap(),
    );
    assert_eq!(core.length(), 3);
    assert_eq!(ready(bee.range(&core, 3, Range::all()).unwrap()), []);
    assert!(ready(operation(&core, 2).unwrap()).deletion);
    assert_eq!(ready(bee.apply(&mut core, &[put(1, "")]).unwrap()), 4);
    assert_eq!(ready(bee.get(&core, 4, b"k1").unwrap()).unwrap().value.as_deref(), Some(&b""[..]));
}

#[test]
fn ranges_are_those_of_a_sorted_map() {
    let (core, versions) = grow(5, 40, 600, 60);
    let (version, model) = versions.last().unwrap();
    let (mut bee, mut dice) = (Bee::default(), Dice(6));
    let bound = |dice: &mut Dice| match dice.roll(5) {
        0 => Bound::Unbounded,
        1 | 2 => Bound::Included(key(dice.roll(700))),
        _ => Bound::Excluded(key(dice.roll(700))),
    };
    for _ in 0..400 {
        let mut range = Range::between(bound(&mut dice), bound(&mut dice));
        let mut found: Vec<_> = expected(model).into_iter().filter(|(key, _)| range.contains(key)).collect();
        assert_eq!(pairs(ready(bee.range(&core, *version, range.clone()).unwrap())), found);
        range.reverse = true;
        found.reverse();
        assert_eq!(pairs(ready(bee.range(&core, *version, range.clone()).unwrap())), found);
        let mut sparse = core.emptied();
        let mut walk = Walk::new(*version, range);
        let (entries, _) = follow(&mut walk, &core, &mut sparse);
        assert_eq!(pairs(entries), found);
    }
}

/// Walks while fetching everything that is named; returns the entries and the round trips.
fn follow(walk: &mut Walk, core: &Held, sparse: &mut Held) -> (Vec<Entry>, usize) {
    let (mut entries, mut trips) = (Vec::new(), 0);
    loop {
        match walk.next(sparse).unwrap() {
            Need::Ready(Some(entry)) => entries.push(entry),
            Need::Ready(None) => return (entries, trips),
            Need::Missing(seqs) => {
                assert!(sparse.fetch(core, &seqs) > 0, "nothing new was asked for");
                trips += 1;
            }
        }
    }
}

#[test]
fn a_cold_walk_takes_a_round_trip_a_storey() {
    let (mut core, mut bee) = (Held::default(), Bee::default());
    let changes: Vec<Change> = (0..5000).map(|number| put(number, "x")).collect();
    let version = ready(bee.apply(&mut core, &changes).unwrap());
    let depth = check_shape(&core, root(version).unwrap(), true);
    let mut sparse = core.emptied();
    let (entries, trips) = follow(&mut Walk::new(version, Range::all()), &core, &mut sparse);
    assert_eq!(entries.len(), 5000);
    assert!(trips <= depth + 1, "{trips} round trips for {depth} storeys");
    let mut sparse = core.emptied();
    let few = Range::between(Bound::Included(key(3000)), Bound::Included(key(3004)));
    let (entries, trips) = follow(&mut Walk::new(version, few), &core, &mut sparse);
    assert_eq!(entries.len(), 5);
    assert!(trips <= depth + 1, "{trips} round trips for {depth} storeys");
    let fetched = sparse.0.iter().flatten().count();
    assert!(fetched < 40 * depth, "{fetched} blocks were fetched for 5 entries");
}

#[test]
fn a_walk_over_more_than_it_may_keep_goes_on_in_order() {
    let (mut core, mut bee) = (Held::default(), Bee::default());
    let changes: Vec<Change> = (0..30_000).map(|number| put(number, "x")).collect();
    let version = ready(bee.apply(&mut core, &changes).unwrap());
    for tells in [true, false] {
        let (mut sparse, mut walk, mut dice) = (core.emptied(), Walk::new(version, Range::all()), Dice(1));
        let (mut entries, mut trips) = (0, 0);
        loop {
            match walk.next(&sparse).unwrap() {
                Need::Ready(Some(_)) => entries += 1,
                Need::Ready(None) => break,
                Need::Missing(seqs) => {
                    assert!(seqs.len() < 8500, "{} blocks were asked for at once", seqs.len());
                    let some: Vec<u64> = seqs.into_iter().filter(|_| dice.roll(3) > 0).collect();
                    sparse.fetch(&core, &some);
                    some.iter().filter(|_| tells).for_each(|seq| walk.arrived(*seq));
                    trips += 1;
                }
            }
        }
        assert_eq!(entries, 30_000);
        assert!(trips < 100, "{trips} round trips");
    }
}

#[test]
fn a_walk_told_what_arrived_reads_on_in_order() {
    let (core, versions) = grow(8, 30, 3000, 200);
    let (version, model) = versions.last().unwrap();
    let mut sparse = core.emptied();
    let mut walk = Walk::new(*version, Range::all());
    let (mut entries, mut dice) = (Vec::new(), Dice(3));
    loop {
        match walk.next(&sparse).unwrap() {
            Need::Ready(Some(entry)) => entries.push(entry),
            Need::Ready(None) => break,
            Need::Missing(seqs) => {
                let seq = seqs[dice.roll(seqs.len() as u64) as usize];
                assert_eq!(sparse.fetch(&core, &[seq]), 1);
                walk.arrived(seq);
            }
        }
    }
    assert_eq!(pairs(entries), expected(model));
}

#[test]
fn reads_and_writes_name_what_they_miss_and_succeed_when_it_is_there() {
    let (core, versions) = grow(11, 60, 2000, 80);
    let (version, model) = versions.last().unwrap();
    let depth = check_shape(&core, root(*version).unwrap(), true);
    for number in [0, 7, 1234, 99999] {
        let (mut sparse, mut bee, mut trips) = (core.emptied(), Bee::default(), 0);
        let found = loop {
            match bee.get(&sparse, *version, &key(number)).unwrap() {
                Need::Ready(found) => break found,
                Need::Missing(seqs) => assert!(sparse.fetch(&core, &seqs) > 0),
            }
            trips += 1;
        };
        assert_eq!(found.and_then(|entry| entry.value).as_ref(), model.get(&key(number)));
        assert!(trips <= depth + 2, "{trips} round trips for {depth} storeys");
    }
    let changes: Vec<Change> = (0..50).map(|number| put(number * 31, "new")).collect();
    let (mut whole, mut sparse, mut bee) = (core.clone(), core.emptied(), Bee::default());
    ready(bee.apply(&mut whole, &changes).unwrap());
    let mut bee = Bee::default();
    while let Need::Missing(seqs) = bee.apply(&mut sparse, &changes).unwrap() {
        assert_eq!(sparse.length(), core.length());
        assert!(sparse.fetch(&core, &seqs) > 0);
    }
    assert_eq!(sparse.0[core.0.len()..], whole.0[core.0.len()..]);
}

#[test]
fn differences_are_those_of_the_maps() {
    let (core, versions) = grow(12, 50, 800, 60);
    let mut dice = Dice(13);
    for _ in 0..60 {
        let (before, old) = &versions[dice.roll(50) as usize];
        let (after, new) = &versions[dice.roll(50) as usize];
        let mut sparse = core.emptied();
        let mut diff = Diff::new(*before, *after);
        let found = loop {
            match diff.next(&sparse).unwrap() {
                Need::Ready(found) => break found,
                Need::Missing(seqs) => assert!(sparse.fetch(&core, &seqs) > 0),
            }
        };
        let value = |entry: &Option<Entry>| entry.as_ref().and_then(|entry| entry.value.clone());
        let key = |found: &Difference| found.after.as_ref().or(found.before.as_ref()).unwrap().key.clone();
        let found: BTreeMap<_, _> =
            found.iter().map(|found| (key(found), (value(&found.before), value(&found.after)))).collect();
        let keys: BTreeSet<&Bytes> = old.keys().chain(new.keys()).collect();
        for key in keys {
            let sides = (old.get(key).cloned(), new.get(key).cloned());
            let same = sides.0 == sides.1;
            assert_eq!(found.get(key), (!same).then_some(&sides), "{key:?} between {before} and {after}");
        }
    }
}

#[test]
fn a_small_difference_is_found_without_reading_the_rest() {
    let (mut core, mut bee) = (Held::default(), Bee::default());
    let before = ready(bee.apply(&mut core, &(0..5000).map(|number| put(number, "x")).collect::<Vec<_>>()).unwrap());
    let after = ready(bee.apply(&mut core, &[put(77, "y"), Change::Delete { key: key(78) }]).unwrap());
    let mut held = core.clone();
    held.0[before as usize..].fill(None);
    for (mut sparse, blocks_max) in [(held, 2), (core.emptied(), 100)] {
        let (mut diff, mut fetched) = (Diff::new(before, after), 0);
        let found = loop {
            match diff.next(&sparse).unwrap() {
                Need::Ready(found) => break found,
                Need::Missing(seqs) => fetched += sparse.fetch(&core, &seqs),
            }
        };
        assert_eq!(found.len(), 2);
        assert!(found[0].after.is_some() && found[1].after.is_none());
        assert!(fetched <= blocks_max, "{fetched} blocks were fetched");
    }
}

type RawLevel<'a> = (&'a [u64], &'a [(u64, u64)]);

fn block(key: &'static str, levels: &[RawLevel<'_>]) -> Option<Bytes> {
    let level = |(keys, children): &RawLevel<'_>| Level {
        keys: keys.to_vec(),
        children: children.iter().map(|(seq, offset)| Place { seq: *seq, offset: *offset }).collect(),
    };
    Some(encode_block(key.as_bytes(), Some(b"v"), levels.iter().map(level)))
}

/// Reads and changes a bee in every way; says whether each way failed.
fn attempt(core: &Held) -> Vec<bool> {
    let (version, mut bee) = (core.length(), Bee::default());
    let mut failed = vec![bee.range(core, version, Range::all()).is_err()];
    let narrow = Range::between(Bound::Excluded("b".into()), Bound::Excluded("c".into()));
    failed.push(bee.range(core, version, narrow.clone()).is_err());
    failed.push(bee.range(core, version, Range { reverse: true, ..narrow }).is_err());
    failed.push(bee.get(core, version, b"bb").is_err());
    failed.push(Diff::new(1, version).next(core).is_err());
    for change in [Change::Put { key: "bb".into(), value: "".into() }, Change::Delete { key: "b".into() }] {
        failed.push(bee.apply(&mut core.clone(), &[change]).is_err());
    }
    failed
}

#[test]
fn hostile_trees_are_refused() {
    let header = Some(Header::plain().encode());
    let b = || block("b", &[(&[1], &[])]);
    let refused = |blocks: Vec<Option<Bytes>>| attempt(&Held(std::iter::once(header.clone()).chain(blocks).collect()));
    assert_eq!(refused(vec![b()]), [false; 7]);
    // A node under itself, a block from the future, the header as a block, a level that is not there, no keys.
    assert_eq!(refused(vec![b(), block("a", &[(&[1], &[(2, 0), (2, 0)])])]), [true; 7]);
    for children in [&[(3, 0), (1, 0)], &[(0, 0), (1, 0)], &[(1, 9), (1, 9)], &[(2, 1), (2, 1)]] {
        let level: &[RawLevel<'_>] = &[(&[1], children), (&[], &[])];
        let failed = refused(vec![b(), block("a", level)]);
        assert!(failed[0] && failed[4], "{children:?}: {failed:?}");
    }
    assert!(refused(vec![b(), block("a", &[(&[1], &[(1, 0)])])]).iter().all(|failed| *failed));
    assert!(refused(vec![b(), Some("x".into())]).iter().all(|failed| *failed));
    // The same key twice, keys in the wrong order, and a tree of a thousand storeys.
    let failed = refused(vec![b(), block("a", &[(&[1], &[(1, 0), (1, 0)])])]);
    assert!(failed[0] && failed[4]);
    assert!(refused(vec![b(), block("a", &[(&[1, 2], &[])])])[0]);
    let tower = (2..1000).map(|seq| block("a", &[(&[seq], &[(seq - 1, 0), (seq - 1, 0)])]));
    assert!(refused(std::iter::once(b()).chain(tower).collect())[0]);
    // Every node twice below the one above: endless for whoever looks ahead while the first key is missing.
    let fan = |leaf: u64| (leaf + 1..30).map(|seq| block("a", &[(&[seq - 1], &[(seq - 1, 0), (seq - 1, 0)])]));
    for leaf in [1, 2] {
        let leaves = [b(), block("c", &[(&[1], &[])])].into_iter().take(leaf as usize);
        let mut core = Held(std::iter::once(header.clone()).chain(leaves).chain(fan(leaf)).collect());
        core.0[1] = None;
        let mut walk = Walk::new(core.length(), Range::all());
        for _ in 0..20 {
            assert_eq!(walk.next(&core).unwrap(), Need::Missing(vec![1]));
        }
    }
}

#[test]
fn damaged_blocks_never_panic_or_hang() {
    let (core, _) = grow(21, 20, 300, 20);
    let mut dice = Dice(22);
    for _ in 0..1500 {
        let mut damaged = core.clone();
        for _ in 0..=dice.roll(20) {
            let at = dice.roll(core.length()) as usize;
            let mut bytes = damaged.0[at].as_ref().unwrap().to_vec();
            let byte = dice.roll(bytes.len() as u64) as usize;
            bytes[byte] = dice.roll(256) as u8;
            damaged.0[at] = Some(bytes.into());
        }
        attempt(&damaged);
    }
}

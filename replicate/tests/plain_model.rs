//! Bitfield, flat tree, hashes and proofs against the plainest model of each: a set, a recursion, all nodes in a map.
//!
//! `ANYPATH_LONG=1` tries a hundred times as many inputs.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
#![allow(clippy::disallowed_methods, reason = "the long run is asked for by the environment")]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use anypath_replicate::core::{Bitfield, Core, Manifest, Signer, flat_tree, leaf, parent, tree_hash};
use anypath_replicate::store::MemoryStore;
use anypath_replicate::{BlockRequest, HashRequest, Node, Proof, Request, SeekRequest, UpgradeRequest};
use anypath_wire::KeyPair;
use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::RngSeed;

/// A change of a bitfield.
#[derive(Debug, Clone)]
enum Change {
    Set(u64),
    SetRange(Range<u64>),
    ClearRange(Range<u64>),
    Truncate(u64),
}

/// Indices of which many lie at the borders of words and pages.
fn bit() -> impl Strategy<Value = u64> {
    prop_oneof![0..200u64, 32_700..32_900u64, (0..3u64, 0..3u64).prop_map(|(page, near)| page * 32_768 + near)]
}

fn change() -> impl Strategy<Value = Change> {
    let run = || (bit(), 0..600u64).prop_map(|(start, bits)| start..start + bits);
    prop_oneof![
        bit().prop_map(Change::Set),
        run().prop_map(Change::SetRange),
        run().prop_map(Change::ClearRange),
        bit().prop_map(Change::Truncate),
    ]
}

/// The same inputs in every run.
fn config() -> ProptestConfig {
    let cases = if std::env::var_os("ANYPATH_LONG").is_some() { 25_600 } else { 256 };
    ProptestConfig { cases, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_bitfield_is_a_set_of_numbers(changes in prop::collection::vec(change(), 1..24), from in bit()) {
        let (mut bits, mut model) = (Bitfield::default(), BTreeSet::new());
        for change in changes {
            match change {
                Change::Set(index) => assert_eq!(bits.set(index), model.insert(index)),
                Change::SetRange(range) => {
                    model.extend(range.clone());
                    bits.set_range(range);
                }
                Change::ClearRange(range) => {
                    model.retain(|index| !range.contains(index));
                    bits.clear_range(range);
                }
                Change::Truncate(end) => {
                    model.retain(|index| *index < end);
                    bits.truncate(end);
                }
            }
            prop_assert_eq!(bits.contiguous(), (0..).find(|index| !model.contains(index)).unwrap());
            prop_assert_eq!(bits.next_set(from), model.range(from..).next().copied());
            prop_assert_eq!(bits.next_unset(from), (from..).find(|index| !model.contains(index)).unwrap());
            prop_assert_eq!(bits.has(from), model.contains(&from));
            let word = (0..32).filter(|bit| model.contains(&(from / 32 * 32 + bit))).fold(0, |word, bit| word | 1 << bit);
            prop_assert_eq!(bits.word(from / 32), word);
        }
    }

    #[test]
    fn every_node_and_the_head_are_what_recursion_says(blocks in blocks()) {
        let (core, model) = (writer(&blocks), Model::of(&blocks));
        for (index, node) in &model.nodes {
            prop_assert_eq!(core.node(*index).unwrap(), Some(*node));
        }
        let length = blocks.len() as u64;
        prop_assert_eq!((0..4 * length).filter(|index| core.node(*index).unwrap().is_some()).count(), model.nodes.len());
        prop_assert_eq!(&core.tree().roots, &model.roots);
        prop_assert_eq!(core.tree().hash(), tree_hash(&model.roots));
    }

    #[test]
    fn a_proof_lists_what_the_model_lists(blocks in blocks(), at in any::<Index>(), start in any::<Index>(), levels in 0..8u64) {
        let (core, model) = (writer(&blocks), Model::of(&blocks));
        let length = blocks.len() as u64;
        let start = start.index(blocks.len()) as u64;
        let asked = Request { upgrade: Some(UpgradeRequest { start, length: length - start }), ..Request::default() };
        let upgrade = core.prove(&asked).unwrap().upgrade.unwrap();
        prop_assert_eq!(upgrade.nodes, model.growth(start));

        let index = at.index(blocks.len()) as u64;
        let asked = Request { block: Some(BlockRequest { index, nodes: levels }), ..Request::default() };
        let proof = core.prove(&asked).ok().map(|proof| proof.block.unwrap().nodes);
        prop_assert_eq!(proof, model.siblings(2 * index, levels));
    }

    #[test]
    fn whatever_is_changed_in_a_proof_it_brings_nothing_false(
        blocks in blocks(),
        held in any::<Index>(),
        request in request(),
        mutations in prop::collection::vec((0..9u8, any::<Index>(), any::<u64>()), 1..4),
    ) {
        let (core, model) = (writer(&blocks), Model::of(&blocks));
        let mut reader = reader_of(&blocks, held.index(blocks.len() + 1));
        let asked = request.fit(&core, &reader);
        let Ok(mut proof) = core.prove(&asked) else { return Ok(()) };
        mutations.iter().for_each(|(kind, at, value)| mutate(&mut proof, *kind, *at, *value));
        let before = (reader.length(), reader.tree().clone());
        match reader.accept(proof, &asked) {
            Ok(_) => prop_assert!(reader.tree() == &before.1 || reader.tree() == core.tree()),
            Err(_) => prop_assert_eq!(reader.tree(), &before.1),
        }
        for (index, block) in (0..).zip(&blocks) {
            let held = reader.block(index).unwrap();
            prop_assert!(held.is_none() || held.as_ref() == Some(block));
        }
        for (index, node) in &model.nodes {
            let held = reader.node(*index).unwrap();
            prop_assert!(held.is_none() || held.as_ref() == Some(node), "node {index}: {held:?}");
        }
    }
}

/// All nodes of a tree, and the roots, by recursion over the blocks.
struct Model {
    nodes: BTreeMap<u64, Node>,
    roots: Vec<Node>,
}

impl Model {
    fn of(blocks: &[Bytes]) -> Self {
        let mut model = Self { nodes: BTreeMap::new(), roots: Vec::new() };
        let mut start = 0;
        while start < blocks.len() {
            let bits = usize::BITS - 1 - (blocks.len() - start).leading_zeros();
            let root = model.subtree(blocks, start..start + (1 << bits));
            model.roots.push(root);
            start += 1 << bits;
        }
        model
    }

    fn subtree(&mut self, blocks: &[Bytes], range: Range<usize>) -> Node {
        let node = match range.len() {
            1 => leaf(range.start as u64, &blocks[range.start]),
            leaves => {
                let middle = range.start + leaves / 2;
                let (left, right) =
                    (self.subtree(blocks, range.start..middle), self.subtree(blocks, middle..range.end));
                parent(&left, &right).unwrap()
            }
        };
        self.nodes.insert(node.index, node);
        node
    }

    /// The largest nodes that hold only blocks from `start` on, left to right.
    fn growth(&self, start: u64) -> Vec<Node> {
        let whole = |index: &u64| flat_tree::first_leaf(*index) >= 2 * start;
        let largest = |index: &u64| whole(index) && !self.climb(*index).is_some_and(|above| whole(&above));
        self.nodes.values().filter(|node| largest(&node.index)).copied().collect()
    }

    /// The siblings on the way `levels` up, or `None` if that leaves the tree.
    fn siblings(&self, mut index: u64, levels: u64) -> Option<Vec<Node>> {
        let mut siblings = Vec::new();
        for _ in 0..levels {
            let above = self.climb(index)?;
            siblings.extend(
                self.nodes.values().filter(|node| node.index != index && self.climb(node.index) == Some(above)),
            );
            index = above;
        }
        Some(siblings)
    }

    /// The node whose leaves are those of `index` and as many beside them, if the tree has it.
    fn climb(&self, index: u64) -> Option<u64> {
        let (first, leaves) = (flat_tree::first_leaf(index), flat_tree::leaves(index));
        let double = |node: &&Node| flat_tree::leaves(node.index) == 2 * leaves;
        let above =
            |node: &&Node| (flat_tree::first_leaf(node.index)..=flat_tree::last_leaf(node.index)).contains(&first);
        self.nodes.values().filter(double).find(above).map(|node| node.index)
    }
}

/// A request before it is known of whom it is asked.
#[derive(Debug, Clone)]
struct Wish {
    kind: u8,
    at: Index,
    bytes: Index,
}

fn request() -> impl Strategy<Value = Wish> {
    (0..8u8, any::<Index>(), any::<Index>()).prop_map(|(kind, at, bytes)| Wish { kind, at, bytes })
}

impl Wish {
    /// A request that makes sense between these two.
    fn fit(&self, core: &Core, reader: &Core) -> Request {
        let (length, head) = (reader.length(), core.length());
        let block = self.at.index(head as usize) as u64;
        let node = 2 * block + u64::from(self.kind == 5);
        let upgrade = (length < head && (self.kind & 1 == 0 || block >= length))
            .then(|| UpgradeRequest { start: length, length: head - length });
        let seek = SeekRequest { bytes: self.bytes.index(core.byte_length() as usize + 1) as u64, padding: 0 };
        Request {
            block: (self.kind < 4).then(|| BlockRequest { index: block, nodes: reader.missing_nodes(2 * block) }),
            hash: matches!(self.kind, 4 | 5).then(|| HashRequest { index: node, nodes: reader.missing_nodes(node) }),
            seek: matches!(self.kind, 2 | 3 | 6).then_some(seek),
            upgrade,
            manifest: reader.manifest().is_none(),
        }
    }
}

/// Changes one thing in a proof.
fn mutate(proof: &mut Proof, kind: u8, at: Index, value: u64) {
    if kind == 0 {
        let Some(block) = &mut proof.block else { return };
        let mut bytes = block.value.to_vec();
        bytes.push(value as u8);
        let last = at.index(bytes.len());
        bytes.swap_remove(last);
        block.value = bytes.into();
        return;
    }
    if let (1, Some(upgrade)) = (kind, &mut proof.upgrade) {
        let byte = at.index(upgrade.signature.len());
        upgrade.signature[byte] ^= 1 << (value % 8);
        return;
    }
    let mut lists: Vec<&mut Vec<Node>> = Vec::new();
    lists.extend(proof.block.as_mut().map(|part| &mut part.nodes));
    lists.extend(proof.hash.as_mut().map(|part| &mut part.nodes));
    lists.extend(proof.seek.as_mut().map(|part| &mut part.nodes));
    lists
        .extend(proof.upgrade.as_mut().map(|part| [&mut part.nodes, &mut part.additional_nodes]).into_iter().flatten());
    lists.retain(|nodes| !nodes.is_empty());
    if lists.is_empty() {
        return;
    }
    let which = value as usize % lists.len();
    let nodes = &mut *lists[which];
    let place = at.index(nodes.len());
    match kind {
        2 => nodes[place].hash[value as usize % 32] ^= 1,
        3 => nodes[place].size = nodes[place].size.wrapping_add(value % 3).wrapping_sub(1),
        4 => nodes[place].index ^= 1 << (value % 4),
        5 => drop(nodes.remove(place)),
        6 => nodes.insert(place, nodes[place]),
        7 => nodes.reverse(),
        _ => nodes.swap(0, place),
    }
}

fn blocks() -> impl Strategy<Value = Vec<Bytes>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 0..12).prop_map(Bytes::from), 1..40)
}

fn writer(blocks: &[Bytes]) -> Core {
    let pair = KeyPair::from_seed(&[9; 32]);
    let manifest = Manifest::single(Signer::new(pair.public()));
    let mut core = Core::create(Arc::new(MemoryStore::new()), manifest, Some(pair));
    core.append(blocks).unwrap();
    core
}

/// A reader that knows the head of the first `length` blocks, and every third of them.
fn reader_of(blocks: &[Bytes], length: usize) -> Core {
    let shorter = writer(&blocks[..length]);
    let mut reader = Core::remote(Arc::new(MemoryStore::new()), *shorter.key());
    if length > 0 {
        let upgrade = Some(UpgradeRequest { start: 0, length: length as u64 });
        let asked = Request { upgrade, manifest: true, ..Request::default() };
        reader.accept(shorter.prove(&asked).unwrap(), &asked).unwrap();
    }
    for index in (0..length as u64).step_by(3) {
        let block = Some(BlockRequest { index, nodes: reader.missing_nodes(2 * index) });
        let asked = Request { block, ..Request::default() };
        reader.accept(shorter.prove(&asked).unwrap(), &asked).unwrap();
    }
    reader
}

//! Changes of one core that are not committed yet, laid over the store so that reads see them.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;

use super::cache::NodeCache;
use super::flat_tree;
use crate::Node;

/// What was changed since a commit.
#[derive(Debug, Clone, Default)]
struct Layer {
    truncate: Option<u64>,
    /// Runs of blocks that are forgotten; those in `blocks` came later.
    clear: Vec<Range<u64>>,
    nodes: BTreeMap<u64, Node>,
    blocks: BTreeMap<u64, Bytes>,
}

/// The changes to come, and those handed out for a commit.
#[derive(Debug, Default)]
pub(super) struct Staged {
    next: Layer,
    handed: Layer,
    bytes: usize,
}

type HandedOut = (Option<u64>, Vec<Range<u64>>, Vec<Node>, Vec<(u64, Bytes)>);

/// Where a read ends.
pub(super) enum Found<T> {
    /// Here.
    Here(T),
    /// Nowhere: it was truncated away.
    Gone,
    /// Only the store can tell.
    Below,
}

impl Staged {
    pub(super) fn put_node(&mut self, node: Node) {
        if self.next.nodes.insert(node.index, node).is_none() {
            self.bytes += size_of::<Node>();
        }
    }

    pub(super) fn put_block(&mut self, index: u64, block: Bytes) {
        self.bytes += block.len();
        self.next.blocks.insert(index, block);
    }

    pub(super) fn truncate(&mut self, length: u64) {
        self.next.truncate(length);
    }

    /// Forgets blocks; that they are gone is the bitfield's to say.
    pub(super) fn clear(&mut self, blocks: Range<u64>) {
        self.next.clear(blocks);
    }

    pub(super) fn node(&self, index: u64) -> Found<Node> {
        for layer in [&self.next, &self.handed] {
            match layer.node(index) {
                Found::Below => {}
                found => return found,
            }
        }
        Found::Below
    }

    pub(super) fn block(&self, index: u64) -> Found<Bytes> {
        for layer in [&self.next, &self.handed] {
            match layer.block(index) {
                Found::Below => {}
                found => return found,
            }
        }
        Found::Below
    }

    /// Returns the bytes staged since the last hand-out, roughly.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn next_is_empty(&self) -> bool {
        self.next.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.next.is_empty() && self.handed.is_empty()
    }

    /// Returns a truncation, the blocks to forget, the nodes and the blocks staged since the last
    /// [`committed`](Self::committed).
    pub(super) fn hand_out(&mut self) -> HandedOut {
        self.handed.merge(std::mem::take(&mut self.next));
        self.bytes = 0;
        let Layer { truncate, clear, nodes, blocks } = &self.handed;
        let blocks = blocks.iter().map(|(index, block)| (*index, block.clone()));
        (*truncate, clear.clone(), nodes.values().copied().collect(), blocks.collect())
    }

    /// Forgets what was handed out, but keeps its nodes at hand.
    pub(super) fn committed(&mut self, cache: &mut NodeCache) {
        let handed = std::mem::take(&mut self.handed);
        if handed.truncate.is_some() {
            cache.clear();
        }
        handed.nodes.into_iter().for_each(|(index, node)| cache.put(index, Some(node)));
    }
}

impl Layer {
    fn is_empty(&self) -> bool {
        self.truncate.is_none() && self.clear.is_empty() && self.nodes.is_empty() && self.blocks.is_empty()
    }

    fn truncate(&mut self, length: u64) {
        self.truncate = Some(self.truncate.map_or(length, |before| before.min(length)));
        self.nodes.retain(|index, _| flat_tree::is_below(*index, length));
        self.blocks.split_off(&length);
    }

    fn clear(&mut self, blocks: Range<u64>) {
        self.blocks.extract_if(blocks.clone(), |_, _| true).for_each(drop);
        self.clear.push(blocks);
    }

    fn merge(&mut self, later: Layer) {
        if self.is_empty() {
            *self = later;
            return;
        }
        if let Some(length) = later.truncate {
            self.truncate(length);
        }
        later.clear.into_iter().for_each(|blocks| self.clear(blocks));
        self.nodes.extend(later.nodes);
        self.blocks.extend(later.blocks);
    }

    fn node(&self, index: u64) -> Found<Node> {
        match self.nodes.get(&index) {
            Some(node) => Found::Here(*node),
            None if self.truncate.is_some_and(|length| !flat_tree::is_below(index, length)) => Found::Gone,
            None => Found::Below,
        }
    }

    fn block(&self, index: u64) -> Found<Bytes> {
        match self.blocks.get(&index) {
            Some(block) => Found::Here(block.clone()),
            None if self.truncate.is_some_and(|length| index >= length) => Found::Gone,
            None => Found::Below,
        }
    }
}

//! Changes of one core that are not committed yet, laid over the store so that reads see them.

#![expect(
    clippy::disallowed_types,
    reason = "looked up by index for every block, and never iterated where order shows"
)]

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use super::flat_tree;
use crate::Node;

/// What was changed since a commit.
#[derive(Debug, Clone, Default)]
struct Layer {
    truncate: Option<u64>,
    nodes: BTreeMap<u64, Node>,
    blocks: BTreeMap<u64, Bytes>,
}

/// The changes to come, those handed out for a commit, and nodes that were committed lately.
#[derive(Debug, Default)]
pub(super) struct Staged {
    next: Layer,
    handed: Layer,
    recent: HashMap<u64, Node>,
    bytes: usize,
}

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
        self.recent.retain(|index, _| flat_tree::is_below(*index, length));
    }

    pub(super) fn node(&self, index: u64) -> Found<Node> {
        for layer in [&self.next, &self.handed] {
            match layer.node(index) {
                Found::Below => {}
                found => return found,
            }
        }
        self.recent.get(&index).map_or(Found::Below, |node| Found::Here(*node))
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

    pub(super) fn is_empty(&self) -> bool {
        self.next.is_empty() && self.handed.is_empty()
    }

    /// Returns a truncation, the nodes and the blocks staged since the last [`committed`](Self::committed).
    pub(super) fn hand_out(&mut self) -> (Option<u64>, Vec<Node>, Vec<(u64, Bytes)>) {
        self.handed.merge(std::mem::take(&mut self.next));
        self.bytes = 0;
        let Layer { truncate, nodes, blocks } = &self.handed;
        let blocks = blocks.iter().map(|(index, block)| (*index, block.clone()));
        (*truncate, nodes.values().copied().collect(), blocks.collect())
    }

    /// Forgets what was handed out, but keeps its nodes at hand.
    pub(super) fn committed(&mut self) {
        let handed = std::mem::take(&mut self.handed);
        if self.recent.len() + handed.nodes.len() > RECENT_MAX {
            self.recent.clear();
        }
        let length = self.next.truncate.unwrap_or(u64::MAX >> 1);
        let nodes = handed.nodes.into_iter().filter(|(index, _)| flat_tree::is_below(*index, length));
        self.recent.extend(nodes.take(RECENT_MAX));
    }
}

impl Layer {
    fn is_empty(&self) -> bool {
        self.truncate.is_none() && self.nodes.is_empty() && self.blocks.is_empty()
    }

    fn truncate(&mut self, length: u64) {
        self.truncate = Some(self.truncate.map_or(length, |before| before.min(length)));
        self.nodes.retain(|index, _| flat_tree::is_below(*index, length));
        self.blocks.split_off(&length);
    }

    fn merge(&mut self, later: Layer) {
        if self.is_empty() {
            *self = later;
            return;
        }
        if let Some(length) = later.truncate {
            self.truncate(length);
        }
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

/// Most nodes kept at hand after their commit: about a mebibyte a core, the paths of the last blocks.
const RECENT_MAX: usize = 16_384;

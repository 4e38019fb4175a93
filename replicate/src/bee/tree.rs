//! The tree a writer changes: nodes in memory, loaded as they are needed, and written as blocks.
//!
//! It keeps the reference's shape exactly, down to the order of levels in a block: nodes and the links to them
//! are objects of their own, shared between the index of a block not yet written and the tree, so that a link
//! that changes again before the append leaves the earlier block.

use std::cmp::Ordering;

use bytes::Bytes;

use super::block::{Level, Place, encode_block};
use super::read::{Source, Stop};
use super::{BeeError, Change, DEPTH_MAX, root};
use crate::Blocks;

/// The newest tree of a bee, as far as it has been looked at.
#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    links: Vec<Link>,
    root: Option<usize>,
    version: u64,
}

#[derive(Debug)]
struct Node {
    keys: Vec<Key>,
    children: Vec<usize>,
    changed: bool,
}

#[derive(Debug, Clone)]
struct Key {
    seq: u64,
    bytes: Option<Bytes>,
}

/// Where a child is written, and the child itself once it was loaded.
#[derive(Debug)]
struct Link {
    place: Place,
    node: Option<usize>,
}

/// An operation before it is a block: the links to the nodes it changed, by level.
struct Operation<'a> {
    seq: u64,
    key: &'a Bytes,
    value: Option<&'a Bytes>,
    index: Vec<usize>,
}

impl Tree {
    /// Makes changes to the tree of `version` and returns the blocks to append to it.
    ///
    /// If it stops, the tree is as if nothing had been asked.
    pub(super) fn apply<B: Blocks>(
        &mut self,
        source: &mut Source<'_, B>,
        version: u64,
        changes: &[Change],
    ) -> Result<Vec<Bytes>, Stop> {
        if self.version != version || self.nodes.len() > NODES_MAX {
            *self = Self { version, ..Self::default() };
        }
        let blocks = self.change_all(source, changes);
        match &blocks {
            Ok(blocks) => self.version += blocks.len() as u64,
            Err(_) => *self = Self::default(),
        }
        blocks
    }

    fn change_all<B: Blocks>(&mut self, source: &mut Source<'_, B>, changes: &[Change]) -> Result<Vec<Bytes>, Stop> {
        if let (None, Some(place)) = (self.root, root(self.version)) {
            self.root = Some(self.load(source, place, true)?);
        }
        let mut operations = Vec::with_capacity(changes.len());
        for change in changes {
            let seq = self.version + operations.len() as u64;
            let (key, value) = match change {
                Change::Put { key, value } => (key, Some(value)),
                Change::Delete { key } => (key, None),
            };
            let changed_root = match value {
                Some(_) => Some(self.put(source, seq, key)?),
                None => self.delete(source, key)?,
            };
            if let Some(root) = changed_root {
                self.root = Some(root);
                operations.push(Operation { seq, key, value, index: self.index(root, seq) });
            }
        }
        Ok(self.encode(operations))
    }

    /// Puts a key and returns the root.
    fn put<B: Blocks>(&mut self, source: &mut Source<'_, B>, seq: u64, key: &Bytes) -> Result<usize, Stop> {
        let target = Key { seq, bytes: Some(key.clone()) };
        let root = match self.root {
            Some(root) => root,
            None => self.create(Vec::new(), Vec::new()),
        };
        let (path, found) = self.descend(source, root, key)?;
        path.iter().for_each(|node| self.nodes[*node].changed = true);
        let Some((leaf, above)) = path.split_last() else { return Ok(root) };
        match found {
            Ok(at) => {
                self.nodes[*leaf].keys[at] = target;
                Ok(root)
            }
            Err(at) => {
                self.nodes[*leaf].keys.insert(at, target);
                Ok(self.split_upwards(*leaf, above, root))
            }
        }
    }

    /// Splits nodes that are too large, from a leaf up, and returns the root.
    fn split_upwards(&mut self, leaf: usize, above: &[usize], root: usize) -> usize {
        let mut node = leaf;
        let mut above = above.iter().rev();
        while self.nodes[node].keys.len() >= NODE_KEYS_SPLIT {
            let (median, right) = self.split(node);
            let right = self.link(right);
            let Some(parent) = above.next() else {
                let left = self.link(node);
                return self.create(vec![median], vec![left, right]);
            };
            let at = self.child_position(*parent, node);
            self.nodes[*parent].keys.insert(at, median);
            self.nodes[*parent].children.insert(at + 1, right);
            node = *parent;
        }
        root
    }

    /// Moves the right half of a node to a new one and returns it with the key between them.
    fn split(&mut self, node: usize) -> (Key, usize) {
        let left = &mut self.nodes[node];
        let right_len = left.keys.len() / 2;
        let mut keys = left.keys.split_off(left.keys.len() - right_len - 1);
        let median = keys.remove(0);
        let children = match left.children.len() {
            0 => Vec::new(),
            count => left.children.split_off(count - right_len - 1),
        };
        (median, self.create(keys, children))
    }

    /// Takes a key away and returns the root, or `None` if it is not there.
    fn delete<B: Blocks>(&mut self, source: &mut Source<'_, B>, key: &Bytes) -> Result<Option<usize>, Stop> {
        let Some(root) = self.root else { return Ok(None) };
        let (mut path, found) = self.descend(source, root, key)?;
        let (Ok(at), Some(node)) = (found, path.last().copied()) else { return Ok(None) };
        if self.nodes[node].children.is_empty() {
            self.nodes[node].keys.remove(at);
        } else {
            self.replace_from_leaf(source, node, at, &mut path)?;
        }
        path.iter().for_each(|node| self.nodes[*node].changed = true);
        self.rebalance(source, path, root).map(Some)
    }

    /// Replaces an inner key by its neighbour from the fuller of the nearest two leaves, adding the way there to
    /// the path.
    fn replace_from_leaf<B: Blocks>(
        &mut self,
        source: &mut Source<'_, B>,
        node: usize,
        at: usize,
        path: &mut Vec<usize>,
    ) -> Result<(), Stop> {
        let left = self.edge(source, node, at, Side::Right)?;
        let right = self.edge(source, node, at + 1, Side::Left)?;
        let fill = |path: &[usize]| path.last().map_or(0, |leaf| self.nodes[*leaf].keys.len());
        let from_right = fill(&left) < fill(&right);
        let way = if from_right { right } else { left };
        path.extend(&way);
        let Some(leaf) = way.last().map(|leaf| &mut self.nodes[*leaf].keys) else { return Ok(()) };
        let key = if from_right { Some(leaf.remove(0)) } else { leaf.pop() };
        key.into_iter().for_each(|key| self.nodes[node].keys[at] = key);
        Ok(())
    }

    /// Returns the nodes from a child down to the leaf at one edge of it.
    fn edge<B: Blocks>(
        &mut self,
        source: &mut Source<'_, B>,
        node: usize,
        at: usize,
        side: Side,
    ) -> Result<Vec<usize>, Stop> {
        let mut way = vec![self.child(source, node, at)?];
        while let Some(last) = way.last().copied().filter(|last| !self.nodes[*last].children.is_empty()) {
            self.check_depth(way.len())?;
            let at = match side {
                Side::Left => 0,
                Side::Right => self.nodes[last].children.len() - 1,
            };
            way.push(self.child(source, last, at)?);
        }
        Ok(way)
    }

    /// Refills nodes that are too small, from the end of the path up, and returns the root.
    fn rebalance<B: Blocks>(
        &mut self,
        source: &mut Source<'_, B>,
        path: Vec<usize>,
        root: usize,
    ) -> Result<usize, Stop> {
        for pair in path.windows(2).rev() {
            let (parent, node) = (pair[0], pair[1]);
            if self.nodes[node].keys.len() >= NODE_KEYS_MIN {
                return Ok(root);
            }
            let at = self.child_position(parent, node);
            let last = self.nodes[parent].children.len() - 1;
            let left = if at > 0 { Some(self.child(source, parent, at - 1)?) } else { None };
            let right = if at < last { Some(self.child(source, parent, at + 1)?) } else { None };
            for sibling in left.iter().chain(&right) {
                if self.nodes[*sibling].children.is_empty() != self.nodes[node].children.is_empty() {
                    return Err(BeeError::Uneven { version: self.version }.into());
                }
            }
            if self.borrow(parent, node, at, left, right) {
                return Ok(root);
            }
            match (left, right) {
                (Some(left), _) => self.merge(parent, at - 1, left, node),
                (None, Some(right)) => self.merge(parent, at, node, right),
                (None, None) => {}
            }
        }
        match self.nodes[root].children.first() {
            Some(_) if self.nodes[root].keys.is_empty() => self.child(source, root, 0),
            _ => Ok(root),
        }
    }

    /// Moves a key from a sibling that can spare one, through the parent; returns whether there was one.
    fn borrow(&mut self, parent: usize, node: usize, at: usize, left: Option<usize>, right: Option<usize>) -> bool {
        let spares = |sibling: &usize| self.nodes[*sibling].keys.len() > NODE_KEYS_MIN;
        if let Some(left) = left.filter(spares) {
            let (Some(key), child) = (self.nodes[left].keys.pop(), self.nodes[left].children.pop()) else {
                return false;
            };
            let key = std::mem::replace(&mut self.nodes[parent].keys[at - 1], key);
            self.nodes[node].keys.insert(0, key);
            child.into_iter().for_each(|child| self.nodes[node].children.insert(0, child));
            self.nodes[left].changed = true;
            return true;
        }
        if let Some(right) = right.filter(spares) {
            let sibling = &mut self.nodes[right];
            sibling.changed = true;
            let child = (!sibling.children.is_empty()).then(|| sibling.children.remove(0));
            let key = sibling.keys.remove(0);
            let key = std::mem::replace(&mut self.nodes[parent].keys[at], key);
            self.nodes[node].keys.push(key);
            self.nodes[node].children.extend(child);
            return true;
        }
        false
    }

    /// Moves the separator at `at` and all of `right` into `left`, and takes `right` from the parent.
    fn merge(&mut self, parent: usize, at: usize, left: usize, right: usize) {
        let median = self.nodes[parent].keys.remove(at);
        let freed = self.nodes[parent].children.remove(at + 1);
        self.links[freed].place.seq = 0;
        let (keys, children) = (self.nodes[right].keys.clone(), self.nodes[right].children.clone());
        let left = &mut self.nodes[left];
        left.changed = true;
        left.keys.push(median);
        left.keys.extend(keys);
        left.children.extend(children);
    }

    /// Walks from the root to a key or to the leaf where it would be; returns the nodes and the position.
    fn descend<B: Blocks>(
        &mut self,
        source: &mut Source<'_, B>,
        root: usize,
        key: &Bytes,
    ) -> Result<(Vec<usize>, Result<usize, usize>), Stop> {
        let mut path = vec![root];
        let mut node = root;
        loop {
            let found = self.find(source, node, key)?;
            let at = match found {
                Err(at) if !self.nodes[node].children.is_empty() => at,
                _ => return Ok((path, found)),
            };
            self.check_depth(path.len())?;
            node = self.child(source, node, at)?;
            path.push(node);
        }
    }

    fn find<B: Blocks>(
        &mut self,
        source: &mut Source<'_, B>,
        node: usize,
        key: &Bytes,
    ) -> Result<Result<usize, usize>, Stop> {
        let (mut from, mut to) = (0, self.nodes[node].keys.len());
        while from < to {
            let middle = (from + to) / 2;
            match key.cmp(&self.key_bytes(source, node, middle)?) {
                Ordering::Equal => return Ok(Ok(middle)),
                Ordering::Less => to = middle,
                Ordering::Greater => from = middle + 1,
            }
        }
        Ok(Err(from))
    }

    fn key_bytes<B: Blocks>(&mut self, source: &mut Source<'_, B>, node: usize, at: usize) -> Result<Bytes, Stop> {
        let Key { seq, bytes } = &self.nodes[node].keys[at];
        if let Some(bytes) = bytes {
            return Ok(bytes.clone());
        }
        let bytes = source.key(*seq)?;
        self.nodes[node].keys[at].bytes = Some(bytes.clone());
        Ok(bytes)
    }

    fn child<B: Blocks>(&mut self, source: &mut Source<'_, B>, node: usize, at: usize) -> Result<usize, Stop> {
        let link = self.nodes[node].children[at];
        if let Some(child) = self.links[link].node {
            return Ok(child);
        }
        let child = self.load(source, self.links[link].place, false)?;
        self.links[link].node = Some(child);
        Ok(child)
    }

    /// Reads a node; stops with all missing blocks it mentions if keys are among them.
    fn load<B: Blocks>(&mut self, source: &mut Source<'_, B>, place: Place, is_root: bool) -> Result<usize, Stop> {
        let level = source.level(place, is_root)?;
        for seq in &level.keys {
            if source.held(*seq)?.is_none() {
                return Err(source.lacking(&level));
            }
        }
        let first = self.links.len();
        self.links.extend(level.children.iter().map(|place| Link { place: *place, node: None }));
        let keys = level.keys.iter().map(|seq| Key { seq: *seq, bytes: None }).collect();
        let node = self.create(keys, (first..self.links.len()).collect());
        self.nodes[node].changed = false;
        Ok(node)
    }

    fn create(&mut self, keys: Vec<Key>, children: Vec<usize>) -> usize {
        self.nodes.push(Node { keys, children, changed: true });
        self.nodes.len() - 1
    }

    fn link(&mut self, node: usize) -> usize {
        self.links.push(Link { place: Place { seq: 0, offset: 0 }, node: Some(node) });
        self.links.len() - 1
    }

    fn child_position(&self, parent: usize, node: usize) -> usize {
        let children = &self.nodes[parent].children;
        let position = children.iter().position(|link| self.links[*link].node == Some(node));
        position.unwrap_or_else(|| unreachable!("a node on a path is a child of the one before it"))
    }

    fn check_depth(&self, storeys: usize) -> Result<(), BeeError> {
        if storeys < DEPTH_MAX { Ok(()) } else { Err(BeeError::Depth { version: self.version }) }
    }

    /// Collects the links to all changed nodes, root first, and gives them their places in block `seq`.
    fn index(&mut self, root: usize, seq: u64) -> Vec<usize> {
        let mut index = vec![self.link(root)];
        self.links[index[0]].place.seq = seq;
        self.index_children(root, seq, &mut index);
        index
    }

    fn index_children(&mut self, node: usize, seq: u64, index: &mut Vec<usize>) {
        self.nodes[node].changed = false;
        for at in 0..self.nodes[node].children.len() {
            let link = self.nodes[node].children[at];
            let Some(child) = self.links[link].node.filter(|child| self.nodes[*child].changed) else { continue };
            self.links[link].place = Place { seq, offset: index.len() as u64 };
            index.push(link);
            self.index_children(child, seq, index);
        }
    }

    /// Encodes a batch; all but the last block keep only what the tree still refers to.
    fn encode(&mut self, operations: Vec<Operation<'_>>) -> Vec<Bytes> {
        let last = operations.len().saturating_sub(1);
        let mut blocks = Vec::with_capacity(operations.len());
        for (at, mut operation) in operations.into_iter().enumerate() {
            if at < last {
                self.prune(operation.seq, &mut operation.index);
            }
            let levels = operation.index.iter().map(|link| self.level(*link));
            blocks.push(encode_block(operation.key, operation.value.map(|value| &value[..]), levels));
        }
        blocks
    }

    /// Drops the root and the links that have moved on to a later block; the last ones fill the gaps.
    fn prune(&mut self, seq: u64, index: &mut Vec<usize>) {
        let mut at = 0;
        let mut first = true;
        while at < index.len() {
            let place = &mut self.links[index[at]].place;
            if !first && place.seq == seq {
                place.offset = at as u64;
                at += 1;
            } else {
                index.swap_remove(at);
                first = false;
            }
        }
    }

    fn level(&self, link: usize) -> Level {
        let Some(node) = self.links[link].node else { return Level::default() };
        let node = &self.nodes[node];
        let keys = node.keys.iter().map(|key| key.seq).collect();
        Level { keys, children: node.children.iter().map(|link| self.links[*link].place).collect() }
    }
}

enum Side {
    Left,
    Right,
}

/// Fewest keys of a node other than the root.
const NODE_KEYS_MIN: usize = 4;
/// A node with so many keys is split in two halves around its middle key.
const NODE_KEYS_SPLIT: usize = 9;
/// Most nodes kept from one change to the next, some 16 MiB.
const NODES_MAX: usize = 1 << 15;

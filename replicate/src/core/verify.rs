//! Checks a proof against what a core knows, and finds out which nodes follow from it.
//!
//! The order of a proof's nodes is part of the protocol: they are taken one after the other, each exactly where it is
//! needed. Source: npm hypercore 11.37, `lib/merkle-tree.js` (`verifyTree`, `verifyUpgrade`).

use std::slice::Iter;

use anypath_wire::Hash;

use super::manifest::Prologue;
use super::tree::{LENGTH_MAX, Tree, leaf, parent};
use super::{VerifyError, flat_tree};
use crate::{Node, Proof, Request, UpgradeProof};

/// The top of a proof's paths, not known to be true yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Top {
    pub(super) node: Node,
    /// Whether it was computed from below, so that its hash speaks for its size.
    pub(super) computed: bool,
}

/// Follows the paths of a proof's block or hash and of its seek up to where they join.
///
/// All nodes met are added to `nodes`, the top last. Returns `None` if there is no path. `hashed` is the block's leaf hash,
/// if it was computed before.
pub(super) fn follow_paths(
    proof: &Proof,
    hashed: Option<Hash>,
    nodes: &mut Vec<Node>,
) -> Result<Option<Top>, VerifyError> {
    let seek = match proof.seek.as_ref().and_then(|seek| seek.nodes.split_first()) {
        Some((first, path)) => Some(climb(*first, path, None, nodes)?),
        None => None,
    };
    match (&proof.block, &proof.hash) {
        (None, None) => Ok(seek.map(|node| Top { node, computed: nodes.len() > 1 })),
        (Some(_), Some(_)) => Err(VerifyError::InvalidOperation),
        (Some(block), None) => {
            let leaf = match hashed {
                Some(hash) => Node { index: 2 * block.index, size: block.value.len() as u64, hash },
                None => leaf(block.index, &block.value),
            };
            let node = climb(leaf, &block.nodes, seek, nodes)?;
            Ok(Some(Top { node, computed: true }))
        }
        (None, Some(hash)) => {
            let (first, path) = hash.nodes.split_first().ok_or(VerifyError::InvalidOperation)?;
            if first.index != hash.index {
                return Err(VerifyError::InvalidOperation);
            }
            let computed = !path.is_empty() || seek.is_some();
            Ok(Some(Top { node: climb(*first, path, seek, nodes)?, computed }))
        }
    }
}

/// Grows the tree as an upgrade proof says; the nodes that arise are added to `nodes`.
///
/// `top` is taken, and thereby verified with the rest, where the tree needs the node it is.
pub(super) fn grow(
    tree: &mut Tree,
    upgrade: &UpgradeProof,
    prologue: Option<&Prologue>,
    top: &mut Option<Node>,
    nodes: &mut Vec<Node>,
) -> Result<(), VerifyError> {
    let UpgradeProof { start, length, .. } = *upgrade;
    if prologue.is_some_and(|prologue| start < prologue.length && (start != 0 || length < prologue.length)) {
        return Err(VerifyError::InvalidProof);
    }
    let mut queue = Queue { nodes: upgrade.nodes.iter(), extra: top.take() };
    for index in flat_tree::growth(tree.length, start + length) {
        tree.append_root(queue.shift(index)?, nodes)?;
    }
    if prologue.is_some_and(|prologue| tree.length == prologue.length && tree.hash() != prologue.hash) {
        return Err(VerifyError::InvalidProof);
    }
    if queue.nodes.len() > 0 || upgrade.additional_nodes.len() > GROWTH_MAX {
        return Err(VerifyError::InvalidOperation);
    }
    *top = queue.extra;
    upgrade.additional_nodes.iter().try_for_each(|node| tree.append_root(*node, nodes))
}

/// Refuses numbers that cannot be meant, before anything is computed from them.
pub(super) fn check_bounds(proof: &Proof) -> Result<(), VerifyError> {
    let block = proof.block.as_ref().is_none_or(|block| block.index < LENGTH_MAX);
    let upgrade = proof.upgrade.as_ref().is_none_or(|upgrade| {
        upgrade.length > 0 && upgrade.start.checked_add(upgrade.length).is_some_and(|length| length <= LENGTH_MAX)
    });
    if block && upgrade { Ok(()) } else { Err(VerifyError::InvalidOperation) }
}

/// Refuses parts that were not asked for. A prologue lets an upgrade start at 0 whatever was asked.
pub(super) fn check_asked(proof: &Proof, asked: &Request) -> Result<(), VerifyError> {
    let block = |block: u64| asked.block.is_some_and(|asked| asked.index == block);
    let hash = |hash: u64| asked.hash.is_some_and(|asked| asked.index == hash);
    let seek = |bytes: u64| asked.seek.is_some_and(|asked| asked.bytes == bytes);
    let upgrade = |start: u64| asked.upgrade.is_some_and(|asked| start == asked.start || start == 0);
    let matches = proof.block.as_ref().is_none_or(|proof| block(proof.index))
        && proof.hash.as_ref().is_none_or(|proof| hash(proof.index))
        && proof.seek.as_ref().is_none_or(|proof| seek(proof.bytes))
        && proof.upgrade.as_ref().is_none_or(|proof| upgrade(proof.start));
    if matches { Ok(()) } else { Err(VerifyError::NotAsked) }
}

/// Returns the length an upgrade proof leads to, its additional nodes included.
pub(super) fn target(upgrade: &UpgradeProof) -> u64 {
    let last = upgrade.additional_nodes.last().filter(|node| node.index <= flat_tree::INDEX_MAX);
    let length = last.map_or(0, |node| flat_tree::last_leaf(node.index) / 2 + 1);
    length.max(upgrade.start + upgrade.length)
}

/// Hashes upward from a node along its siblings; `extra` must be one of them.
fn climb(start: Node, path: &[Node], extra: Option<Node>, nodes: &mut Vec<Node>) -> Result<Node, VerifyError> {
    let mut queue = Queue { nodes: path.iter(), extra };
    let mut root = start;
    nodes.push(root);
    while root.index <= flat_tree::INDEX_MAX {
        if queue.is_empty() {
            return Ok(root);
        }
        let node = queue.shift(flat_tree::sibling(root.index))?;
        root = parent(&root, &node)?;
        nodes.extend([node, root]);
    }
    Err(VerifyError::InvalidOperation)
}

/// Nodes to be taken in order, and one more that is taken where it fits.
struct Queue<'a> {
    nodes: Iter<'a, Node>,
    extra: Option<Node>,
}

impl Queue<'_> {
    fn is_empty(&self) -> bool {
        self.extra.is_none() && self.nodes.len() == 0
    }

    fn shift(&mut self, index: u64) -> Result<Node, VerifyError> {
        let extra = self.extra.take_if(|node| node.index == index);
        let node = extra.or_else(|| self.nodes.next().copied());
        node.filter(|node| node.index == index).ok_or(VerifyError::InvalidOperation)
    }
}

/// Most additional nodes of an upgrade: up to the top of one root of 2^53 blocks and down again.
const GROWTH_MAX: usize = 108;

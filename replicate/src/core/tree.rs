//! A tree's head: its roots, and how leaves, parents and roots are hashed.
//!
//! | hash | of |
//! |---|---|
//! | leaf | `00`, block bytes as u64, the block |
//! | parent | `01`, bytes below as u64, hash of the left child, of the right |
//! | tree | `02`, then for each root its hash, index as u64, bytes as u64 |
//!
//! Source: npm hypercore-crypto 3.7; npm hypercore 11.37, `lib/merkle-tree.js`.

use anypath_wire::{Hash, hash_all, hash_pairs};

use super::{VerifyError, flat_tree};
use crate::Node;

/// The state of a tree that a signature covers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    /// Counts the truncations, or more.
    pub fork: u64,
    /// Blocks.
    pub length: u64,
    /// Bytes of all blocks.
    pub byte_length: u64,
    /// The nodes that have no parent yet, left to right.
    pub roots: Vec<Node>,
}

impl Tree {
    /// Returns the hash of all roots.
    pub fn hash(&self) -> Hash {
        tree_hash(&self.roots)
    }

    /// Appends a block or a whole subtree behind the last block, and joins roots that are siblings;
    /// the subtree and the parents that arise are added to `nodes`.
    ///
    /// # Errors
    /// If it belongs elsewhere, or the tree would be larger than can be counted.
    pub(super) fn append_root(&mut self, node: Node, nodes: &mut Vec<Node>) -> Result<(), VerifyError> {
        if node.index > flat_tree::INDEX_MAX || flat_tree::first_leaf(node.index) != 2 * self.length {
            return Err(VerifyError::InvalidOperation);
        }
        self.length += flat_tree::leaves(node.index);
        self.byte_length = sum(self.byte_length, node.size)?;
        nodes.push(node);
        let mut root = node;
        while let Some(left) = self.roots.pop_if(|left| left.index == flat_tree::sibling(root.index)) {
            root = parent(&left, &root)?;
            nodes.push(root);
        }
        self.roots.push(root);
        if self.length > LENGTH_MAX { Err(VerifyError::InvalidOperation) } else { Ok(()) }
    }
}

/// Returns the node of a block.
pub fn leaf(block: u64, value: &[u8]) -> Node {
    Node { index: 2 * block, size: value.len() as u64, hash: hash_all(&[&leaf_prefix(value), value]) }
}

/// Returns the hashes that blocks' [`leaf`] nodes have, several computed at once.
pub(crate) fn leaf_hashes(values: &[&[u8]]) -> Vec<Hash> {
    let prefixes: Vec<_> = values.iter().map(|value| leaf_prefix(value)).collect();
    hash_pairs(prefixes.iter().map(|prefix| &prefix[..]).zip(values.iter().copied()))
}

fn leaf_prefix(value: &[u8]) -> [u8; 9] {
    let mut prefix = [0; 9];
    prefix[1..].copy_from_slice(&(value.len() as u64).to_le_bytes());
    prefix
}

/// Returns the parent of two siblings, given in any order.
///
/// # Errors
/// If their sizes add up to more than can be counted.
pub fn parent(a: &Node, b: &Node) -> Result<Node, VerifyError> {
    let (left, right) = if a.index < b.index { (a, b) } else { (b, a) };
    let size = sum(a.size, b.size)?;
    let mut message = [1; 73];
    message[1..9].copy_from_slice(&size.to_le_bytes());
    message[9..41].copy_from_slice(&left.hash);
    message[41..].copy_from_slice(&right.hash);
    Ok(Node { index: flat_tree::parent(a.index), size, hash: anypath_wire::hash(&message) })
}

/// Returns the hash of a tree's roots.
pub fn tree_hash(roots: &[Node]) -> Hash {
    let mut message = Vec::with_capacity(1 + roots.len() * 48);
    message.push(2);
    for root in roots {
        message.extend_from_slice(&root.hash);
        message.extend_from_slice(&root.index.to_le_bytes());
        message.extend_from_slice(&root.size.to_le_bytes());
    }
    hash_all(&[&message])
}

fn sum(a: u64, b: u64) -> Result<u64, VerifyError> {
    a.checked_add(b).filter(|sum| *sum <= SIZE_MAX).ok_or(VerifyError::InvalidOperation)
}

/// Most blocks a core can have: what JavaScript can count.
pub(super) const LENGTH_MAX: u64 = 1 << 53;
/// Most bytes a core can have: what JavaScript can count.
const SIZE_MAX: u64 = 1 << 53;

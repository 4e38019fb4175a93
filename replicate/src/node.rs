//! A node of a core's Merkle tree.

use anypath_wire::Hash;

/// One node: a block's leaf (even index) or the parent of two nodes (odd index).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    /// Its flat-tree (in-order) index; block `i` is leaf `2i`.
    pub index: u64,
    /// Bytes of all blocks below it.
    pub size: u64,
    /// BLAKE2b-256 over its children, or over the block.
    pub hash: Hash,
}

//! A node of a core's Merkle tree, and how lists of them are written.

use anypath_wire::{DecodeError, Decoder, Encode, Hash};

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

/// Appends nodes: `uint` count, then `uint` index, `uint` size, 32 bytes of hash each.
pub(crate) fn encode_nodes(nodes: &[Node], out: &mut Vec<u8>) {
    out.uint(nodes.len() as u64);
    for node in nodes {
        out.uint(node.index);
        out.uint(node.size);
        out.raw(&node.hash);
    }
}

/// Reads what [`encode_nodes`] wrote.
pub(crate) fn decode_nodes(from: &mut Decoder<'_>) -> Result<Vec<Node>, DecodeError> {
    let count = from.count(NODE_BYTES_MIN)?;
    let mut nodes = Vec::with_capacity(count);
    for _ in 0..count {
        nodes.push(Node { index: from.uint()?, size: from.uint()?, hash: from.fixed()? });
    }
    Ok(nodes)
}

/// Index and size of one byte each, and the hash.
const NODE_BYTES_MIN: usize = 34;

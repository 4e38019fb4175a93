//! Where bytes lie in a core, and what of its tree is known.
//!
//! Source: npm hypercore 11.37, `lib/merkle-tree.js` (`ByteSeeker`, `byteOffset`, `missingNodes`, `upgradeable`).

use super::{Core, flat_tree};
use crate::store::StoreError;

/// Where a byte position lies, as far as that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// In this block, so many bytes behind its start.
    In {
        /// The block.
        block: u64,
        /// The bytes.
        offset: u64,
    },
    /// Somewhere below this tree node, whose children are not known here.
    Below {
        /// The node's flat-tree index.
        node: u64,
    },
    /// Beyond the end.
    Beyond,
}

impl Core {
    /// Returns the bytes before a block, or `None` if that is not known or the block lies beyond the end.
    pub fn byte_offset(&self, index: u64) -> Result<Option<u64>, StoreError> {
        if index == self.length() {
            return Ok(Some(self.byte_length()));
        }
        let mut offset = 0;
        for root in &self.tree.roots {
            if flat_tree::last_leaf(root.index) < index.saturating_mul(2) {
                offset += root.size;
                continue;
            }
            return Ok(self.offset_within(root.index, 2 * index)?.map(|within| offset + within));
        }
        Ok(None)
    }

    fn offset_within(&self, root: u64, leaf: u64) -> Result<Option<u64>, StoreError> {
        let (mut at, mut offset) = (root, 0);
        while at != leaf {
            let Some(left) = flat_tree::left_child(at) else { break };
            at = left;
            if leaf > flat_tree::last_leaf(left) {
                let Some(node) = self.node(left)? else { return Ok(None) };
                offset += node.size;
                at = flat_tree::sibling(left);
            }
        }
        Ok(Some(offset))
    }

    /// Returns the block in which a byte position lies, and the position within it; a position between two blocks
    /// belongs to the later one. `None` if that is not known here or the position lies beyond the end.
    pub fn seek(&self, bytes: u64) -> Result<Option<(u64, u64)>, StoreError> {
        Ok(match self.position(bytes)? {
            Position::In { block, offset } => Some((block, offset)),
            Position::Below { .. } | Position::Beyond => None,
        })
    }

    /// Returns the same, and where the search ends if what is needed for it is not known here.
    pub fn position(&self, bytes: u64) -> Result<Position, StoreError> {
        let mut bytes = bytes;
        for root in &self.tree.roots {
            if bytes < root.size || bytes == 0 {
                return self.position_below(root.index, bytes);
            }
            bytes -= root.size;
        }
        Ok(if bytes == 0 { Position::In { block: self.length(), offset: 0 } } else { Position::Beyond })
    }

    fn position_below(&self, root: u64, mut bytes: u64) -> Result<Position, StoreError> {
        let mut at = root;
        while let Some(left) = flat_tree::left_child(at) {
            if bytes == 0 {
                return Ok(Position::In { block: flat_tree::first_leaf(at) / 2, offset: 0 });
            }
            let Some(node) = self.node(left)? else { return Ok(Position::Below { node: at }) };
            (at, bytes) = match bytes.checked_sub(node.size) {
                Some(rest) => (flat_tree::sibling(left), rest),
                None => (left, bytes),
            };
        }
        Ok(Position::In { block: at / 2, offset: bytes })
    }

    /// Returns how many levels of a node's path are missing here: what a request for it states as `nodes`.
    /// A store that fails counts as holding nothing.
    pub fn missing_nodes(&self, index: u64) -> u64 {
        self.missing_nodes_below(index, |_| false).0
    }

    /// Does the same, but does not look beyond a node that `stop` names; returns the node at which the search ended, too.
    pub(crate) fn missing_nodes_below(&self, index: u64, stop: impl Fn(u64) -> bool) -> (u64, u64) {
        let (mut at, mut missing) = (index, 0);
        while at <= flat_tree::INDEX_MAX
            && flat_tree::is_below(at, self.length())
            && !stop(at)
            && !matches!(self.node(at), Ok(Some(_)))
        {
            at = flat_tree::parent(at);
            missing += 1;
        }
        (missing, at)
    }

    /// Returns whether a peer at our fork with that length can be upgraded by us: whether we know its roots.
    pub fn can_upgrade(&self, length: u64) -> bool {
        let known = |index| matches!(self.node(index), Ok(Some(_)));
        length == 0 || (length < self.length() && flat_tree::full_roots(length).all(known))
    }
}

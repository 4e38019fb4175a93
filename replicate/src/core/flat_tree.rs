//! Arithmetic of flat trees: a binary tree as one row of numbers, leaves even, parents odd, in order.
//!
//! ```text
//!       3
//!   1       5
//! 0   2   4   6   8
//! ```
//! Nothing here overflows for an index up to [`INDEX_MAX`] and the parents of those.
//!
//! Source: npm flat-tree 1.13.

/// Returns how many levels the node stands above the leaves.
pub fn depth(index: u64) -> u32 {
    index.trailing_ones()
}

/// Returns how many leaves lie below the node (1 for a leaf).
pub fn leaves(index: u64) -> u64 {
    1 << depth(index)
}

/// Returns the other child of the node's parent.
pub fn sibling(index: u64) -> u64 {
    index ^ (2 << depth(index))
}

/// Returns the node's parent.
pub fn parent(index: u64) -> u64 {
    let half = leaves(index);
    (index | half) & !(half << 1)
}

/// Returns the child on the left, or `None` for a leaf.
pub fn left_child(index: u64) -> Option<u64> {
    Some(index - (leaves(index) >> 1)).filter(|_| index & 1 == 1)
}

/// Returns the index of the first leaf below the node.
pub fn first_leaf(index: u64) -> u64 {
    index + 1 - leaves(index)
}

/// Returns the index of the last leaf below the node.
pub fn last_leaf(index: u64) -> u64 {
    index + leaves(index) - 1
}

/// Returns whether `other` is the node or lies below it.
pub fn contains(index: u64, other: u64) -> bool {
    (first_leaf(index)..=last_leaf(index)).contains(&other)
}

/// Returns whether every leaf below the node is one of the first `length`.
pub fn is_below(index: u64, length: u64) -> bool {
    last_leaf(index) < 2 * length
}

/// Returns the largest whole subtrees, left to right, that take a tree of `from` leaves to one of `to`.
///
/// These are the nodes an upgrade proof lists; none if `to` is not larger.
pub fn growth(from: u64, to: u64) -> impl Iterator<Item = u64> {
    let mut length = from;
    std::iter::from_fn(move || {
        let room = to.checked_sub(length).filter(|room| *room > 0)?.ilog2();
        let leaves = 1 << room.min(length.trailing_zeros());
        let index = 2 * length + leaves - 1;
        length += leaves;
        Some(index)
    })
}

/// Returns the roots of a tree of `length` leaves, left to right.
pub fn full_roots(length: u64) -> impl Iterator<Item = u64> {
    growth(0, length)
}

/// Largest index that may come from outside: leaves of 2^53 blocks, which is what JavaScript can count.
pub const INDEX_MAX: u64 = 1 << 54;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_found_as_in_the_drawing() {
        assert_eq!([0, 1, 3, 4].map(parent), [1, 3, 7, 5]);
        assert_eq!([0, 2, 1, 5, 3].map(sibling), [2, 0, 5, 1, 11]);
        assert_eq!([0, 1, 5, 3].map(left_child), [None, Some(0), Some(4), Some(1)]);
        assert_eq!((first_leaf(5), last_leaf(5), leaves(5), depth(5)), (4, 6, 2, 1));
        assert!(contains(3, 6) && !contains(3, 7) && contains(5, 4) && !contains(5, 3));
        assert!(is_below(3, 4) && !is_below(3, 3));
    }

    #[test]
    fn thirteen_blocks_have_three_roots() {
        assert_eq!(full_roots(13).collect::<Vec<_>>(), [7, 19, 24]);
        assert_eq!(full_roots(0).count(), 0);
    }

    #[test]
    fn a_tree_grows_by_the_siblings_it_lacks() {
        assert_eq!(growth(5, 13).collect::<Vec<_>>(), [10, 13, 19, 24]);
        assert_eq!(growth(8, 13).collect::<Vec<_>>(), [19, 24]);
        assert_eq!(growth(13, 8).count(), 0);
    }

    #[test]
    fn the_largest_indices_do_not_overflow() {
        let mut index = INDEX_MAX - 1;
        for _ in 0..4 {
            assert!(contains(parent(index), sibling(index)));
            index = parent(index);
        }
        assert!(growth(0, 1 << 53).count() == 1 && growth((1 << 53) - 1, 1 << 53).count() == 1);
    }
}

//! Nodes that were read or committed lately, and places lately found empty.

use crate::Node;

/// A cache of one entry a slot: a newer node takes the place of an older one that shares it.
#[derive(Debug, Default)]
pub(super) struct NodeCache {
    slots: Vec<Option<(u64, Option<Node>)>>,
    /// Whether it was of use since it was last asked.
    used: bool,
}

impl NodeCache {
    /// Returns what is in the store at an index, if that is known.
    pub(super) fn find(&mut self, index: u64) -> Option<Option<Node>> {
        self.used = true;
        let (known, node) = self.slots.get(slot(index))?.as_ref()?;
        (*known == index).then_some(*node)
    }

    /// Remembers what is in the store at an index.
    pub(super) fn put(&mut self, index: u64, node: Option<Node>) {
        self.used = true;
        self.slots.resize(SLOTS, None);
        self.slots[slot(index)] = Some((index, node));
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.slots = Vec::new();
    }

    /// Gives its memory back if it was of no use since the last call.
    pub(super) fn rest(&mut self) {
        if !std::mem::take(&mut self.used) {
            self.clear();
        }
    }
}

/// Spreads neighbours and levels over the slots (Fibonacci hashing).
fn slot(index: u64) -> usize {
    (index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SLOTS.ilog2())) as usize
}

/// Slots, a power of two: about 150 KiB for a core that is read, enough for the paths of some hundred blocks.
const SLOTS: usize = 2_048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_answers_for_its_index_only() {
        let mut cache = NodeCache::default();
        assert_eq!(cache.find(0), None);
        let node = Node { index: 6, size: 1, hash: [1; 32] };
        cache.put(6, Some(node));
        cache.put(4, None);
        assert_eq!((cache.find(6), cache.find(4), cache.find(0)), (Some(Some(node)), Some(None), None));
        let other = (7..).find(|index| slot(*index) == slot(6)).unwrap();
        assert_eq!(cache.find(other), None);
        cache.put(other, None);
        assert_eq!(cache.find(6), None);
        cache.clear();
        assert_eq!(cache.find(4), None);
        cache.put(4, None);
        cache.rest();
        assert_eq!(cache.find(4), Some(None), "it was in use");
        cache.rest();
        cache.rest();
        assert_eq!(cache.find(4), None);
    }
}

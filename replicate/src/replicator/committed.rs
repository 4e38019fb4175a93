//! A core as it is in the store: what is staged, and may yet be lost, is left out.

use std::ops::Range;

use bytes::Bytes;

use super::exchange::Exchange;
use super::ranges::Ranges;
use crate::Blocks;
use crate::core::Core;
use crate::store::StoreError;

/// The blocks of a core that survive whatever ends this program now, but a power cut (see
/// [`Durability`](crate::store::Durability)). For whoever tells others what is here.
#[derive(Clone, Copy)]
pub struct Committed<'a>(&'a Exchange);

impl<'a> Committed<'a> {
    pub(super) fn new(exchange: &'a Exchange) -> Self {
        Self(exchange)
    }

    /// Returns the core, staged changes included.
    pub fn core(&self) -> &'a Core {
        &self.0.core
    }

    /// Returns whether a block is held and committed.
    pub fn has(&self, index: u64) -> bool {
        self.0.core.has(index) && self.0.uncommitted().all(|gained| gained.run_at(index).is_none())
    }

    /// Counts the committed blocks of a range; the work follows the runs that are held of it.
    pub fn count(&self, range: Range<u64>) -> u64 {
        let bitfield = self.0.core.bitfield();
        let mut held = Ranges::default();
        let mut at = range.start;
        while let Some(start) = bitfield.next_set(at).filter(|start| *start < range.end) {
            at = bitfield.next_unset(start).min(range.end);
            held.add(start..at);
        }
        self.0.uncommitted().flat_map(Ranges::iter).for_each(|run| held.remove(run));
        held.iter().map(|run| run.end - run.start).sum()
    }
}

impl Blocks for Committed<'_> {
    type Error = StoreError;

    fn length(&self) -> u64 {
        self.0.core.length()
    }

    fn block(&self, index: u64) -> Result<Option<Bytes>, StoreError> {
        if self.has(index) { self.0.core.block(index) } else { Ok(None) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use anypath_wire::KeyPair;

    use super::*;
    use crate::core::{Manifest, Signer};
    use crate::replicator::Replicator;
    use crate::store::{MemoryStore, Store};

    #[test]
    fn a_block_is_there_when_its_commit_is_done_and_not_before() {
        let store = Arc::new(MemoryStore::default());
        let mut replicator = Replicator::new(store.clone());
        let pair = KeyPair::from_seed(&[1; 32]);
        let core = replicator.open_writable(Manifest::single(Signer::new(pair.public())), pair).unwrap();
        let seen = |replicator: &Replicator| {
            let committed = replicator.committed(core);
            let read = (0..committed.length()).filter(|index| committed.block(*index).unwrap().is_some()).count();
            assert_eq!(committed.count(0..u64::MAX), read as u64);
            (read, committed.count(1..3))
        };
        replicator.append(core, &["a", "b"].map(Bytes::from)).unwrap();
        assert_eq!(seen(&replicator), (0, 0));
        let batch = replicator.begin_commit().unwrap();
        replicator.append(core, &["c"].map(Bytes::from)).unwrap();
        assert_eq!(seen(&replicator), (0, 0));
        store.commit(batch).unwrap();
        replicator.finish_commit().unwrap();
        assert_eq!(seen(&replicator), (2, 1));
        replicator.commit().unwrap();
        assert_eq!(seen(&replicator), (3, 2));
    }
}

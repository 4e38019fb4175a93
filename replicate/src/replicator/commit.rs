//! Commits: what is staged in many cores becomes lasting together, and is told afterwards.

use super::{CoreId, Replicator};
use crate::store::{Batch, StoreError};

impl Replicator {
    /// Returns how many bytes of blocks and nodes wait for a commit.
    pub fn staged_bytes(&self) -> usize {
        self.staged.iter().map(|id| self.core(*id).staged_bytes()).sum()
    }

    /// Returns whether anything waits for a commit.
    pub fn is_staged(&self) -> bool {
        !self.staged.is_empty()
    }

    /// Makes everything staged last, all cores in one transaction, then queues what peers and application are told.
    ///
    /// # Errors
    /// If the store fails. What was staged is then of no use: the replicator must be dropped.
    pub fn commit(&mut self) -> Result<(), StoreError> {
        let batch = self.begin_commit()?;
        self.store.commit(batch)?;
        self.finish_commit()
    }

    /// Returns everything staged, for the store to commit; the rest of the replicator's work may go on meanwhile.
    ///
    /// # Errors
    /// As [`Replicator::commit`].
    ///
    /// # Panics
    /// If the last commit begun is not finished.
    pub fn begin_commit(&mut self) -> Result<Batch, StoreError> {
        assert!(self.committing.is_empty(), "one commit at a time");
        self.committing = std::mem::take(&mut self.staged);
        let mut batch = Batch::default();
        for id in &self.committing {
            let exchange = &mut self.exchanges[id.0 as usize];
            let mut changes = exchange.core.take_changes();
            if let Some(changes) = changes.as_mut().filter(|_| exchange.peers.is_empty()) {
                exchange.unsettled |= std::mem::take(&mut changes.lasting);
            }
            batch.cores.extend(changes);
            exchange.hand_out()?;
        }
        Ok(batch)
    }

    /// Makes the heads that were signed here while nobody listened outlive a power cut, before a peer hears of them.
    pub(super) fn settle(&mut self, id: CoreId) -> Result<(), StoreError> {
        let exchange = &mut self.exchanges[id.0 as usize];
        if exchange.unsettled {
            self.store.sync()?;
            // What is being committed came too late for that.
            exchange.unsettled = self.committing.contains(&id);
        }
        Ok(())
    }

    /// Says that the store has committed what [`Replicator::begin_commit`] returned; queues what is told of it.
    ///
    /// # Errors
    /// As [`Replicator::commit`].
    pub fn finish_commit(&mut self) -> Result<(), StoreError> {
        for id in std::mem::take(&mut self.committing) {
            if !self.exchange_mut(id).peers.is_empty() {
                self.settle(id)?;
            }
            let exchange = self.exchange_mut(id);
            exchange.core.committed();
            exchange.committed()?;
            let parts = exchange.conflict.is_some();
            self.spread_ready(id);
            if parts {
                self.part(id)?;
            }
        }
        Ok(())
    }
}

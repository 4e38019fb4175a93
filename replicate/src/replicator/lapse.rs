//! What a peer does not answer in time is asked of others, so that no peer can hold up a download by silence.

use super::PeerId;
use super::exchange::Exchange;
use super::peer::{Pending, is_late};
use crate::store::StoreError;

impl Exchange {
    /// Takes notice that time has passed for a peer.
    ///
    /// Of heads, positions and forks one peer at a time is asked: what is late of these goes to another. What is late of
    /// blocks may be asked of others beside it, once they have nothing else to do.
    pub(super) fn tick(&mut self, id: PeerId) -> Result<(), StoreError> {
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        peer.ticks += 1;
        let ticks = peer.ticks;
        let late = |pending: &&mut Pending| {
            let alone = pending.request.upgrade.is_some() || pending.request.block.is_none();
            !pending.lapsed && alone && is_late(pending.asked_at, ticks)
        };
        let lapse = |pending: &mut Pending| {
            pending.lapsed = true;
            *pending
        };
        let late: Vec<_> = peer.window.iter_mut().filter(late).map(lapse).collect();
        late.iter().try_for_each(|pending| self.lapse(id, pending))?;
        if self.flights.len() > 0 || !late.is_empty() {
            self.peer_ids().into_iter().for_each(|id| self.search_later(id));
        }
        Ok(())
    }

    fn lapse(&mut self, id: PeerId, pending: &Pending) -> Result<(), StoreError> {
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        if pending.fork > self.core.fork() {
            return self.decline(id, pending.fork);
        }
        if pending.request.upgrade.is_some() {
            peer.upgrade_lapsed = true;
        }
        if pending.request.block.is_some() {
            // Its block may still come, or be asked of others beside it.
            self.let_upgrade_go(id);
            return Ok(());
        }
        self.give_back(id, pending);
        if let Some(seek) = pending.request.seek {
            self.seeks.avoid(seek, id);
        }
        Ok(())
    }
}

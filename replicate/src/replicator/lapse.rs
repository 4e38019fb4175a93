//! What a peer does not answer in time is asked of others, so that no peer can hold up a download by silence.

use super::PeerId;
use super::exchange::Exchange;
use super::peer::{Peer, Pending};
use crate::store::StoreError;

impl Exchange {
    /// Takes notice that time has passed for a peer.
    ///
    /// Blocks wait until another peer has nothing else to do: a line that is merely slow is not made to carry them twice.
    pub(super) fn tick(&mut self, id: PeerId) -> Result<(), StoreError> {
        let idle = |peer: &Peer| peer.answers() && peer.window.len() == 0;
        let relieved = self.peers.iter().any(|(other, peer)| *other != id && idle(peer));
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        peer.ticks += 1;
        let ticks = peer.ticks;
        let late = |pending: &&mut Pending| {
            !pending.lapsed && pending.is_late(ticks) && (relieved || pending.request.block.is_none())
        };
        let lapse = |pending: &mut Pending| {
            pending.lapsed = true;
            *pending
        };
        let late: Vec<_> = peer.window.iter_mut().filter(late).map(lapse).collect();
        late.iter().try_for_each(|pending| self.lapse(id, pending))?;
        if late.is_empty() { Ok(()) } else { self.refill_all() }
    }

    fn lapse(&mut self, id: PeerId, pending: &Pending) -> Result<(), StoreError> {
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        if pending.fork > self.core.fork() {
            return self.decline(id, pending.fork);
        }
        if pending.request.upgrade.is_some() {
            peer.upgrade_lapsed = true;
        }
        // Its own cursor stays, so that it is the others who are asked.
        let cursor = peer.cursor;
        self.give_back(id, pending);
        // Answers that rely on this one would wait for ever.
        self.give_back_early(id);
        if let Some(seek) = pending.request.seek {
            self.seeks.avoid(seek, id);
        }
        self.peer(id, |peer| peer.cursor = cursor);
        Ok(())
    }
}

//! Asking a second peer for what the first keeps waiting for: the first answer counts, the other requests are taken back.
//!
//! Source: npm hypercore 11.37, `lib/replicator.js` (`_updateHotswap`), `lib/hotswap-queue.js`. There an idle peer is
//! asked at once for whatever is on its way from others; here only for what somebody waits for, and else for what takes
//! longer than the idle peer does, so that two equal peers do not both send everything that is appended.

use super::PeerId;
use super::exchange::{Exchange, ExchangeError};
use super::flights::Flight;
use super::peer::{Peer, is_late};
use crate::messages::Message;
use crate::store::StoreError;

impl Exchange {
    /// Asks a peer for blocks below `end` that are on their way from others. An `idle` one has nothing else to be asked.
    pub(super) fn swap(&mut self, id: PeerId, end: u64, idle: bool) -> Result<(), StoreError> {
        let (most, fork) = ((self.window_requests() / 2).max(SWAPS_MIN), self.core.fork());
        // Half a window at a time, so that what is on its way is not looked over with every answer.
        let room = |peer: &Peer| peer.window.len() <= most / 2;
        if self.peers.len() < 2 || !self.peers.get(&id).is_some_and(room) {
            return Ok(());
        }
        while self.peers.get(&id).is_some_and(|peer| peer.window.len() < most && peer.has_room()) {
            match self.next_swap(id, end, idle) {
                Some(index) => self.ask_block(id, index, fork)?,
                None => break,
            }
        }
        Ok(())
    }

    /// Returns the next block on its way from others that the peer should be asked for too.
    fn next_swap(&mut self, id: PeerId, end: u64, idle: bool) -> Option<u64> {
        let mut from = self.peers.get_mut(&id).map(|peer| std::mem::take(&mut peer.swap_cursor))?;
        for _ in 0..STEPS_MAX {
            let index = self.flights.next(from).filter(|index| *index < end)?;
            from = index + 1;
            if self.is_swappable(id, index, idle) {
                self.peer(id, |peer| peer.swap_cursor = from);
                return Some(index);
            }
        }
        self.peer(id, |peer| peer.swap_cursor = from);
        self.search_later(id);
        None
    }

    fn is_swappable(&self, id: PeerId, index: u64, idle: bool) -> bool {
        let Some(peer) = self.peers.get(&id).filter(|peer| peer.blocks.has(index)) else { return false };
        let urgent = self.urgent.run_at(index).is_some();
        let mut waiting = 0;
        for (other, flight) in self.flights.of(index) {
            let late = self.peers.get(&other).is_some_and(|peer| is_late(flight.asked_at, peer.ticks));
            // It was asked later than the other, and has answered sooner.
            let quicker = flight.order < peer.answered;
            if other == id || !(late || quicker || idle && urgent) {
                return false;
            }
            waiting += usize::from(!late);
        }
        (idle || urgent) && waiting < REQUESTS_PER_BLOCK_MAX
    }

    /// Takes a block off its way: other peers are told that they need not answer.
    pub(super) fn land(&mut self, index: u64) {
        for (other, Flight { request, .. }) in self.flights.take(index) {
            let Some(peer) = self.peers.get_mut(&other) else { continue };
            if let Some(pending) = peer.window.take(request) {
                peer.expect_no_more(&pending);
                peer.out.push_back(Message::Cancel { request });
                if pending.request.upgrade.is_some() {
                    peer.upgrade_lapsed = false;
                    self.upgrading.take_if(|asked| *asked == other);
                }
            }
            peer.early.retain(|early| early.pending.request.block.is_none_or(|block| block.index != index));
            self.landed.insert(other);
            self.mark_ready(other);
        }
    }

    /// Goes on with the peers that were told so: what relied on their answers may be verified now, and they have room.
    pub(super) fn go_on_with_landed(&mut self) -> Result<(), ExchangeError> {
        while let Some(id) = self.landed.pop_first() {
            self.accept_early(id)?;
            self.give_up_early(id);
            self.search_later(id);
        }
        Ok(())
    }
}

/// Fewest requests a peer may be asked beside others, as in the reference; the most are half a window.
const SWAPS_MIN: usize = 16;
/// Most peers asked for one block at a time, as in the reference; those that let it lapse are not counted.
const REQUESTS_PER_BLOCK_MAX: usize = 3;
/// Most blocks on their way that are looked over in one go.
const STEPS_MAX: usize = 4096;

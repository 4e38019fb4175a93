//! Whether the books agree with each other; for tests.

use super::exchange::Exchange;
use super::{CoreId, PeerId, Replicator};

impl Replicator {
    /// Sees that every block of a core counted as held or on its way is held, or that a peer was asked for it whose answer
    /// can still come. Takes time in proportion to the core; for tests.
    ///
    /// # Panics
    /// If it is not so.
    pub fn check_books(&self, core: CoreId) {
        let exchange = &self.exchanges[core.0 as usize];
        let mut from = 0;
        while let Some(index) = exchange.taken.next_set(from) {
            let asked = exchange.flights.of(index).next().is_some();
            assert!(exchange.core.has(index) || asked, "block {index} is neither held nor on its way");
            from = index + 1;
        }
        exchange.check_flights();
        for (id, peer) in &exchange.peers {
            for pending in peer.window.iter().filter(|pending| pending.fork == exchange.core.fork()) {
                let block = pending.request.block.map(|block| block.index);
                let noted = |index| exchange.flights.of(index).any(|(peer, _)| peer == *id);
                assert!(block.is_none_or(noted), "{id:?} was asked for {block:?}, and it is not noted");
            }
        }
    }
}

impl Exchange {
    fn check_flights(&self) {
        let mut next = self.flights.next(0);
        while let Some(index) = next {
            assert!(self.taken.has(index), "block {index} is on its way and wanted all the same");
            for (id, flight) in self.flights.of(index) {
                assert!(self.is_on_its_way(index, id, flight.request), "{id:?} will not answer for block {index}");
            }
            next = self.flights.next(index + 1);
        }
    }

    fn is_on_its_way(&self, index: u64, id: PeerId, request: u64) -> bool {
        let Some(peer) = self.peers.get(&id) else { return false };
        let asked = |block: Option<crate::BlockRequest>| block.is_some_and(|block| block.index == index);
        let waiting = peer.window.peek(request).is_some_and(|pending| asked(pending.request.block));
        waiting || peer.early.iter().any(|early| asked(early.pending.request.block))
    }
}

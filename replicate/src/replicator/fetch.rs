//! Asking: which block of which peer next.

use super::PeerId;
use super::exchange::{Exchange, Head};
use super::flights::Flight;
use super::peer::{Peer, Pending};
use super::wants::REGION_MAX;
use crate::core::flat_tree;
use crate::messages::{Message, Want};
use crate::store::StoreError;
use crate::{BlockRequest, Request};

impl Exchange {
    /// Fills every peer's window.
    pub(super) fn refill_all(&mut self) -> Result<(), StoreError> {
        self.peer_ids().into_iter().try_for_each(|id| self.refill(id))
    }

    /// Asks a peer for as much as its window allows.
    pub(super) fn refill(&mut self, id: PeerId) -> Result<(), StoreError> {
        if !self.downloading() || !self.peers.get(&id).is_some_and(Peer::answers) {
            return Ok(());
        }
        self.judge(id);
        self.ask_upgrade(id);
        self.ask_seeks(id)?;
        let Some(peer) = self.peers.get(&id) else { return Ok(()) };
        let head = Head::of(&self.core);
        if peer.remote.fork != head.fork {
            return Ok(());
        }
        let end = peer.valid_length(head).min(head.length);
        if !self.urgent.is_empty() {
            self.fill(id, end, true)?;
            self.swap(id, end, false)?;
        }
        if self.fill(id, end, false)? { self.swap(id, end, true) } else { Ok(()) }
    }

    /// Asks a peer for wanted blocks below `end`, all or the urgent ones; returns whether it could be asked for more.
    fn fill(&mut self, id: PeerId, end: u64, urgent: bool) -> Result<bool, StoreError> {
        let (window, fork) = (self.window_requests(), self.core.fork());
        while self.peers.get(&id).is_some_and(|peer| peer.window.len() < window && peer.has_room()) {
            match self.next_block(id, end, urgent) {
                Some(index) => self.ask_block(id, index, fork)?,
                None => return Ok(true),
            }
        }
        Ok(false)
    }

    /// Returns the next block below `end` that is wanted, not taken, and held by the peer.
    pub(super) fn next_block(&mut self, id: PeerId, end: u64, urgent: bool) -> Option<u64> {
        for _ in 0..STEPS_MAX {
            let peer = self.peers.get_mut(&id)?;
            let (goals, cursor) =
                (if urgent { &self.urgent } else { &self.goals }, &mut peer.cursors[usize::from(urgent)]);
            let run = goals.next_run(*cursor).filter(|run| run.start < end)?;
            let free = self.taken.next_unset(run.start);
            if free >= run.end.min(end) {
                *cursor = run.end.min(end);
                continue;
            }
            if self.core.is_refused(free) {
                self.taken.set(free);
                continue;
            }
            let held = peer.blocks.next(free).filter(|held| *held < end);
            *cursor = held.unwrap_or(free);
            if held == Some(free) {
                return held;
            }
            self.ask_region(id, free);
            held?;
        }
        self.search_later(id);
        None
    }

    /// Asks a peer for a block.
    pub(super) fn ask_block(&mut self, id: PeerId, index: u64, fork: u64) -> Result<(), StoreError> {
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        // Answers in flight bring most nodes: mostly the search ends after a level or two.
        let expected = |node| peer.predicts && peer.expected.contains(&node);
        let (nodes, top) = self.core.missing_nodes_below(2 * index, expected);
        let predicted = expected(top);
        let block = BlockRequest { index, nodes };
        for_path(block, |node| {
            peer.expected.insert(node);
        });
        self.ask_for(id, block, Pending { predicted, ..Pending::new(fork, Request::default()) });
        Ok(())
    }

    /// Asks a peer for a block, along with what is pending.
    pub(super) fn ask_for(&mut self, id: PeerId, block: BlockRequest, pending: Pending) {
        let index = block.index;
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let (urgent, order) = (self.urgent.run_at(index).is_some(), self.flights.next_order());
        let request = Request { block: Some(block), ..pending.request };
        let request = peer.ask(Pending { request, urgent, order, ..pending });
        self.flights.add(index, id, Flight { request, order, asked_at: peer.ticks });
        self.taken.set(index);
        self.mark_ready(id);
    }

    /// Asks once to be told about every block of the region around `index`.
    pub(super) fn ask_region(&mut self, id: PeerId, index: u64) {
        let region = index / REGION_MAX;
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.blocks.contiguous() >= peer.remote.length || !peer.regions_wanted.insert(region) {
            return;
        }
        if peer.regions_wanted.len() > REGIONS_WANTED_MAX
            && let Some(oldest) = peer.regions_wanted.pop_first()
        {
            self.tell(id, Message::Unwant(region_of(oldest)));
        }
        self.tell(id, Message::Want(region_of(region)));
    }

    /// Returns how many requests to keep in flight: enough bytes to fill a long fat path, whatever a block weighs.
    pub(super) fn window_requests(&self) -> usize {
        let average = self.core.byte_length() / self.core.length().max(1);
        let fitting = WINDOW_BYTES / average.max(1);
        usize::try_from(fitting).unwrap_or(WINDOW_REQUESTS_MAX).clamp(WINDOW_REQUESTS_MIN, WINDOW_REQUESTS_MAX)
    }
}

impl Peer {
    /// Returns up to where the peer's blocks can be proven against our head.
    pub(super) fn valid_length(&self, ours: Head) -> u64 {
        let upgradable = self.last_upgradable.filter(|(fork, _)| *fork == ours.fork).map_or(0, |(_, length)| length);
        let limit = if self.remote.length >= ours.length || self.can_upgrade { u64::MAX } else { upgradable };
        limit.min(self.remote.length)
    }

    /// Notes that the answer to a request will bring no nodes any more.
    pub(super) fn expect_no_more(&mut self, pending: &Pending) {
        if let Some(block) = pending.request.block {
            for_path(block, |node| {
                self.expected.remove(&node);
            });
        }
    }
}

/// Calls `f` with the nodes that the answer to a block request brings: siblings, and the parents computed from them.
fn for_path(block: BlockRequest, mut f: impl FnMut(u64)) {
    let mut node = 2 * block.index;
    for _ in 0..block.nodes {
        f(flat_tree::sibling(node));
        node = flat_tree::parent(node);
        f(node);
    }
}

fn region_of(number: u64) -> Want {
    Want { start: number * REGION_MAX, length: REGION_MAX, any: false }
}

/// Bytes to keep in flight to one peer for one core: a path of 100 ms at 300 Mbit/s.
const WINDOW_BYTES: u64 = 4 << 20;
/// Fewest requests in flight, as the reference's 3 times 16 on a stream without round-trip times.
const WINDOW_REQUESTS_MIN: usize = 48;
/// Most requests in flight, so that small blocks do not cost more memory in bookkeeping than in data.
const WINDOW_REQUESTS_MAX: usize = 4096;
/// Most regions of a peer followed at once; the reference allows 512.
const REGIONS_WANTED_MAX: usize = 256;
/// Most gaps looked over in one go, so that a peer full of holes cannot hold up the others.
const STEPS_MAX: usize = 4096;

//! Asking: which block of which peer next.

use super::PeerId;
use super::exchange::{Exchange, Head};
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
        let (downloading, frozen) = (self.downloading(), self.core.is_frozen());
        if !downloading || frozen || !self.peers.get(&id).is_some_and(Peer::answers) {
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
        let window = self.window_requests();
        while self.peers.get(&id).is_some_and(|peer| peer.window.len() < window) {
            match self.next_block(id, end) {
                Some(index) => self.ask_block(id, index, head.fork)?,
                None => break,
            }
        }
        Ok(())
    }

    /// Returns the next block below `end` that is wanted, not taken, and held by the peer.
    fn next_block(&mut self, id: PeerId, end: u64) -> Option<u64> {
        for _ in 0..STEPS_MAX {
            let peer = self.peers.get_mut(&id)?;
            let run = self.goals.next_run(peer.cursor).filter(|run| run.start < end)?;
            let free = self.taken.next_unset(run.start);
            if free >= run.end.min(end) {
                peer.cursor = run.end.min(end);
                continue;
            }
            if self.core.is_refused(free) {
                self.taken.set(free);
                continue;
            }
            let held = peer.blocks.next(free).filter(|held| *held < end);
            peer.cursor = held.unwrap_or(free);
            if held == Some(free) {
                return held;
            }
            self.ask_region(id, free);
            held?;
        }
        self.search_later(id);
        None
    }

    fn ask_block(&mut self, id: PeerId, index: u64, fork: u64) -> Result<(), StoreError> {
        let missing = self.core.missing_nodes(2 * index);
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        let nodes = if peer.predicts { peer.missing_nodes(index, missing) } else { missing };
        let block = BlockRequest { index, nodes };
        for_path(block, |node| {
            peer.expected.insert(node);
        });
        let request = Request { block: Some(block), ..Request::default() };
        peer.ask(Pending { predicted: nodes < missing, ..Pending::new(fork, request) });
        peer.cursor = index + 1;
        self.taken.set(index);
        self.mark_ready(id);
        Ok(())
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
    fn window_requests(&self) -> usize {
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

    /// Returns how many levels of a block's path are missing, those not counted that answers in flight will bring.
    fn missing_nodes(&self, index: u64, missing: u64) -> u64 {
        let mut node = 2 * index;
        for level in 0..missing {
            if self.expected.contains(&node) {
                return level;
            }
            node = flat_tree::parent(node);
        }
        missing
    }
}

/// Calls `f` with the nodes that the answer to a block request brings: siblings, and the parents computed from them.
pub(super) fn for_path(block: BlockRequest, mut f: impl FnMut(u64)) {
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

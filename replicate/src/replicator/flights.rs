//! Blocks on their way: who was asked for each, and in which order.

use std::collections::BTreeMap;

use super::PeerId;

/// The requests for blocks of the present fork that no peer has answered, of all peers together.
#[derive(Debug, Default)]
pub(super) struct Flights {
    by_block: BTreeMap<(u64, PeerId), Flight>,
    asked: u64,
}

/// A block on its way from one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flight {
    /// The request's id.
    pub(super) request: u64,
    /// How many requests for blocks had been made before this one, of any peer.
    pub(super) order: u64,
    /// The peer's tick at which it was asked.
    pub(super) asked_at: u32,
}

impl Flights {
    /// Returns how many requests there are.
    pub(super) fn len(&self) -> usize {
        self.by_block.len()
    }

    /// Returns the order of the request that is made next.
    pub(super) fn next_order(&mut self) -> u64 {
        self.asked += 1;
        self.asked
    }

    /// Notes that a peer was asked for a block.
    pub(super) fn add(&mut self, block: u64, peer: PeerId, flight: Flight) {
        self.by_block.insert((block, peer), flight);
    }

    /// Forgets that a peer was asked for a block.
    pub(super) fn remove(&mut self, block: u64, peer: PeerId) {
        self.by_block.remove(&(block, peer));
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.by_block.clear();
    }

    /// Returns of whom a block was asked.
    pub(super) fn of(&self, block: u64) -> impl Iterator<Item = (PeerId, Flight)> {
        self.by_block.range(all_of(block)).map(|((_, peer), flight)| (*peer, *flight))
    }

    /// Forgets a block and returns of whom it was asked.
    pub(super) fn take(&mut self, block: u64) -> Vec<(PeerId, Flight)> {
        let taken: Vec<_> = self.of(block).collect();
        taken.iter().for_each(|(peer, _)| self.remove(block, *peer));
        taken
    }

    /// Returns the first block at or after `from` that was asked of anybody.
    pub(super) fn next(&self, from: u64) -> Option<u64> {
        self.by_block.range((from, PeerId(0))..).next().map(|((block, _), _)| *block)
    }
}

fn all_of(block: u64) -> std::ops::RangeInclusive<(u64, PeerId)> {
    (block, PeerId(0))..=(block, PeerId(u64::MAX))
}

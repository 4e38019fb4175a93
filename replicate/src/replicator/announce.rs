//! Telling: what a commit has made true, and nothing before.

use std::iter;
use std::ops::Range;

use super::PeerId;
use super::conflict::Conflict;
use super::exchange::{Exchange, ExchangeEvent, Head};
use super::peer::Peer;
use super::ranges::Ranges;
use crate::SeekRequest;
use crate::core::Position;
use crate::store::StoreError;

/// Changes of a core's blocks that peers have not been told of.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Blocks gained.
    pub(super) gained: Ranges,
    /// Blocks of the committed core that are no longer part of it.
    pub(super) dropped: Option<Range<u64>>,
    /// Blocks forgotten, which are still part of the core.
    cleared: Ranges,
    /// The peer that proved that there are two histories.
    pub(super) conflict: Option<PeerId>,
}

/// What a commit that is under way makes true.
#[derive(Debug)]
pub(super) struct Handed {
    changes: Changes,
    head: Head,
    signature: Vec<u8>,
    /// Byte positions that were looked for.
    sought: Vec<(SeekRequest, Position)>,
}

impl Changes {
    /// Notes that blocks are no longer held.
    pub(super) fn clear(&mut self, run: Range<u64>) {
        self.gained.remove(run.clone());
        self.cleared.add(run);
    }

    /// Notes that the core kept only `kept` of `old_length` blocks.
    pub(super) fn truncate(&mut self, kept: u64, old_length: u64) {
        self.gained.remove(kept..u64::MAX);
        let before = self.dropped.take().unwrap_or(kept..old_length);
        self.dropped = Some(before.start.min(kept)..before.end.max(old_length));
    }
}

impl Exchange {
    /// Remembers what the commit that begins now will make true.
    pub(super) fn hand_out(&mut self) -> Result<(), StoreError> {
        self.handed = Some(Handed {
            changes: std::mem::take(&mut self.staged),
            head: Head::of(&self.core),
            signature: self.core.signature().to_vec(),
            sought: self.take_sought()?,
        });
        Ok(())
    }

    /// Tells the peers, and the application, what a commit has made true.
    pub(super) fn committed(&mut self) -> Result<(), StoreError> {
        let Some(Handed { changes, head, signature, sought }) = self.handed.take() else { return Ok(()) };
        let Changes { gained, dropped, cleared, conflict } = changes;
        let before = std::mem::replace(&mut self.told, head);
        self.told_signature = signature;
        if let Some(run) = dropped.filter(|run| !run.is_empty()) {
            self.events.push_back(ExchangeEvent::Truncated { kept: run.start });
            self.tell_dropped(&run);
        }
        cleared.iter().for_each(|run| self.tell_dropped(&run));
        self.tell_sought(sought);
        if conflict.is_some() {
            self.conflict = Conflict::of(&self.core, conflict);
            self.events.extend(self.conflict.clone().map(ExchangeEvent::Conflict));
        }
        self.events.extend(gained.iter().map(ExchangeEvent::Blocks));
        for id in self.peer_ids() {
            gained.iter().for_each(|run| self.tell_gained(id, run));
            if self.learns_to_upgrade(id) {
                self.tell_sync(id);
            }
            if self.peers.get(&id).is_some_and(Peer::waits) {
                self.mark_ready(id);
            }
        }
        if !head.differs(&before) {
            return Ok(());
        }
        self.events.push_back(ExchangeEvent::Head);
        for id in self.peer_ids() {
            self.tell_sync(id);
            self.refill(id)?;
        }
        Ok(())
    }

    /// Tells a peer that we hold everything up to our contiguous length, if there is anything.
    pub(super) fn tell_contiguous(&mut self, id: PeerId) {
        let length = self.told.contiguous;
        if length > 0 {
            self.peer(id, |peer| {
                peer.announced_whole = length;
                peer.news.gained.add(0..length);
            });
            self.mark_ready(id);
        }
    }

    /// Returns which of the blocks `start..end` are held, 32 a word; those not committed yet are left out. `start` is a
    /// multiple of 32.
    pub(super) fn committed_words(&self, start: u64, end: u64) -> Vec<u32> {
        let bitfield = self.core.bitfield();
        let mut words: Vec<u32> = (start / 32..end.div_ceil(32)).map(|number| bitfield.word(number)).collect();
        for run in self.uncommitted().flat_map(Ranges::iter) {
            for index in run.start.max(start)..run.end.min(end) {
                words[((index - start) / 32) as usize] &= !(1 << (index % 32));
            }
        }
        words
    }

    /// Returns the blocks gained that are not in the store yet.
    pub(super) fn uncommitted(&self) -> impl Iterator<Item = &Ranges> {
        let handed = self.handed.as_ref().map(|handed| &handed.changes);
        iter::once(&self.staged).chain(handed).map(|changes| &changes.gained)
    }

    fn tell_dropped(&mut self, run: &Range<u64>) {
        for id in self.peer_ids() {
            self.peer(id, |peer| {
                peer.announced_whole = peer.announced_whole.min(run.start);
                peer.news.drop(run.clone());
            });
            self.mark_ready(id);
        }
    }

    fn tell_gained(&mut self, id: PeerId, run: Range<u64>) {
        let Head { length, contiguous, .. } = self.told;
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if contiguous == length {
            if peer.announced_whole < length {
                self.tell_contiguous(id);
            }
            return;
        }
        let recent = run.end + BLOCKS_RECENT >= length;
        if (recent || peer.wants.touches(run.start, run.end)) && !peer.blocks.has_all(run.start, run.end) {
            peer.news.gained.add(run);
            self.mark_ready(id);
        }
    }

    /// Returns whether we could not prove our tree to a peer so far, and can now: its head may be one that we never had,
    /// whose roots we learn with the blocks.
    fn learns_to_upgrade(&mut self, id: PeerId) -> bool {
        let head = self.told;
        let Some(peer) = self.peers.get_mut(&id).filter(|peer| !peer.can_upgrade) else { return false };
        let length = peer.remote.length;
        let behind = peer.remote.fork == head.fork && head.fork == self.core.fork() && head.length > length;
        let able = behind && self.core.can_upgrade(length);
        if able {
            peer.note_upgradable(able, head.fork, length);
        }
        able
    }
}

/// Blocks this near to the head are told to everyone, wanted or not, as in the reference.
const BLOCKS_RECENT: u64 = 256;

//! Heads: syncs, upgrades, and what is told after a commit.

use super::PeerId;
use super::exchange::{Exchange, ExchangeEvent, Head};
use super::peer::{Peer, Pending};
use crate::messages::SyncState;
use crate::store::StoreError;
use crate::{Request, UpgradeRequest};

impl Exchange {
    /// Takes a sync: the peer's head, and which head of ours it has seen.
    pub(super) fn handle_sync(&mut self, id: PeerId, sync: SyncState) -> Result<(), StoreError> {
        let (fork, length) = (self.core.fork(), self.core.length());
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        let changed = sync.length != peer.remote.length || sync.fork != peer.remote.fork;
        let same_fork = sync.fork == fork;
        let first = !std::mem::replace(&mut peer.synced, true);
        peer.remote = sync;
        peer.length_acked = if same_fork { sync.remote_length } else { 0 };
        if changed {
            peer.no_data = 0;
        }
        peer.can_upgrade &= same_fork;
        peer.unjudged |= changed || first;
        if same_fork && length > sync.length {
            self.tell_sync(id);
        }
        if first {
            self.events.push_back(ExchangeEvent::Synced(id));
        }
        self.search_later(id);
        self.follow_fork(id)
    }

    /// Finds out whether we can prove our tree to a peer that told us of another head: when that is needed, since it
    /// takes reading, and a peer may tell much.
    pub(super) fn judge(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id).filter(|peer| peer.unjudged) else { return };
        peer.unjudged = false;
        if peer.remote.fork == self.core.fork() {
            let able = self.core.can_upgrade(peer.remote.length);
            peer.note_upgradable(able, self.core.fork(), peer.remote.length);
        }
    }

    /// Asks a peer for a longer tree, if it has one and has seen the head it would start from.
    pub(super) fn ask_upgrade(&mut self, id: PeerId) {
        let head = Head::of(&self.core);
        let known = self.core.manifest().is_some();
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let remote = peer.remote;
        let manifest = !known && remote.has_manifest;
        let mut pending = Pending::new(head.fork, Request { manifest, ..Request::default() });
        if remote.fork != head.fork {
            return;
        }
        if remote.length == 0 && manifest && !peer.manifest_asked {
            peer.manifest_asked = true;
            peer.ask(pending);
        } else if self.upgrading.is_none()
            && !peer.upgrade_lapsed
            && remote.can_upgrade
            && remote.length > head.length
            && peer.length_acked == head.length
        {
            let upgrade = UpgradeRequest { start: head.length, length: remote.length - head.length };
            pending.request.upgrade = Some(upgrade);
            peer.ask(pending);
            self.upgrading = Some(id);
        } else {
            return;
        }
        self.mark_ready(id);
    }

    /// Tells the peers what a commit has made true.
    pub(super) fn committed(&mut self) -> Result<(), StoreError> {
        let gained = std::mem::take(&mut self.gained);
        let told = std::mem::replace(&mut self.told, Head::of(&self.core));
        self.whole = self.core.contiguous_length();
        if let Some((kept, until)) = self.dropped.take() {
            self.events.push_back(ExchangeEvent::Truncated { kept });
            self.tell_dropped(kept, until.saturating_sub(kept));
        }
        for run in gained.iter() {
            self.events.push_back(ExchangeEvent::Blocks(run));
        }
        for id in self.peer_ids() {
            gained.iter().for_each(|run| self.tell_gained(id, run));
            if self.learns_to_upgrade(id) {
                self.tell_sync(id);
            }
            if self.peers.get(&id).is_some_and(Peer::waits) {
                self.mark_ready(id);
            }
        }
        if self.told == told {
            return Ok(());
        }
        self.events.push_back(ExchangeEvent::Head);
        for id in self.peer_ids() {
            self.tell_sync(id);
            self.refill(id)?;
        }
        Ok(())
    }

    /// Says that blocks from `length` on, `dropped` of them, are no longer part of the core.
    pub(super) fn tell_dropped(&mut self, length: u64, dropped: u64) {
        if dropped == 0 {
            return;
        }
        for id in self.peer_ids() {
            self.peer(id, |peer| {
                peer.announced_whole = peer.announced_whole.min(length);
                peer.news.drop(length..length + dropped);
            });
            self.mark_ready(id);
        }
    }

    /// Tells a peer that we hold everything up to our contiguous length, if it does not know.
    pub(super) fn tell_contiguous(&mut self, id: PeerId) {
        let length = self.whole.min(self.told.length);
        if length > 0 {
            self.peer(id, |peer| {
                peer.announced_whole = length;
                peer.news.gained.add(0..length);
            });
            self.mark_ready(id);
        }
    }

    fn tell_gained(&mut self, id: PeerId, run: std::ops::Range<u64>) {
        let (length, whole) = (self.core.length(), self.core.contiguous_length() == self.core.length());
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if whole {
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
        let Some(peer) = self.peers.get_mut(&id) else { return false };
        let length = peer.remote.length;
        let unable = peer.remote.fork == head.fork && head.length > length && !peer.can_upgrade;
        let able = unable && self.core.can_upgrade(length);
        if able {
            peer.note_upgradable(able, head.fork, length);
        }
        able
    }
}

impl Peer {
    /// Returns whether it has asked something that is not answered.
    fn waits(&self) -> bool {
        !self.serving.is_empty() || !self.regions.is_empty()
    }

    fn note_upgradable(&mut self, able: bool, fork: u64, length: u64) {
        self.can_upgrade = able;
        if able {
            self.last_upgradable = Some((fork, length));
        }
    }
}

/// Blocks this near to the head are told to everyone, wanted or not, as in the reference.
const BLOCKS_RECENT: u64 = 256;

//! Heads: what a peer's sync means, and when to ask it for a longer tree.

use super::PeerId;
use super::exchange::{Exchange, ExchangeEvent, Head};
use super::peer::{Peer, Pending};
use crate::messages::SyncState;
use crate::store::StoreError;
use crate::{BlockRequest, Request, UpgradeRequest};

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
            peer.upgrade_alone = false;
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
        let invited = self.push_allowed;
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
            // It may no longer send unasked while it answers this; told before the request.
            peer.news.sync |= invited;
            self.upgrading = Some(id);
            self.ask_with_block(id, pending, remote.length);
        } else {
            return;
        }
        self.mark_ready(id);
    }

    /// Asks a peer for a longer tree, and for a block of what it adds, if one is wanted: that spares a round trip.
    fn ask_with_block(&mut self, id: PeerId, pending: Pending, end: u64) {
        let alone = self.peers.get(&id).is_none_or(|peer| peer.upgrade_alone);
        let start = self.core.length();
        let mut wanted = |urgent| self.next_block(id, end, urgent).filter(|index| !alone && *index >= start);
        let (urgent, any) = (wanted(true), wanted(false));
        match urgent.or(any) {
            // The path to it is in the proof that the tree has grown.
            Some(index) => self.ask_for(id, BlockRequest { index, nodes: 0 }, pending),
            None => self.peer(id, |peer| _ = peer.ask(pending)),
        }
    }
}

impl Peer {
    /// Returns whether there is something to be answered or sent unasked, perhaps after a commit.
    pub(super) fn waits(&self) -> bool {
        !self.serving.is_empty() || !self.regions.is_empty() || !self.pushes.is_empty()
    }

    pub(super) fn note_upgradable(&mut self, able: bool, fork: u64, length: u64) {
        self.can_upgrade = able;
        if able {
            self.last_upgradable = Some((fork, length));
        }
    }
}

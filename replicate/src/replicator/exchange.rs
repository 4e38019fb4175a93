//! One core and the peers that share it: who has what, what is asked, what is told.
//!
//! Follows npm hypercore 11.37, `lib/replicator.js`; the differences are named where they are made.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

use anypath_wire::PublicKey;
use bytes::Bytes;
use thiserror::Error;

use super::PeerId;
use super::announce::{Changes, Handed};
use super::conflict::Conflict;
use super::flights::Flights;
use super::peer::Peer;
use super::ranges::Ranges;
use super::reorg::Reorganisation;
use super::seeks::Seeks;
use super::serving::Asked;
use super::wants::REGIONS_MAX;
use crate::SeekRequest;
use crate::core::{Bitfield, Core, Position};
use crate::messages::{Bitfield as BitfieldMessage, Message, Range as RangeMessage, SyncState};
use crate::store::StoreError;

/// A core with its goals and peers. Changes are staged in the core until the replicator commits them;
/// only then does [`Exchange::committed`] tell the peers.
pub(super) struct Exchange {
    pub(super) core: Core,
    /// Blocks somebody here wants.
    pub(super) goals: Ranges,
    /// Those of them that somebody waits for.
    pub(super) urgent: Ranges,
    /// Whether somebody here wants to know every new head.
    following: bool,
    /// Byte positions somebody here looks for.
    pub(super) seeks: Seeks,
    /// Blocks that are held or on their way.
    pub(super) taken: Bitfield,
    /// Of whom those on their way were asked.
    pub(super) flights: Flights,
    /// Peers whose answers are no longer needed, since others gave them.
    pub(super) landed: BTreeSet<PeerId>,
    pub(super) peers: BTreeMap<PeerId, Peer>,
    /// The peer that was asked for an upgrade.
    pub(super) upgrading: Option<PeerId>,
    /// Higher forks that peers told us of, by fork.
    pub(super) reorganisations: BTreeMap<u64, Reorganisation>,
    /// Changes since the last commit began.
    pub(super) staged: Changes,
    /// The changes that are being committed.
    pub(super) handed: Option<Handed>,
    /// The committed head that peers were told of.
    pub(super) told: Head,
    /// Its signature.
    pub(super) told_signature: Vec<u8>,
    /// Whether blocks are taken that were not asked for.
    pub(super) push_allowed: bool,
    /// Whether a power cut may still take back a head that was signed here; no peer has heard of it.
    pub(super) unsettled: bool,
    /// Why the core is frozen, once that is committed.
    pub(super) conflict: Option<Conflict>,
    /// Names of extension messages that somebody here wants to hear.
    pub(super) extensions: BTreeSet<Bytes>,
    /// Peers for which there is something to send.
    ready: BTreeSet<PeerId>,
    pub(super) events: VecDeque<ExchangeEvent>,
}

/// What peers are told of a core's present state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Head {
    pub(super) fork: u64,
    pub(super) length: u64,
    pub(super) manifest: bool,
    /// How many blocks are held from the first on.
    pub(super) contiguous: u64,
}

/// What happened to a core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ExchangeEvent {
    /// A peer said for the first time what it has.
    Synced(PeerId),
    /// Blocks were committed.
    Blocks(Range<u64>),
    /// A new head was committed.
    Head,
    /// Blocks from `kept` on are no longer part of the core.
    Truncated { kept: u64 },
    /// There are two histories; the core is frozen.
    Conflict(Conflict),
    /// A byte position that was looked for is found.
    Sought { seek: SeekRequest, at: Position },
    /// A peer sent an extension message of a name that is listened for.
    Extension { peer: PeerId, name: Bytes, message: Bytes },
    /// A peer sent a block that is the writer's and that the application's rule refuses.
    RuleBroken { peer: PeerId, index: u64 },
    /// A peer sent data that does not verify and is asked nothing more about this core.
    Refused(PeerId, Misbehaviour),
}

/// What a peer did that no honest peer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Misbehaviour {
    /// It does not know the core's key.
    #[error("the peer could not prove that it knows the key of {0}")]
    Capability(PublicKey),
    /// It asked for more than anyone can want at once.
    #[error("the peer has more than {REQUESTS_MAX} requests waiting for one core")]
    TooManyRequests,
    /// It asked about more regions than anyone can need at once.
    #[error("the peer has more than {REGIONS_MAX} questions about regions waiting for one core")]
    TooManyWants,
    /// It keeps asking for what cannot be answered.
    #[error("the peer sent {INVALID_REQUESTS_MAX} requests that nobody could answer")]
    InvalidRequests,
    /// It sent data that does not verify.
    #[error("the peer sent data that does not verify")]
    InvalidData,
    /// It sent a bitfield that begins inside a word.
    #[error("the peer sent a bitfield that does not begin at a multiple of 32 blocks")]
    Unaligned,
    /// It named blocks beyond 2^53.
    #[error("the peer named a block beyond 2^53")]
    OutOfRange,
}

/// Why a message could not be handled.
#[derive(Debug, Error)]
pub(super) enum ExchangeError {
    #[error(transparent)]
    Misbehaved(#[from] Misbehaviour),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Exchange {
    /// Wraps a core that nobody shares yet: all of it is committed, or nothing.
    pub(super) fn new(core: Core) -> Self {
        let told = if core.is_staged() { Head::default() } else { Head::of(&core) };
        let told_signature = core.signature().to_vec();
        let taken = core.bitfield().clone();
        let conflict = Conflict::of(&core, None);
        Self {
            core,
            goals: Ranges::default(),
            urgent: Ranges::default(),
            following: false,
            seeks: Seeks::default(),
            taken,
            flights: Flights::default(),
            landed: BTreeSet::new(),
            peers: BTreeMap::new(),
            upgrading: None,
            reorganisations: BTreeMap::new(),
            staged: Changes::default(),
            handed: None,
            told,
            told_signature,
            push_allowed: false,
            unsettled: false,
            conflict,
            extensions: BTreeSet::new(),
            ready: BTreeSet::new(),
            events: VecDeque::new(),
        }
    }

    /// Returns whether anybody here wants blocks or news of this core.
    pub(super) fn downloading(&self) -> bool {
        let goals = self.following || !self.goals.is_empty() || !self.seeks.is_empty();
        goals && !self.core.is_frozen()
    }

    /// Adds blocks to what is wanted; an end of `u64::MAX` follows the core as it grows.
    pub(super) fn want(&mut self, run: Range<u64>) -> Result<(), StoreError> {
        let start = run.start;
        self.peers.values_mut().for_each(|peer| peer.reconsider(start));
        self.begin(|exchange| exchange.goals.add(run))
    }

    /// Wants blocks before all others, since somebody waits for them.
    pub(super) fn want_now(&mut self, run: Range<u64>) -> Result<(), StoreError> {
        self.urgent.add(run.clone());
        self.want(run)
    }

    /// Wants to know every new head from now on.
    pub(super) fn follow(&mut self) -> Result<(), StoreError> {
        self.begin(|exchange| exchange.following = true)
    }

    /// Adds a goal, and asks for it.
    pub(super) fn begin(&mut self, goal: impl FnOnce(&mut Self)) -> Result<(), StoreError> {
        let fresh = !self.downloading();
        goal(self);
        if fresh && self.downloading() {
            self.tell_all_sync();
            self.peer_ids().into_iter().try_for_each(|id| self.follow_fork(id))?;
        }
        self.refill_all()
    }

    /// Forgets blocks and no longer wants them.
    pub(super) fn clear(&mut self, run: Range<u64>) {
        let run = run.start..run.end.min(self.core.length());
        self.core.clear(run.clone());
        self.goals.remove(run.clone());
        self.urgent.remove(run.clone());
        while let Some(index) = self.flights.next(run.start).filter(|index| *index < run.end) {
            self.land(index);
        }
        self.taken.clear_range(run.clone());
        self.staged.clear(run);
    }

    /// Takes everything out of what is wanted; what is in flight still arrives.
    pub(super) fn want_nothing(&mut self) {
        if self.downloading() {
            self.goals = Ranges::default();
            self.urgent = Ranges::default();
            self.following = false;
            self.seeks = Seeks::default();
            self.tell_all_sync();
        }
    }

    /// Takes a peer whose channel has opened on both ends.
    pub(super) fn add_peer(&mut self, id: PeerId) {
        self.peers.insert(id, Peer::new());
        self.tell_sync(id);
        self.tell_contiguous(id);
    }

    /// Forgets a peer; what it was asked for goes to others.
    pub(super) fn remove_peer(&mut self, id: PeerId) -> Result<(), StoreError> {
        self.give_back_all(id);
        self.peers.remove(&id);
        self.ready.remove(&id);
        if self.upgrading == Some(id) {
            self.upgrading = None;
        }
        self.lose_reorganiser(id)?;
        self.refill_all()
    }

    /// Takes a message from a peer.
    pub(super) fn handle(&mut self, id: PeerId, message: Message) -> Result<(), ExchangeError> {
        match message {
            Message::Sync(sync) => self.handle_sync(id, sync)?,
            Message::Request(asked) => self.handle_request(
                id,
                Asked { id: asked.id, fork: asked.fork, urgent: asked.priority > 0, request: asked.request },
            )?,
            Message::Cancel { request } => self.handle_cancel(id, request),
            Message::Data(data) => self.handle_data(id, data, None)?,
            Message::NoData { request, .. } => self.handle_no_data(id, request)?,
            Message::Want(want) => self.handle_want(id, want.start, want.length)?,
            Message::Unwant(want) => self.peer(id, |peer| peer.wants.remove(want.start, want.length)),
            Message::Bitfield(bitfield) => self.handle_bitfield(id, &bitfield)?,
            Message::Range(range) => self.handle_range(id, range)?,
            Message::Extension { name, message } => self.handle_extension(id, name, message),
        }
        Ok(())
    }

    /// Returns the peers for which [`Exchange::poll_message`] has something, and forgets that it said so.
    pub(super) fn take_ready(&mut self) -> BTreeSet<PeerId> {
        std::mem::take(&mut self.ready)
    }

    /// Returns the next message for a peer: news, then requests, then answers to its own.
    pub(super) fn poll_message(&mut self, id: PeerId) -> Result<Option<Message>, ExchangeError> {
        self.judge(id);
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(None) };
        if std::mem::take(&mut peer.searching) {
            self.refill(id)?;
        }
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(None) };
        if let Some(message) = peer.news.next_range() {
            return Ok(Some(message));
        }
        if std::mem::take(&mut peer.news.sync) {
            return Ok(Some(self.sync(id)));
        }
        if let Some(message) = self.peers.get_mut(&id).and_then(|peer| peer.out.pop_front()) {
            return Ok(Some(message));
        }
        match self.next_push(id)? {
            Some(message) => Ok(Some(message)),
            None => self.serve(id),
        }
    }

    /// Looks for blocks to ask a peer for as soon as it takes in requests: one search, however many messages led to it.
    pub(super) fn search_later(&mut self, id: PeerId) {
        self.peer(id, |peer| peer.searching = true);
        self.mark_ready(id);
    }

    /// Returns whether the search for a block to ask a peer for is not over.
    pub(super) fn is_searching(&self, id: PeerId) -> bool {
        self.peers.get(&id).is_some_and(|peer| peer.searching)
    }

    /// Says that the peer has something to send.
    pub(super) fn mark_ready(&mut self, id: PeerId) {
        self.ready.insert(id);
    }

    /// Queues a message.
    pub(super) fn tell(&mut self, id: PeerId, message: Message) {
        self.peer(id, |peer| peer.out.push_back(message));
        self.mark_ready(id);
    }

    /// Calls `f` with the peer, if it is still there.
    pub(super) fn peer(&mut self, id: PeerId, f: impl FnOnce(&mut Peer)) {
        if let Some(peer) = self.peers.get_mut(&id) {
            f(peer);
        }
    }

    /// Returns the ids of all peers.
    pub(super) fn peer_ids(&self) -> Vec<PeerId> {
        self.peers.keys().copied().collect()
    }

    fn handle_bitfield(&mut self, id: PeerId, bitfield: &BitfieldMessage) -> Result<(), ExchangeError> {
        if !bitfield.start.is_multiple_of(32) {
            return Err(Misbehaviour::Unaligned.into());
        }
        checked_end(bitfield.start, bitfield.bytes.len() as u64 * 8)?;
        self.peer(id, |peer| {
            peer.blocks.set_words(bitfield.start, bitfield.bytes.len() as u64 * 8, bitfield.words());
            peer.reconsider(bitfield.start);
        });
        self.search_later(id);
        Ok(())
    }

    fn handle_range(&mut self, id: PeerId, range: RangeMessage) -> Result<(), Misbehaviour> {
        let end = checked_end(range.start, range.length)?;
        self.peer(id, |peer| {
            peer.blocks.set(range.start, end, !range.drop);
            peer.reconsider(range.start);
        });
        if !range.drop {
            self.search_later(id);
        }
        Ok(())
    }

    pub(super) fn tell_all_sync(&mut self) {
        self.peer_ids().into_iter().for_each(|id| self.tell_sync(id));
    }

    /// Says that a peer is to be told our head.
    pub(super) fn tell_sync(&mut self, id: PeerId) {
        self.peer(id, |peer| peer.news.sync = true);
        self.mark_ready(id);
    }

    /// Returns our committed head and what we know of the peer's own.
    fn sync(&mut self, id: PeerId) -> Message {
        let (told, downloading) = (self.told, self.downloading());
        let mut sync =
            SyncState { fork: told.fork, length: told.length, uploading: true, downloading, ..SyncState::default() };
        sync.has_manifest = told.manifest;
        sync.allow_push = self.peers.get(&id).is_some_and(|peer| self.invites_push(peer));
        self.peer(id, |peer| {
            let same_fork = peer.remote.fork == told.fork;
            peer.can_upgrade &= same_fork;
            sync.can_upgrade = peer.can_upgrade;
            sync.remote_length = if same_fork { peer.remote.length } else { 0 };
        });
        Message::Sync(sync)
    }
}

impl Head {
    /// Returns the head of a core, staged changes included.
    pub(super) fn of(core: &Core) -> Self {
        let manifest = core.manifest().is_some() && !core.is_compat();
        Self { fork: core.fork(), length: core.length(), manifest, contiguous: core.contiguous_length() }
    }

    /// Returns whether a sync would say something else.
    pub(super) fn differs(&self, other: &Self) -> bool {
        (self.fork, self.length, self.manifest) != (other.fork, other.length, other.manifest)
    }
}

/// Returns the end of a stretch of blocks, or the misbehaviour if it lies beyond 2^53.
fn checked_end(start: u64, length: u64) -> Result<u64, Misbehaviour> {
    start.checked_add(length).filter(|end| *end <= 1 << 53).ok_or(Misbehaviour::OutOfRange)
}

/// Most requests a peer may have waiting for one core; the reference has at most 512 in flight.
pub(super) const REQUESTS_MAX: usize = 16_384;
/// Most requests of a peer that nobody could answer, as in the reference.
pub(super) const INVALID_REQUESTS_MAX: u32 = 64;

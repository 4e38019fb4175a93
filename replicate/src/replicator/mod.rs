//! All cores and all peers of a process, without sockets, clock or task.
//!
//! A driver feeds it decrypted frames and takes frames out, peer by peer; the application opens cores and
//! says which blocks it wants. What arrives is verified and staged; [`Replicator::commit`] makes it last and
//! only then tells anybody, so nothing is announced that a crash could take back.
//!
//! ```text
//! connect ─► handle_frame ─► (staged) ─► commit ─► poll_event    what the application is told
//!                                           └────► poll_frame    what the peers are told
//! ```
//!
//! Protocols of the application's own go over the same connections ([`Replicator::speak`]): what peers do on their
//! channels waits in [`Replicator::poll_channel`], and [`Replicator::channels`] is where to answer. Of a peer that says
//! more than is taken no more is read: [`Replicator::wants_pause`] tells the driver, [`Replicator::resume`] goes on.
//!
//! Frames are produced when the driver asks for them and no sooner: a peer that reads slowly costs its
//! requests' few bytes, not their answers.

mod announce;
mod answers;
mod channels;
mod check;
mod commit;
mod committed;
mod conflict;
mod connection;
mod event;
mod exchange;
mod extension;
mod fetch;
mod flights;
mod heads;
mod intake;
mod lapse;
mod peer;
mod protocols;
mod push;
mod ranges;
mod remote_blocks;
mod reorg;
mod rule;
mod seeks;
mod serve;
mod serving;
mod swap;
mod wants;
mod window;
mod wishes;
mod writer;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use anypath_wire::{DiscoveryKey, Handshake, KeyPair, PublicKey};
use bytes::Bytes;
use thiserror::Error;

pub use self::channels::{Channels, OpenChannelError, SpeakError};
pub use self::committed::Committed;
pub use self::conflict::Conflict;
use self::connection::Connection;
pub use self::event::Event;
pub use self::exchange::Misbehaviour;
use self::exchange::{Exchange, ExchangeError, ExchangeEvent};
use self::intake::Answers;
use self::protocols::Protocols;
pub use self::writer::Writer;
use crate::core::{AppendError, Core, Manifest, OpenError};
use crate::messages::Message;
use crate::mux::{self, CloseReason, MuxError};
use crate::store::{Store, StoreError};

/// A connected peer; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u64);

/// An open core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CoreId(u32);

/// Why a connection must be dropped, or the whole replicator given up.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The peer broke the rules of channels.
    #[error(transparent)]
    Mux(#[from] MuxError),
    /// A message of the peer cannot be decoded.
    #[error("the peer sent a message that cannot be decoded: {0}")]
    Malformed(#[from] anypath_wire::DecodeError),
    /// The peer broke the rules of replication.
    #[error(transparent)]
    Misbehaved(#[from] Misbehaviour),
    /// An answer does not fit into a frame.
    #[error(transparent)]
    Send(#[from] mux::SendError),
    /// A core in our store cannot be opened.
    #[error(transparent)]
    Open(OpenError),
    /// Our own store failed; every peer is affected, none is to blame.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The cores of one store and the peers that share them.
pub struct Replicator {
    store: Arc<dyn Store>,
    exchanges: Vec<Exchange>,
    by_key: BTreeMap<DiscoveryKey, CoreId>,
    connections: BTreeMap<PeerId, Connection>,
    staged: BTreeSet<CoreId>,
    /// Cores whose changes are being committed.
    committing: BTreeSet<CoreId>,
    /// Peers for which there may be a frame.
    ready: BTreeSet<PeerId>,
    events: VecDeque<Event>,
    protocols: Protocols,
    peers_seen: u64,
}

impl Replicator {
    /// Starts over a store, with no core open.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            exchanges: Vec::new(),
            by_key: BTreeMap::new(),
            connections: BTreeMap::new(),
            staged: BTreeSet::new(),
            committing: BTreeSet::new(),
            ready: BTreeSet::new(),
            events: VecDeque::new(),
            protocols: Protocols::default(),
            peers_seen: 0,
        }
    }

    /// Returns the store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Opens a core by its key: from the store, or as one of which nothing is known yet.
    pub fn open(&mut self, key: &PublicKey) -> Result<CoreId, OpenError> {
        match self.load(&key.discovery_key())? {
            Some(id) => Ok(id),
            None => Ok(self.add(Core::remote(self.store.clone(), *key))),
        }
    }

    /// Opens a core that we may write: from the store, or a new one; new ones are staged for the next commit.
    pub fn open_writable(&mut self, manifest: Manifest, signer: KeyPair) -> Result<CoreId, OpenError> {
        let id = self.open_manifest(manifest)?;
        Ok(self.sign_with(id, signer))
    }

    /// Opens a core that we may write and whose key is our public key, as hypercore 10 made them.
    pub fn open_compat(&mut self, signer: KeyPair) -> Result<CoreId, OpenError> {
        if let Some(id) = self.load(&signer.public().discovery_key())? {
            return Ok(self.sign_with(id, signer));
        }
        let core = Core::create_compat(self.store.clone(), signer);
        Ok(self.add_staged(core))
    }

    /// Opens a core of a known manifest, without a signer: for [`Replicator::append_signed`], by as many as it takes.
    pub fn open_manifest(&mut self, manifest: Manifest) -> Result<CoreId, OpenError> {
        if let Some(id) = self.load(&manifest.key().discovery_key())? {
            self.exchange_mut(id).core.know_manifest(manifest);
            self.stage_if_changed(id);
            return Ok(id);
        }
        let core = Core::create(self.store.clone(), manifest, None);
        Ok(self.add_staged(core))
    }

    /// Returns an open core; what it holds includes what is staged.
    pub fn core(&self, id: CoreId) -> &Core {
        &self.exchanges[id.0 as usize].core
    }

    /// Returns the blocks of an open core that are in the store.
    pub fn committed(&self, id: CoreId) -> Committed<'_> {
        Committed::new(&self.exchanges[id.0 as usize])
    }

    /// Appends blocks to a writable core; staged until the next commit. Returns the new length.
    pub fn append(&mut self, id: CoreId, blocks: &[Bytes]) -> Result<u64, AppendError> {
        self.append_with(id, |core| core.append(blocks))
    }

    /// Appends blocks under a signature made elsewhere, as [`Core::append_signed`] does.
    pub fn append_signed(&mut self, id: CoreId, blocks: &[Bytes], signature: Vec<u8>) -> Result<u64, AppendError> {
        self.append_with(id, |core| core.append_signed(blocks, signature))
    }

    fn append_with(
        &mut self,
        id: CoreId,
        append: impl FnOnce(&mut Core) -> Result<u64, AppendError>,
    ) -> Result<u64, AppendError> {
        let exchange = self.exchange_mut(id);
        let before = exchange.core.length();
        let length = append(&mut exchange.core)?;
        exchange.taken.set_range(before..length);
        exchange.staged.gained.add(before..length);
        self.staged.insert(id);
        Ok(length)
    }

    /// Returns a writable core as a place to append to.
    pub fn writer(&mut self, id: CoreId) -> Writer<'_> {
        Writer::new(self, id)
    }

    /// Cuts a writable core to `length` blocks, on a new fork (by default the next one); staged until the next commit.
    pub fn truncate(&mut self, id: CoreId, length: u64, fork: Option<u64>) -> Result<(), AppendError> {
        let exchange = self.exchange_mut(id);
        let before = exchange.core.length();
        exchange.core.truncate(length, fork)?;
        exchange.truncated(length, before)?;
        self.staged.insert(id);
        self.spread_ready(id);
        Ok(())
    }

    /// Returns what each peer that shares a core says of it.
    pub fn remotes(&self, id: CoreId) -> impl Iterator<Item = Remote> {
        self.exchanges[id.0 as usize].peers.iter().map(|(peer, state)| Remote {
            peer: *peer,
            synced: state.synced,
            fork: state.remote.fork,
            length: state.remote.length,
            in_flight: state.window.len(),
            paused: state.synced && state.remote.uploading && !state.answers(),
        })
    }

    /// Returns whether a peer shares any core.
    pub fn shares(&self, peer: PeerId) -> bool {
        let shared = |core: CoreId| self.exchanges[core.0 as usize].peers.contains_key(&peer);
        self.connections.get(&peer).is_some_and(|connection| connection.cores().any(shared))
    }

    /// Takes a connection whose handshake is done.
    pub fn connect(&mut self, handshake: Handshake) -> PeerId {
        self.peers_seen += 1;
        let peer = PeerId(self.peers_seen);
        let mut connection = Connection::new(handshake);
        for (index, exchange) in self.exchanges.iter().enumerate().filter(|(_, exchange)| exchange.downloading()) {
            connection.open(CoreId(index as u32), exchange.core.key());
        }
        self.connections.insert(peer, connection);
        self.ready.insert(peer);
        peer
    }

    /// Forgets a connection; what it was asked for goes to other peers.
    pub fn disconnect(&mut self, peer: PeerId) -> Result<(), StoreError> {
        let Some(connection) = self.connections.remove(&peer) else { return Ok(()) };
        connection.cores().try_for_each(|core| self.close(peer, core))?;
        self.end_own(peer, connection.own);
        Ok(())
    }

    /// Says that some seconds have passed for a peer: what it was asked two ticks ago and has not answered goes to others
    /// that have nothing else to do. Its own answer still counts.
    pub fn tick(&mut self, peer: PeerId) -> Result<(), StoreError> {
        let cores: Vec<_> = self.connections.get(&peer).into_iter().flat_map(Connection::cores).collect();
        for core in cores {
            self.exchange_mut(core).tick(peer)?;
            self.core(core).rest(false);
            self.spread_ready(core);
        }
        Ok(())
    }

    /// Appends the next frame for a peer to `out`, behind what is there already; returns whether there was one.
    ///
    /// # Errors
    /// As [`Replicator::handle_frames`].
    pub fn poll_frame(&mut self, peer: PeerId, out: &mut Vec<u8>) -> Result<bool, FrameError> {
        let Some(connection) = self.connections.get_mut(&peer) else { return Ok(false) };
        let own_turn = connection.own.take_turn();
        while connection.mux.queued_bytes() < FRAME_BYTES_TARGET {
            if own_turn && connection.send_own() {
                continue;
            }
            let Some(core) = connection.next_ready() else {
                if connection.send_own() {
                    continue;
                }
                break;
            };
            let exchange = &mut self.exchanges[core.0 as usize];
            let message = exchange.poll_message(peer)?;
            if let Some(message) = &message {
                connection.send(core, message)?;
            }
            let searching = exchange.is_searching(peer);
            if message.is_some() || searching {
                connection.mark_ready(core);
            }
            if message.is_none() && searching {
                // The search goes on at the next call: others come first.
                self.ready.insert(peer);
                break;
            }
        }
        Ok(connection.mux.poll_frame(out))
    }

    /// Returns whether [`Replicator::take_ready`] has a peer to name.
    pub fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Returns whether [`Replicator::poll_frame`] has something for the peer.
    pub fn has_frame(&self, peer: PeerId) -> bool {
        self.connections.get(&peer).is_some_and(|connection| connection.is_ready() || connection.queued_bytes() > 0)
    }

    /// Returns the peers for which [`Replicator::poll_frame`] may have something new, and forgets that it said so.
    pub fn take_ready(&mut self) -> BTreeSet<PeerId> {
        std::mem::take(&mut self.ready)
    }

    /// Returns the next thing to tell the application.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn handle_event(&mut self, peer: PeerId, event: mux::Event, answers: &mut Answers) -> Result<(), FrameError> {
        match event {
            mux::Event::Offered { protocol, id } => self.handle_offer(peer, &protocol, &id)?,
            mux::Event::Opened { channel, handshake } => {
                let Some(connection) = self.connections.get(&peer) else { return Ok(()) };
                let Some(core) = connection.core(channel) else { return Ok(()) };
                let exchange = &self.exchanges[core.0 as usize];
                if !connection.proves(exchange.core.key(), &handshake) {
                    return Err(Misbehaviour::Capability(*exchange.core.key()).into());
                }
                self.settle(core)?;
                self.exchange_mut(core).add_peer(peer);
                self.events.push_back(Event::Opened { peer, core });
                self.spread_ready(core);
            }
            mux::Event::Message { channel, kind, body } => {
                let Some(core) = self.connections.get(&peer).and_then(|connection| connection.core(channel)) else {
                    return Ok(());
                };
                match Message::decode(kind, &body, true)? {
                    Some(Message::Data(data)) => answers.push((core, data)),
                    Some(message) => self.handle_message(peer, core, message)?,
                    None => {}
                }
            }
            mux::Event::Closed { channel, why } => self.handle_closed(peer, channel, why)?,
        }
        Ok(())
    }

    fn handle_offer(&mut self, peer: PeerId, protocol: &str, id: &[u8]) -> Result<(), FrameError> {
        let discovery_key =
            connection::is_core_protocol(protocol).then(|| id.try_into().map(DiscoveryKey).ok()).flatten();
        let core = discovery_key.map_or(Ok(None), |discovery_key| self.load(&discovery_key))?;
        let Some(connection) = self.connections.get_mut(&peer) else { return Ok(()) };
        match (core, discovery_key) {
            (Some(core), _) if !connection.has(core) && self.exchanges[core.0 as usize].conflict.is_none() => {
                connection.open(core, self.exchanges[core.0 as usize].core.key())
            }
            (None, Some(discovery_key)) => connection.miss(protocol, discovery_key),
            // No core's, or a frozen one's, or a second channel for the same core, which would wait for ever.
            _ => connection.mux.reject(protocol, id),
        }
        Ok(())
    }

    fn handle_message(&mut self, peer: PeerId, core: CoreId, message: Message) -> Result<(), FrameError> {
        let exchange = &mut self.exchanges[core.0 as usize];
        let outcome = exchange.handle(peer, message);
        self.handled(core);
        Ok(outcome?)
    }

    /// Notes what the handling of a message has staged and made ready.
    fn handled(&mut self, core: CoreId) {
        self.stage_if_changed(core);
        self.spread_ready(core);
    }

    fn handle_closed(&mut self, peer: PeerId, channel: mux::Channel, why: CloseReason) -> Result<(), StoreError> {
        let Some(connection) = self.connections.get_mut(&peer) else { return Ok(()) };
        let Some(core) = connection.forget(channel) else { return Ok(()) };
        if why == CloseReason::Rejected {
            self.events.push_back(Event::Absent { peer, core });
            return Ok(());
        }
        self.close(peer, core)?;
        // A peer closes a channel on which both sides were idle; if we no longer are, it is opened again.
        let exchange = &self.exchanges[core.0 as usize];
        if let Some(connection) = self
            .connections
            .get_mut(&peer)
            .filter(|connection| exchange.downloading() && connection.reopened < REOPENED_MAX)
        {
            connection.reopened += 1;
            connection.open(core, exchange.core.key());
        }
        Ok(())
    }

    fn close(&mut self, peer: PeerId, core: CoreId) -> Result<(), StoreError> {
        let exchange = self.exchange_mut(core);
        let shared = exchange.peers.contains_key(&peer);
        exchange.remove_peer(peer)?;
        if exchange.peers.is_empty() {
            exchange.core.rest(true);
        }
        self.spread_ready(core);
        if shared {
            self.events.push_back(Event::Closed { peer, core });
        }
        Ok(())
    }

    fn load(&mut self, discovery_key: &DiscoveryKey) -> Result<Option<CoreId>, OpenError> {
        if let Some(id) = self.by_key.get(discovery_key) {
            return Ok(Some(*id));
        }
        let core = Core::open(self.store.clone(), discovery_key)?;
        Ok(core.map(|core| self.add(core)))
    }

    fn add(&mut self, core: Core) -> CoreId {
        let id = CoreId(self.exchanges.len() as u32);
        self.by_key.insert(*core.discovery_key(), id);
        for (peer, connection) in &mut self.connections {
            if !core.is_frozen() && connection.make_up(id, core.key(), core.discovery_key()) {
                self.ready.insert(*peer);
            }
        }
        self.exchanges.push(Exchange::new(core));
        id
    }

    fn sign_with(&mut self, id: CoreId, signer: KeyPair) -> CoreId {
        self.exchange_mut(id).core.sign_with(signer);
        self.stage_if_changed(id);
        id
    }

    fn stage_if_changed(&mut self, id: CoreId) {
        if self.core(id).is_staged() {
            self.staged.insert(id);
        }
    }

    fn add_staged(&mut self, core: Core) -> CoreId {
        let id = self.add(core);
        self.staged.insert(id);
        id
    }

    /// Opens the core's channel to every peer, since there is something to ask for.
    fn reach_out(&mut self, id: CoreId) {
        let key = *self.core(id).key();
        if self.conflict(id).is_none() {
            for (peer, connection) in &mut self.connections {
                connection.open(id, &key);
                self.ready.insert(*peer);
            }
        }
        self.spread_ready(id);
    }

    fn exchange_mut(&mut self, id: CoreId) -> &mut Exchange {
        &mut self.exchanges[id.0 as usize]
    }

    /// Passes on what a core has for its peers and for the application.
    fn spread_ready(&mut self, core: CoreId) {
        let exchange = &mut self.exchanges[core.0 as usize];
        for peer in exchange.take_ready() {
            if let Some(connection) = self.connections.get_mut(&peer) {
                connection.mark_ready(core);
                self.ready.insert(peer);
            }
        }
        self.events.extend(exchange.events.drain(..).map(|event| match event {
            ExchangeEvent::Synced(peer) => Event::Synced { peer, core },
            ExchangeEvent::Blocks(blocks) => Event::Blocks { core, blocks },
            ExchangeEvent::Head => Event::Head { core },
            ExchangeEvent::Truncated { kept } => Event::Truncated { core, kept },
            ExchangeEvent::Sought { seek, at } => Event::Sought { core, seek, at },
            ExchangeEvent::Conflict(conflict) => Event::Conflict { core, conflict },
            ExchangeEvent::Extension { peer, name, message } => Event::Extension { peer, core, name, message },
            ExchangeEvent::RuleBroken { peer, index } => Event::RuleBroken { peer, core, index },
            ExchangeEvent::Refused(peer, misbehaviour) => Event::Refused { peer, core, misbehaviour },
        }));
    }
}

/// What a peer says of a core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remote {
    /// The peer.
    pub peer: PeerId,
    /// Whether it has said anything yet.
    pub synced: bool,
    /// Its fork.
    pub fork: u64,
    /// Its length, in blocks; claimed, not proven.
    pub length: u64,
    /// Our requests it has not answered.
    pub in_flight: usize,
    /// Whether it is asked for nothing more.
    pub paused: bool,
}

impl From<ExchangeError> for FrameError {
    fn from(error: ExchangeError) -> Self {
        match error {
            ExchangeError::Misbehaved(misbehaviour) => Self::Misbehaved(misbehaviour),
            ExchangeError::Store(error) => Self::Store(error),
        }
    }
}

impl From<OpenError> for FrameError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Store(error) => Self::Store(error),
            error => Self::Open(error),
        }
    }
}

/// Messages are produced until a frame of this many bytes is full, in bytes.
const FRAME_BYTES_TARGET: usize = 64 << 10;
/// How often in a connection's life closed channels are opened again.
const REOPENED_MAX: u32 = 256;

//! Protocols of the application's own, on the connections that carry cores.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;

use super::connection::Connection;
use super::protocols::Protocols;
use super::{PeerId, Replicator};
use crate::mux::{
    Channel, CloseReason, Event, HANDSHAKE_BYTES_MAX, MESSAGE_BYTES_MAX, NAME_BYTES_MAX, Protocol, SendError,
};

/// Why a protocol cannot be spoken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SpeakError {
    /// A name of it is spoken already, or belongs to cores.
    #[error("the protocol {name:?} is spoken already")]
    Taken {
        /// The name.
        name: String,
    },
    /// No peer would take such a name.
    #[error("a protocol's name of {bytes} bytes is too long: {bytes_max} are allowed")]
    LongName {
        /// What it has.
        bytes: usize,
        /// What is allowed.
        bytes_max: usize,
    },
}

/// Why a channel could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OpenChannelError {
    /// The protocol was not announced with [`Replicator::speak`].
    #[error("the protocol {protocol:?} is not spoken here")]
    NotSpoken {
        /// Its name.
        protocol: String,
    },
    /// There is one already under this name and id, which is open at our end.
    #[error("a channel for this protocol and id is open already")]
    AlreadyOpen(Channel),
    /// The id or the handshake is too long.
    #[error("an id or handshake of {bytes} bytes is too long: {bytes_max} are allowed")]
    TooLong {
        /// What it has.
        bytes: usize,
        /// What is allowed.
        bytes_max: usize,
    },
}

/// One peer's channels of the application's own: its [`Mux`](crate::mux::Mux), less the channels of cores.
pub struct Channels<'a> {
    peer: PeerId,
    connection: &'a mut Connection,
    protocols: &'a mut Protocols,
}

impl Channels<'_> {
    /// Opens our end of a channel, as [`Mux::open`](crate::mux::Mux::open) does; one for each protocol and id.
    pub fn open(&mut self, protocol: &Protocol, handshake: &[u8]) -> Result<Channel, OpenChannelError> {
        let name = self.protocols.owner(&protocol.name).filter(|owner| ***owner == *protocol.name);
        let name = name.ok_or_else(|| OpenChannelError::NotSpoken { protocol: protocol.name.clone() })?;
        for (bytes, bytes_max) in [(protocol.id.len(), NAME_BYTES_MAX), (handshake.len(), HANDSHAKE_BYTES_MAX)] {
            if bytes > bytes_max {
                return Err(OpenChannelError::TooLong { bytes, bytes_max });
            }
        }
        if let Some(channel) = self.opened(protocol) {
            return Err(OpenChannelError::AlreadyOpen(channel));
        }
        // What was sent on a channel before, and its close, come before this open.
        while self.connection.send_own() {}
        let protocol = Protocol { aliases: self.protocols.aliases(name), ..protocol.clone() };
        let channel = self.connection.mux.open(&protocol, handshake);
        self.connection.own.insert(channel, name.clone(), protocol.id);
        Ok(channel)
    }

    /// Returns the channel for a protocol and id, if our end is open.
    pub fn opened(&self, protocol: &Protocol) -> Option<Channel> {
        self.connection.own.by_id.get(&(protocol.name.as_str().into(), protocol.id.clone())).copied()
    }

    /// Refuses what the peer offered under this name and id; nothing happens if there is no such offer.
    pub fn reject(&mut self, protocol: &str, id: &[u8]) {
        if self.protocols.owner(protocol).is_some() {
            self.connection.mux.reject(protocol, id);
        }
    }

    /// Sends a message; all that is sent before the next frame is made leaves together.
    pub fn send(&mut self, channel: Channel, kind: u64, body: Bytes) -> Result<(), SendError> {
        let (bytes, bytes_max) = (body.len(), MESSAGE_BYTES_MAX - KIND_BYTES_MAX);
        if !self.connection.own.has(channel) {
            return Err(SendError::Closed);
        }
        if bytes > bytes_max {
            return Err(SendError::TooLong { bytes, bytes_max });
        }
        self.connection.own.queue(Outgoing::Message { channel, kind, body });
        Ok(())
    }

    /// Ends a channel; what was sent before still arrives. Closing twice is harmless.
    pub fn close(&mut self, channel: Channel) {
        if let Some(protocol) = self.connection.own.remove(channel) {
            self.connection.own.queue(Outgoing::Close(channel));
            self.protocols.forget(&protocol, self.peer, channel);
        }
    }

    /// Returns how many bytes wait to be sent to this peer; who has much to send waits until they are few.
    pub fn queued_bytes(&self) -> usize {
        self.connection.queued_bytes()
    }
}

impl Connection {
    /// Hands the mux the next of what the application sends; returns whether there was anything.
    pub(super) fn send_own(&mut self) -> bool {
        let Some(next) = self.own.outgoing.pop_front() else { return false };
        self.own.outgoing_bytes -= next.bytes();
        match next {
            Outgoing::Message { channel, kind, body } => {
                // The peer may have closed the channel meanwhile: then nobody is there to hear it.
                let _ = self.mux.send_around(channel, kind, body, |_| (), |_| ());
            }
            Outgoing::Close(channel) => self.mux.close(channel),
        }
        true
    }

    /// Returns how many bytes wait to be sent, those not counted that cores have yet to make.
    pub(super) fn queued_bytes(&self) -> usize {
        self.mux.queued_bytes() + self.own.outgoing_bytes
    }
}

/// Which channels of one connection are the application's.
#[derive(Debug, Default)]
pub(super) struct OwnChannels {
    by_channel: BTreeMap<Channel, (Arc<str>, Vec<u8>)>,
    by_id: BTreeMap<(Arc<str>, Vec<u8>), Channel>,
    /// What the application sends, in order; frames are made of it and of what cores send by turns.
    outgoing: VecDeque<Outgoing>,
    outgoing_bytes: usize,
    turn: bool,
}

#[derive(Debug)]
enum Outgoing {
    Message { channel: Channel, kind: u64, body: Bytes },
    Close(Channel),
}

impl Outgoing {
    /// Returns how much memory it takes, in bytes.
    fn bytes(&self) -> usize {
        let body = if let Self::Message { body, .. } = self { body.len() } else { 0 };
        size_of::<Self>() + body
    }
}

impl OwnChannels {
    /// Returns whether the next frame is first of all for what the application sends.
    pub(super) fn take_turn(&mut self) -> bool {
        self.turn = !self.turn;
        self.turn
    }

    fn queue(&mut self, next: Outgoing) {
        self.outgoing_bytes += next.bytes();
        self.outgoing.push_back(next);
    }

    fn has(&self, channel: Channel) -> bool {
        self.by_channel.contains_key(&channel)
    }

    fn insert(&mut self, channel: Channel, protocol: Arc<str>, id: Vec<u8>) {
        self.by_channel.insert(channel, (protocol.clone(), id.clone()));
        self.by_id.insert((protocol, id), channel);
    }

    fn remove(&mut self, channel: Channel) -> Option<Arc<str>> {
        let key = self.by_channel.remove(&channel)?;
        self.by_id.remove(&key);
        Some(key.0)
    }

    fn of(&self, protocol: &str) -> Vec<Channel> {
        self.by_channel.iter().filter(|(_, (owner, _))| **owner == *protocol).map(|(channel, _)| *channel).collect()
    }
}

impl Replicator {
    /// Speaks a protocol of the application's own from now on, with every peer; its id is not looked at.
    ///
    /// What peers open under its name or an alias, with whatever id, is offered to the application by
    /// [`Replicator::poll_channel`]; opens of protocols that nobody speaks are rejected at once. The application opens
    /// channels, unasked or as an answer, at the peer's [`Replicator::channels`].
    pub fn speak(&mut self, protocol: &Protocol) -> Result<(), SpeakError> {
        self.protocols.speak(protocol)
    }

    /// Speaks a protocol no more: its channels are closed, its offers rejected.
    pub fn hush(&mut self, protocol: &str) {
        for (peer, connection) in &mut self.connections {
            let own = connection.own.of(protocol);
            let is_its = |name: &str| self.protocols.owner(name).is_some_and(|owner| **owner == *protocol);
            let offers = connection.mux.offers().filter(|(name, _)| is_its(name));
            let offers: Vec<_> = offers.map(|(name, id)| (name.to_owned(), id.to_vec())).collect();
            let mut channels = Channels { peer: *peer, connection, protocols: &mut self.protocols };
            own.into_iter().for_each(|channel| channels.close(channel));
            offers.iter().for_each(|(name, id)| channels.reject(name, id));
            self.ready.insert(*peer);
        }
        self.protocols.hush(protocol);
    }

    /// Returns a peer's channels, or `None` if it is not connected.
    pub fn channels(&mut self, peer: PeerId) -> Option<Channels<'_>> {
        let connection = self.connections.get_mut(&peer)?;
        self.ready.insert(peer);
        Some(Channels { peer, connection, protocols: &mut self.protocols })
    }

    /// Returns the next thing that a peer did on a channel of a protocol: in the order in which it did it, and one peer
    /// after the other.
    ///
    /// Every channel that was opened at our end is closed in the end, by us or as [`Event::Closed`] tells; with the
    /// connection that is [`CloseReason::Disconnected`].
    pub fn poll_channel(&mut self, protocol: &str) -> Option<(PeerId, Event)> {
        loop {
            let (peer, event) = self.protocols.pop(protocol)?;
            let connection = self.connections.get(&peer);
            if connection.is_some() {
                self.ready.insert(peer);
            }
            match &event {
                // Answered meanwhile, by an open that was meant to be the first, or gone.
                Event::Offered { protocol, id }
                    if !connection.is_some_and(|connection| connection.mux.is_offered(protocol, id)) => {}
                _ => return Some((peer, event)),
            }
        }
    }

    /// Returns whether the driver should hand in nothing more of a peer now: the application has to take what it sent on
    /// its own channels first, or to answer what it offered.
    pub fn wants_pause(&self, peer: PeerId) -> bool {
        self.connections.get(&peer).is_some_and(|connection| connection.mux.wants_pause())
    }

    /// Keeps an event for the application, or returns it if it is not the application's.
    pub(super) fn keep_own(&mut self, peer: PeerId, mut event: Event) -> Option<Event> {
        let Some(connection) = self.connections.get_mut(&peer) else { return Some(event) };
        let owner = match &mut event {
            Event::Offered { protocol, .. } => self.protocols.owner(protocol).cloned(),
            Event::Closed { channel, .. } => connection.own.remove(*channel),
            // Copies, since slices would keep whole frames in memory.
            Event::Opened { channel, handshake: bytes } | Event::Message { channel, body: bytes, .. } => {
                let owner = connection.own.by_channel.get(channel).map(|(owner, _)| owner.clone());
                owner.inspect(|_| *bytes = Bytes::copy_from_slice(bytes))
            }
        };
        let Some(owner) = owner else { return Some(event) };
        self.protocols.push(&owner, peer, event);
        None
    }

    /// Tells the application that a peer's channels have ended with its connection.
    pub(super) fn end_own(&mut self, peer: PeerId, own: OwnChannels) {
        for (channel, (protocol, _)) in own.by_channel {
            self.protocols.push(&protocol, peer, Event::Closed { channel, why: CloseReason::Disconnected });
        }
        self.protocols.leave(peer);
    }
}

/// A message's number, encoded, at most, in bytes.
const KIND_BYTES_MAX: usize = 9;

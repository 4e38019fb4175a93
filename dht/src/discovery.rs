//! The face both dialects have: what is asked of a node, what it tells, and the verbs by which a driver runs it.

use std::net::{SocketAddr, SocketAddrV4};

use anypath_wire::{Deadline, Hash, KeyPair, PublicKey, Time, Transmit};

/// A node of a DHT, without clock, socket or task: [`Machine`](anypath_wire::Machine)'s verbs with a name for the socket.
///
/// After every `handle_*` a driver takes everything out by `poll_transmit` and `poll_event`, and sleeps until
/// `poll_deadline`. Malformed datagrams are dropped.
pub trait Discovery {
    /// Takes a wish of the application.
    fn handle_command(&mut self, now: Time, command: Command);
    /// Takes a datagram that came in on one of the node's sockets.
    fn handle_datagram(&mut self, now: Time, socket: Socket, from: SocketAddr, datagram: &[u8]);
    /// Is called when the deadline has come.
    fn handle_timeout(&mut self, now: Time);
    /// Returns the next datagram to send, and from which socket.
    fn poll_transmit(&mut self) -> Option<(Socket, Transmit)>;
    /// Returns the next thing to tell the application.
    fn poll_event(&mut self) -> Option<Event>;
    /// Returns when `handle_timeout` wants to be called next, if ever.
    fn poll_deadline(&self) -> Option<Deadline>;
}

/// The sockets of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Socket {
    /// The one that others are told of.
    Server,
    /// The one that asks while nobody knows whether the other can be reached.
    Client,
}

/// A wish, under a number of the application's choice that comes back in the events about it.
#[derive(Debug, Clone)]
pub struct Command {
    /// The number.
    pub query: u64,
    /// The wish.
    pub ask: Ask,
}

/// What is wished for. What a dialect does not have is done at once, without an answer.
///
/// In BitTorrent's DHT a value lies under the SHA-1 of its bencoded form, which is the first 20 bytes of a target.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Ask {
    /// Who announced this topic?
    Lookup {
        /// The topic.
        topic: Hash,
    },
    /// Announce a peer under a topic.
    Announce(Announcement),
    /// Renew the announcements that were made to be renewed by this token's hash; the token is the next one's hash.
    Refresh {
        /// The topic.
        topic: Hash,
        /// The token.
        token: Hash,
    },
    /// Announce a peer under its own key at the nodes nearest to it, and keep it so until [`Ask::Unlisten`]: these nodes
    /// forward to it, as the events say.
    Listen {
        /// The peer's key, which signs.
        key_pair: KeyPair,
    },
    /// End a [`Ask::Listen`].
    Unlisten {
        /// The peer's key.
        key: PublicKey,
    },
    /// Take an announcement back.
    Unannounce {
        /// The topic.
        topic: Hash,
        /// The peer's key.
        key_pair: KeyPair,
    },
    /// Where is the peer that announced itself under its own key?
    FindPeer {
        /// Its key.
        key: PublicKey,
    },
    /// Store bytes under their hash.
    PutImmutable {
        /// The bytes.
        value: Vec<u8>,
    },
    /// What are the bytes of this hash?
    GetImmutable {
        /// The hash.
        target: Hash,
    },
    /// Store bytes under a key.
    PutMutable {
        /// The key, which signs.
        key_pair: KeyPair,
        /// Must be higher than that of what it replaces.
        seq: u64,
        /// The bytes.
        value: Vec<u8>,
    },
    /// What is stored under this key?
    GetMutable {
        /// The key.
        key: PublicKey,
        /// Nothing older than this.
        seq: u64,
    },
}

/// An announcement of a peer under a topic: Hyperswarm's DHT tells of keys, BitTorrent's of addresses.
#[derive(Debug, Clone)]
pub struct Announcement {
    /// The topic.
    pub topic: Hash,
    /// The peer's key, which signs; of no use to BitTorrent's DHT.
    pub key_pair: KeyPair,
    /// Nodes that forward to it, at most 3.
    pub relays: Vec<SocketAddrV4>,
    /// That something new is there since then, in milliseconds since 1970; 0 says nothing.
    pub bump: u64,
    /// What the record may be renewed by without the key: the hash of the token that a later [`Ask::Refresh`] brings.
    pub refresh: Option<Hash>,
    /// Where this host takes connections, for BitTorrent's DHT; `None` is the port that the nodes see it at.
    pub port: Option<u16>,
}

impl Announcement {
    /// Makes one that says no more than this.
    pub fn new(topic: Hash, key_pair: KeyPair) -> Self {
        Self { topic, key_pair, relays: Vec::new(), bump: 0, refresh: None, port: None }
    }
}

/// What a node tells.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The node knows its neighbours.
    Bootstrapped,
    /// The node is one that others may rely on, at this address.
    Persistent(SocketAddr),
    /// The node slept or moved, and is no such node any more.
    Ephemeral,
    /// A peer was found; each key is told once a query.
    Peer {
        /// Whose wish it was.
        query: u64,
        /// The peer's key.
        key: PublicKey,
        /// Nodes that forward to it.
        relays: Vec<SocketAddrV4>,
    },
    /// A peer was found by its address; each is told once a query.
    Address {
        /// Whose wish it was.
        query: u64,
        /// Where it takes connections.
        address: SocketAddr,
    },
    /// A peer that listens is known to these nodes now, which forward to it.
    Listening {
        /// Whose wish it was.
        query: u64,
        /// Each node, and where it sees the peer.
        relays: Vec<Relay>,
    },
    /// A value was found, and it is what its hash or key says.
    Value {
        /// Whose wish it was.
        query: u64,
        /// Its number, if it is mutable.
        seq: u64,
        /// The bytes.
        value: Vec<u8>,
    },
    /// A wish is done with.
    Done {
        /// Which.
        query: u64,
        /// What it took.
        outcome: Outcome,
    },
}

impl Event {
    /// Returns the wish it is about, if it is about one.
    pub fn query(&self) -> Option<u64> {
        match self {
            Self::Bootstrapped | Self::Persistent(_) | Self::Ephemeral => None,
            Self::Peer { query, .. }
            | Self::Address { query, .. }
            | Self::Listening { query, .. }
            | Self::Value { query, .. }
            | Self::Done { query, .. } => Some(*query),
        }
    }
}

/// A node that forwards to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relay {
    /// Where it is.
    pub relay: SocketAddrV4,
    /// Where it sees the peer.
    pub peer: SocketAddrV4,
}

/// What a wish took, and what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcome {
    /// Nodes asked.
    pub asked: usize,
    /// Nodes that answered.
    pub answers: usize,
    /// Nodes that did not, or would not.
    pub errors: usize,
    /// Nodes that stored, or forgot, what they were asked to.
    pub stored: usize,
}

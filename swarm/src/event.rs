//! What a node tells whoever subscribed.

use std::sync::Arc;
use std::time::Duration;

use anypath_replicate::replicator::{self, PeerId};
use anypath_transports::DialError;
use anypath_wire::{Address, PublicKey};

use crate::ConnectionError;

/// What happened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A peer is connected and has proven its key.
    Connected(Arc<PeerInfo>),
    /// A connected peer is gone.
    Disconnected {
        /// Which.
        peer: PeerId,
        /// Why; `None` if it ended the connection properly.
        error: Option<Arc<ConnectionError>>,
    },
    /// A connected peer is carried by something else from now on.
    Moved {
        /// Which.
        peer: PeerId,
        /// What carried it.
        from: &'static str,
        /// What carries it.
        to: &'static str,
    },
    /// A dialled address did not lead to a peer; it is dialled again later.
    Unreachable {
        /// The address.
        address: Address,
        /// Why not.
        error: Arc<Unreachable>,
    },
    /// Something happened to a core.
    Core(replicator::Event),
}

/// Why an address did not lead to a peer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unreachable {
    /// No connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// A connection, but no peer at its end.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// No transport of ours speaks this kind of address.
    #[error("no transport here speaks {0}")]
    NoTransport(Address),
}

/// A connected peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerInfo {
    /// Its number here.
    pub peer: PeerId,
    /// The key it has proven.
    pub key: PublicKey,
    /// The transport that carries it.
    pub transport: &'static str,
    /// The address that was dialled, or its end of the connection if it came by itself.
    pub address: Address,
    /// From the start of dialling, or from its arrival, to the end of the handshake.
    pub took: Duration,
}

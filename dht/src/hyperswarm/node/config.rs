//! What a node is told when it is made.

use super::*;
use crate::kademlia::{Order, Patience};

/// A node's rules. The defaults are the reference's.
#[derive(Debug, Clone)]
pub struct Config {
    /// All its randomness follows from this, its tokens' secrets too. Must be secret and never used twice.
    pub seed: Hash,
    /// Nodes to begin at.
    pub bootstrap: Vec<SocketAddrV4>,
    /// The local port of the server socket.
    pub server_port: u16,
    /// Never persistent, persistent as soon as it can be, or, if `None`, once it has run for 20 minutes.
    pub ephemeral: Option<bool>,
    /// Whether to begin as one that nobody reaches unasked.
    pub firewalled: bool,
    /// The address others reach the server socket at, if it is known: for the first nodes of a network, whom nobody can
    /// tell.
    pub public_address: Option<SocketAddrV4>,
    /// Milliseconds since 1970 at `Time::ZERO`, to tell bumps from the future.
    pub epoch_ms: u64,
    /// Entries of each kind that are stored for others; half as many values.
    pub entries_max: usize,
    /// How walks go.
    pub query: QueryRules,
    /// How requests are repeated.
    pub request: RequestRules,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            seed: [0; 32],
            bootstrap: Vec::new(),
            server_port: 49_737,
            ephemeral: None,
            firewalled: true,
            public_address: None,
            epoch_ms: 0,
            entries_max: 65_536,
            query: QueryRules { k: 20, concurrency: 10, order: Order::Newest },
            request: RequestRules { patience: Patience::Fixed(Duration::from_secs(1)), window: 80 },
        }
    }
}

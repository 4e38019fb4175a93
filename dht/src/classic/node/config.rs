//! What a node is told when it is made.

use super::*;
use crate::kademlia::{Order, Patience};

/// A node's rules.
#[derive(Debug, Clone)]
pub struct Config {
    /// All its randomness follows from this, its tokens' secrets too. Must be secret and never used twice.
    pub seed: Hash,
    /// Nodes to begin at. Addresses of the other family are of no use: IPv6 is a network of its own (BEP 32).
    pub bootstrap: Vec<SocketAddr>,
    /// Whether the node is one of the IPv6 network.
    pub ipv6: bool,
    /// The local port.
    pub port: u16,
    /// Where topics of 32 bytes lie among infohashes of 20; each is announced and looked up under all of these.
    pub mappings: Vec<Mapping>,
    /// Whether it only asks, answers nobody and is told to nobody (BEP 43).
    pub read_only: bool,
    /// Whether nodes whose ids do not follow from their addresses are neither kept nor told of nor asked to store (BEP 42).
    /// Most programs choose any id.
    pub only_fitting_ids: bool,
    /// Peers and items that are stored for others.
    pub entries_max: usize,
    /// How walks go.
    pub query: QueryRules,
    /// How requests are repeated.
    pub request: RequestRules,
    /// When a contact has to show that it is still there.
    pub row: RowRules,
}

impl Default for Config {
    fn default() -> Self {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        Self {
            seed: [0; 32],
            bootstrap: Vec::new(),
            ipv6: false,
            port: 6_881,
            mappings: vec![Mapping::Truncated],
            read_only: false,
            only_fitting_ids: false,
            entries_max: 16_384,
            // BEP 5 keeps 8 a row, and says nothing of how many are asked at once.
            query: QueryRules { k: 8, concurrency: 8, order: Order::Nearest },
            request: RequestRules { patience: Patience::Fixed(Duration::from_secs(2)), window: 80 },
            // BEP 5: a contact heard within 15 minutes is good.
            row: RowRules { idle: Duration::from_secs(5), recent: minutes(15), old: Duration::ZERO },
        }
    }
}

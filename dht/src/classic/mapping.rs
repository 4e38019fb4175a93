//! Where a topic of 32 bytes lies in a DHT of 20: the two ways Dat programs chose.

use sha1::{Digest, Sha1};

use super::Id;

/// A way from a topic to an infohash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mapping {
    /// Its first 20 bytes: npm dat-node and Dat's programs (`hash: false`), and whoever has an infohash already.
    Truncated,
    /// Its SHA-1: what npm discovery-channel does by itself.
    Hashed,
}

impl Mapping {
    /// Returns the infohash of a topic.
    pub fn infohash(self, topic: &[u8; 32]) -> Id {
        match self {
            Self::Truncated => std::array::from_fn(|at| topic[at]),
            Self::Hashed => hashed_infohash(topic),
        }
    }
}

/// Returns SHA-1 of a name of any length.
pub fn hashed_infohash(name: &[u8]) -> Id {
    Sha1::digest(name).into()
}

//! Where a topic of 32 bytes lies in a DHT of 20: the two ways Dat programs chose.

use sha1::{Digest, Sha1};

use super::Id;

/// Returns SHA-1 of the topic: what npm discovery-channel does by itself.
pub fn hashed_infohash(topic: &[u8]) -> Id {
    Sha1::digest(topic).into()
}

/// Returns the topic's first 20 bytes: what npm dat-node and Dat's programs do (`hash: false`).
pub fn truncated_infohash(topic: &[u8; 32]) -> Id {
    std::array::from_fn(|at| topic[at])
}

//! Names and proofs of the hyperswarm dialect: a node's id is the hash of its address, a token that of its host.

use std::net::{Ipv4Addr, SocketAddrV4};

use anypath_wire::{Hash, PublicKey, hash, keyed_hash};

use super::address::address_bytes;

/// A node's place among topics and keys: 32 bytes, near what shares its first bits.
pub type Id = Hash;

/// What a storing node wants back before it stores, so that nobody stores in another's name.
pub type Token = Hash;

/// Returns the id of the node at a public address. No other id is believed.
pub fn node_id(address: &SocketAddrV4) -> Id {
    hash(&address_bytes(address))
}

/// Returns where records of a key lie: those of its peer, and its mutable value.
pub fn key_target(key: &PublicKey) -> Id {
    hash(&key.0)
}

/// Returns the token for a host under a secret: its dotted text, hashed with the secret for a key.
pub fn token(secret: &Hash, host: &Ipv4Addr) -> Token {
    keyed_hash(secret, host.to_string().as_bytes())
}

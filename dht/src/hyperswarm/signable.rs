//! What is signed before a storing node believes it: a namespace, then a hash of what is claimed.
//!
//! | record | hashed, one behind the other |
//! |---|---|
//! | announce, unannounce | target, **id of the storing node**, its token, the encoded peer, the refresh token if any |
//! | mutable value | `uint` seq, `buffer` value |
//!
//! So a signature holds at one node for as long as its token does. Source: npm hyperdht 6.34.0, `lib/persistent.js`.

use anypath_wire::{Encode, Hash, hash, hash_all, namespace};

use super::messages::{ANNOUNCE, Announce, MUTABLE_PUT, Peer, UNANNOUNCE};
use super::{Id, Token};

/// What is signed: 32 bytes of namespace, 32 of hash.
pub type Signable = [u8; 64];

/// Returns what a peer signs to be announced at one node; an announcement's bump is not signed.
pub fn announce_signable(target: &Id, token: &Token, node: &Id, peer: &Peer, refresh: Option<&Hash>) -> Signable {
    peer_signable(ANNOUNCE, target, token, node, peer, refresh)
}

/// Returns what a peer signs to be forgotten by one node.
pub fn unannounce_signable(target: &Id, token: &Token, node: &Id, peer: &Peer, refresh: Option<&Hash>) -> Signable {
    peer_signable(UNANNOUNCE, target, token, node, peer, refresh)
}

/// Returns what the owner of a key signs with a value.
pub fn mutable_signable(seq: u64, value: &[u8]) -> Signable {
    let mut claimed = Vec::new();
    claimed.uint(seq);
    claimed.buffer(value);
    joined(MUTABLE_PUT, hash(&claimed))
}

impl Announce {
    /// Returns whether the announced peer signed this for the node and token, to be announced or forgotten.
    pub fn is_signed(&self, command: u64, target: &Id, token: &Token, node: &Id) -> bool {
        let (Some(peer), Some(signature)) = (&self.peer, &self.signature) else { return false };
        let signable = peer_signable(command, target, token, node, peer, self.refresh.as_ref());
        peer.public_key.verify(&signable, signature)
    }
}

fn peer_signable(command: u64, target: &Id, token: &Token, node: &Id, peer: &Peer, refresh: Option<&Hash>) -> Signable {
    let mut encoded = Vec::new();
    peer.encode(&mut encoded);
    let refresh = refresh.map_or(&[][..], |refresh| &refresh[..]);
    joined(command, hash_all(&[target, node, token, &encoded, refresh]))
}

fn joined(command: u64, claimed: Hash) -> Signable {
    // The namespace's index is the command's number, which is one byte for all of them.
    let space = namespace("hyperswarm/dht", command as u8);
    let mut signable = [0; 64];
    signable[..32].copy_from_slice(&space);
    signable[32..].copy_from_slice(&claimed);
    signable
}

//! Peers as storing nodes keep them.

use std::net::SocketAddrV4;

use anypath_wire::{DecodeError, Decoder, Encode, PublicKey};

use crate::hyperswarm::address::{decode_addresses, encode_addresses};

/// A peer: its 32-byte key, then an array of the addresses of nodes that forward handshakes to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its key.
    pub public_key: PublicKey,
    /// Nodes that know it; at most 3 are kept.
    pub relay_addresses: Vec<SocketAddrV4>,
}

/// The reply to a lookup: an array of peers, then `uint` bump, which old nodes leave out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LookupReply {
    /// At most 20 and one, in any order.
    pub peers: Vec<Peer>,
    /// The largest bump that came with an announcement, in milliseconds since 1970.
    pub bump: u64,
}

/// A key with addresses of nodes to ask about it, as people hand it to each other.
///
/// Source: npm hyperdht-address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAddress {
    /// Whom to find.
    pub key: PublicKey,
    /// Whom to ask, if it is said.
    pub nodes: Option<Vec<SocketAddrV4>>,
}

impl Peer {
    /// Appends the encoding.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.raw(&self.public_key.0);
        encode_addresses(&self.relay_addresses, out);
    }

    /// Reads one peer.
    pub fn decode(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(Self { public_key: PublicKey(from.fixed()?), relay_addresses: decode_addresses(from)? })
    }
}

impl LookupReply {
    /// Appends the encoding.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.uint(self.peers.len() as u64);
        self.peers.iter().for_each(|peer| peer.encode(out));
        out.uint(self.bump);
    }

    /// Reads the reply.
    pub fn decode(value: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Decoder::new(value);
        let peers = (0..from.count(PEER_BYTES_MIN)?).map(|_| Peer::decode(&mut from)).collect::<Result<_, _>>()?;
        Ok(Self { peers, bump: if from.is_empty() { 0 } else { from.uint()? } })
    }
}

impl PeerAddress {
    /// Appends the encoding: the key, `uint` flags, then the nodes if 1.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.raw(&self.key.0);
        out.uint(u64::from(self.nodes.is_some()));
        if let Some(nodes) = &self.nodes {
            encode_addresses(nodes, out);
        }
    }

    /// Reads the address.
    pub fn decode(value: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Decoder::new(value);
        let key = PublicKey(from.fixed()?);
        let nodes = if from.uint()? & 1 == 0 { None } else { Some(decode_addresses(&mut from)?) };
        Ok(Self { key, nodes })
    }
}

/// A key and an empty list.
const PEER_BYTES_MIN: usize = 33;

//! Messages that nodes carry between two peers that want to connect. What the peers say in them is opaque here.

use std::net::SocketAddrV4;

use anypath_wire::{DecodeError, Decoder, Encode};

use crate::hyperswarm::address::{decode_address, encode_address};

/// A Noise handshake message on its way.
///
/// | bytes | if flag |
/// |---|---|
/// | `uint` flags, `uint` mode, `buffer` noise | |
/// | 6 of peer address | 1 |
/// | 6 of relay address | 2 |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    /// One of the modes named here.
    pub mode: u64,
    /// The handshake message.
    pub noise: Vec<u8>,
    /// The other end, as the node that forwards saw it.
    pub peer_address: Option<SocketAddrV4>,
    /// The node to go back through.
    pub relay_address: Option<SocketAddrV4>,
}

/// A holepunch message on its way: `uint` flags, `uint` mode, `uint` id, `buffer` payload, and a peer address if 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holepunch {
    /// One of the modes named here.
    pub mode: u64,
    /// Which connection, in the server's count; 0 from the server.
    pub id: u64,
    /// Sealed for the other end.
    pub payload: Vec<u8>,
    /// The other end, as the node that forwards saw it.
    pub peer_address: Option<SocketAddrV4>,
}

impl Handshake {
    /// From the client to a node.
    pub const FROM_CLIENT: u64 = 0;
    /// From the server to the node it was asked through.
    pub const FROM_SERVER: u64 = 1;
    /// From a node to the server.
    pub const FROM_RELAY: u64 = 2;
    /// From a node that was asked by a node.
    pub const FROM_SECOND_RELAY: u64 = 3;
    /// To the client.
    pub const REPLY: u64 = 4;

    /// Returns the value of the request or reply.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.uint(u64::from(self.peer_address.is_some()) | u64::from(self.relay_address.is_some()) << 1);
        out.uint(self.mode);
        out.buffer(&self.noise);
        for address in [self.peer_address, self.relay_address].iter().flatten() {
            encode_address(address, &mut out);
        }
        out
    }

    /// Reads the value of a request or reply.
    pub fn decode(value: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Decoder::new(value);
        let flags = from.uint()?;
        Ok(Self {
            mode: from.uint()?,
            noise: from.buffer()?.to_vec(),
            peer_address: optional_address(flags & 1, &mut from)?,
            relay_address: optional_address(flags & 2, &mut from)?,
        })
    }
}

impl Holepunch {
    /// Returns the value of the request or reply.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.uint(u64::from(self.peer_address.is_some()));
        out.uint(self.mode);
        out.uint(self.id);
        out.buffer(&self.payload);
        if let Some(address) = &self.peer_address {
            encode_address(address, &mut out);
        }
        out
    }

    /// Reads the value of a request or reply.
    pub fn decode(value: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Decoder::new(value);
        let flags = from.uint()?;
        Ok(Self {
            mode: from.uint()?,
            id: from.uint()?,
            payload: from.buffer()?.to_vec(),
            peer_address: optional_address(flags & 1, &mut from)?,
        })
    }
}

pub(super) fn optional_address(flag: u64, from: &mut Decoder<'_>) -> Result<Option<SocketAddrV4>, DecodeError> {
    if flag == 0 { Ok(None) } else { decode_address(from).map(Some) }
}

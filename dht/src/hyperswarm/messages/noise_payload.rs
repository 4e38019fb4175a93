//! What both ends of a connection tell each other inside their Noise handshake.

use std::net::{SocketAddrV4, SocketAddrV6};

use anypath_wire::{DecodeError, Decoder, Encode, PublicKey};

use super::Firewall;
use crate::hyperswarm::address::{
    decode_address, decode_addresses, decode_addresses6, encode_address, encode_addresses, encode_addresses6,
};

/// The payload: `uint` version 1, `uint` flags, `uint` error, `uint` firewall, then what the flags say.
///
/// | bytes | if flag |
/// |---|---|
/// | holepunch: `uint` id, array of relay and peer address | 1 |
/// | array of IPv4 addresses | 2 |
/// | array of IPv6 addresses | 4 |
/// | udx: `uint` version, `uint` features, `uint` stream id, `uint` seq | 8 |
/// | secret stream: `uint` version | 16 |
/// | relay through: `uint` version, `uint` flags, 32 of key, 32 of token | 32 |
/// | array of relay addresses | 64 |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoisePayload {
    /// 0 for none, 1 aborted, 2 another version, 3 try later.
    pub error: u64,
    /// The sender's NAT.
    pub firewall: Firewall,
    /// How to punch through to the server.
    pub holepunch: Option<HolepunchInfo>,
    /// Where the sender may be reached.
    pub addresses4: Vec<SocketAddrV4>,
    /// Read, and used by nobody yet.
    pub addresses6: Vec<SocketAddrV6>,
    /// The stream to open; without it there is none.
    pub udx: Option<UdxInfo>,
    /// Version of the stream's encryption.
    pub secret_stream: Option<u64>,
    /// A peer that would carry the stream.
    pub relay_through: Option<RelayThrough>,
    /// Nodes that forward to the server, to ask them first the next time.
    pub relay_addresses: Option<Vec<SocketAddrV4>>,
}

/// The server's slot for this connection, and the nodes that forward to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HolepunchInfo {
    /// The server's number for it.
    pub id: u64,
    /// Through whom.
    pub relays: Vec<RelayInfo>,
}

/// A node that forwards, and the address at which it sees the peer: 12 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayInfo {
    /// The node.
    pub relay_address: SocketAddrV4,
    /// The peer, seen from there.
    pub peer_address: SocketAddrV4,
}

/// One end of a UDX stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UdxInfo {
    /// 1.
    pub version: u64,
    /// Whether its socket may serve several streams.
    pub reusable_socket: bool,
    /// The stream's number there.
    pub id: u64,
    /// The first packet's.
    pub seq: u64,
}

/// A blind relay, and what both ends show it to be paired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayThrough {
    /// 1.
    pub version: u64,
    /// The relay's key.
    pub public_key: PublicKey,
    /// The pair's token.
    pub token: [u8; 32],
}

impl NoisePayload {
    /// The version spoken here. A payload of another one is not read further.
    pub const VERSION: u64 = 1;

    /// Returns the payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.uint(Self::VERSION);
        out.uint(self.flags());
        out.uint(self.error);
        out.uint(self.firewall as u64);
        if let Some(holepunch) = &self.holepunch {
            holepunch.encode(&mut out);
        }
        if !self.addresses4.is_empty() {
            encode_addresses(&self.addresses4, &mut out);
        }
        if !self.addresses6.is_empty() {
            encode_addresses6(&self.addresses6, &mut out);
        }
        if let Some(udx) = &self.udx {
            [udx.version, u64::from(udx.reusable_socket), udx.id, udx.seq]
                .into_iter()
                .for_each(|number| out.uint(number));
        }
        if let Some(version) = self.secret_stream {
            out.uint(version);
        }
        if let Some(relay) = &self.relay_through {
            out.uint(relay.version);
            out.uint(0);
            out.raw(&relay.public_key.0);
            out.raw(&relay.token);
        }
        if let Some(addresses) = &self.relay_addresses {
            encode_addresses(addresses, &mut out);
        }
        out
    }

    /// Reads a payload of this version.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let from = &mut Decoder::new(payload);
        if from.uint()? != Self::VERSION {
            return Err(DecodeError::Unknown("a payload's version"));
        }
        let flags = from.uint()?;
        let has = |flag| flags & flag != 0;
        Ok(Self {
            error: from.uint()?,
            firewall: Firewall::decode(from)?,
            holepunch: has(1).then(|| HolepunchInfo::decode(from)).transpose()?,
            addresses4: has(2).then(|| decode_addresses(from)).transpose()?.unwrap_or_default(),
            addresses6: has(4).then(|| decode_addresses6(from)).transpose()?.unwrap_or_default(),
            udx: has(8).then(|| UdxInfo::decode(from)).transpose()?,
            secret_stream: has(16).then(|| from.uint()).transpose()?,
            relay_through: has(32).then(|| RelayThrough::decode(from)).transpose()?,
            relay_addresses: has(64).then(|| decode_addresses(from)).transpose()?,
        })
    }

    fn flags(&self) -> u64 {
        let bits = [
            self.holepunch.is_some(),
            !self.addresses4.is_empty(),
            !self.addresses6.is_empty(),
            self.udx.is_some(),
            self.secret_stream.is_some(),
            self.relay_through.is_some(),
            self.relay_addresses.is_some(),
        ];
        (0..).zip(bits).map(|(at, set)| u64::from(set) << at).sum()
    }
}

impl HolepunchInfo {
    fn encode(&self, out: &mut Vec<u8>) {
        out.uint(self.id);
        out.uint(self.relays.len() as u64);
        for relay in &self.relays {
            encode_address(&relay.relay_address, out);
            encode_address(&relay.peer_address, out);
        }
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let (id, count) = (from.uint()?, from.count(RELAY_BYTES)?);
        let relay = |_| Ok(RelayInfo { relay_address: decode_address(from)?, peer_address: decode_address(from)? });
        Ok(Self { id, relays: (0..count).map(relay).collect::<Result<_, _>>()? })
    }
}

impl UdxInfo {
    fn decode(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(Self { version: from.uint()?, reusable_socket: from.uint()? & 1 != 0, id: from.uint()?, seq: from.uint()? })
    }
}

impl RelayThrough {
    fn decode(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let version = from.uint()?;
        from.uint()?;
        Ok(Self { version, public_key: PublicKey(from.fixed()?), token: from.fixed()? })
    }
}

/// Two addresses.
const RELAY_BYTES: usize = 12;

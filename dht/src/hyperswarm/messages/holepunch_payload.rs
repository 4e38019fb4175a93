//! What both ends tell each other while they punch, once it is unsealed.

use std::net::SocketAddrV4;

use anypath_wire::{DecodeError, Decoder, Encode, Hash};

use super::Firewall;
use super::connect::optional_address;
use crate::hyperswarm::address::{decode_addresses, encode_address, encode_addresses};

/// The payload: `uint` flags (1 connected, 2 punching), `uint` error, `uint` firewall, `uint` round, then:
///
/// | bytes | if flag |
/// |---|---|
/// | array of addresses | 4 |
/// | 6 of remote address | 8 |
/// | 32 of token | 16 |
/// | 32 of remote token | 32 |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HolepunchPayload {
    /// 0 for none, 1 aborted, 2 another version, 3 try later.
    pub error: u64,
    /// The sender's NAT.
    pub firewall: Firewall,
    /// How often they have spoken.
    pub round: u64,
    /// Whether the sender is through.
    pub connected: bool,
    /// Whether the sender punches.
    pub punching: bool,
    /// Where the sender was seen.
    pub addresses: Option<Vec<SocketAddrV4>>,
    /// Where the sender sends to.
    pub remote_address: Option<SocketAddrV4>,
    /// Proves, if it comes back, that the receiver is reached at its host.
    pub token: Option<Hash>,
    /// The receiver's own token, given back.
    pub remote_token: Option<Hash>,
}

impl HolepunchPayload {
    /// Returns the payload.
    pub fn encode(&self) -> Vec<u8> {
        let bits = [
            self.connected,
            self.punching,
            self.addresses.is_some(),
            self.remote_address.is_some(),
            self.token.is_some(),
            self.remote_token.is_some(),
        ];
        let mut out = Vec::new();
        out.uint((0..).zip(bits).map(|(at, set)| u64::from(set) << at).sum());
        [self.error, self.firewall as u64, self.round].into_iter().for_each(|number| out.uint(number));
        if let Some(addresses) = &self.addresses {
            encode_addresses(addresses, &mut out);
        }
        if let Some(address) = &self.remote_address {
            encode_address(address, &mut out);
        }
        for token in [&self.token, &self.remote_token].into_iter().flatten() {
            out.raw(token);
        }
        out
    }

    /// Reads a payload.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let from = &mut Decoder::new(payload);
        let flags = from.uint()?;
        Ok(Self {
            error: from.uint()?,
            firewall: Firewall::decode(from)?,
            round: from.uint()?,
            connected: flags & 1 != 0,
            punching: flags & 2 != 0,
            addresses: if flags & 4 != 0 { Some(decode_addresses(from)?) } else { None },
            remote_address: optional_address(flags & 8, from)?,
            token: if flags & 16 != 0 { Some(from.fixed()?) } else { None },
            remote_token: if flags & 32 != 0 { Some(from.fixed()?) } else { None },
        })
    }
}

//! The two datagrams of dht-rpc: a request and its reply.
//!
//! | bytes | request `03` | reply `13` |
//! |---|---|---|
//! | 1 | flags | flags |
//! | 2 | transaction id, little endian | the same |
//! | 6 | where this goes, as the sender sees it | the same |
//! | 32 if 1 | the sender's id | the same |
//! | 32 if 2 | token | token |
//! | | `uint` command; internal if 4 | if 4: array of closer nodes, 6 bytes each |
//! | | 32 bytes of target if 8 | `uint` error if 8 |
//! | | `buffer` value if 16 | `buffer` value if 16 |
//!
//! Bytes behind these are ignored. Source: npm dht-rpc 6.27.0, `lib/io.js`.

use std::net::SocketAddrV4;

use anypath_wire::{DecodeError, Decoder, Encode};

use super::address::{decode_address, decode_addresses, encode_address, encode_addresses};
use super::{Id, Token};

/// A datagram of dht-rpc.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet<'a> {
    /// Somebody asks.
    Request(Request<'a>),
    /// Somebody answers.
    Reply(Reply<'a>),
}

/// A question, or a message forwarded for others under their transaction id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<'a> {
    /// Comes back in the reply.
    pub tid: u16,
    /// Where the sender sends it: what the receiver's address is to others.
    pub to: SocketAddrV4,
    /// The sender's id, if it is persistent and sends from its server socket. Not yet held against its address.
    pub id: Option<Id>,
    /// The receiver's own token, given back.
    pub token: Option<Token>,
    /// Whether the command is one of dht-rpc's own.
    pub internal: bool,
    /// What is asked.
    pub command: u64,
    /// What it is asked about.
    pub target: Option<Id>,
    /// With what.
    pub value: Option<&'a [u8]>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply<'a> {
    /// The request's.
    pub tid: u16,
    /// Where the request came from, as the replier saw it.
    pub to: SocketAddrV4,
    /// The replier's id. Not yet held against its address.
    pub id: Option<Id>,
    /// What a request to store must bring.
    pub token: Option<Token>,
    /// Nodes nearer to the target; empty if none are told.
    pub closer: Vec<SocketAddrV4>,
    /// What went wrong; 0 for nothing.
    pub error: u64,
    /// The answer itself.
    pub value: Option<&'a [u8]>,
}

impl<'a> Packet<'a> {
    /// Reads a datagram.
    pub fn decode(datagram: &'a [u8]) -> Result<Self, DecodeError> {
        let mut from = Decoder::new(datagram);
        match from.byte()? {
            REQUEST => Request::decode(&mut from).map(Packet::Request),
            REPLY => Reply::decode(&mut from).map(Packet::Reply),
            _ => Err(DecodeError::Unknown("a datagram's first byte")),
        }
    }
}

impl<'a> Request<'a> {
    /// Returns the datagram.
    pub fn encode(&self) -> Vec<u8> {
        let flags = bit(self.id.is_some(), ID)
            | bit(self.token.is_some(), TOKEN)
            | bit(self.internal, INTERNAL)
            | bit(self.target.is_some(), TARGET)
            | bit(self.value.is_some(), VALUE);
        let mut out = head(REQUEST, flags, self.tid, &self.to);
        encode_fixed(self.id, &mut out);
        encode_fixed(self.token, &mut out);
        out.uint(self.command);
        encode_fixed(self.target, &mut out);
        if let Some(value) = self.value {
            out.buffer(value);
        }
        out
    }

    fn decode(from: &mut Decoder<'a>) -> Result<Self, DecodeError> {
        let flags = from.uint()?;
        Ok(Self {
            tid: u16::from_le_bytes(from.fixed()?),
            to: decode_address(from)?,
            id: decode_fixed(flags & ID, from)?,
            token: decode_fixed(flags & TOKEN, from)?,
            internal: flags & INTERNAL != 0,
            command: from.uint()?,
            target: decode_fixed(flags & TARGET, from)?,
            value: decode_value(flags, from)?,
        })
    }
}

impl<'a> Reply<'a> {
    /// Returns the datagram.
    pub fn encode(&self) -> Vec<u8> {
        let flags = bit(self.id.is_some(), ID)
            | bit(self.token.is_some(), TOKEN)
            | bit(!self.closer.is_empty(), CLOSER)
            | bit(self.error != 0, ERROR)
            | bit(self.value.is_some(), VALUE);
        let mut out = head(REPLY, flags, self.tid, &self.to);
        encode_fixed(self.id, &mut out);
        encode_fixed(self.token, &mut out);
        if !self.closer.is_empty() {
            encode_addresses(&self.closer, &mut out);
        }
        if self.error != 0 {
            out.uint(self.error);
        }
        if let Some(value) = self.value {
            out.buffer(value);
        }
        out
    }

    fn decode(from: &mut Decoder<'a>) -> Result<Self, DecodeError> {
        let flags = from.uint()?;
        Ok(Self {
            tid: u16::from_le_bytes(from.fixed()?),
            to: decode_address(from)?,
            id: decode_fixed(flags & ID, from)?,
            token: decode_fixed(flags & TOKEN, from)?,
            closer: if flags & CLOSER != 0 { decode_addresses(from)? } else { Vec::new() },
            error: if flags & ERROR != 0 { from.uint()? } else { 0 },
            value: decode_value(flags, from)?,
        })
    }
}

fn head(kind: u8, flags: u64, tid: u16, to: &SocketAddrV4) -> Vec<u8> {
    let mut out = vec![kind];
    out.uint(flags);
    out.raw(&tid.to_le_bytes());
    encode_address(to, &mut out);
    out
}

fn bit(set: bool, flag: u64) -> u64 {
    if set { flag } else { 0 }
}

fn encode_fixed(bytes: Option<[u8; 32]>, out: &mut Vec<u8>) {
    if let Some(bytes) = bytes {
        out.raw(&bytes);
    }
}

fn decode_fixed(flag: u64, from: &mut Decoder<'_>) -> Result<Option<[u8; 32]>, DecodeError> {
    if flag == 0 { Ok(None) } else { from.fixed().map(Some) }
}

fn decode_value<'a>(flags: u64, from: &mut Decoder<'a>) -> Result<Option<&'a [u8]>, DecodeError> {
    if flags & VALUE == 0 { Ok(None) } else { from.buffer().map(Some) }
}

/// First byte: version 3 in the low half; 1 in the high half answers.
const REQUEST: u8 = 0x03;
const REPLY: u8 = 0x13;

const ID: u64 = 1;
const TOKEN: u64 = 2;
const INTERNAL: u64 = 4;
const CLOSER: u64 = 4;
const TARGET: u64 = 8;
const ERROR: u64 = 8;
const VALUE: u64 = 16;

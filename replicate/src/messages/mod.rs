//! The ten messages of the `hypercore/alpha` protocol, by which two peers of a core tell and ask each other for blocks.
//!
//! | kind | message | body |
//! |---|---|---|
//! | 0 | sync | `uint` flags, `uint` fork, `uint` length, `uint` remote length |
//! | 1 | request | see [`RequestMessage`] |
//! | 2 | cancel | `uint` request |
//! | 3 | data | see [`DataMessage`] |
//! | 4 | no data | `uint` request, `uint` flags, `uint` reason if flag 1 |
//! | 5, 6 | want, unwant | `uint` start, `uint` length, `uint` flags unless 0 |
//! | 7 | bitfield | `uint` start, `uint` count, that many 4-byte words |
//! | 8 | range | `uint` flags, `uint` start, `uint` length unless flag 2 |
//! | 9 | extension | `string` name, the rest |
//!
//! Bytes behind a message are ignored: that is how the protocol grows.
//!
//! Source: npm hypercore 11.37, `lib/messages.js`.

mod data;
mod handshake;
mod request;

use anypath_wire::{DecodeError, Decoder, Encode};
use bytes::Bytes;

pub use self::data::DataMessage;
pub use self::handshake::{Handshake, capability};
pub use self::request::RequestMessage;
use crate::mux::{Channel, Mux, SendError};

/// A message on a core's channel.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "most messages are data; boxing them would cost an allocation each")]
pub enum Message {
    /// How things stand with the sender.
    Sync(SyncState),
    /// Asks for a proof.
    Request(RequestMessage),
    /// Takes a request back.
    Cancel {
        /// The request's id.
        request: u64,
    },
    /// Answers a request.
    Data(DataMessage),
    /// Refuses a request.
    NoData {
        /// The request's id.
        request: u64,
        /// 0 if none is given, 1 if what is asked for is not there, 2 if the request is invalid.
        reason: u64,
    },
    /// Asks to be told which blocks of a stretch the other end has.
    Want(Want),
    /// Asks no longer.
    Unwant(Want),
    /// Tells which blocks of a stretch the sender has.
    Bitfield(Bitfield),
    /// Tells that the sender has, or no longer has, a run of blocks.
    Range(Range),
    /// Something else that two applications have agreed on.
    Extension {
        /// Its name in UTF-8; empty for the same as before.
        name: Bytes,
        /// What it says.
        message: Bytes,
    },
}

/// How things stand with the sender of a sync message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SyncState {
    /// Its fork.
    pub fork: u64,
    /// Its length, in blocks.
    pub length: u64,
    /// The length it knows of the receiver, if the fork is the same.
    pub remote_length: u64,
    /// Whether it can upgrade the receiver.
    pub can_upgrade: bool,
    /// Whether it answers requests.
    pub uploading: bool,
    /// Whether it makes requests.
    pub downloading: bool,
    /// Whether it knows the manifest.
    pub has_manifest: bool,
    /// Whether it takes blocks it did not ask for.
    pub allow_push: bool,
}

/// A stretch of blocks about which somebody wants to hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want {
    /// The first block's index.
    pub start: u64,
    /// How many blocks.
    pub length: u64,
    /// Whether hearing of any one block is enough.
    pub any: bool,
}

/// Which blocks of a stretch somebody has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bitfield {
    /// The index of the block that the first bit stands for.
    pub start: u64,
    /// Words of 32 bits as on the wire: 4 bytes each, little endian; the lowest bit is the first block.
    pub bytes: Bytes,
}

impl Bitfield {
    /// Packs words.
    pub fn new(start: u64, words: impl IntoIterator<Item = u32>) -> Self {
        Self { start, bytes: words.into_iter().flat_map(u32::to_le_bytes).collect() }
    }

    /// Returns the words in order.
    pub fn words(&self) -> impl Iterator<Item = u32> + '_ {
        self.bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word))
    }
}

/// A run of blocks that somebody has, or no longer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Whether they are gone.
    pub drop: bool,
    /// The first block's index.
    pub start: u64,
    /// How many blocks.
    pub length: u64,
}

impl Message {
    /// Reads a message from its body, of which blocks and bitfields remain slices.
    ///
    /// Returns `None` if the kind is not known, which is to be ignored. `seek_padding` tells whether
    /// the peer's seeks have their second field: [`Handshake::seeks`] of the peer's handshake.
    pub fn decode(kind: u64, body: &Bytes, seek_padding: bool) -> Result<Option<Self>, DecodeError> {
        let decoder = &mut Decoder::new(body);
        Ok(Some(match kind {
            SYNC => Self::Sync(SyncState::decode(decoder)?),
            REQUEST => Self::Request(RequestMessage::decode(decoder, seek_padding)?),
            CANCEL => Self::Cancel { request: decoder.uint()? },
            DATA => Self::Data(DataMessage::decode(decoder, body)?),
            NO_DATA => decode_no_data(decoder)?,
            WANT => Self::Want(Want::decode(decoder)?),
            UNWANT => Self::Unwant(Want::decode(decoder)?),
            BITFIELD => Self::Bitfield(Bitfield::decode(decoder, body)?),
            RANGE => Self::Range(Range::decode(decoder)?),
            EXTENSION => Self::Extension {
                name: body.slice_ref(decoder.buffer()?),
                message: body.slice_ref(decoder.take_rest()),
            },
            _ => return Ok(None),
        }))
    }

    /// Returns the number by which the channel knows this kind of message.
    pub fn kind(&self) -> u64 {
        match self {
            Self::Sync(_) => SYNC,
            Self::Request(_) => REQUEST,
            Self::Cancel { .. } => CANCEL,
            Self::Data(_) => DATA,
            Self::NoData { .. } => NO_DATA,
            Self::Want(_) => WANT,
            Self::Unwant(_) => UNWANT,
            Self::Bitfield(_) => BITFIELD,
            Self::Range(_) => RANGE,
            Self::Extension { .. } => EXTENSION,
        }
    }

    /// Appends the message's body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Sync(sync) => sync.encode(out),
            Self::Request(request) => request.encode(out),
            Self::Cancel { request } => out.uint(*request),
            Self::Data(data) => data.encode(out),
            Self::NoData { request, reason } => encode_no_data(*request, *reason, out),
            Self::Want(want) | Self::Unwant(want) => want.encode(out),
            Self::Bitfield(bitfield) => bitfield.encode(out),
            Self::Range(range) => range.encode(out),
            Self::Extension { name, message } => {
                out.buffer(name);
                out.raw(message);
            }
        }
    }

    /// Sends the message on a core's channel; a block in it is copied once only, into the frame.
    pub fn send(&self, mux: &mut Mux, channel: Channel) -> Result<(), SendError> {
        match self {
            Self::Data(data) => data.send(mux, channel),
            _ => mux.send_with(channel, self.kind(), |out| self.encode(out)),
        }
    }
}

impl SyncState {
    fn decode(decoder: &mut Decoder) -> Result<Self, DecodeError> {
        let flags = decoder.uint()?;
        Ok(Self {
            fork: decoder.uint()?,
            length: decoder.uint()?,
            remote_length: decoder.uint()?,
            can_upgrade: flags & 1 != 0,
            uploading: flags & 2 != 0,
            downloading: flags & 4 != 0,
            has_manifest: flags & 8 != 0,
            allow_push: flags & 16 != 0,
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let flags = [self.can_upgrade, self.uploading, self.downloading, self.has_manifest, self.allow_push];
        out.uint(bits(&flags));
        out.uint(self.fork);
        out.uint(self.length);
        out.uint(self.remote_length);
    }
}

impl Want {
    fn decode(decoder: &mut Decoder) -> Result<Self, DecodeError> {
        let (start, length) = (decoder.uint()?, decoder.uint()?);
        Ok(Self { start, length, any: uint_or_zero(decoder)? & 1 != 0 })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.uint(self.start);
        out.uint(self.length);
        if self.any {
            out.uint(1);
        }
    }
}

impl Bitfield {
    fn decode(decoder: &mut Decoder, body: &Bytes) -> Result<Self, DecodeError> {
        let start = decoder.uint()?;
        let words = decoder.count(WORD_BYTES)?;
        Ok(Self { start, bytes: body.slice_ref(decoder.bytes(words * WORD_BYTES)?) })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let words = self.bytes.len() / WORD_BYTES;
        out.uint(self.start);
        out.uint(words as u64);
        out.raw(&self.bytes[..words * WORD_BYTES]);
    }
}

impl Range {
    fn decode(decoder: &mut Decoder) -> Result<Self, DecodeError> {
        let flags = decoder.uint()?;
        let start = decoder.uint()?;
        let length = if flags & 2 != 0 { 1 } else { decoder.uint()? };
        Ok(Self { drop: flags & 1 != 0, start, length })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.uint(bits(&[self.drop, self.length == 1]));
        out.uint(self.start);
        if self.length != 1 {
            out.uint(self.length);
        }
    }
}

fn decode_no_data(decoder: &mut Decoder) -> Result<Message, DecodeError> {
    let request = decoder.uint()?;
    let reason = if uint_or_zero(decoder)? & 1 != 0 { decoder.uint()? } else { 0 };
    Ok(Message::NoData { request, reason })
}

fn encode_no_data(request: u64, reason: u64, out: &mut Vec<u8>) {
    out.uint(request);
    out.uint(bits(&[reason != 0]));
    if reason != 0 {
        out.uint(reason);
    }
}

/// Reads a field that older peers leave out.
fn uint_or_zero(decoder: &mut Decoder) -> Result<u64, DecodeError> {
    if decoder.is_empty() { Ok(0) } else { decoder.uint() }
}

/// Packs flags, the first into the lowest bit.
fn bits(flags: &[bool]) -> u64 {
    flags.iter().rev().fold(0, |bits, flag| bits << 1 | u64::from(*flag))
}

const SYNC: u64 = 0;
const REQUEST: u64 = 1;
const CANCEL: u64 = 2;
pub(crate) const DATA: u64 = 3;
const NO_DATA: u64 = 4;
const WANT: u64 = 5;
const UNWANT: u64 = 6;
const BITFIELD: u64 = 7;
const RANGE: u64 = 8;
const EXTENSION: u64 = 9;

const WORD_BYTES: usize = 4;

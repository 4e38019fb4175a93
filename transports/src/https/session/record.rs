//! Records: what lies in every body, message and stream between client and relay, and how a stream is cut into them.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | kind: `a1` data, `a2` control, `a3` forgotten |
//! | 3 | length of the clear part, little endian |
//! | 3 | length of the sealed part without its tag, little endian |
//! | 8 | number, little endian: of its kind and direction, counted from 0 |
//! | … | clear part: authenticated only |
//! | … | sealed part: encrypted |
//! | 16 | tag over everything above |
//!
//! The clear part is for what is ciphertext from end to end already; see [`Frame::Data`](super::Frame::Data).
//! *Forgotten* is the one record without a tag: its sealed part is the token that the relay gave when the session
//! opened (see [`opening`](super::opening)), its clear part and number are nothing.

use bytes::{Bytes, BytesMut};
use thiserror::Error;

/// What a record is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A numbered segment: kept by its sender until acknowledged, sent again as the same bytes.
    Data,
    /// A control record: never sent again, and true whenever it is read.
    Control,
    /// The relay does not know the session any more.
    Forgotten,
}

/// A record as it came, not yet proven to be from the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What it is for.
    pub kind: Kind,
    /// Its number.
    pub number: u64,
    clear_bytes: usize,
    bytes: Bytes,
}

impl Record {
    /// Returns header and clear part: what is authenticated and not encrypted.
    pub fn associated(&self) -> &[u8] {
        &self.bytes[..HEADER_BYTES + self.clear_bytes]
    }

    /// Returns the clear part.
    pub fn clear(&self) -> Bytes {
        self.bytes.slice(HEADER_BYTES..HEADER_BYTES + self.clear_bytes)
    }

    /// Returns the sealed part with its tag; of a forgotten one, the token.
    pub fn sealed(&self) -> &[u8] {
        &self.bytes[HEADER_BYTES + self.clear_bytes..]
    }
}

/// The bytes are no record: something on the way answered instead of the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("what came is no record of a session: something on the way answered in the relay's place")]
pub struct NotARecord;

/// Cuts a body or stream into records, in whatever pieces it comes.
#[derive(Debug, Default)]
pub struct Records {
    buffer: BytesMut,
}

impl Records {
    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the next whole record, or nothing until more bytes come.
    ///
    /// # Errors
    /// Final for this body or stream: where the next record would begin is not known.
    pub fn next_record(&mut self) -> Result<Option<Record>, NotARecord> {
        let Some(&kind) = self.buffer.first() else { return Ok(None) };
        let kind = kind_of(kind).ok_or(NotARecord)?;
        let Some(header) = self.buffer.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let (clear_bytes, sealed_bytes) = (u24(&header[1..4]), u24(&header[4..7]));
        let tag_bytes = if kind == Kind::Forgotten { 0 } else { TAG_BYTES };
        let length = HEADER_BYTES + clear_bytes + sealed_bytes + tag_bytes;
        if length > RECORD_BYTES_MAX {
            return Err(NotARecord);
        }
        let number = u64::from_le_bytes(header[7..].try_into().map_err(|_| NotARecord)?);
        if self.buffer.len() < length {
            return Ok(None);
        }
        Ok(Some(Record { kind, number, clear_bytes, bytes: self.buffer.split_to(length).freeze() }))
    }

    /// Returns how the next bytes begin, to be shown if they are no record.
    pub(super) fn excerpt(&self, bytes_max: usize) -> Bytes {
        let is_record = self.buffer.first().is_some_and(|kind| kind_of(*kind).is_some());
        if is_record { Bytes::new() } else { Bytes::copy_from_slice(&self.buffer[..self.buffer.len().min(bytes_max)]) }
    }

    /// Returns the bytes of a record that is not whole yet.
    pub fn unfinished(&self) -> &[u8] {
        &self.buffer
    }
}

/// Begins a record: header and clear part, behind which the sealed part and the tag belong.
pub(super) fn begin(kind: Kind, number: u64, clear: &[u8], sealed_bytes: usize) -> Vec<u8> {
    let length = HEADER_BYTES + clear.len() + sealed_bytes + TAG_BYTES;
    assert!(length <= RECORD_BYTES_MAX, "a record of {length} bytes");
    let mut record = Vec::with_capacity(length);
    record.push(kind_byte(kind));
    record.extend_from_slice(&(clear.len() as u32).to_le_bytes()[..3]);
    record.extend_from_slice(&(sealed_bytes as u32).to_le_bytes()[..3]);
    record.extend_from_slice(&number.to_le_bytes());
    record.extend_from_slice(clear);
    record
}

fn kind_of(byte: u8) -> Option<Kind> {
    [Kind::Data, Kind::Control, Kind::Forgotten].into_iter().find(|kind| kind_byte(*kind) == byte)
}

fn kind_byte(kind: Kind) -> u8 {
    match kind {
        Kind::Data => 0xa1,
        Kind::Control => 0xa2,
        Kind::Forgotten => 0xa3,
    }
}

fn u24(bytes: &[u8]) -> usize {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | usize::from(*byte))
}

/// The longest record in bytes: what one end buffers of a record that is not whole yet.
pub const RECORD_BYTES_MAX: usize = 1 << 16;
/// What stands before a record's parts, in bytes.
pub(super) const HEADER_BYTES: usize = 15;
/// Poly1305's, in bytes.
pub(super) const TAG_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: Kind, number: u64, clear: &[u8]) -> Vec<u8> {
        [begin(kind, number, clear, 3), vec![7; 3 + TAG_BYTES]].concat()
    }

    #[test]
    fn records_come_out_of_a_stream_in_any_pieces() {
        let stream = [record(Kind::Data, 1 << 40, b"clear"), record(Kind::Control, 2, b"")].concat();
        for piece in 1..stream.len() {
            let (mut records, mut out) = (Records::default(), Vec::new());
            for bytes in stream.chunks(piece) {
                records.push(bytes);
                while let Some(record) = records.next_record().unwrap() {
                    out.push((record.kind, record.number, record.clear().to_vec(), record.sealed().len()));
                }
            }
            let expected = [(Kind::Data, 1 << 40, b"clear".to_vec(), 19), (Kind::Control, 2, Vec::new(), 19)];
            assert_eq!(out, expected, "{piece}");
            assert!(records.unfinished().is_empty());
        }
    }

    #[test]
    fn a_page_and_a_claimed_length_are_no_record() {
        let next = |bytes: &[u8]| {
            let mut records = Records::default();
            records.push(bytes);
            records.next_record()
        };
        assert_eq!(next(b"<!DOCTYPE html>"), Err(NotARecord));
        assert_eq!(next(&[0xa1, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), Err(NotARecord));
        assert_eq!(next(&[0xa1, 1, 0, 0]), Ok(None));
    }
}

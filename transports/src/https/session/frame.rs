//! Frames: what a segment says about circuits.
//!
//! A segment's text is any number of these, one behind the other, in compact encoding:
//!
//! | first byte | frame | fields |
//! |---|---|---|
//! | 1 | open | circuit, flags (1 urgent, 2 ciphertext), target (buffer) |
//! | 2 | accept | circuit |
//! | 3 | data | circuit, place, bytes (buffer) |
//! | 4 | data, of which the bytes are the record's clear part | circuit, place |
//! | 5 | end | circuit, place |
//! | 6 | reset | circuit, place, reason |
//! | 7 | credit | circuit, limit |
//!
//! A *place* counts a circuit's frames in one direction: `open` and `accept` are at place 0, what follows counts on.
//! Frames of a circuit are taken in the order of their places, whatever order their segments come in. Credit has no
//! place: the largest limit holds.

use anypath_wire::{DecodeError, Decoder, Encode};
use bytes::Bytes;

/// A circuit's number in its session: even if the client opened it, odd if the relay did; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CircuitId(pub u64);

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Asks for a circuit; data may follow at once, up to the first credit.
    Open {
        /// The circuit.
        circuit: CircuitId,
        /// What it is to be like.
        style: Style,
        /// To whom or what, in words that only the relay's room knows; at most [`TARGET_BYTES_MAX`].
        target: Bytes,
    },
    /// Grants it.
    Accept {
        /// The circuit.
        circuit: CircuitId,
    },
    /// Bytes of the circuit's stream.
    Data {
        /// The circuit.
        circuit: CircuitId,
        /// Its place.
        place: u64,
        /// The bytes.
        bytes: Bytes,
        /// Whether they travel in the record's clear part; at most one frame of a segment can.
        clear: bool,
    },
    /// The sender's stream is complete.
    End {
        /// The circuit.
        circuit: CircuitId,
        /// Its place.
        place: u64,
    },
    /// The circuit is over, in both directions; also how one is refused.
    Reset {
        /// The circuit.
        circuit: CircuitId,
        /// Its place.
        place: u64,
        /// Why, in numbers that only the relay's room knows.
        reason: u64,
    },
    /// The other end may send so many bytes of this circuit in all.
    Credit {
        /// The circuit.
        circuit: CircuitId,
        /// How many, since the circuit opened.
        limit: u64,
    },
}

/// What a circuit is to be like, decided by who opens it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Style {
    /// Its bytes go before those of other circuits: for questions and answers, not for bulk.
    pub urgent: bool,
    /// Its bytes are ciphertext from end to end, so that they need to be authenticated only.
    pub ciphertext: bool,
}

impl Frame {
    /// Returns the circuit it is about.
    pub fn circuit(&self) -> CircuitId {
        match self {
            Self::Open { circuit, .. }
            | Self::Accept { circuit }
            | Self::Data { circuit, .. }
            | Self::End { circuit, .. }
            | Self::Reset { circuit, .. }
            | Self::Credit { circuit, .. } => *circuit,
        }
    }

    /// Returns its place among the circuit's frames; credit has none.
    pub fn place(&self) -> Option<u64> {
        match self {
            Self::Open { .. } | Self::Accept { .. } => Some(0),
            Self::Data { place, .. } | Self::End { place, .. } | Self::Reset { place, .. } => Some(*place),
            Self::Credit { .. } => None,
        }
    }

    /// Appends it to a segment's text; data that travels clear is not written here.
    pub fn encode(&self, text: &mut Vec<u8>) {
        let mut head = |kind: u8, circuit: &CircuitId, fields: &[u64]| {
            text.push(kind);
            text.uint(circuit.0);
            fields.iter().for_each(|field| text.uint(*field));
        };
        match self {
            Self::Open { circuit, style, target } => {
                head(1, circuit, &[u64::from(style.urgent) | u64::from(style.ciphertext) << 1]);
                text.buffer(target);
            }
            Self::Accept { circuit } => head(2, circuit, &[]),
            Self::Data { circuit, place, clear: true, .. } => head(4, circuit, &[*place]),
            Self::Data { circuit, place, bytes, clear: false } => {
                head(3, circuit, &[*place]);
                text.buffer(bytes);
            }
            Self::End { circuit, place } => head(5, circuit, &[*place]),
            Self::Reset { circuit, place, reason } => head(6, circuit, &[*place, *reason]),
            Self::Credit { circuit, limit } => head(7, circuit, &[*limit]),
        }
    }

    /// Reads the frames of a segment: its text, and the clear part of its record.
    ///
    /// # Errors
    /// Whatever is not exactly as written above, more than [`FRAMES_MAX`] frames, or a clear part that is not used
    /// exactly once.
    pub fn decode_all(text: &Bytes, clear: &Bytes) -> Result<Vec<Self>, DecodeError> {
        let mut from = Decoder::new(text);
        let (mut frames, mut clear_used) = (Vec::new(), clear.is_empty());
        while !from.is_empty() {
            if frames.len() == FRAMES_MAX {
                return Err(DecodeError::Count);
            }
            let frame = Self::decode(&mut from, text, clear)?;
            if matches!(frame, Self::Data { clear: true, .. }) && std::mem::replace(&mut clear_used, true) {
                return Err(DecodeError::Unknown("a second frame for one clear part"));
            }
            frames.push(frame);
        }
        if clear_used { Ok(frames) } else { Err(DecodeError::Unknown("a clear part without a frame")) }
    }

    fn decode(from: &mut Decoder<'_>, text: &Bytes, clear: &Bytes) -> Result<Self, DecodeError> {
        let kind = from.byte()?;
        let circuit = CircuitId(from.uint()?);
        Ok(match kind {
            1 => {
                let flags = from.uint()?;
                if flags > 3 {
                    return Err(DecodeError::Unknown("the flags of a circuit"));
                }
                let target = text.slice_ref(from.buffer()?);
                if target.len() > TARGET_BYTES_MAX {
                    return Err(DecodeError::Count);
                }
                let style = Style { urgent: flags & 1 != 0, ciphertext: flags & 2 != 0 };
                Self::Open { circuit, style, target }
            }
            2 => Self::Accept { circuit },
            3 => Self::Data { circuit, place: from.uint()?, bytes: text.slice_ref(from.buffer()?), clear: false },
            4 => Self::Data { circuit, place: from.uint()?, bytes: clear.clone(), clear: true },
            5 => Self::End { circuit, place: from.uint()? },
            6 => Self::Reset { circuit, place: from.uint()?, reason: from.uint()? },
            7 => Self::Credit { circuit, limit: from.uint()? },
            _ => return Err(DecodeError::Unknown("a frame")),
        })
    }
}

/// The longest name of a target in bytes: two keys, a token, and room to spare.
pub const TARGET_BYTES_MAX: usize = 1024;
/// The most frames of one segment: what a segment's bytes can cost in memory. Ours hold fewer than a hundred.
pub const FRAMES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_survives_being_written_and_read() {
        let circuit = CircuitId(300);
        let style = Style { urgent: true, ciphertext: false };
        let frames = [
            Frame::Open { circuit, style, target: Bytes::from_static(b"target") },
            Frame::Accept { circuit },
            Frame::Data { circuit, place: 1, bytes: Bytes::from_static(b"sealed"), clear: false },
            Frame::Data { circuit, place: 2, bytes: Bytes::from_static(b"clear"), clear: true },
            Frame::End { circuit, place: 3 },
            Frame::Reset { circuit, place: 4, reason: 9 },
            Frame::Credit { circuit, limit: 1 << 40 },
        ];
        let mut text = Vec::new();
        frames.iter().for_each(|frame| frame.encode(&mut text));
        let text = Bytes::from(text);
        assert_eq!(Frame::decode_all(&text, &Bytes::from_static(b"clear")).as_deref(), Ok(&frames[..]));
        assert!(Frame::decode_all(&text.slice(1..), &Bytes::new()).is_err());
    }

    #[test]
    fn a_clear_part_belongs_to_one_frame() {
        let clear = Bytes::from_static(b"clear");
        let data = |place| Frame::Data { circuit: CircuitId(0), place, bytes: clear.clone(), clear: true };
        let mut text = Vec::new();
        data(1).encode(&mut text);
        assert!(Frame::decode_all(&text.clone().into(), &clear).is_ok());
        data(2).encode(&mut text);
        assert!(Frame::decode_all(&text.into(), &clear).is_err());
        assert!(Frame::decode_all(&Bytes::new(), &clear).is_err());
        assert!(Frame::decode_all(&vec![2; 2 * FRAMES_MAX + 2].into(), &Bytes::new()).is_err());
    }
}

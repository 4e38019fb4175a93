//! The two halves of a private stream: the sealer encrypts messages into frames, the opener decrypts them in place.

use anypath_wire::{Handshake, Role, keyed_hash, namespace};
use bytes::{Bytes, BytesMut};
use subtle::ConstantTimeEq;
use thiserror::Error;

use super::FRAME_BYTES_MAX;
use super::mac::{MAC_BYTES, Mac};
use super::secretstream::{HEADER_BYTES, SecretStream};

/// What we send: turns messages into frames, in place.
///
/// ```
/// # use anypath_wire::{Handshake, PublicKey, Role};
/// # use anypath_replicate::noise::Sealer;
/// # let handshake = Handshake { role: Role::Initiator, remote: PublicKey([1; 32]), hash: [2; 64], tx: [3; 32], rx: [4; 32] };
/// let (mut sealer, header_frame) = Sealer::new(&handshake, [9; 24]);
/// let mut out = header_frame.to_vec();
/// for message in ["one", "two"] {
///     let start = out.len();
///     out.extend([0; Sealer::ROOM_BYTES]);
///     out.extend(message.as_bytes());
///     sealer.seal_tail(&mut out, start)?;
/// }
/// # assert_eq!(out.len(), 59 + 2 * (Sealer::OVERHEAD_BYTES + 3));
/// # Ok::<(), anypath_replicate::noise::SealError>(())
/// ```
pub struct Sealer(SecretStream);

impl Sealer {
    /// Room to leave before a message: its frame's length (3) and tag (1).
    pub const ROOM_BYTES: usize = 4;

    /// By how much a frame is longer than its message; reserve it, and sealing will not allocate.
    pub const OVERHEAD_BYTES: usize = Self::ROOM_BYTES + MAC_BYTES;

    /// Returns the sealer and the frame that must go out before any other; `header` must be fresh randomness.
    ///
    /// Shape: length 56 (3) | stream id (32) | header (24).
    pub fn new(handshake: &Handshake, header: [u8; HEADER_BYTES]) -> (Self, [u8; HEADER_FRAME_BYTES]) {
        let mut frame = [0; HEADER_FRAME_BYTES];
        frame[0] = (HEADER_FRAME_BYTES - 3) as u8;
        frame[3..35].copy_from_slice(&stream_id(handshake, handshake.role));
        frame[35..].copy_from_slice(&header);
        (Self(SecretStream::new(&handshake.tx, &header)), frame)
    }

    /// Turns `frame`, 4 bytes of room and a message, into the whole frame; an empty message is a keep-alive.
    ///
    /// # Errors
    /// If the message does not fit a frame; then nothing has changed.
    ///
    /// # Panics
    /// If there is no room.
    pub fn seal(&mut self, frame: &mut Vec<u8>) -> Result<(), SealError> {
        self.seal_tail(frame, 0)
    }

    /// Like `seal`, for what begins at `start`: many frames can be made in one buffer.
    ///
    /// # Errors
    /// If the message does not fit a frame; then nothing has changed.
    ///
    /// # Panics
    /// If there is no room.
    pub fn seal_tail(&mut self, out: &mut Vec<u8>, start: usize) -> Result<(), SealError> {
        let frame = &mut out[start..];
        assert!(frame.len() >= Self::ROOM_BYTES, "a message to seal needs room before it");
        let bytes = frame.len() - Self::ROOM_BYTES;
        if bytes > TEXT_BYTES_MAX {
            return Err(SealError { bytes });
        }
        let length = (1 + bytes + MAC_BYTES) as u32;
        frame[..3].copy_from_slice(&length.to_le_bytes()[..3]);
        frame[3] = TAG_MESSAGE;
        let mac = self.0.seal(&mut frame[3..]);
        out.extend_from_slice(&mac);
        Ok(())
    }
}

/// What we receive: turns the bodies of frames back into messages, in place.
pub struct Opener(Awaits);

enum Awaits {
    Header { stream_id: [u8; 32], rx: zeroize::Zeroizing<[u8; 32]> },
    Message(SecretStream),
}

impl Opener {
    /// Returns an opener that awaits the peer's header frame.
    pub fn new(handshake: &Handshake) -> Self {
        let stream_id = stream_id(handshake, handshake.role.other());
        Self(Awaits::Header { stream_id, rx: handshake.rx.into() })
    }

    /// Takes the body of the next frame and returns the message in it, without copying.
    ///
    /// Empty is the answer to the header frame and to a keep-alive: callers ignore an empty message.
    ///
    /// # Errors
    /// Any error is final for the connection.
    pub fn open(&mut self, mut frame: BytesMut) -> Result<Bytes, OpenError> {
        match &mut self.0 {
            Awaits::Header { stream_id, rx } => {
                self.0 = Awaits::Message(SecretStream::new(rx, &header(&frame, stream_id)?));
                Ok(Bytes::new())
            }
            Awaits::Message(stream) => {
                let tag = open(stream, &mut frame)?;
                if tag != TAG_MESSAGE {
                    return Err(OpenError::UnknownTag { tag });
                }
                frame.truncate(frame.len() - MAC_BYTES);
                Ok(frame.freeze().slice(1..))
            }
        }
    }
}

/// The message is too long to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a message of {bytes} bytes does not fit a secret-stream frame, which holds {TEXT_BYTES_MAX}")]
pub struct SealError {
    /// Its length.
    pub bytes: usize,
}

/// Why a frame could not be opened; in all cases by the peer's fault, or by somebody on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The first frame after the handshake is not a header.
    #[error("the peer's header frame has {bytes} bytes instead of 56: what it speaks is not secret-stream")]
    HeaderLength {
        /// The length of its body.
        bytes: usize,
    },
    /// The header belongs to another handshake, or to our own end of this one.
    #[error("the peer's header names another stream: it was altered, replayed or reflected")]
    WrongStreamId,
    /// The frame has no room for tag and authenticator.
    #[error("the peer's frame has {bytes} bytes, less than the 17 that even an empty message takes")]
    TooShort {
        /// The length of its body.
        bytes: usize,
    },
    /// The message does not authenticate.
    #[error("the peer's message does not authenticate: it was altered, replayed, reordered or cut out on the way")]
    Forged,
    /// The message bears a tag that secret-stream does not use.
    #[error("the peer's message bears the secretstream tag {tag}, where secret-stream only knows 0")]
    UnknownTag {
        /// The tag.
        tag: u8,
    },
}

/// Length of a header frame with its length prefix.
pub const HEADER_FRAME_BYTES: usize = 3 + 32 + HEADER_BYTES;

/// The longest message in bytes, set by the 3-byte frame length.
pub const TEXT_BYTES_MAX: usize = FRAME_BYTES_MAX - 1 - MAC_BYTES;

const TAG_MESSAGE: u8 = 0;

fn stream_id(handshake: &Handshake, sender: Role) -> [u8; 32] {
    let index = match sender {
        Role::Initiator => 0,
        Role::Responder => 1,
    };
    keyed_hash(&handshake.hash, &namespace("hyperswarm/secret-stream", index))
}

/// Returns the secretstream header in a header frame's body.
fn header(frame: &[u8], stream_id: &[u8; 32]) -> Result<[u8; HEADER_BYTES], OpenError> {
    let (id, header) = frame.split_first_chunk::<32>().ok_or(OpenError::HeaderLength { bytes: frame.len() })?;
    let header = header.try_into().map_err(|_| OpenError::HeaderLength { bytes: frame.len() })?;
    if bool::from(id.ct_eq(stream_id)) { Ok(header) } else { Err(OpenError::WrongStreamId) }
}

/// Decrypts tag and text where they lie and returns the tag.
fn open(stream: &mut SecretStream, frame: &mut [u8]) -> Result<u8, OpenError> {
    let bytes = frame.len();
    let (tagged, mac): (_, &mut Mac) = frame.split_last_chunk_mut().ok_or(OpenError::TooShort { bytes })?;
    if tagged.is_empty() {
        return Err(OpenError::TooShort { bytes });
    }
    if stream.open(tagged, mac) { Ok(tagged[0]) } else { Err(OpenError::Forged) }
}

#[cfg(test)]
mod tests {
    use anypath_wire::PublicKey;

    use super::*;

    fn handshake(role: Role) -> Handshake {
        let (tx, rx) = if role == Role::Initiator { ([3; 32], [4; 32]) } else { ([4; 32], [3; 32]) };
        Handshake { role, remote: PublicKey([1; 32]), hash: [2; 64], tx, rx }
    }

    fn header_frame() -> [u8; HEADER_FRAME_BYTES] {
        Sealer::new(&handshake(Role::Initiator), [9; 24]).1
    }

    /// Returns a sealer and the opener of the other end, which has read the header.
    fn ends() -> (Sealer, Opener) {
        let (sealer, header) = Sealer::new(&handshake(Role::Initiator), [9; 24]);
        let mut opener = Opener::new(&handshake(Role::Responder));
        assert!(opener.open(body(&header)).unwrap().is_empty());
        (sealer, opener)
    }

    fn seal(sealer: &mut Sealer, text: &[u8]) -> Vec<u8> {
        let mut frame = [&[0xff; Sealer::ROOM_BYTES], text].concat();
        sealer.seal(&mut frame).unwrap();
        frame
    }

    fn body(frame: &[u8]) -> BytesMut {
        BytesMut::from(&frame[3..])
    }

    #[test]
    fn frames_sealed_in_one_buffer_are_those_sealed_apart() {
        let ((mut apart, mut opener), (mut together, _)) = (ends(), ends());
        let mut out = b"before".to_vec();
        let mut expected = out.clone();
        for text in [&b"one"[..], b"", b"three"] {
            let frame = seal(&mut apart, text);
            assert_eq!(frame.len(), text.len() + Sealer::OVERHEAD_BYTES);
            assert_eq!(opener.open(body(&frame)).unwrap(), text);
            expected.extend(frame);
            let start = out.len();
            out.extend([0; Sealer::ROOM_BYTES]);
            out.extend(text);
            together.seal_tail(&mut out, start).unwrap();
        }
        assert_eq!(out, expected);
    }

    #[test]
    fn a_message_is_opened_where_it_lies() {
        let (mut sealer, mut opener) = ends();
        let frame = body(&seal(&mut sealer, b"hello"));
        let address = frame.as_ptr() as usize;
        assert_eq!(opener.open(frame).unwrap().as_ptr() as usize, address + 1);
    }

    #[test]
    fn a_flipped_bit_anywhere_is_an_error() {
        let frame = seal(&mut ends().0, b"hello");
        for (byte, bit) in (3..frame.len()).flat_map(|byte| (0..8).map(move |bit| (byte, bit))) {
            let mut bad = frame.clone();
            bad[byte] ^= 1 << bit;
            assert_eq!(ends().1.open(body(&bad)), Err(OpenError::Forged), "{byte} {bit}");
        }
    }

    #[test]
    fn a_truncated_frame_is_an_error() {
        let frame = seal(&mut ends().0, b"hello");
        for bytes in 0..frame.len() - 3 {
            let error = if bytes < 17 { OpenError::TooShort { bytes } } else { OpenError::Forged };
            assert_eq!(ends().1.open(body(&frame[..3 + bytes])), Err(error));
        }
    }

    #[test]
    fn garbage_of_any_length_is_an_error() {
        for bytes in 0..300_usize {
            let garbage: Vec<u8> = (0..bytes).map(|at| (at * at * 31 + bytes * 7) as u8).collect();
            assert!(ends().1.open(BytesMut::from(&garbage[..])).is_err(), "{bytes}");
        }
    }

    #[test]
    fn a_repeated_or_missing_message_is_an_error() {
        let (mut sealer, mut opener) = ends();
        let frames: Vec<_> = (0..3).map(|byte| body(&seal(&mut sealer, &[byte]))).collect();
        opener.open(frames[0].clone()).unwrap();
        assert_eq!(opener.open(frames[0].clone()), Err(OpenError::Forged));
        assert_eq!(opener.open(frames[2].clone()), Err(OpenError::Forged));
    }

    #[test]
    fn only_the_header_of_the_other_end_is_taken() {
        let frame = header_frame();
        for byte in 3..35 {
            let mut bad = frame;
            bad[byte] ^= 1;
            assert_eq!(Opener::new(&handshake(Role::Responder)).open(body(&bad)), Err(OpenError::WrongStreamId));
        }
        assert_eq!(Opener::new(&handshake(Role::Initiator)).open(body(&frame)), Err(OpenError::WrongStreamId));
        for bytes in (0..56).chain([57, 1000]) {
            let bad = BytesMut::from(&[&frame[3..], &[0; 1000]].concat()[..bytes]);
            let error = Err(OpenError::HeaderLength { bytes });
            assert_eq!(Opener::new(&handshake(Role::Responder)).open(bad), error);
        }
    }

    #[test]
    fn a_header_with_another_nonce_opens_nothing() {
        let (mut sealer, _) = ends();
        let mut header = header_frame();
        header[35] ^= 1;
        let mut opener = Opener::new(&handshake(Role::Responder));
        opener.open(body(&header)).unwrap();
        assert_eq!(opener.open(body(&seal(&mut sealer, b"hello"))), Err(OpenError::Forged));
    }

    #[test]
    fn the_longest_message_passes_and_a_longer_one_leaves_the_sealer_as_it_was() {
        let (mut sealer, mut opener) = ends();
        let mut too_long = vec![7; Sealer::ROOM_BYTES + TEXT_BYTES_MAX + 1];
        let before = too_long.clone();
        assert_eq!(sealer.seal(&mut too_long), Err(SealError { bytes: TEXT_BYTES_MAX + 1 }));
        assert!(too_long == before);
        let longest = seal(&mut sealer, &before[..TEXT_BYTES_MAX]);
        assert_eq!(longest[..3], [0xff; 3]);
        assert_eq!(opener.open(body(&longest)).unwrap().len(), TEXT_BYTES_MAX);
    }
}

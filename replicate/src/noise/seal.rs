//! The two halves of a private stream: the sealer encrypts messages into frames, the opener decrypts them in place.

use anypath_wire::{Handshake, Role, keyed_hash, namespace};
use bytes::{Bytes, BytesMut};
use subtle::ConstantTimeEq;
use thiserror::Error;

use super::FRAME_BYTES_MAX;
use super::secretstream::{HEADER_BYTES, MAC_BYTES, Mac, SecretStream};

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

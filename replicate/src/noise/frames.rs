//! Cuts a byte stream into frames at their 3-byte lengths.

use bytes::{Buf, BytesMut};
use thiserror::Error;

/// Collects the bytes of a stream and gives back the bodies of its frames.
///
/// Shape: length of the body (u24, little endian) | body.
///
/// Copies nothing if each `push` continues the memory of the last one, as when a socket is always read
/// into one `BytesMut` and what arrived is handed over by `split()`.
#[derive(Debug)]
pub struct Frames {
    pending: BytesMut,
    frame_bytes_max: usize,
}

impl Frames {
    /// Starts empty; frames with longer bodies are refused.
    ///
    /// During a handshake the limit is [`HANDSHAKE_BYTES_MAX`](super::HANDSHAKE_BYTES_MAX), after it [`FRAME_BYTES_MAX`].
    pub fn new(frame_bytes_max: usize) -> Self {
        Self { pending: BytesMut::new(), frame_bytes_max }
    }

    /// Sets another limit, for the frames that have not been taken out yet.
    pub fn set_frame_bytes_max(&mut self, frame_bytes_max: usize) {
        self.frame_bytes_max = frame_bytes_max;
    }

    /// Takes bytes that arrived. Memory grows with them, never with the length a frame claims.
    pub fn push(&mut self, bytes: BytesMut) {
        self.pending.unsplit(bytes);
    }

    /// Returns the body of the next frame, once it is complete.
    ///
    /// # Errors
    /// If the frame is beyond the limit, as soon as its length is known; the stream cannot be read further.
    pub fn next_frame(&mut self) -> Result<Option<BytesMut>, FrameTooLong> {
        let Some(&[low, middle, high]) = self.pending.first_chunk() else { return Ok(None) };
        let bytes = u32::from_le_bytes([low, middle, high, 0]) as usize;
        if bytes > self.frame_bytes_max {
            return Err(FrameTooLong { bytes, bytes_max: self.frame_bytes_max });
        }
        if self.pending.len() < PREFIX_BYTES + bytes {
            return Ok(None);
        }
        self.pending.advance(PREFIX_BYTES);
        Ok(Some(self.pending.split_to(bytes)))
    }
}

/// The peer announced a frame that is longer than allowed now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "the peer announced a frame of {bytes} bytes where {bytes_max} are the most: it speaks something else than \
     secret-stream"
)]
pub struct FrameTooLong {
    /// The length it announced.
    pub bytes: usize,
    /// The limit.
    pub bytes_max: usize,
}

/// The longest body in bytes that a 3-byte length can tell.
pub const FRAME_BYTES_MAX: usize = 0xff_ffff;

const PREFIX_BYTES: usize = 3;

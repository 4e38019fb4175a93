//! Cuts a byte stream into frames at their 3-byte lengths.

use bytes::{Buf, BytesMut};
use thiserror::Error;

/// Collects the bytes of a stream and gives back the bodies of its frames.
///
/// Shape: length of the body (u24, little endian) | body.
///
/// Copies nothing if what arrives is read into [`buffer`](Self::buffer), but for the begin of a frame that is cut by the
/// buffer's end.
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

    /// Returns where to append bytes that arrive: the frames are cut out of it where they lie.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.pending
    }

    /// Replaces the buffer by an empty one, to which it moves what waits for the rest of its frame, and returns the old one.
    pub fn renew(&mut self, mut buffer: BytesMut) -> BytesMut {
        buffer.extend_from_slice(&self.pending);
        std::mem::replace(&mut self.pending, buffer)
    }

    /// Takes bytes that arrived. Memory grows with them, never with the length a frame claims.
    pub fn push(&mut self, bytes: BytesMut) {
        self.pending.unsplit(bytes);
    }

    /// Returns how many bytes have come that no frame was made of yet.
    pub fn pending_bytes(&self) -> usize {
        self.pending.len()
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

#[cfg(test)]
mod tests {
    use super::*;

    const BODIES: [&[u8]; 4] = [b"", b"one", &[7; 300], b"x"];

    fn stream() -> Vec<u8> {
        let frame = |body: &&[u8]| [&(body.len() as u32).to_le_bytes()[..3], body].concat();
        BODIES.iter().flat_map(frame).collect()
    }

    fn drain(frames: &mut Frames) -> Vec<BytesMut> {
        std::iter::from_fn(|| frames.next_frame().unwrap()).collect()
    }

    #[test]
    fn frames_are_the_same_at_any_cut() {
        for chunk_bytes in 1..=stream().len() {
            let mut frames = Frames::new(FRAME_BYTES_MAX);
            let mut bodies = Vec::new();
            for chunk in stream().chunks(chunk_bytes) {
                frames.push(BytesMut::from(chunk));
                bodies.extend(drain(&mut frames));
            }
            assert_eq!(bodies, BODIES, "{chunk_bytes}");
        }
    }

    #[test]
    fn frames_read_into_the_buffer_are_not_copied() {
        let mut frames = Frames::new(FRAME_BYTES_MAX);
        let mut bodies = Vec::new();
        let mut old = frames.renew(BytesMut::with_capacity(1000));
        let mut address = frames.buffer().as_ptr() as usize;
        for (number, chunk) in stream().chunks(7).enumerate() {
            if number == 10 {
                old = frames.renew(BytesMut::with_capacity(1000));
                address = frames.buffer().as_ptr() as usize;
            }
            frames.buffer().extend_from_slice(chunk);
            bodies.extend(drain(&mut frames));
        }
        assert_eq!(bodies, BODIES);
        // Cut by the end of the old buffer: moved to the begin of the new one.
        assert_eq!(bodies[2].as_ptr() as usize, address + 3);
        assert_eq!(bodies[3].as_ptr() as usize, address + 3 + 300 + 3);
        assert_eq!(old.len(), 7 * 10 - 3 - 6);
    }

    #[test]
    fn a_claimed_length_reserves_nothing() {
        let mut frames = Frames::new(FRAME_BYTES_MAX);
        for byte in [0xff, 0xff, 0xff, 1, 2, 3] {
            frames.push(BytesMut::from(&[byte][..]));
            assert_eq!(frames.next_frame(), Ok(None));
        }
        assert!(frames.pending.capacity() < 100, "{}", frames.pending.capacity());
    }

    #[test]
    fn a_frame_beyond_the_limit_is_refused_at_its_length() {
        let mut frames = Frames::new(300);
        frames.push(BytesMut::from(&b"GET / HTTP/1.1\r\n"[..]));
        let error = FrameTooLong { bytes: 0x54_4547, bytes_max: 300 };
        assert_eq!(frames.next_frame(), Err(error));
        assert_eq!(frames.next_frame(), Err(error));
        let mut frames = Frames::new(300);
        frames.push(BytesMut::from(&stream()[..]));
        assert_eq!(drain(&mut frames), BODIES);
        frames.push(BytesMut::from(&stream()[..]));
        frames.set_frame_bytes_max(299);
        assert_eq!(
            (frames.next_frame(), frames.next_frame()),
            (Ok(Some(BODIES[0].into())), Ok(Some(BODIES[1].into())))
        );
        assert_eq!(frames.next_frame(), Err(FrameTooLong { bytes: 300, bytes_max: 299 }));
    }
}

//! Memory to read into, used again once nobody refers to what was read.
//!
//! Fresh memory costs the system a page fault for every 4 KiB, which at full speed is as much as the cipher does.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::BytesMut;

/// Buffers of all connections of a node; cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Buffers(Arc<Mutex<VecDeque<BytesMut>>>);

impl Buffers {
    /// Returns an empty buffer of [`BUFFER_BYTES`].
    pub(crate) fn take(&self) -> BytesMut {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Given back in the order in which they were filled, so let go of in about that order as well.
        if let Some(mut oldest) = known.pop_front() {
            if oldest.try_reclaim(BUFFER_BYTES) {
                return oldest;
            }
            known.push_front(oldest);
        }
        BytesMut::with_capacity(BUFFER_BYTES)
    }

    /// Takes a buffer from [`Self::take`] that is full, though slices of it may be in use for a while.
    pub(crate) fn give(&self, mut buffer: BytesMut) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() < BUFFERS_MAX {
            buffer.clear();
            known.push_back(buffer);
        }
    }
}

/// Bytes of a buffer: a few blocks of 64 KiB, to be decrypted and hashed while they are in the processor's cache.
pub(crate) const BUFFER_BYTES: usize = 512 << 10;
/// Buffers kept by a node: what is read, verified and committed at full speed, 16 MiB.
const BUFFERS_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_once_nobody_refers_to_it() {
        let buffers = Buffers::default();
        let mut buffer = buffers.take();
        buffer.resize(BUFFER_BYTES, 7);
        let address = buffer.as_ptr();
        let slice = buffer.split_to(10).freeze();
        buffers.give(buffer);
        assert_ne!(buffers.take().as_ptr(), address);
        assert_eq!(slice, [7; 10][..]);
        drop(slice);
        let buffer = buffers.take();
        assert_eq!((buffer.as_ptr(), buffer.len(), buffer.capacity()), (address, 0, BUFFER_BYTES));
    }
}

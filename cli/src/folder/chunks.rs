//! Buffers that files are read into, used again once a drive has let go of them.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// A few buffers of [`CHUNK_BYTES`]: what was written a moment ago is written again several times faster than memory
/// that is new to the processor's caches or to the machine.
#[derive(Debug, Clone, Default)]
pub(super) struct Chunks(Arc<Mutex<Vec<Vec<u8>>>>);

/// A buffer that goes back where it came from.
struct Chunk {
    bytes: Vec<u8>,
    home: Chunks,
}

impl Chunks {
    /// Reads up to so many bytes, at most [`CHUNK_BYTES`], fewer only at the end.
    ///
    /// # Errors
    /// Those of `from`.
    pub(super) fn read(&self, from: impl Read, bytes: usize) -> io::Result<Bytes> {
        // A small file in a large buffer would hold many times its size.
        if bytes < CHUNK_BYTES {
            let mut read = Vec::with_capacity(bytes);
            from.take(bytes as u64).read_to_end(&mut read)?;
            return Ok(read.into());
        }
        let bytes = self.with(Vec::pop).unwrap_or_else(|| Vec::with_capacity(CHUNK_BYTES));
        let mut chunk = Chunk { bytes, home: self.clone() };
        from.take(CHUNK_BYTES as u64).read_to_end(&mut chunk.bytes)?;
        Ok(Bytes::from_owner(chunk))
    }

    fn with<T>(&self, f: impl FnOnce(&mut Vec<Vec<u8>>) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        self.home.with(|spare| {
            if spare.len() < SPARE_MAX {
                spare.push(bytes)
            }
        });
    }
}

/// How much of a file is read at a time: a blob's block in npm hyperblobs, so that the drive need not cut it.
pub(super) const CHUNK_BYTES: usize = 64 << 10;
/// Buffers kept, 16 MiB: about what is collected, hashed and committed at a time.
const SPARE_MAX: usize = 256;

//! Deterministic content, computed alike by `js/content.js`: bytes from (seed, index, size).
//!
//! `state = mix(seed ^ mix(index + 1))`, 0x9e3779b9 if that is 0; then xorshift32 (13, 17, 5), one little-endian word a
//! step, cut off at `size`. `mix` is the finalizer of MurmurHash3 (32 bits). All arithmetic is modulo 2^32.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

use crate::Blocks;

/// Returns the first `size` bytes of the content `index` under `seed`.
pub fn content(seed: u32, index: u32, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    Content::new(seed, index, size as u64).fill(&mut bytes);
    bytes
}

/// Returns SHA-256 of the run's blocks, one behind the other, in hexadecimal, and their number of bytes.
pub fn digest(run: &Blocks) -> (String, u64) {
    let mut hash = Sha256::new();
    let mut bytes = 0;
    for block in run.iter() {
        hash.update(&block);
        bytes += block.len() as u64;
    }
    (hex(&hash.finalize()), bytes)
}

/// Returns lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

/// Content as a stream, for files larger than anybody wants in memory.
#[derive(Debug, Clone)]
pub struct Content {
    state: u32,
    left: u64,
}

impl Content {
    /// Starts `size` bytes of the content `index` under `seed`.
    pub fn new(seed: u32, index: u32, size: u64) -> Self {
        let state = match mix(seed ^ mix(index.wrapping_add(1))) {
            0 => 0x9e37_79b9,
            state => state,
        };
        Self { state, left: size }
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for word in bytes.chunks_mut(4) {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 17;
            self.state ^= self.state << 5;
            word.copy_from_slice(&self.state.to_le_bytes()[..word.len()]);
        }
    }
}

/// Reads whole words except at the end, so the buffer must hold at least 4 bytes.
impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let whole = (buffer.len() / 4 * 4) as u64;
        let taken = whole.min(self.left) as usize;
        self.fill(&mut buffer[..taken]);
        self.left -= taken as u64;
        Ok(taken)
    }
}

fn mix(x: u32) -> u32 {
    let x = (x ^ (x >> 16)).wrapping_mul(0x85eb_ca6b);
    let x = (x ^ (x >> 13)).wrapping_mul(0xc2b2_ae35);
    x ^ (x >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by js/content.js: `content(1, 2, 11)` and `content(0xffffffff, 0, 4)`.
    #[test]
    fn agrees_with_javascript() {
        assert_eq!(hex(&content(1, 2, 11)), "498497468617c175de7f0e");
        assert_eq!(hex(&content(u32::MAX, 0, 4)), "8b8d00c2");
    }

    #[test]
    fn a_stream_gives_the_same_bytes() {
        let mut streamed = Vec::new();
        Content::new(7, 3, 70_001).read_to_end(&mut streamed).unwrap();
        assert!(streamed == content(7, 3, 70_001));
    }
}

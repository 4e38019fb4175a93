//! A core as those above it see it: blocks by index, and a place to append more.

use std::error::Error;

use bytes::Bytes;

/// Blocks that may be read; those not held yet are absent rather than errors.
pub trait Blocks {
    /// Why a read failed; never that a block is absent.
    type Error: Error + Send + Sync + 'static;

    /// Returns how many blocks there are, held or not.
    fn length(&self) -> u64;
    /// Returns the block at `index`, or `None` if it is not held (or beyond the length).
    fn block(&self, index: u64) -> Result<Option<Bytes>, Self::Error>;
}

impl<B: Blocks> Blocks for &B {
    type Error = B::Error;

    fn length(&self) -> u64 {
        (**self).length()
    }

    fn block(&self, index: u64) -> Result<Option<Bytes>, Self::Error> {
        (**self).block(index)
    }
}

/// Blocks to which more may be appended.
pub trait AppendBlocks: Blocks {
    /// Returns the sum of all blocks' sizes in bytes.
    fn byte_length(&self) -> u64;
    /// Appends blocks in order, all or none, and returns the new length.
    fn append(&mut self, blocks: &[Bytes]) -> Result<u64, Self::Error>;
}

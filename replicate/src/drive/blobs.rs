//! The contents of files, as blocks of a core of their own.
//!
//! A file is cut into blocks of 65536 bytes, appended one behind the other; its [`BlobId`] says where they are.
//! With `block_map`, those blocks hold instead, as compact encoding, which other blocks the contents are:
//! `uint` version 0, then an array of (`uint` block, `uint` its bytes).
//!
//! Source: npm hyperblobs 2.12, `lib/streams.js`, `lib/block-map.js`.

use std::collections::VecDeque;
use std::error::Error;

use anypath_wire::{DecodeError, Decoder};
use bytes::{Bytes, BytesMut};
use thiserror::Error;

use super::BlobId;
use crate::bee::Need;
use crate::{AppendBlocks, Blocks};

/// Why contents could not be read or written; never that a block is missing.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BlobError {
    /// The core below could not be read or written.
    #[error("cannot read or append blocks of file contents")]
    Blocks(#[source] Box<dyn Error + Send + Sync>),
    /// The core grew by other hands than the writer's, so the ids it gave are wrong.
    #[error("the blobs core has {found} blocks where {expected} were expected")]
    Moved {
        /// The length by the writer's count.
        expected: u64,
        /// The length found.
        found: u64,
    },
    /// A block with more or fewer bytes than the entry says there are.
    #[error("block {index} does not fit the size of the file")]
    Size {
        /// The block.
        index: u64,
    },
    /// A list of blocks that cannot be read.
    #[error("block {index} does not list the blocks of a file")]
    Map {
        /// The block.
        index: u64,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// A list of blocks longer than the reference reads.
    #[error("a list of blocks in {blocks} blocks is too long")]
    MapLength {
        /// The blocks of the list.
        blocks: u64,
    },
}

impl BlobError {
    fn blocks(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Blocks(Box::new(error))
    }
}

/// Writes the contents of files one after the other, many to an append.
///
/// It holds some blocks back: [`flush`](Self::flush) before anything points to them. The core is handed to each
/// call, always the same one, and grows by nobody else meanwhile.
#[derive(Debug)]
pub struct BlobWriter {
    /// The file begun: where it starts.
    start: BlobId,
    /// Blocks and bytes of the core once all that is pending is appended.
    length: u64,
    byte_length: u64,
    pending: Vec<Bytes>,
    pending_bytes: usize,
    tail: BytesMut,
}

impl BlobWriter {
    /// Starts at the end of the core.
    pub fn new<B: AppendBlocks>(core: &B) -> Self {
        let mut writer = Self {
            start: BlobId::default(),
            length: core.length(),
            byte_length: core.byte_length(),
            pending: Vec::new(),
            pending_bytes: 0,
            tail: BytesMut::new(),
        };
        writer.begin();
        writer
    }

    /// Adds bytes to the file begun; whole blocks of the chunk are not copied.
    pub fn write<B: AppendBlocks>(&mut self, core: &mut B, mut chunk: Bytes) -> Result<(), BlobError> {
        if !self.tail.is_empty() {
            let missing = BLOCK_BYTES - self.tail.len();
            self.tail.extend_from_slice(&chunk.split_to(missing.min(chunk.len())));
            if self.tail.len() < BLOCK_BYTES {
                return Ok(());
            }
            self.push_tail(core)?;
        }
        while chunk.len() >= BLOCK_BYTES {
            self.push(core, chunk.split_to(BLOCK_BYTES))?;
        }
        self.tail.extend_from_slice(&chunk);
        Ok(())
    }

    /// Ends the file begun and returns its id; the next write begins another.
    pub fn finish<B: AppendBlocks>(&mut self, core: &mut B) -> Result<BlobId, BlobError> {
        if !self.tail.is_empty() {
            self.push_tail(core)?;
        }
        let id = BlobId {
            block_length: self.length - self.start.block_offset,
            byte_length: self.byte_length - self.start.byte_offset,
            ..self.start
        };
        self.begin();
        Ok(id)
    }

    /// Appends all blocks held back.
    pub fn flush<B: AppendBlocks>(&mut self, core: &mut B) -> Result<(), BlobError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let (expected, found) = (self.length - self.pending.len() as u64, core.length());
        if expected != found {
            return Err(BlobError::Moved { expected, found });
        }
        core.append(&self.pending).map_err(BlobError::blocks)?;
        self.pending.clear();
        self.pending_bytes = 0;
        Ok(())
    }

    fn begin(&mut self) {
        self.start = BlobId { block_offset: self.length, byte_offset: self.byte_length, ..BlobId::default() };
    }

    fn push_tail<B: AppendBlocks>(&mut self, core: &mut B) -> Result<(), BlobError> {
        let block = self.tail.split().freeze();
        self.push(core, block)
    }

    fn push<B: AppendBlocks>(&mut self, core: &mut B, block: Bytes) -> Result<(), BlobError> {
        self.length += 1;
        self.byte_length += block.len() as u64;
        self.pending_bytes += block.len();
        self.pending.push(block);
        let full = self.pending_bytes >= PENDING_BYTES || self.pending.len() >= PENDING_BLOCKS;
        if full { self.flush(core) } else { Ok(()) }
    }
}

/// Reads the contents of a file, block by block.
#[derive(Debug)]
pub struct BlobReader {
    id: BlobId,
    /// Position in the id's blocks.
    next: u64,
    /// Bytes of the id's blocks not read yet.
    bytes_left: u64,
    /// Blocks with the contents and their sizes, as far as a list named them.
    listed: VecDeque<(u64, u64)>,
}

impl BlobReader {
    /// Starts at the first byte.
    pub fn new(id: BlobId) -> Self {
        Self { id, next: id.block_offset, bytes_left: id.byte_length, listed: VecDeque::new() }
    }

    /// Returns the next block of the contents, or `None` at the end.
    ///
    /// What [`Need::Missing`] names is what will be read next; the first of these is not held, others may be.
    pub fn next<B: Blocks>(&mut self, blobs: &B) -> Result<Need<Option<Bytes>>, BlobError> {
        if !self.id.block_map {
            return self.next_block(blobs);
        }
        if let Some(missing) = self.read_map(blobs)? {
            return Ok(Need::Missing(missing));
        }
        self.next_listed(blobs)
    }

    /// Reads the next of the id's own blocks.
    fn next_block<B: Blocks>(&mut self, blobs: &B) -> Result<Need<Option<Bytes>>, BlobError> {
        let end = self.id.blocks().end;
        if self.next >= end {
            let complete = self.bytes_left == 0;
            return if complete { Ok(Need::Ready(None)) } else { Err(BlobError::Size { index: end }) };
        }
        let index = self.next;
        let Some(block) = blobs.block(index).map_err(BlobError::blocks)? else {
            return Ok(Need::Missing((index..end).take(MISSING_MAX).collect()));
        };
        self.bytes_left = self.bytes_left.checked_sub(block.len() as u64).ok_or(BlobError::Size { index })?;
        self.next += 1;
        Ok(Need::Ready(Some(block)))
    }

    /// Reads the whole list of blocks; returns what is missing of it.
    fn read_map<B: Blocks>(&mut self, blobs: &B) -> Result<Option<Vec<u64>>, BlobError> {
        let blocks = self.id.block_length;
        if blocks > MAP_BLOCKS_MAX {
            return Err(BlobError::MapLength { blocks });
        }
        loop {
            let index = self.next;
            match self.next_block(blobs)? {
                Need::Missing(missing) => return Ok(Some(missing)),
                Need::Ready(None) => return Ok(None),
                Need::Ready(Some(block)) => {
                    let entries = decode_map(&block).map_err(|source| BlobError::Map { index, source })?;
                    self.listed.extend(entries);
                }
            }
        }
    }

    /// Reads the next of the blocks that were listed.
    fn next_listed<B: Blocks>(&mut self, blobs: &B) -> Result<Need<Option<Bytes>>, BlobError> {
        let Some((index, size)) = self.listed.front().copied() else { return Ok(Need::Ready(None)) };
        let Some(block) = blobs.block(index).map_err(BlobError::blocks)? else {
            return Ok(Need::Missing(self.listed.iter().take(MISSING_MAX).map(|(index, _)| *index).collect()));
        };
        if block.len() as u64 != size {
            return Err(BlobError::Size { index });
        }
        self.listed.pop_front();
        Ok(Need::Ready(Some(block)))
    }
}

fn decode_map(block: &[u8]) -> Result<Vec<(u64, u64)>, DecodeError> {
    let mut decoder = Decoder::new(block);
    if decoder.uint()? != 0 {
        return Err(DecodeError::Unknown("the version of a list of blocks"));
    }
    let count = decoder.count(2)?;
    if count > MAP_ENTRIES_MAX {
        return Err(DecodeError::Count);
    }
    (0..count).map(|_| Ok((decoder.uint()?, decoder.uint()?))).collect()
}

/// Bytes of a block; what the reference cuts contents into.
const BLOCK_BYTES: usize = 1 << 16;
/// Bytes held back before they are appended: enough to make an append worth its commit.
const PENDING_BYTES: usize = 1 << 20;
/// Blocks held back before they are appended, when they are small.
const PENDING_BLOCKS: usize = 1024;
/// Most blocks named as missing at once: 64 MiB of full blocks, enough for any link.
const MISSING_MAX: usize = 1024;
/// Most blocks of a list of blocks; the reference reads no more.
const MAP_BLOCKS_MAX: u64 = 64;
/// Most entries in one block of a list; the reference writes no more.
const MAP_ENTRIES_MAX: usize = 8192;

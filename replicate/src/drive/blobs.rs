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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bee::tests::{Held, ready};

    fn content(bytes: usize) -> Bytes {
        (0..bytes).map(|at| (at * 7 / 5) as u8).collect::<Vec<_>>().into()
    }

    fn read(core: &Held, id: BlobId) -> Result<Vec<u8>, BlobError> {
        let mut reader = BlobReader::new(id);
        let mut content = Vec::new();
        while let Some(block) = ready(reader.next(core)?) {
            content.extend_from_slice(&block);
        }
        Ok(content)
    }

    fn file(core: &mut Held, bytes: usize, chunk_bytes: usize) -> BlobId {
        let mut writer = BlobWriter::new(core);
        let content = content(bytes);
        for chunk in content.chunks(chunk_bytes) {
            writer.write(core, content.slice_ref(chunk)).unwrap();
        }
        let id = writer.finish(core).unwrap();
        writer.flush(core).unwrap();
        id
    }

    #[test]
    fn contents_come_back_however_they_were_fed() {
        for bytes in [0, 1, 65535, 65536, 65537, 3 * 65536, 2_500_000] {
            let mut cores = Vec::new();
            for chunk_bytes in [1 << 10, 65536, 100_000, 1 << 20, 1 << 22] {
                let mut core = Held::default();
                let id = file(&mut core, bytes, chunk_bytes);
                assert_eq!((id.byte_length, id.block_length), (bytes as u64, bytes.div_ceil(65536) as u64));
                assert!(read(&core, id).unwrap() == content(bytes));
                cores.push(core.0);
            }
            assert!(cores.iter().all(|core| *core == cores[0]), "{bytes} bytes");
        }
    }

    #[test]
    fn small_files_share_appends_and_keep_their_places() {
        let mut core = Held::default();
        let mut writer = BlobWriter::new(&core);
        let mut ids = Vec::new();
        for bytes in 0..3000 {
            writer.write(&mut core, content(bytes % 500)).unwrap();
            ids.push(writer.finish(&mut core).unwrap());
            assert!(writer.pending.len() < PENDING_BLOCKS && writer.pending_bytes < PENDING_BYTES);
        }
        assert!(core.length() > 1000, "nothing was appended before the end");
        writer.flush(&mut core).unwrap();
        for (bytes, id) in ids.into_iter().enumerate() {
            let before: u64 = core.0[..id.block_offset as usize].iter().flatten().map(|block| block.len() as u64).sum();
            assert_eq!(id.byte_offset, before);
            assert!(read(&core, id).unwrap() == content(bytes % 500));
        }
    }

    #[test]
    fn a_core_that_grew_meanwhile_is_noticed() {
        let mut core = Held::default();
        let mut writer = BlobWriter::new(&core);
        writer.write(&mut core, content(70_000)).unwrap();
        core.append(&[content(1)]).unwrap();
        writer.finish(&mut core).unwrap();
        assert!(matches!(writer.flush(&mut core), Err(BlobError::Moved { expected: 0, found: 1 })));
    }

    #[test]
    fn missing_blocks_are_named_in_the_order_they_are_needed() {
        let mut core = Held::default();
        let id = file(&mut core, 5 * 65536, 1 << 20);
        let mut reader = BlobReader::new(id);
        let whole = core.clone();
        core.0[2] = None;
        assert!(ready(reader.next(&core).unwrap()).is_some());
        assert!(ready(reader.next(&core).unwrap()).is_some());
        assert_eq!(reader.next(&core).unwrap(), Need::Missing(vec![2, 3, 4]));
        assert!(ready(reader.next(&whole).unwrap()).is_some());
        let endless = BlobId { block_length: u64::MAX, block_offset: 9, ..id };
        let Need::Missing(seqs) = BlobReader::new(endless).next(&core).unwrap() else { panic!("there is no block 9") };
        assert_eq!(seqs.len(), MISSING_MAX);
    }

    #[test]
    fn contents_that_do_not_fit_their_entry_are_refused() {
        let mut core = Held::default();
        let id = file(&mut core, 100_000, 1 << 20);
        for byte_length in [0, 65536, 99_999, 100_001] {
            assert!(matches!(read(&core, BlobId { byte_length, ..id }), Err(BlobError::Size { .. })), "{byte_length}");
        }
        core.append(&["\0\x02\0\x03\x01\x04".into(), "\x01\0".into(), "\0\x07".into()]).unwrap();
        let map = |block_offset, byte_length| BlobId {
            block_offset,
            block_length: 1,
            byte_length,
            block_map: true,
            ..BlobId::default()
        };
        assert!(matches!(read(&core, map(2, 6)), Err(BlobError::Size { index: 0 })));
        assert!(matches!(read(&core, map(3, 2)), Err(BlobError::Map { index: 3, .. })));
        assert!(matches!(read(&core, map(4, 2)), Err(BlobError::Map { index: 4, .. })));
        let long = BlobId { block_length: 65, ..map(2, 6) };
        assert!(matches!(read(&core, long), Err(BlobError::MapLength { blocks: 65 })));
    }
}

//! The block file: the bytes of all blocks of all cores, one behind the other in the order of their commits.

use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::Bytes;

use super::extents::{Extent, RUN_BLOCKS_MAX, Run};
use super::fault::Fault;
use super::files::DiskFile;

/// An append-only file: what was written once is never changed, so a truncated or forked core cannot harm what an
/// earlier head points to, and whatever lies behind the committed end is rubbish to be overwritten.
#[derive(Debug)]
pub(super) struct BlockFile(pub(super) Arc<dyn DiskFile>);

impl BlockFile {
    /// Fails if the file ends before `expected`.
    pub(super) fn check_length(&self, expected: u64) -> Result<(), Fault> {
        let found = self.0.bytes()?;
        if found < expected { Err(Fault::Short { found, expected }) } else { Ok(()) }
    }

    /// Writes blocks one behind the other from `offset` on; takes no copy of them.
    pub(super) fn write<'b>(&self, offset: u64, blocks: impl Iterator<Item = &'b Bytes>) -> io::Result<()> {
        let mut slices: Vec<IoSlice<'_>> = blocks.map(|block| IoSlice::new(block)).collect();
        self.0.write_at(&mut slices, offset)
    }

    /// Reads the bytes of a block.
    pub(super) fn read(&self, extent: Extent) -> Result<Bytes, Fault> {
        let short = |found| Fault::Short { found, expected: extent.end() };
        let mut block = vec![0; usize::try_from(extent.bytes).map_err(|_| short(0))?];
        match self.0.read_at(&mut block, extent.offset) {
            Ok(()) => Ok(block.into()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(short(self.0.bytes()?)),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns whether the bytes are there and have that CRC-32.
    pub(super) fn holds(&self, extent: Extent, checksum: u32) -> Result<bool, Fault> {
        if self.0.bytes()? < extent.end() {
            return Ok(false);
        }
        let mut hasher = crc32fast::Hasher::new();
        let mut offset = extent.offset;
        while offset < extent.end() {
            let chunk = Extent { offset, bytes: CHUNK_BYTES.min(extent.end() - offset) };
            hasher.update(&self.read(chunk)?);
            offset = chunk.end();
        }
        Ok(hasher.finalize() == checksum)
    }

    /// Gives the space of bytes nothing points to back to the file system, where that can be done.
    pub(super) fn free(&self, dropped: &[Extent]) {
        dropped.iter().filter(|extent| extent.bytes > 0).for_each(|extent| self.0.free(extent.offset, extent.bytes));
    }

    /// Makes everything written so far outlive a power cut.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

/// Sorts blocks by index, drops those overridden later in the list, and says where each run of neighbours will lie
/// if they are written from `end` on, which moves behind them.
pub(super) fn place(blocks: &mut Vec<(u64, Bytes)>, end: &mut u64) -> Result<Vec<Run>, Fault> {
    blocks.sort_by_key(|(index, _)| *index);
    // The sort is stable and deduplication keeps the first of equals, so it has to see them backwards.
    blocks.reverse();
    blocks.dedup_by_key(|(index, _)| *index);
    blocks.reverse();
    let mut runs: Vec<Run> = Vec::new();
    for (index, block) in &*blocks {
        let bytes = u32::try_from(block.len()).map_err(|_| Fault::BlockTooLong { bytes: block.len() })?;
        match runs.last_mut() {
            Some(run) if run.takes(*index) => run.lengths.push(bytes),
            _ => runs.push(Run { first: *index, offset: *end, lengths: vec![bytes] }),
        }
        *end += u64::from(bytes);
    }
    Ok(runs)
}

impl Run {
    fn takes(&self, index: u64) -> bool {
        self.lengths.len() < RUN_BLOCKS_MAX && self.first + self.lengths.len() as u64 == index
    }
}

/// Bytes read at a time for a checksum.
const CHUNK_BYTES: u64 = 1 << 20;

//! Where blocks lie in the block file: one row for a run of neighbours that were written together.
//!
//! ```text
//! key    core number, index of the run's first block
//! value  8 bytes          where its bytes start in the block file; little-endian
//!        4 bytes a block  their lengths, in order, at most 512; little-endian
//! ```
//! Runs of a core never overlap, so that the run holding a block is the last one that starts at or before it.

use redb::{ReadableTable, Table};

use super::fault::Fault;
use super::rows::Key;

/// Neighbouring blocks whose bytes lie one behind the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    /// The first block's index.
    pub(super) first: u64,
    /// Where its bytes start in the block file.
    pub(super) offset: u64,
    /// The blocks' lengths in bytes.
    pub(super) lengths: Vec<u32>,
}

/// Bytes in the block file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// Where they start.
    pub(super) offset: u64,
    /// How many.
    pub(super) bytes: u64,
}

impl Extent {
    /// Returns where the next byte behind it is.
    pub(super) fn end(&self) -> u64 {
        self.offset.saturating_add(self.bytes)
    }
}

/// Returns where a block lies.
pub(super) fn find(
    table: &impl ReadableTable<Key, &'static [u8]>,
    core: u32,
    index: u64,
) -> Result<Option<Extent>, Fault> {
    let Some(entry) = table.range((core, 0)..=(core, index))?.next_back() else { return Ok(None) };
    let (key, row) = entry?;
    let (offset, lengths) = split(row.value())?;
    let nth = usize::try_from(index - key.value().1).unwrap_or(usize::MAX);
    let Some(bytes) = lengths.get(nth) else { return Ok(None) };
    let before = lengths[..nth].iter().map(|bytes| u64::from(u32::from_le_bytes(*bytes))).sum::<u64>();
    let offset = offset.checked_add(before).ok_or(Fault::Row(TABLE))?;
    Ok(Some(Extent { offset, bytes: u32::from_le_bytes(*bytes).into() }))
}

/// Adds a run of at most 512 blocks, in place of what was known of them; joins it to the run before if it continues it.
/// Returns the bytes nothing points to any more.
pub(super) fn put(table: &mut Table<'_, Key, &[u8]>, core: u32, mut run: Run) -> Result<Vec<Extent>, Fault> {
    let dropped = carve(table, core, run.first, run.end())?;
    if let Some(before) = last_before(table, core, run.first)?
        && before.is_continued_by(&run)
    {
        run = Run { lengths: [before.lengths, run.lengths].concat(), ..before };
    }
    write(table, core, &run)?;
    Ok(dropped)
}

/// Forgets the blocks `start..end`, splitting the runs they share with others.
/// Returns the bytes nothing points to any more.
pub(super) fn carve(table: &mut Table<'_, Key, &[u8]>, core: u32, start: u64, end: u64) -> Result<Vec<Extent>, Fault> {
    let mut dropped = Vec::new();
    for run in overlapping(table, core, start, end)? {
        table.remove((core, run.first))?;
        let (before, rest) = run.split_at(start);
        let (gone, after) = rest.split_at(end);
        dropped.push(Extent { offset: gone.offset, bytes: gone.bytes() });
        write(table, core, &before)?;
        write(table, core, &after)?;
    }
    Ok(dropped)
}

impl Run {
    fn end(&self) -> u64 {
        self.first.saturating_add(self.lengths.len() as u64)
    }

    fn bytes(&self) -> u64 {
        self.lengths.iter().map(|bytes| u64::from(*bytes)).sum()
    }

    fn is_continued_by(&self, next: &Self) -> bool {
        self.end() == next.first
            && self.offset + self.bytes() == next.offset
            && self.lengths.len() + next.lengths.len() <= RUN_BLOCKS_MAX
    }

    /// Parts the blocks before `index` from the others; either part may be empty.
    fn split_at(mut self, index: u64) -> (Self, Self) {
        let count = index.saturating_sub(self.first).min(self.lengths.len() as u64);
        let lengths = self.lengths.split_off(count as usize);
        let rest = Self { first: self.first + count, offset: self.offset + self.bytes(), lengths };
        (self, rest)
    }
}

fn overlapping(table: &Table<'_, Key, &[u8]>, core: u32, start: u64, end: u64) -> Result<Vec<Run>, Fault> {
    let before = last_before(table, core, start)?.filter(|run| run.end() > start);
    let mut runs = Vec::from_iter(before);
    for entry in table.range((core, start)..(core, end))? {
        let (key, row) = entry?;
        runs.push(decode(key.value().1, row.value())?);
    }
    Ok(runs)
}

fn last_before(table: &Table<'_, Key, &[u8]>, core: u32, index: u64) -> Result<Option<Run>, Fault> {
    let Some(entry) = table.range((core, 0)..(core, index))?.next_back() else { return Ok(None) };
    let (key, row) = entry?;
    decode(key.value().1, row.value()).map(Some)
}

fn decode(first: u64, row: &[u8]) -> Result<Run, Fault> {
    let (offset, lengths) = split(row)?;
    Ok(Run { first, offset, lengths: lengths.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect() })
}

fn write(table: &mut Table<'_, Key, &[u8]>, core: u32, run: &Run) -> Result<(), Fault> {
    if run.lengths.is_empty() {
        return Ok(());
    }
    let mut row = Vec::with_capacity(8 + 4 * run.lengths.len());
    row.extend_from_slice(&run.offset.to_le_bytes());
    run.lengths.iter().for_each(|bytes| row.extend_from_slice(&bytes.to_le_bytes()));
    table.insert((core, run.first), &row[..])?;
    Ok(())
}

fn split(row: &[u8]) -> Result<(u64, &[[u8; 4]]), Fault> {
    let (offset, lengths) = row.split_first_chunk().ok_or(Fault::Row(TABLE))?;
    let (lengths, rest) = lengths.as_chunks();
    if rest.is_empty() { Ok((u64::from_le_bytes(*offset), lengths)) } else { Err(Fault::Row(TABLE)) }
}

/// Blocks to a row: 2 KiB, so that the rest of a page is not much, and a look-up adds 512 numbers at most.
pub(super) const RUN_BLOCKS_MAX: usize = 512;

/// The table's name, for complaints.
const TABLE: &str = "extents";

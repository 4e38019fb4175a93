//! The tables of the database, and how a batch changes them within one transaction.

use redb::{
    ReadOnlyTable, ReadTransaction, ReadableTable, ReadableTableMetadata, Table, TableDefinition, WriteTransaction,
};

use anypath_wire::DiscoveryKey;

use super::extents::{self, Extent, Run};
use super::fault::Fault;
use super::nodes;
use crate::store::{Batch, CoreChanges, PAGE_BYTES, Page};

/// A core's number and an index within it.
pub(super) type Key = (u32, u64);

/// Numbers of the store itself: its format, where the block file ends.
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
/// Rows of the store's owner.
const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");
/// Each core's number, so that no other row repeats 32 bytes of key.
const CORES: TableDefinition<'_, &[u8; 32], u32> = TableDefinition::new("cores");
/// Each core's info.
const INFOS: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("infos");
/// Each core's head.
const HEADS: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("heads");
/// Tree nodes, by group.
const NODES: TableDefinition<'_, Key, &[u8]> = TableDefinition::new("nodes");
/// Runs of blocks, by the first block's index.
const EXTENTS: TableDefinition<'_, Key, &[u8]> = TableDefinition::new("extents");
/// Bitfield pages without the zeros at their ends, so that small cores stay small.
const BITFIELDS: TableDefinition<'_, Key, &[u8]> = TableDefinition::new("bitfields");

/// In [`NUMBERS`]: the format of the store.
const FORMAT: &str = "format";
/// In [`NUMBERS`]: where the next block goes in the block file.
const BLOCKS_END: &str = "blocks end";
/// In [`NUMBERS`]: the number of the last batch.
const SEQUENCE: &str = "sequence";

/// A batch whose blocks have their place in the block file.
#[derive(Debug)]
pub(super) struct Placed {
    /// Its number: one more than that of the batch before.
    pub(super) sequence: u64,
    /// Where its blocks are, all of them.
    pub(super) blocks: Extent,
    /// CRC-32 of those bytes.
    pub(super) checksum: u32,
    /// The batch; its blocks may be gone.
    pub(super) batch: Batch,
    /// Where each block is, for each entry of `batch.cores`.
    pub(super) runs: Vec<Vec<Run>>,
}

/// Applies a batch, and returns the bytes of the block file nothing points to any more.
pub(super) fn apply(transaction: &WriteTransaction, placed: Placed) -> Result<Vec<Extent>, Fault> {
    let mut numbers = transaction.open_table(NUMBERS)?;
    numbers.insert(SEQUENCE, placed.sequence)?;
    numbers.insert(BLOCKS_END, placed.blocks.end())?;
    let mut records = transaction.open_table(RECORDS)?;
    for (name, value) in &placed.batch.records {
        match value {
            Some(value) => records.insert(&**name, &**value)?,
            None => records.remove(&**name)?,
        };
    }
    let mut tables = CoreTables::open(transaction)?;
    let mut dropped = Vec::new();
    for (changes, runs) in placed.batch.cores.into_iter().zip(placed.runs) {
        dropped.append(&mut tables.apply(changes, runs)?);
    }
    Ok(dropped)
}

/// Where the store stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// The format it is in.
    pub(super) format: u64,
    /// The number of the last batch.
    pub(super) sequence: u64,
    /// Where the next block goes in the block file.
    pub(super) blocks_end: u64,
}

impl Standing {
    /// Returns where it stands after one more batch.
    pub(super) fn after(self, placed: &Placed) -> Self {
        Self { sequence: placed.sequence, blocks_end: placed.blocks.end(), ..self }
    }
}

/// Reads where the store stands, and needs no other table for it: they may be of a newer format.
pub(super) fn standing(transaction: &ReadTransaction) -> Result<Standing, Fault> {
    let numbers = transaction.open_table(NUMBERS)?;
    let number = |name| numbers.get(name)?.map(|number| number.value()).ok_or(Fault::Row("numbers"));
    Ok(Standing { format: number(FORMAT)?, sequence: number(SEQUENCE)?, blocks_end: number(BLOCKS_END)? })
}

/// Returns whether the tables have been made.
pub(super) fn exist(transaction: &ReadTransaction) -> Result<bool, Fault> {
    Ok(transaction.list_tables()?.next().is_some())
}

/// Makes every table of an empty store.
pub(super) fn create(transaction: &WriteTransaction) -> Result<(), Fault> {
    let mut numbers = transaction.open_table(NUMBERS)?;
    for (name, number) in [(FORMAT, FORMAT_KNOWN), (SEQUENCE, 0), (BLOCKS_END, 0)] {
        numbers.insert(name, number)?;
    }
    transaction.open_table(RECORDS)?;
    CoreTables::open(transaction)?;
    Ok(())
}

/// Pretends that the store has another format.
#[cfg(test)]
pub(super) fn set_format(transaction: &WriteTransaction, format: u64) -> Result<(), Fault> {
    transaction.open_table(NUMBERS)?.insert(FORMAT, format)?;
    Ok(())
}

/// Returns the page a row of [`BITFIELDS`] stands for.
pub(super) fn page(row: &[u8]) -> Result<Page, Fault> {
    let mut page = Box::new([0; PAGE_BYTES]);
    page.get_mut(..row.len()).ok_or(Fault::Row("bitfields"))?.copy_from_slice(row);
    Ok(page)
}

/// Returns a page without the zeros at its end, as [`BITFIELDS`] keeps it.
pub(super) fn trimmed(page: &[u8; PAGE_BYTES]) -> &[u8] {
    let bytes = page.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    &page[..bytes]
}

/// What there is to read, as one change left it.
pub(super) struct View {
    /// Rows of the store's owner.
    pub(super) records: ReadOnlyTable<&'static str, &'static [u8]>,
    /// Each core's number.
    pub(super) cores: ReadOnlyTable<&'static [u8; 32], u32>,
    /// Each core's info.
    pub(super) infos: ReadOnlyTable<u32, &'static [u8]>,
    /// Each core's head.
    pub(super) heads: ReadOnlyTable<u32, &'static [u8]>,
    /// Tree nodes, by group.
    pub(super) nodes: ReadOnlyTable<Key, &'static [u8]>,
    /// Runs of blocks, by the first block's index.
    pub(super) extents: ReadOnlyTable<Key, &'static [u8]>,
    /// Bitfield pages without the zeros at their ends.
    pub(super) bitfields: ReadOnlyTable<Key, &'static [u8]>,
}

impl View {
    /// Opens the tables.
    pub(super) fn open(transaction: &ReadTransaction) -> Result<Self, Fault> {
        Ok(Self {
            records: transaction.open_table(RECORDS)?,
            cores: transaction.open_table(CORES)?,
            infos: transaction.open_table(INFOS)?,
            heads: transaction.open_table(HEADS)?,
            nodes: transaction.open_table(NODES)?,
            extents: transaction.open_table(EXTENTS)?,
            bitfields: transaction.open_table(BITFIELDS)?,
        })
    }
}

struct CoreTables<'t> {
    cores: Table<'t, &'static [u8; 32], u32>,
    infos: Table<'t, u32, &'static [u8]>,
    heads: Table<'t, u32, &'static [u8]>,
    nodes: Table<'t, Key, &'static [u8]>,
    extents: Table<'t, Key, &'static [u8]>,
    bitfields: Table<'t, Key, &'static [u8]>,
}

impl<'t> CoreTables<'t> {
    fn open(transaction: &'t WriteTransaction) -> Result<Self, Fault> {
        Ok(Self {
            cores: transaction.open_table(CORES)?,
            infos: transaction.open_table(INFOS)?,
            heads: transaction.open_table(HEADS)?,
            nodes: transaction.open_table(NODES)?,
            extents: transaction.open_table(EXTENTS)?,
            bitfields: transaction.open_table(BITFIELDS)?,
        })
    }

    fn apply(&mut self, changes: CoreChanges, runs: Vec<Run>) -> Result<Vec<Extent>, Fault> {
        let core = self.number(&changes.core)?;
        let mut dropped = Vec::new();
        if let Some(length) = changes.truncate {
            nodes::truncate(&mut self.nodes, core, length)?;
            dropped = extents::carve(&mut self.extents, core, length, u64::MAX)?;
        }
        for blocks in &changes.clear {
            dropped.append(&mut extents::carve(&mut self.extents, core, blocks.start, blocks.end)?);
        }
        if let Some(info) = changes.info {
            self.infos.insert(core, &info[..])?;
        }
        if let Some(head) = changes.head {
            self.heads.insert(core, &head[..])?;
        }
        nodes::put(&mut self.nodes, core, changes.nodes)?;
        for run in runs {
            dropped.append(&mut extents::put(&mut self.extents, core, run)?);
        }
        changes.bitfield.iter().try_for_each(|(number, page)| self.put_page((core, *number), page))?;
        Ok(dropped)
    }

    /// Returns a core's number, the next free one if it has none yet.
    fn number(&mut self, core: &DiscoveryKey) -> Result<u32, Fault> {
        if let Some(number) = self.cores.get(&core.0)? {
            return Ok(number.value());
        }
        // Cores are never removed, so their count is free.
        let number = u32::try_from(self.cores.len()?).map_err(|_| Fault::Row("cores"))?;
        self.cores.insert(&core.0, number)?;
        Ok(number)
    }

    fn put_page(&mut self, key: Key, page: &[u8; PAGE_BYTES]) -> Result<(), Fault> {
        match trimmed(page) {
            [] => self.bitfields.remove(key)?,
            row => self.bitfields.insert(key, row)?,
        };
        Ok(())
    }
}

/// The format written here.
pub(super) const FORMAT_KNOWN: u64 = 1;

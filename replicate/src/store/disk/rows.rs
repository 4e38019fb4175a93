//! The tables of the database, and how a batch changes them within one transaction.

use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};

use anypath_wire::DiscoveryKey;

use super::extents::{self, Extent, Run};
use super::fault::Fault;
use super::nodes;
use crate::store::{Batch, CoreChanges, PAGE_BYTES, Page};

/// A core's number and an index within it.
pub(super) type Key = (u32, u64);

/// Numbers of the store itself: its format, where the block file ends.
pub(super) const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
/// Rows of the store's owner.
pub(super) const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");
/// Each core's number, so that no other row repeats 32 bytes of key.
pub(super) const CORES: TableDefinition<'_, &[u8; 32], u32> = TableDefinition::new("cores");
/// Each core's info.
pub(super) const INFOS: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("infos");
/// Each core's head.
pub(super) const HEADS: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("heads");
/// Tree nodes, by group.
pub(super) const NODES: TableDefinition<'_, Key, &[u8]> = TableDefinition::new("nodes");
/// Runs of blocks, by the first block's index.
pub(super) const EXTENTS: TableDefinition<'_, Key, &[u8]> = TableDefinition::new("extents");
/// Bitfield pages without the zeros at their ends, so that small cores stay small.
pub(super) const BITFIELDS: TableDefinition<'_, Key, &[u8]> = TableDefinition::new("bitfields");

/// In [`NUMBERS`]: the format of the store.
pub(super) const FORMAT: &str = "format";
/// In [`NUMBERS`]: where the next block goes in the block file.
pub(super) const BLOCKS_END: &str = "blocks end";

/// A batch whose blocks are in the block file already.
#[derive(Debug, Default)]
pub(super) struct Placed {
    /// The batch without its blocks.
    pub(super) batch: Batch,
    /// Where they are, for each entry of `batch.cores`.
    pub(super) runs: Vec<Vec<Run>>,
    /// Where the next block goes.
    pub(super) blocks_end: u64,
}

/// Applies a batch, and returns the bytes of the block file nothing points to any more.
pub(super) fn apply(transaction: &WriteTransaction, placed: Placed) -> Result<Vec<Extent>, Fault> {
    transaction.open_table(NUMBERS)?.insert(BLOCKS_END, placed.blocks_end)?;
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

/// Makes every table, so that a reader finds them.
pub(super) fn create(transaction: &WriteTransaction) -> Result<(), Fault> {
    transaction.open_table(NUMBERS)?;
    transaction.open_table(RECORDS)?;
    CoreTables::open(transaction)?;
    Ok(())
}

/// Returns the page a row of [`BITFIELDS`] stands for.
pub(super) fn page(row: &[u8]) -> Result<Page, Fault> {
    let mut page = Box::new([0; PAGE_BYTES]);
    page.get_mut(..row.len()).ok_or(Fault::Row("bitfields"))?.copy_from_slice(row);
    Ok(page)
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
        let number = u32::try_from(redb::ReadableTableMetadata::len(&self.cores)?).unwrap_or(u32::MAX);
        self.cores.insert(&core.0, number)?;
        Ok(number)
    }

    fn put_page(&mut self, key: Key, page: &[u8; PAGE_BYTES]) -> Result<(), Fault> {
        match page.iter().rposition(|byte| *byte != 0) {
            Some(last) => self.bitfields.insert(key, &page[..=last])?,
            None => self.bitfields.remove(key)?,
        };
        Ok(())
    }
}

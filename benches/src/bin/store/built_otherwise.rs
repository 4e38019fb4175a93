//! The disk store as it could have been built: no journal, a transaction a batch, nodes and blocks kept in other ways.
//!
//! Only what the measurement needs: one core, appended to in order, opened again and read.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;

use anyhow::Result;
use anypath_replicate::Node;
use anypath_replicate::store::{Batch, Page, Store, StoreError};
use anypath_wire::DiscoveryKey;
use bytes::Bytes;
use redb::{Database, ReadableDatabase, TableDefinition};

const NODES: TableDefinition<'_, (u32, u64), &[u8]> = TableDefinition::new("nodes");
const EXTENTS: TableDefinition<'_, (u32, u64), &[u8]> = TableDefinition::new("extents");
const BLOCKS: TableDefinition<'_, (u32, u64), &[u8]> = TableDefinition::new("blocks");
const ROWS: TableDefinition<'_, (u32, u64), &[u8]> = TableDefinition::new("rows");

/// One of the ways, as its name says.
pub(crate) struct Otherwise {
    database: Database,
    blocks: File,
    end: Mutex<u64>,
    /// Nodes in a row.
    group: u64,
    blocks_in_redb: bool,
    quick_repair: bool,
    lasting: bool,
}

impl Otherwise {
    /// Opens the way of that name.
    pub(crate) fn open(name: &str, folder: &Path) -> Result<Self> {
        let group = [16, 32, 64].into_iter().find(|group| name.contains(&format!("{group} nodes a row"))).unwrap_or(1);
        let mut options = OpenOptions::new();
        Ok(Self {
            database: Database::builder().set_cache_size(16 << 20).create(folder.join("redb"))?,
            blocks: options.read(true).append(true).create(true).open(folder.join("blocks"))?,
            end: Mutex::new(0),
            group,
            blocks_in_redb: name.contains("blocks in redb"),
            quick_repair: name.contains("quick repair"),
            lasting: !name.contains("not lasting"),
        })
    }

    fn change(&self, batch: Batch) -> Result<()> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_quick_repair(self.quick_repair);
        if !self.lasting {
            transaction.set_durability(redb::Durability::None)?;
        }
        for changes in batch.cores {
            let mut nodes = transaction.open_table(NODES)?;
            for group in changes.nodes.chunk_by(|a, b| a.index / self.group == b.index / self.group) {
                let row: Vec<u8> =
                    group.iter().flat_map(|node| node.size.to_le_bytes().into_iter().chain(node.hash)).collect();
                nodes.insert((0, group[0].index / self.group), &row[..])?;
            }
            self.put_blocks(&transaction, &changes.blocks)?;
            let mut rows = transaction.open_table(ROWS)?;
            rows.insert((0, 0), &changes.head.unwrap_or_default()[..])?;
            for (number, page) in &changes.bitfield {
                rows.insert((1, *number), &page[..])?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn put_blocks(&self, transaction: &redb::WriteTransaction, blocks: &[(u64, Bytes)]) -> Result<()> {
        if self.blocks_in_redb {
            let mut table = transaction.open_table(BLOCKS)?;
            return blocks.iter().try_for_each(|(index, block)| Ok(table.insert((0, *index), &block[..]).map(drop)?));
        }
        let mut end = self.end.lock().expect("no panic while it is held");
        let mut row = end.to_le_bytes().to_vec();
        let mut bytes = Vec::new();
        for (_, block) in blocks {
            row.extend_from_slice(&(block.len() as u32).to_le_bytes());
            bytes.extend_from_slice(block);
        }
        (&self.blocks).write_all(&bytes)?;
        *end += bytes.len() as u64;
        if self.lasting {
            self.blocks.sync_data()?;
        }
        transaction.open_table(EXTENTS)?.insert((0, blocks[0].0), &row[..])?;
        Ok(())
    }

    fn find(&self, index: u64) -> Result<Option<Bytes>> {
        let transaction = self.database.begin_read()?;
        if self.blocks_in_redb {
            let block = transaction.open_table(BLOCKS)?.get((0, index))?;
            return Ok(block.map(|row| Bytes::copy_from_slice(row.value())));
        }
        let table = transaction.open_table(EXTENTS)?;
        let Some(entry) = table.range((0, 0)..=(0, index))?.next_back() else { return Ok(None) };
        let (key, row) = entry?;
        let (offset, lengths) = row.value().split_at(8);
        let lengths: Vec<u64> = lengths.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes).into()).collect();
        let nth = (index - key.value().1) as usize;
        let mut block = vec![0; lengths[nth] as usize];
        let offset = u64::from_le_bytes(offset.try_into()?) + lengths[..nth].iter().sum::<u64>();
        self.blocks.read_exact_at(&mut block, offset)?;
        Ok(Some(block.into()))
    }
}

impl Store for Otherwise {
    fn record(&self, _name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        unreachable!("not measured")
    }

    fn cores(&self) -> Result<Vec<DiscoveryKey>, StoreError> {
        unreachable!("not measured")
    }

    fn info(&self, _core: &DiscoveryKey) -> Result<Option<Vec<u8>>, StoreError> {
        unreachable!("not measured")
    }

    fn head(&self, _core: &DiscoveryKey) -> Result<Option<Vec<u8>>, StoreError> {
        unreachable!("not measured")
    }

    fn node(&self, _core: &DiscoveryKey, index: u64) -> Result<Option<Node>, StoreError> {
        let read = || -> Result<Option<Node>> {
            let row = self.database.begin_read()?.open_table(NODES)?.get((0, index / self.group))?;
            let Some(row) = row else { return Ok(None) };
            let entry = &row.value()[(index % self.group) as usize * 40..][..40];
            let size = u64::from_le_bytes(entry[..8].try_into()?);
            Ok(Some(Node { index, size, hash: entry[8..].try_into()? }))
        };
        Ok(read().expect("the measurement's own file is sound"))
    }

    fn block(&self, _core: &DiscoveryKey, index: u64) -> Result<Option<Bytes>, StoreError> {
        Ok(self.find(index).expect("the measurement's own file is sound"))
    }

    fn bitfield(&self, _core: &DiscoveryKey) -> Result<Vec<(u64, Page)>, StoreError> {
        unreachable!("not measured")
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        self.change(batch).expect("the measurement's own file is sound");
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        unreachable!("not measured")
    }
}

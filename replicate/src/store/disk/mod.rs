//! A store on disk: what must be atomic in a database (redb), the bytes of the blocks in a flat file beside it.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable};

use anypath_wire::DiscoveryKey;

use self::block_file::BlockFile;
use self::fault::Fault;
use self::folder::Folder;
use self::rows::{BITFIELDS, BLOCKS_END, CORES, EXTENTS, FORMAT, HEADS, INFOS, NODES, NUMBERS, Placed, RECORDS};
use super::{Batch, Page, Store, StoreError};
use crate::Node;

mod block_file;
mod extents;
mod fault;
mod folder;
mod nodes;
mod rows;

/// What a disk store may be told.
#[derive(Debug, Clone)]
pub struct Config {
    /// What a power cut may cost; nothing of either is lost when only the process dies. Default: [`Durability::Relaxed`].
    pub durability: Durability,
    /// Bytes of memory for pages of the database. Default: 16 MiB, which holds the rows of about 100,000 blocks.
    pub cache_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { durability: Durability::Relaxed, cache_bytes: 16 << 20 }
    }
}

/// What a power cut may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// At most the last 100 ms.
    #[default]
    Relaxed,
    /// Nothing: every commit waits for the disk.
    Full,
}

/// Keeps cores in a folder that belongs to it alone.
#[derive(Debug)]
pub struct DiskStore {
    database: Database,
    blocks: BlockFile,
    /// Where the next block goes in the block file; held during a commit.
    blocks_end: Mutex<u64>,
    // Last, so that it is let go of after everything else is closed.
    folder: Folder,
}

impl DiskStore {
    /// Opens the store in a folder, which is created if it is not there.
    ///
    /// # Errors
    /// If another process has it, if it is damaged, if a newer version of the program made it, or if the operating
    /// system refuses.
    pub fn open(path: impl AsRef<Path>, config: Config) -> Result<Self, StoreError> {
        let folder = Folder::open(path.as_ref())?;
        let (database_path, blocks_path) = (folder.file(DATABASE), folder.file(BLOCKS));
        let database = open_database(&database_path, &config).map_err(|fault| fault.at(&database_path))?;
        let blocks_end = prepare(&database, folder.path())?;
        let blocks = BlockFile::open(&blocks_path).map_err(|error| Fault::from(error).at(&blocks_path))?;
        check_length(&blocks, blocks_end).map_err(|fault| fault.at(&blocks_path))?;
        Ok(Self { database, blocks, blocks_end: Mutex::new(blocks_end), folder })
    }

    fn read<T>(&self, read: impl FnOnce(&ReadTransaction) -> Result<T, Fault>) -> Result<T, StoreError> {
        let begin = || -> Result<T, Fault> { read(&self.database.begin_read()?) };
        begin().map_err(|fault| fault.at(&self.database_path()))
    }

    /// Reads what there is of a core that is known.
    fn of<T: Default>(
        &self,
        core: &DiscoveryKey,
        read: impl FnOnce(&ReadTransaction, u32) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        self.read(|transaction| match transaction.open_table(CORES)?.get(&core.0)? {
            Some(number) => read(transaction, number.value()),
            None => Ok(T::default()),
        })
    }

    fn database_path(&self) -> PathBuf {
        self.folder.file(DATABASE)
    }

    fn blocks_path(&self) -> PathBuf {
        self.folder.file(BLOCKS)
    }

    /// Writes the blocks of a batch behind all others.
    fn place(&self, mut batch: Batch, mut end: u64) -> Result<Placed, Fault> {
        let start = end;
        let mut runs = Vec::with_capacity(batch.cores.len());
        for changes in &mut batch.cores {
            runs.push(block_file::place(&mut changes.blocks, end)?);
            end += changes.blocks.iter().map(|(_, block)| block.len() as u64).sum::<u64>();
        }
        self.blocks.write(start, batch.cores.iter().flat_map(|changes| &changes.blocks).map(|(_, block)| block))?;
        Ok(Placed { batch, runs, blocks_end: end })
    }

    fn apply(&self, placed: Placed) -> Result<(), Fault> {
        let transaction = self.database.begin_write()?;
        rows::apply(&transaction, placed)?;
        transaction.commit()?;
        Ok(())
    }
}

impl Store for DiskStore {
    fn record(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|transaction| Ok(transaction.open_table(RECORDS)?.get(name)?.map(|row| row.value().to_vec())))
    }

    fn cores(&self) -> Result<Vec<DiscoveryKey>, StoreError> {
        self.read(|transaction| {
            let cores = transaction.open_table(CORES)?;
            cores.iter()?.map(|entry| Ok(DiscoveryKey(*entry?.0.value()))).collect()
        })
    }

    fn info(&self, core: &DiscoveryKey) -> Result<Option<Vec<u8>>, StoreError> {
        self.of(core, |transaction, core| Ok(transaction.open_table(INFOS)?.get(core)?.map(|row| row.value().to_vec())))
    }

    fn head(&self, core: &DiscoveryKey) -> Result<Option<Vec<u8>>, StoreError> {
        self.of(core, |transaction, core| Ok(transaction.open_table(HEADS)?.get(core)?.map(|row| row.value().to_vec())))
    }

    fn node(&self, core: &DiscoveryKey, index: u64) -> Result<Option<Node>, StoreError> {
        self.of(core, |transaction, core| match transaction.open_table(NODES)?.get((core, nodes::group_of(index)))? {
            Some(row) => nodes::find(row.value(), index),
            None => Ok(None),
        })
    }

    fn block(&self, core: &DiscoveryKey, index: u64) -> Result<Option<Bytes>, StoreError> {
        let extent =
            self.of(core, |transaction, core| extents::find(&transaction.open_table(EXTENTS)?, core, index))?;
        extent.map(|extent| self.blocks.read(extent)).transpose().map_err(|fault| fault.at(&self.blocks_path()))
    }

    fn bitfield(&self, core: &DiscoveryKey) -> Result<Vec<(u64, Page)>, StoreError> {
        self.of(core, |transaction, core| {
            let pages = transaction.open_table(BITFIELDS)?;
            let pages = pages.range((core, 0)..=(core, u64::MAX))?;
            pages
                .map(|entry| {
                    let (key, row) = entry?;
                    Ok((key.value().1, rows::page(row.value())?))
                })
                .collect()
        })
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let mut blocks_end = self.blocks_end.lock().unwrap_or_else(PoisonError::into_inner);
        let placed = self.place(batch, *blocks_end).map_err(|fault| fault.at(&self.blocks_path()))?;
        let end = placed.blocks_end;
        if end > *blocks_end {
            self.blocks.sync().map_err(|error| Fault::from(error).at(&self.blocks_path()))?;
        }
        self.apply(placed).map_err(|fault| fault.at(&self.database_path()))?;
        *blocks_end = end;
        Ok(())
    }
}

fn open_database(path: &Path, config: &Config) -> Result<Database, Fault> {
    let file = folder::open_file(path)?;
    Ok(Database::builder().set_cache_size(config.cache_bytes).create_file(file)?)
}

/// Checks the format, or writes it into a new database, and returns where the next block goes.
fn prepare(database: &Database, folder: &Path) -> Result<u64, StoreError> {
    let (format, blocks_end) = read_numbers(database).map_err(|fault| fault.at(&folder.join(DATABASE)))?;
    match format {
        FORMAT_KNOWN => Ok(blocks_end),
        found => Err(StoreError::TooNew { path: folder.to_owned(), found, known: FORMAT_KNOWN }),
    }
}

fn read_numbers(database: &Database) -> Result<(u64, u64), Fault> {
    let transaction = database.begin_write()?;
    rows::create(&transaction)?;
    let mut numbers = transaction.open_table(NUMBERS)?;
    let format = numbers.get(FORMAT)?.map(|format| format.value());
    let blocks_end = numbers.get(BLOCKS_END)?.map_or(0, |end| end.value());
    if format.is_none() {
        numbers.insert(FORMAT, FORMAT_KNOWN)?;
    }
    drop(numbers);
    transaction.commit()?;
    Ok((format.unwrap_or(FORMAT_KNOWN), blocks_end))
}

fn check_length(blocks: &BlockFile, expected: u64) -> Result<(), Fault> {
    let found = blocks.bytes()?;
    if found < expected { Err(Fault::Short { found, expected }) } else { Ok(()) }
}

/// The database's name in the folder.
const DATABASE: &str = "rows.redb";

/// The block file's name in the folder.
const BLOCKS: &str = "blocks";

/// The format written here.
const FORMAT_KNOWN: u64 = 1;

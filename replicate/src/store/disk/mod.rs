//! A store on disk: what must be atomic in a database (redb), the bytes of the blocks in a flat file beside it, and a
//! journal that makes commits cheap.
//!
//! ```text
//! lock        held while the store is open; whose process it is
//! blocks      the bytes of all blocks of all cores, appended, never changed
//! journal     the batches since the last checkpoint
//! rows.redb   heads, tree nodes, where each block lies, bitfield pages, as of the last checkpoint
//! ```
//!
//! # A commit
//! 1. The blocks are written behind the end of the block file, in one go.
//! 2. The batch, with the places and the checksum of its blocks, is written behind the end of the journal.
//! 3. The batch is applied to the database without making it lasting (redb's `Durability::None`), so that reads see it.
//!
//! Step 2 is the commit: from then on the batch is found again. Now and then a **checkpoint** syncs the block file,
//! commits the database for good and empties the journal.
//!
//! # Why nothing is lost or torn
//! * *The process dies at any instant.* What was written is with the operating system. The database falls back to the
//!   last checkpoint; opening replays the journal. A record cut short is recognised by its checksum: its commit never
//!   returned. Block bytes no record names lie behind the committed end and are overwritten.
//! * *The power fails.* The database is at its last checkpoint, which redb commits in two phases behind a sync, and the
//!   block file was synced before it, so everything a checkpoint names is there. The journal may have lost its tail or
//!   hold records whose blocks never arrived; the checksums of both end the replay there. Numbers in sequence keep
//!   what an older journal left behind from being taken for a continuation. So a power cut costs whole batches from
//!   the end, and only those not yet synced: [`Durability::Full`] syncs the block file before step 2 and the journal
//!   after it, [`Durability::Relaxed`] leaves both to a thread that does it at most 50 ms (and the sync itself) later.
//! * *A commit fails half-way*, for want of space, say. The journal is cut back to where it was.
//!
//! # What was considered instead
//! * redb's own commits for every batch: a sync and scattered page writes each; see `benches/reports/store.md`.
//! * redb over files of ours that leave syncing for later: after a power cut its header could be newer than the pages it
//!   names, and both of its commit slots could be; only the order of its own syncs protects it.
//! * redb's `Durability::None` alone: rolled back when the process dies, as documented.
//! * One block file a core: thousands of cores are thousands of files, and a batch over many cores many writes and
//!   syncs. The price of one file for all is that dropped blocks leave holes behind (see [`Store::commit`]).

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use redb::{ReadTransaction, ReadableTable};

use anypath_wire::DiscoveryKey;

use self::block_file::BlockFile;
use self::database::{Database, Lasting};
use self::extents::Extent;
use self::fault::Fault;
use self::folder::Folder;
use self::journal::Journal;
use self::rows::{BITFIELDS, CORES, EXTENTS, HEADS, INFOS, NODES, Placed, RECORDS, Standing};
use self::syncer::{Files, Syncer};
use super::{Batch, Page, Store, StoreError};
use crate::Node;

mod block_file;
mod database;
mod extents;
mod fault;
mod folder;
mod journal;
mod nodes;
mod record;
mod rows;
mod syncer;

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
    files: Arc<Files>,
    /// Makes the files lasting behind our back; without it every commit does so itself.
    syncer: Option<Syncer>,
    writer: Mutex<Writer>,
    // Last, so that it is let go of after everything else is closed.
    folder: Folder,
}

/// What the next commit must know; held during a commit.
#[derive(Debug)]
struct Writer {
    /// The last batch's number, and where the next block goes.
    standing: Standing,
    /// Where the next batch goes in the journal.
    journal_end: u64,
    /// Bytes of blocks written since the last checkpoint.
    blocks_bytes: u64,
}

impl DiskStore {
    /// Opens the store in a folder, which is created if it is not there.
    ///
    /// # Errors
    /// If another process has it, if it is damaged, if a newer version of the program made it, or if the operating
    /// system refuses.
    pub fn open(path: impl AsRef<Path>, config: Config) -> Result<Self, StoreError> {
        let folder = Folder::open(path.as_ref())?;
        let database = Database::open(&folder.file(DATABASE), config.cache_bytes).map_err(folder.fault(DATABASE))?;
        let standing = database.read(rows::standing).map_err(folder.fault(DATABASE))?;
        if standing.format > rows::FORMAT_KNOWN {
            let (path, found, known) = (path.as_ref().to_owned(), standing.format, rows::FORMAT_KNOWN);
            return Err(StoreError::TooNew { path, found, known });
        }
        let blocks = BlockFile::open(&folder.file(BLOCKS)).map_err(folder.failure(BLOCKS))?;
        let journal = Journal::open(&folder.file(JOURNAL)).map_err(folder.failure(JOURNAL))?;
        let standing = replay(&database, &blocks, &journal, standing).map_err(folder.fault(DATABASE))?;
        blocks.check_length(standing.blocks_end).map_err(folder.fault(BLOCKS))?;
        folder.sync()?;
        let files = Arc::new(Files { blocks, journal });
        let syncer = match config.durability {
            Durability::Relaxed => Some(Syncer::start(files.clone()).map_err(folder.failure(BLOCKS))?),
            Durability::Full => None,
        };
        let writer = Mutex::new(Writer { standing, journal_end: 0, blocks_bytes: 0 });
        Ok(Self { database, files, syncer, writer, folder })
    }

    fn read<T>(&self, read: impl FnOnce(&ReadTransaction) -> Result<T, Fault>) -> Result<T, StoreError> {
        self.database.read(read).map_err(self.folder.fault(DATABASE))
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

    /// Empties the journal into the database, for good.
    fn checkpoint(&self, writer: &mut Writer) -> Result<(), StoreError> {
        self.files.blocks.sync().map_err(self.folder.failure(BLOCKS))?;
        self.database.change(Lasting::Now, |_| Ok(())).map_err(self.folder.fault(DATABASE))?;
        self.files.journal.cut(0).map_err(self.folder.failure(JOURNAL))?;
        (writer.journal_end, writer.blocks_bytes) = (0, 0);
        Ok(())
    }

    /// Writes the blocks of a batch behind all others; takes no copy of them.
    fn place(&self, mut batch: Batch, standing: Standing) -> Result<Placed, Fault> {
        let mut end = standing.blocks_end;
        let mut runs = Vec::with_capacity(batch.cores.len());
        for changes in &mut batch.cores {
            runs.push(block_file::place(&mut changes.blocks, &mut end)?);
        }
        let blocks = || batch.cores.iter().flat_map(|changes| &changes.blocks).map(|(_, block)| block);
        self.files.blocks.write(standing.blocks_end, blocks())?;
        let mut hasher = crc32fast::Hasher::new();
        blocks().for_each(|block| hasher.update(block));
        let extent = Extent { offset: standing.blocks_end, bytes: end - standing.blocks_end };
        Ok(Placed { sequence: standing.sequence + 1, blocks: extent, checksum: hasher.finalize(), batch, runs })
    }

    /// Writes the batch to the journal, and returns the new end of that.
    fn write_journal(&self, placed: &Placed, end: u64) -> Result<u64, StoreError> {
        if self.syncer.is_none() && placed.blocks.bytes > 0 {
            self.files.blocks.sync().map_err(self.folder.failure(BLOCKS))?;
        }
        let after = self.files.journal.append(end, placed).map_err(self.folder.failure(JOURNAL))?;
        match &self.syncer {
            Some(syncer) => syncer.mark().map_err(self.folder.failure(BLOCKS))?,
            None => self.files.journal.sync().map_err(self.folder.failure(JOURNAL))?,
        }
        Ok(after)
    }
}

impl Drop for DiskStore {
    /// Settles what is in the journal: closing the database makes it lasting, so the blocks must be so before.
    fn drop(&mut self) {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let settled = if writer.journal_end > 0 { self.checkpoint(&mut writer) } else { Ok(()) };
        drop(writer);
        if let Err(error) = settled {
            tracing::error!(%error, "cannot close the store in order: the next opening will");
            self.database.abandon();
        }
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
        extent.map(|extent| self.files.blocks.read(extent)).transpose().map_err(self.folder.fault(BLOCKS))
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

    /// See [`Store::commit`]. The space of blocks that are truncated or replaced is not used again.
    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if writer.journal_end > JOURNAL_BYTES_MAX || writer.blocks_bytes > UNSETTLED_BYTES_MAX {
            self.checkpoint(&mut writer)?;
        }
        let placed = self.place(batch, writer.standing).map_err(self.folder.fault(BLOCKS))?;
        let standing = writer.standing.after(&placed);
        let bytes = placed.blocks.bytes;
        let committed = self.write_journal(&placed, writer.journal_end).and_then(|journal_end| {
            self.database
                .change(Lasting::Later, |transaction| rows::apply(transaction, placed))
                .map_err(self.folder.fault(DATABASE))?;
            Ok(journal_end)
        });
        if committed.is_err() {
            self.files.journal.cut(writer.journal_end).map_err(self.folder.failure(JOURNAL))?;
        }
        writer.journal_end = committed?;
        writer.blocks_bytes += bytes;
        writer.standing = standing;
        Ok(())
    }
}

/// Applies what is in the journal and not in the database, for good, and empties the journal.
fn replay(
    database: &Database,
    blocks: &BlockFile,
    journal: &Journal,
    mut standing: Standing,
) -> Result<Standing, Fault> {
    let batches = journal.read(standing.sequence)?;
    if !batches.is_empty() {
        blocks.sync()?;
        database.change(Lasting::Now, |transaction| {
            for placed in batches {
                let arrived = placed.blocks.offset == standing.blocks_end;
                if !arrived || !blocks.holds(placed.blocks, placed.checksum)? {
                    tracing::warn!(sequence = placed.sequence, "the last batches did not survive");
                    break;
                }
                standing = standing.after(&placed);
                rows::apply(transaction, placed)?;
            }
            Ok(())
        })?;
    }
    // The numbers of batches that did not survive are given again: none of them may be found behind the new ones.
    journal.cut(0)?;
    journal.sync()?;
    Ok(standing)
}

/// The database's name in the folder.
const DATABASE: &str = "rows.redb";

/// The block file's name in the folder.
const BLOCKS: &str = "blocks";

/// The journal's name in the folder.
const JOURNAL: &str = "journal";

/// Bytes of journal after which the database is settled: what opening may have to replay, about 40,000 small blocks.
const JOURNAL_BYTES_MAX: u64 = 4 << 20;

/// Bytes of blocks after which it is: what opening may have to read again for their checksums.
const UNSETTLED_BYTES_MAX: u64 = 64 << 20;

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
//!   after it, [`Durability::Relaxed`] leaves both to a thread that does it at most 50 ms (and the sync itself) later,
//!   save for heads that were signed here. `tests/power_cut` cuts the power at every kind of place.
//! * *It is killed while it is made.* The journal comes last: without it, a database that cannot be opened was never used.
//! * *A commit fails half-way*, for want of space, say. The journal is cut back to where it was. A sync that failed once
//!   fails every commit from then on, until the store is opened again.
//!
//! # What was considered instead
//! * redb's own commits for every batch: a sync and scattered page writes each; see `benches/reports/store.md`.
//! * redb over files of ours that leave syncing for later: after a power cut its header could be newer than the pages it
//!   names, and both of its commit slots could be; only the order of its own syncs protects it.
//! * redb's `Durability::None` alone: rolled back when the process dies, as documented.
//! * One block file a core: thousands of cores are thousands of files, and a batch over many cores many writes and
//!   syncs. The price of one file for all is that the space of dropped blocks comes back as holes,
//!   on Linux, after the next checkpoint, and elsewhere not at all.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use redb::ReadableTable;

use anypath_wire::DiscoveryKey;

use self::block_file::BlockFile;
use self::database::{Database, Lasting};
use self::extents::Extent;
use self::fault::Fault;
pub use self::files::{Disk, DiskFile};
use self::folder::Folder;
use self::journal::Journal;
use self::rows::{Placed, Standing, View};
use self::syncer::{Files, Syncer};
#[cfg(doc)]
use super::CoreChanges;
use super::{Batch, Page, Store, StoreError};
use crate::Node;

mod block_file;
mod database;
mod extents;
mod fault;
mod files;
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
    /// How long a relaxed store collects changes before it syncs them. Default: 50 ms, half of what may be lost; the
    /// other half is for the disk.
    pub sync_delay: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { durability: Durability::Relaxed, cache_bytes: 16 << 20, sync_delay: Duration::from_millis(50) }
    }
}

/// What a power cut may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// At most the last 100 ms of what was received; nothing that was signed here ([`CoreChanges::lasting`]).
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
    // Last, so that the folder is let go of after everything else is closed.
    disk: Arc<dyn Disk>,
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
    /// Bytes nothing has pointed to since, which a power cut may yet bring back.
    dropped: Vec<Extent>,
}

impl DiskStore {
    /// Opens the store in a folder, which is created if it is not there.
    ///
    /// # Errors
    /// If another process has it, if it is damaged, if a newer version of the program made it, or if the operating
    /// system refuses.
    pub fn open(path: impl AsRef<Path>, config: Config) -> Result<Self, StoreError> {
        Self::open_on(Arc::new(Folder::open(path.as_ref())?), config)
    }

    /// Opens the store on a disk of any kind, which nobody else may have.
    ///
    /// # Errors
    /// As [`DiskStore::open`].
    pub fn open_on(disk: Arc<dyn Disk>, config: Config) -> Result<Self, StoreError> {
        let open = |name| disk.open(name).map_err(disk.failure(name));
        // The journal is made once the database is whole: without it, what there may be of one was never in use.
        let used = disk.has(JOURNAL).map_err(disk.failure(JOURNAL))?;
        let database = open_database(&open(DATABASE)?, config.cache_bytes, used).map_err(disk.fault(DATABASE))?;
        let standing = database.standing().map_err(disk.fault(DATABASE))?;
        let sync_names = || disk.sync().map_err(|error| Fault::from(error).at(disk.path()));
        if !used {
            // Were the journal's name there after a power cut and the database's not, what comes of making it again
            // would pass for a database that was in use.
            sync_names()?;
        }
        if standing.format > rows::FORMAT_KNOWN {
            let (path, found, known) = (disk.path().to_owned(), standing.format, rows::FORMAT_KNOWN);
            return Err(StoreError::TooNew { path, found, known });
        }
        let (blocks, journal) = (BlockFile(open(BLOCKS)?), Journal(open(JOURNAL)?));
        let standing = replay(&database, &blocks, &journal, standing).map_err(disk.fault(DATABASE))?;
        blocks.check_length(standing.blocks_end).map_err(disk.fault(BLOCKS))?;
        sync_names()?;
        let files = Arc::new(Files::new(blocks, journal));
        let syncer = match config.durability {
            Durability::Relaxed => Some(Syncer::start(files.clone(), config.sync_delay).map_err(disk.failure(BLOCKS))?),
            Durability::Full => None,
        };
        let writer = Mutex::new(Writer { standing, journal_end: 0, blocks_bytes: 0, dropped: Vec::new() });
        Ok(Self { database, files, syncer, writer, disk })
    }

    fn read<T>(&self, read: impl FnOnce(&View) -> Result<T, Fault>) -> Result<T, StoreError> {
        self.database.read(read).map_err(self.disk.fault(DATABASE))
    }

    /// Reads what there is of a core that is known.
    fn of<T: Default>(
        &self,
        core: &DiscoveryKey,
        read: impl FnOnce(&View, u32) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        self.read(|view| match view.cores.get(&core.0)? {
            Some(number) => read(view, number.value()),
            None => Ok(T::default()),
        })
    }

    /// Empties the journal into the database, for good.
    fn checkpoint(&self, writer: &mut Writer) -> Result<(), StoreError> {
        self.files.sync_blocks().map_err(self.disk.failure(BLOCKS))?;
        self.database.change(Lasting::Now, |_| Ok(())).map_err(self.disk.fault(DATABASE))?;
        self.files.journal.cut(0).map_err(self.disk.failure(JOURNAL))?;
        (writer.journal_end, writer.blocks_bytes) = (0, 0);
        self.files.blocks.free(&std::mem::take(&mut writer.dropped));
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

    /// Writes the batch to the journal, and returns the new end of that. After a failure nothing is left of it.
    fn write_journal(&self, placed: &Placed, end: u64) -> Result<u64, StoreError> {
        let later = self.syncer.as_ref().filter(|_| !placed.batch.is_lasting());
        // What was left to the other thread must be there before what follows it.
        if later.is_none() && (self.syncer.is_some() || placed.blocks.bytes > 0) {
            self.files.sync_blocks().map_err(self.disk.failure(BLOCKS))?;
        }
        let journal = &self.files.journal;
        let append = || -> io::Result<u64> {
            let after = journal.append(end, placed)?;
            later.map_or_else(|| self.files.sync_journal(), Syncer::mark)?;
            Ok(after)
        };
        append().or_else(|error| journal.cut(end).and(Err(error))).map_err(self.disk.failure(JOURNAL))
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
        self.read(|view| Ok(view.records.get(name)?.map(|row| row.value().to_vec())))
    }

    fn cores(&self) -> Result<Vec<DiscoveryKey>, StoreError> {
        self.read(|view| view.cores.iter()?.map(|entry| Ok(DiscoveryKey(*entry?.0.value()))).collect())
    }

    fn info(&self, core: &DiscoveryKey) -> Result<Option<Vec<u8>>, StoreError> {
        self.of(core, |view, core| Ok(view.infos.get(core)?.map(|row| row.value().to_vec())))
    }

    fn head(&self, core: &DiscoveryKey) -> Result<Option<Vec<u8>>, StoreError> {
        self.of(core, |view, core| Ok(view.heads.get(core)?.map(|row| row.value().to_vec())))
    }

    fn node(&self, core: &DiscoveryKey, index: u64) -> Result<Option<Node>, StoreError> {
        self.of(core, |view, core| match view.nodes.get((core, nodes::group_of(index)))? {
            Some(row) => nodes::find(row.value(), index),
            None => Ok(None),
        })
    }

    fn block(&self, core: &DiscoveryKey, index: u64) -> Result<Option<Bytes>, StoreError> {
        // Read within the view: a change waits for it, and so does the freeing of what the change drops.
        let block = self.of(core, |view, core| {
            let extent = extents::find(&view.extents, core, index)?;
            Ok(extent.map(|extent| self.files.blocks.read(extent).map_err(self.disk.fault(BLOCKS))))
        })?;
        block.transpose()
    }

    fn bitfield(&self, core: &DiscoveryKey) -> Result<Vec<(u64, Page)>, StoreError> {
        self.of(core, |view, core| {
            let rows = view.bitfields.range((core, 0)..=(core, u64::MAX))?;
            rows.map(|entry| {
                let (key, row) = entry?;
                Ok((key.value().1, rows::page(row.value())?))
            })
            .collect()
        })
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if writer.journal_end > JOURNAL_BYTES_MAX || writer.blocks_bytes > UNSETTLED_BYTES_MAX {
            self.checkpoint(&mut writer)?;
        }
        let placed = self.place(batch, writer.standing).map_err(self.disk.fault(BLOCKS))?;
        let standing = writer.standing.after(&placed);
        let bytes = placed.blocks.bytes;
        let journal_end = self.write_journal(&placed, writer.journal_end)?;
        let applied = self.database.change(Lasting::Later, |transaction| rows::apply(transaction, placed));
        match applied {
            Ok(mut dropped) => writer.dropped.append(&mut dropped),
            Err(fault) => {
                self.files.journal.cut(writer.journal_end).map_err(self.disk.failure(JOURNAL))?;
                return Err(self.disk.fault(DATABASE)(fault));
            }
        }
        (writer.journal_end, writer.standing) = (journal_end, standing);
        writer.blocks_bytes += bytes;
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.files.sync_blocks().map_err(self.disk.failure(BLOCKS))?;
        self.files.sync_journal().map_err(self.disk.failure(JOURNAL))
    }
}

/// Opens the database; one that was never in use, and whose making was cut short, is made anew.
fn open_database(file: &Arc<dyn DiskFile>, cache_bytes: usize, used: bool) -> Result<Database, Fault> {
    let open = || Database::open(file.clone(), cache_bytes);
    let unfinished = |_| file.set_bytes(0).map_err(Fault::from).and_then(|()| open());
    if used { open() } else { open().or_else(unfinished) }
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
        let dropped = database.change(Lasting::Now, |transaction| {
            let mut dropped = Vec::new();
            for placed in batches {
                let arrived = placed.blocks.offset == standing.blocks_end;
                if !arrived || !blocks.holds(placed.blocks, placed.checksum)? {
                    tracing::warn!(sequence = placed.sequence, "the last batches did not survive");
                    break;
                }
                standing = standing.after(&placed);
                dropped.append(&mut rows::apply(transaction, placed)?);
            }
            Ok(dropped)
        })?;
        blocks.free(&dropped);
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
const UNSETTLED_BYTES_MAX: u64 = 256 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_format_is_refused_with_a_sentence() {
        let folder = tempfile::tempdir().unwrap();
        drop(DiskStore::open(folder.path(), Config::default()).unwrap());
        let file = Folder::open(folder.path()).unwrap().open(DATABASE).unwrap();
        let database = Database::open(file, 1 << 20).unwrap();
        database.change(Lasting::Now, |transaction| rows::set_format(transaction, 9)).unwrap();
        drop(database);
        let error = DiskStore::open(folder.path(), Config::default()).unwrap_err();
        let path = folder.path().display();
        let expected =
            format!("the store in {path} has format 9, this program knows formats up to 1: use a newer version");
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_checkpoint_that_could_not_empty_the_journal_leaves_it_readable() {
        let folder = tempfile::tempdir().unwrap();
        let batch = |n: u8| Batch { records: vec![("n".to_owned(), Some(vec![n]))], ..Batch::default() };
        let store = DiskStore::open(folder.path(), Config::default()).unwrap();
        store.commit(batch(1)).unwrap();
        store.commit(batch(2)).unwrap();
        // All of a checkpoint but the last step, one more batch, and then death: a copy is what that leaves.
        store.database.change(Lasting::Now, |_| Ok(())).unwrap();
        store.commit(batch(3)).unwrap();
        let copy = tempfile::tempdir().unwrap();
        for name in [DATABASE, BLOCKS, JOURNAL] {
            std::fs::copy(folder.path().join(name), copy.path().join(name)).unwrap();
        }
        let store = DiskStore::open(copy.path(), Config::default()).unwrap();
        assert_eq!(store.record("n").unwrap(), Some(vec![3]));
    }
}

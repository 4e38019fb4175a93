//! A drive of our own: what is appended goes to the node by the megabyte, entries follow the contents they point to.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, anyhow, bail};
use anypath_replicate::bee::Need;
use anypath_replicate::corestore::Named;
use anypath_replicate::drive::{BlobWriter, Drive, Edit, Entry as DriveEntry};
use anypath_replicate::replicator::{CoreId, Replicator};
use anypath_replicate::{AppendBlocks, Blocks};
use anypath_swarm::Begun;
use anypath_wire::{EncryptionKey, PublicKey};
use bytes::Bytes;

use super::Waiter;
use super::remote::RemoteDrive;
use crate::conflict::Frozen;
use crate::folder::drive::{BlobId, DriveSink, DriveSource, Entry, Kind, Read, Version};

/// A writable drive.
pub(crate) struct OwnDrive {
    key: PublicKey,
    /// The same drive to read from; all of it is here.
    source: RemoteDrive,
    db: CoreId,
    blobs: CoreId,
    tail: Tail,
    writer: BlobWriter,
    edits: Vec<Edit>,
    /// What the node was handed and has not committed yet, oldest first.
    begun: VecDeque<Begun<Result<()>>>,
    drive: Arc<Mutex<Drive>>,
    encryption: Option<EncryptionKey>,
}

impl OwnDrive {
    /// Opens the drive, or makes an empty one; all of it is encrypted with that key, if there is one.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) fn open(waiter: Waiter, named: &Named, encryption: Option<EncryptionKey>) -> Result<Self> {
        let (key, entries, contents) = (named.key(), named.clone(), named.blobs());
        let drive = Arc::new(Mutex::new(Drive::new()));
        let (header, with) = (drive.clone(), encryption.clone());
        let (db, blobs, tail) = waiter.call(move |replicator| -> Result<_> {
            let db = replicator.open_writable(entries.manifest, entries.signer)?;
            let blobs = replicator.open_writable(contents.manifest, contents.signer)?;
            Frozen::check(replicator, [db, blobs])?;
            let mut entries = replicator.plaintext_writer(db, with.as_ref());
            header.lock().unwrap_or_else(PoisonError::into_inner).create(&mut entries)?;
            let core = replicator.plaintext_writer(blobs, with.as_ref());
            Ok((
                db,
                blobs,
                Tail { length: core.length(), byte_length: core.byte_length(), blocks: Vec::new(), pending_bytes: 0 },
            ))
        })??;
        let writer = BlobWriter::new(&tail);
        let source = RemoteDrive::own(waiter, db, blobs, encryption.clone())?;
        Ok(Self { key, source, db, blobs, tail, writer, edits: Vec::new(), begun: VecDeque::new(), drive, encryption })
    }

    /// Returns the drive's key.
    pub(crate) fn key(&self) -> PublicKey {
        self.key
    }

    /// Fails if the drive is frozen.
    ///
    /// # Errors
    /// As [`RemoteDrive::check`].
    pub(crate) fn check(&self) -> Result<()> {
        self.source.check()
    }

    /// Hands work to the node, which commits it while more is collected here.
    fn begin(&mut self, work: impl FnOnce(&mut Replicator) -> Result<()> + Send + 'static) -> Result<()> {
        if self.begun.len() >= BEGUN_MAX {
            self.settle_first()?;
        }
        self.begun.push_back(self.source.waiter().begin(work)?);
        Ok(())
    }

    fn settle_first(&mut self) -> Result<()> {
        let Some(begun) = self.begun.pop_front() else { return Ok(()) };
        let settled = self.source.waiter().committed(begun)?;
        // That the drive is frozen says more than what was refused for it.
        self.source.check()?;
        settled
    }

    /// Hands the blocks collected so far to the node.
    fn flush_blocks(&mut self) -> Result<()> {
        let (blobs, blocks) = (self.blobs, std::mem::take(&mut self.tail.blocks));
        self.tail.pending_bytes = 0;
        if blocks.is_empty() {
            return Ok(());
        }
        let key = self.encryption.clone();
        self.begin(move |replicator| Ok(replicator.plaintext_writer(blobs, key.as_ref()).append(&blocks).map(drop)?))
    }

    fn flush_edits(&mut self) -> Result<()> {
        self.writer.flush(&mut self.tail)?;
        self.flush_blocks()?;
        let (db, edits, drive) = (self.db, std::mem::take(&mut self.edits), self.drive.clone());
        if edits.is_empty() {
            return Ok(());
        }
        let key = self.encryption.clone();
        self.begin(move |replicator| {
            let mut drive = drive.lock().unwrap_or_else(PoisonError::into_inner);
            match drive.apply(&mut replicator.plaintext_writer(db, key.as_ref()), &edits)? {
                Need::Ready(_) => Ok(()),
                Need::Missing(blocks) => Err(anyhow!("the store lacks blocks of its own drive: {blocks:?}")),
            }
        })
    }

    fn edit(&mut self, edit: Edit) -> Result<()> {
        self.edits.push(edit);
        if self.edits.len() >= EDITS_MAX { self.flush_edits() } else { Ok(()) }
    }
}

impl DriveSource for OwnDrive {
    fn version(&self) -> Version {
        self.source.version()
    }

    fn entries(&mut self, after: Option<&str>, limit: usize) -> Result<Vec<Entry>> {
        self.source.entries(after, limit)
    }

    fn want(&mut self, _: &[BlobId]) -> Result<()> {
        Ok(())
    }

    fn held(&mut self, blobs: &[BlobId]) -> Result<Vec<u64>> {
        self.source.held(blobs)
    }

    fn expect(&mut self, next: &[BlobId]) {
        self.source.expect(next);
    }

    fn read(&mut self, blob: &BlobId, take: &mut dyn FnMut(&Bytes) -> ControlFlow<()>) -> Result<Read> {
        self.source.read(blob, take)
    }
}

impl DriveSink for OwnDrive {
    fn append(&mut self, bytes: Bytes) -> Result<()> {
        self.writer.write(&mut self.tail, bytes)?;
        if self.tail.pending_bytes >= PENDING_BYTES { self.flush_blocks() } else { Ok(()) }
    }

    fn finish(&mut self) -> Result<BlobId> {
        Ok(self.writer.finish(&mut self.tail)?)
    }

    fn abandon(&mut self) -> Result<()> {
        self.writer.finish(&mut self.tail)?;
        Ok(())
    }

    fn put(&mut self, name: &str, kind: &Kind) -> Result<()> {
        let entry = match kind {
            Kind::Unreadable => bail!("{name:?} was to be put without saying what it is"),
            Kind::Symlink(target) => DriveEntry::symlink(target.as_str()),
            Kind::File { blob, executable } => DriveEntry { executable: *executable, ..DriveEntry::file(*blob) },
        };
        self.edit(Edit::Put { path: name.to_owned(), entry })
    }

    fn delete(&mut self, name: &str) -> Result<()> {
        self.edit(Edit::Delete { path: name.to_owned() })
    }

    fn flush(&mut self) -> Result<()> {
        self.flush_edits()
    }

    fn commit(&mut self) -> Result<()> {
        self.flush_edits()?;
        while !self.begun.is_empty() {
            self.settle_first()?;
        }
        self.source.renew()
    }
}

/// The end of the blobs core as it will be: collects blocks until they are handed to the node.
struct Tail {
    length: u64,
    byte_length: u64,
    blocks: Vec<Bytes>,
    /// Bytes of these blocks.
    pending_bytes: usize,
}

impl Blocks for Tail {
    type Error = Infallible;

    fn length(&self) -> u64 {
        self.length
    }

    fn block(&self, _: u64) -> Result<Option<Bytes>, Infallible> {
        Ok(None)
    }
}

impl AppendBlocks for Tail {
    fn byte_length(&self) -> u64 {
        self.byte_length
    }

    fn append(&mut self, blocks: &[Bytes]) -> Result<u64, Infallible> {
        self.length += blocks.len() as u64;
        let bytes: usize = blocks.iter().map(Bytes::len).sum();
        self.byte_length += bytes as u64;
        self.pending_bytes += bytes;
        self.blocks.extend_from_slice(blocks);
        Ok(self.length)
    }
}

/// Contents collected before they are handed to the node, in bytes.
const PENDING_BYTES: usize = 1 << 20;
/// Parcels of that which may be on their way: one is collected here, one hashed, one committed.
const BEGUN_MAX: usize = 3;
/// Entries collected before they are written.
const EDITS_MAX: usize = 512;

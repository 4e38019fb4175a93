//! A drive as folders see it: entries by name, bytes by blob. The rest of the program is a stranger to both sides.

use std::ops::ControlFlow;

use anyhow::Result;
pub use anypath_replicate::drive::BlobId;
use bytes::Bytes;

/// A drive that may be read; what is not here yet is waited for.
///
/// An error ends the whole run: the store failed, the person interrupted, nobody has the data. What is wrong with one
/// entry alone is an answer instead, so that the others go on.
pub trait DriveSource {
    /// Returns which version is read: it stays the same until the owner of the source moves on.
    fn version(&self) -> Version;
    /// Returns up to `limit` entries in the order of their names' bytes, those after the name `after`.
    fn entries(&mut self, after: Option<&str>, limit: usize) -> Result<Vec<Entry>>;
    /// Says which blobs will be read, and that no others will, so that they can be fetched in one go.
    fn want(&mut self, blobs: &[BlobId]) -> Result<()>;
    /// Returns about how many bytes of each of these blobs are here and need not be fetched.
    fn held(&mut self, blobs: &[BlobId]) -> Result<Vec<u64>>;
    /// Says which blobs are read next, in this order, so that small ones can be read together; a hint and no more.
    fn expect(&mut self, next: &[BlobId]);
    /// Hands the verified bytes of a blob to `take`, in order, until it breaks off or all are handed over.
    fn read(&mut self, blob: &BlobId, take: &mut dyn FnMut(&Bytes) -> ControlFlow<()>) -> Result<Read>;
}

/// How reading a blob ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// All bytes were handed over.
    Whole,
    /// The reader had enough.
    Stopped,
    /// The drive has no such bytes: the entry lies.
    Damaged,
}

/// A drive that may be written as well. Nothing is announced before [`DriveSink::commit`].
pub trait DriveSink: DriveSource {
    /// Appends bytes to the blob being written; cut into blocks by the drive (no copy if they come by 64 KiB).
    fn append(&mut self, bytes: Bytes) -> Result<()>;
    /// Ends the blob being written and returns where it lies; without a single byte it is the empty blob.
    fn finish(&mut self) -> Result<BlobId>;
    /// Gives up the blob being written: no entry will point to it.
    fn abandon(&mut self) -> Result<()>;
    /// Puts an entry, in place of one with the same name.
    fn put(&mut self, name: &str, kind: &Kind) -> Result<()>;
    /// Deletes the entry with this name.
    fn delete(&mut self, name: &str) -> Result<()>;
    /// Hands on everything put and deleted so far, without waiting for it.
    fn flush(&mut self) -> Result<()>;
    /// Makes everything put and deleted so far last, and visible to peers and in what this drive is as a source.
    fn commit(&mut self) -> Result<()>;
}

/// Which state of a drive: a greater length under the same fork is later, another fork is another history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Version {
    /// Blocks of the metadata core, as npm hyperdrive counts versions.
    pub length: u64,
    /// How often the history was rewritten.
    pub fork: u64,
}

/// One name in a drive, as its owner wrote it: nothing about it may be trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// `/folder/file`, if the owner is honest.
    pub name: String,
    /// The block of the metadata core that put it; under one fork it names this state of this entry alone.
    pub seq: u64,
    /// What stands under the name.
    pub kind: Kind,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File {
        /// Where its bytes lie; the empty blob if the entry has none.
        blob: BlobId,
        /// Whether its owner may run it as a program.
        executable: bool,
    },
    /// A symbolic link and what it points to, as written.
    Symlink(String),
    /// Nobody can read what its owner put there, or its very name; such entries keep to no order.
    Unreadable,
}

impl Kind {
    /// Returns about how many bytes there are to read, as the entry claims.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::File { blob, .. } => blob.byte_length,
            Self::Symlink(_) | Self::Unreadable => 0,
        }
    }
}

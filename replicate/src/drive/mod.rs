//! Hyperdrive: a folder kept in two cores, a bee of entries and the blobs they point to.
//!
//! An entry's key in the bee is `files`, a zero byte and its path; its value is JSON. Contents are in the blobs core,
//! whose key follows from the drive's, which is the key of the bee's core.
//!
//! Source: npm hyperdrive 13.3, `index.js`.

mod blobs;
mod entry;
mod keys;
mod path;

use anypath_wire::PublicKey;
use thiserror::Error;

use crate::bee::{self, Bee, BeeError, Change, Header, Metadata, Need, Walk};
use crate::{AppendBlocks, Blocks};

pub use self::blobs::{BlobError, BlobReader, BlobWriter};
pub use self::entry::{BlobId, Entry};
pub use self::keys::blobs_namespace;
pub use self::path::{InvalidPath, normalize};

/// An entry with its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its path, exactly as it stands in the drive: an honest one is normalised, a hostile one may hold anything.
    pub path: String,
    /// The block of the bee it is in: two versions of a drive have the same entry if this is the same.
    pub seq: u64,
    /// What it is.
    pub entry: Entry,
}

/// A change to a drive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Sets an entry, whether or not it was there.
    Put {
        /// Its path, in any form that [`normalize`] takes.
        path: String,
        /// What it is.
        entry: Entry,
    },
    /// Takes an entry away, if it is there.
    Delete {
        /// Its path, in any form that [`normalize`] takes.
        path: String,
    },
}

/// Why a drive could not be read or written; never that a block is missing.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DriveError {
    /// The bee of entries failed.
    #[error(transparent)]
    Bee(#[from] BeeError),
    /// A path that was asked for cannot be one of an entry.
    #[error("{path:?} cannot be the path of an entry")]
    Path {
        /// The path.
        path: String,
        /// What is wrong with it.
        #[source]
        source: InvalidPath,
    },
    /// An entry whose path is not UTF-8.
    #[error("the entry in block {seq} has a path that is not UTF-8")]
    Name {
        /// The block of the bee.
        seq: u64,
    },
    /// An entry whose value is not the JSON of one.
    #[error("the entry in block {seq} cannot be read")]
    Entry {
        /// The block of the bee.
        seq: u64,
    },
    /// A header that names a blobs core by less than a key.
    #[error("the header names a blobs core by less than 32 bytes")]
    ContentKey,
}

/// The entries of a drive; contents are read and written with [`BlobReader`] and [`BlobWriter`].
///
/// It holds no core, as [`Bee`] does not: each call is handed the blocks of the drive's bee.
#[derive(Debug)]
pub struct Drive {
    bee: Bee,
}

impl Default for Drive {
    fn default() -> Self {
        Self::new()
    }
}

impl Drive {
    /// Returns a drive with nothing cached; on an empty core the first change makes it a drive.
    pub fn new() -> Self {
        Self { bee: Bee::new(Header::with_metadata(Metadata::default())) }
    }

    /// Returns the entry at a path, at a version (a length of the bee's core).
    pub fn entry<B: Blocks>(&mut self, db: &B, version: u64, path: &str) -> Result<Need<Option<File>>, DriveError> {
        let key = path::key(path).map_err(|source| invalid(path, source))?;
        Ok(match self.bee.get(db, version, &key)? {
            Need::Ready(found) => Need::Ready(found.map(File::read).transpose()?),
            Need::Missing(seqs) => Need::Missing(seqs),
        })
    }

    /// Returns all entries below a folder, in order of their paths, at a version; all or none, for small folders.
    pub fn list<B: Blocks>(&mut self, db: &B, version: u64, folder: &str) -> Result<Need<Vec<File>>, DriveError> {
        let mut walk = Files::new(version, folder)?;
        let mut files = Vec::new();
        loop {
            match walk.next(db)? {
                Need::Ready(Some(file)) => files.push(file),
                Need::Ready(None) => return Ok(Need::Ready(files)),
                Need::Missing(seqs) => return Ok(Need::Missing(seqs)),
            }
        }
    }

    /// Makes changes, in order and all or none, with one append; returns the new version.
    ///
    /// Contents go to the blobs core first.
    pub fn apply<B: AppendBlocks>(&mut self, db: &mut B, edits: &[Edit]) -> Result<Need<u64>, DriveError> {
        let changes = edits.iter().map(Edit::change).collect::<Result<Vec<_>, _>>()?;
        Ok(self.bee.apply(db, &changes)?)
    }
}

/// A walk over the entries below a folder, in order of their paths; see [`Walk`] for how it deals with missing blocks.
#[derive(Debug)]
pub struct Files(Walk);

impl Files {
    /// Starts a walk at a version (a length of the bee's core); the folder `/` is all of the drive.
    pub fn new(version: u64, folder: &str) -> Result<Self, DriveError> {
        let range = path::below(folder).map_err(|source| invalid(folder, source))?;
        Ok(Self(Walk::new(version, range)))
    }

    /// Returns the next entry, or `None` at the end, or all blocks of the bee known to be missing.
    pub fn next<B: Blocks>(&mut self, db: &B) -> Result<Need<Option<File>>, DriveError> {
        Ok(match self.0.next(db)? {
            Need::Ready(found) => Need::Ready(found.map(File::read).transpose()?),
            Need::Missing(seqs) => Need::Missing(seqs),
        })
    }

    /// Notes that a missing block is there now, so that the next call need not look for the others.
    pub fn arrived(&mut self, seq: u64) {
        self.0.arrived(seq);
    }
}

/// Returns the key of the blobs core if the drive's header names one, which drives without a manifest do.
///
/// Else it follows from the drive's manifest, see [`blobs_namespace`].
pub fn content_key<B: Blocks>(db: &B) -> Result<Need<Option<PublicKey>>, DriveError> {
    let header = match bee::header(db)? {
        Need::Ready(header) => header,
        Need::Missing(seqs) => return Ok(Need::Missing(seqs)),
    };
    let Some(feed) = header.metadata.and_then(|metadata| metadata.content_feed) else { return Ok(Need::Ready(None)) };
    let key = feed.first_chunk().ok_or(DriveError::ContentKey)?;
    Ok(Need::Ready(Some(PublicKey(*key))))
}

impl File {
    fn read(found: bee::Entry) -> Result<Self, DriveError> {
        let seq = found.seq;
        let path = path::path(&found.key).ok_or(DriveError::Name { seq })?.to_owned();
        let entry = found.value.and_then(|value| Entry::decode(&value)).ok_or(DriveError::Entry { seq })?;
        Ok(Self { path, seq, entry })
    }
}

impl Edit {
    fn change(&self) -> Result<Change, DriveError> {
        let (Self::Put { path, .. } | Self::Delete { path }) = self;
        let key = path::key(path).map_err(|source| invalid(path, source))?;
        Ok(match self {
            Self::Put { entry, .. } => Change::Put { key, value: entry.encode() },
            Self::Delete { .. } => Change::Delete { key },
        })
    }
}

fn invalid(path: &str, source: InvalidPath) -> DriveError {
    DriveError::Path { path: path.to_owned(), source }
}

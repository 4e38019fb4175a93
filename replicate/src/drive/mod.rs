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
use crate::core::Encryption;
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
    /// An entry whose path is not UTF-8; a walk goes on behind it.
    #[error("the entry in block {seq} has a path that is not UTF-8: {path:?}")]
    Name {
        /// The block of the bee.
        seq: u64,
        /// The path, as far as it can be read.
        path: String,
    },
    /// An entry whose value is not the JSON of one; a walk goes on behind it.
    #[error("the entry {path:?} in block {seq} cannot be read")]
    Entry {
        /// The block of the bee.
        seq: u64,
        /// Its path, as it stands in the drive.
        path: String,
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

    /// Makes an empty core an empty drive: version 1.
    pub fn create<B: AppendBlocks>(&mut self, db: &mut B) -> Result<(), DriveError> {
        Ok(self.bee.create(db)?)
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

    /// Starts a walk over all entries whose paths lie behind one, which need not be there and may be a hostile one.
    pub fn after(version: u64, path: &str) -> Self {
        Self(Walk::new(version, path::after(path)))
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

/// What happened to the entry at a path between two versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The entry in the first version, if there is one.
    pub before: Option<File>,
    /// The entry in the second version, if there is one.
    pub after: Option<File>,
}

/// A comparison of two versions of a drive; see [`bee::Diff`].
#[derive(Debug)]
pub struct Diff(bee::Diff);

impl Diff {
    /// Starts to compare the drive at two versions (lengths of the bee's core), of which either may be the larger.
    pub fn new(before: u64, after: u64) -> Self {
        Self(bee::Diff::new(before, after))
    }

    /// Returns all entries that differ, in order of their paths, or all blocks of the bee known to be missing.
    pub fn next<B: Blocks>(&mut self, db: &B) -> Result<Need<Vec<Difference>>, DriveError> {
        let found = match self.0.next(db)? {
            Need::Ready(found) => found,
            Need::Missing(seqs) => return Ok(Need::Missing(seqs)),
        };
        let ours =
            |found: &bee::Difference| found.before.iter().chain(&found.after).any(|entry| path::is_entry(&entry.key));
        let read = |found: bee::Difference| {
            let before = found.before.map(File::read).transpose()?;
            Ok(Difference { before, after: found.after.map(File::read).transpose()? })
        };
        found.into_iter().filter(ours).map(read).collect::<Result<_, _>>().map(Need::Ready)
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

/// Returns whether block 0, which is no header, is as long as an encrypted one: nothing else can be told without the key.
pub fn seems_encrypted<B: Blocks>(db: &B) -> Result<bool, B::Error> {
    let feed = Metadata { content_feed: Some([0; 32].as_slice().into()), ..Metadata::default() };
    let lengths = [Metadata::default(), feed].map(|metadata| {
        let header = Header::with_metadata(metadata).encode();
        header.len() + Encryption::PADDING_BYTES
    });
    Ok(db.block(0)?.is_some_and(|block| lengths.contains(&block.len())))
}

impl File {
    fn read(found: bee::Entry) -> Result<Self, DriveError> {
        let seq = found.seq;
        let unnamed = || DriveError::Name { seq, path: path::readable(&found.key) };
        let path = path::path(&found.key).ok_or_else(unnamed)?.to_owned();
        match found.value.and_then(|value| Entry::decode(&value)) {
            Some(entry) => Ok(Self { path, seq, entry }),
            None => Err(DriveError::Entry { seq, path }),
        }
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

#[cfg(test)]
mod tests {
    use anypath_wire::EncryptionKey;

    use super::*;
    use crate::bee::held::{Held, ready};

    fn put(path: &str, byte_length: u64) -> Edit {
        let entry = Entry::file(BlobId { byte_length, ..BlobId::default() });
        Edit::Put { path: path.to_owned(), entry }
    }

    fn drive(edits: &[Edit]) -> (Drive, Held) {
        let (mut drive, mut db) = (Drive::new(), Held::default());
        ready(drive.apply(&mut db, edits).unwrap());
        (drive, db)
    }

    #[test]
    fn a_folder_is_listed_with_all_below_it_and_nothing_beside_it() {
        let (mut drive, db) = drive(&[put("a/b", 1), put("/a/c/d", 2), put("/a", 3), put("/a0", 4), put("/a.txt", 5)]);
        let mut paths = |folder: &str| {
            let files = ready(drive.list(&db, db.length(), folder).unwrap());
            files.into_iter().map(|file| file.path).collect::<Vec<_>>()
        };
        assert_eq!(paths("/"), ["/a", "/a.txt", "/a/b", "/a/c/d", "/a0"]);
        assert_eq!(paths("/a/"), ["/a/b", "/a/c/d"]);
        assert_eq!(paths("/none"), [""; 0]);
        let mut rest = Files::after(db.length(), "/a/b");
        assert_eq!(ready(rest.next(&db).unwrap()).unwrap().path, "/a/c/d");
    }

    #[test]
    fn versions_of_a_drive_are_compared() {
        let (mut drive, mut db) = drive(&[put("/kept", 1), put("/changed", 2), put("/gone", 3)]);
        let before = db.length();
        let edits = [put("/changed", 4), Edit::Delete { path: "/gone".to_owned() }, put("/new", 5)];
        let after = ready(drive.apply(&mut db, &edits).unwrap());
        let found = ready(Diff::new(before, after).next(&db).unwrap());
        let path = |file: &Option<File>| file.as_ref().map(|file| file.path.clone());
        let found: Vec<_> = found.iter().map(|found| (path(&found.before), path(&found.after))).collect();
        let some = |path: &str| Some(path.to_owned());
        assert_eq!(found, [(some("/changed"), some("/changed")), (some("/gone"), None), (None, some("/new"))]);
    }

    #[test]
    fn hostile_names_come_as_they_are_and_broken_entries_are_named() {
        let mut db = Held::default();
        let mut bee = Bee::default();
        let raw = |key: &'static [u8], value: &'static str| Change::Put { key: key.into(), value: value.into() };
        ready(bee.apply(&mut db, &[raw(b"files\0/../../etc/passwd", "{}"), raw(b"other", "x")]).unwrap());
        let files = ready(Drive::new().list(&db, db.length(), "/").unwrap());
        assert_eq!(files.len(), 1);
        assert_eq!((files[0].path.as_str(), files[0].seq), ("/../../etc/passwd", 1));
        ready(bee.apply(&mut db, &[raw(b"files\0/\xff", "{}")]).unwrap());
        assert!(matches!(Drive::new().list(&db, 4, "/"), Err(DriveError::Name { seq: 3, .. })));
        ready(bee.apply(&mut db, &[raw(b"files\0/\xff", "?"), raw(b"files\0/x", "{")]).unwrap());
        assert!(matches!(
            Drive::new().list(&db, 6, "/x/.."),
            Err(DriveError::Entry { seq: 5, .. } | DriveError::Name { .. })
        ));
        assert!(matches!(Drive::new().entry(&db, 6, "/x"), Err(DriveError::Entry { seq: 5, .. })));
        assert!(matches!(Drive::new().entry(&db, 6, "/.."), Err(DriveError::Path { .. })));
    }

    #[test]
    fn a_header_may_name_the_blobs_core() {
        let named = |feed: &'static [u8]| {
            let metadata = Metadata { content_feed: Some(feed.into()), user_data: None };
            content_key(&Held(vec![Some(Header::with_metadata(metadata).encode())]))
        };
        assert_eq!(ready(named(&[7; 40]).unwrap()), Some(PublicKey([7; 32])));
        assert!(matches!(named(&[7; 31]), Err(DriveError::ContentKey)));
        assert_eq!(content_key(&Held(vec![None])).unwrap(), Need::Missing(vec![0]));
        let (_, db) = drive(&[put("/x", 0)]);
        assert_eq!(ready(content_key(&db).unwrap()), None);
        assert!(content_key(&Held(vec![Some("x".into())])).is_err());
    }

    #[test]
    fn an_encrypted_header_is_told_by_its_length() {
        let (_, db) = drive(&[put("/x", 0)]);
        let header = db.block(0).unwrap().unwrap();
        let encryption = Encryption::new(&PublicKey([1; 32]), &EncryptionKey::new([2; 32]), false);
        let sealed = Held(vec![Some(encryption.encrypt(0, 0, &header).into())]);
        assert_eq!([seems_encrypted(&db), seems_encrypted(&sealed)], [Ok(false), Ok(true)]);
        assert!(content_key(&sealed).is_err());
        assert_eq!(seems_encrypted(&Held(vec![None])), Ok(false));
    }
}

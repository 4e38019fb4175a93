//! Why a store could not be opened, read or changed.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why a store could not be opened, read or changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No space is left; nothing of the batch was kept, and what was committed before is safe.
    #[error("no space is left to write {}", path.display())]
    Full {
        /// The file being written.
        path: PathBuf,
    },
    /// Another process has it.
    #[error(
        "the store in {} is in use by another process (pid {}): stop it or give this one another --store",
        path.display(),
        pid.map_or("unknown".to_owned(), |pid| pid.to_string())
    )]
    InUse {
        /// The store's folder.
        path: PathBuf,
        /// Who has it, if it said so.
        pid: Option<u32>,
    },
    /// A newer version of the program wrote it.
    #[error(
        "the store in {} has format {found}, this program knows formats up to {known}: use a newer version",
        path.display()
    )]
    TooNew {
        /// The store's folder.
        path: PathBuf,
        /// The format found.
        found: u64,
        /// The newest format known.
        known: u64,
    },
    /// What is on disk is not what was written.
    #[error("{} is damaged: {damage}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        damage: Damage,
    },
    /// The operating system refused.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The database refused, most often because of an earlier failure: open the store again.
    #[error("the database {} refused: {source}", path.display())]
    Database {
        /// The database's file.
        path: PathBuf,
        /// What it said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A block longer than its length field can say.
    #[error("a block of {bytes} bytes is too long: at most 4 GiB - 1 can be kept")]
    BlockTooLong {
        /// Its length.
        bytes: usize,
    },
}

/// What is wrong with a file of the store.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Damage {
    /// The database says so itself.
    #[error("{0}")]
    Database(Box<dyn Error + Send + Sync>),
    /// The database stumbled over a page that makes no sense.
    #[error("a page of it makes no sense")]
    Senseless,
    /// A row has not the form it was written in.
    #[error("a row of the table {0} is malformed")]
    Row(&'static str),
    /// The block file is shorter than what was committed.
    #[error("it ends at byte {found} where {expected} are expected")]
    Short {
        /// Bytes there are.
        found: u64,
        /// Bytes there must be.
        expected: u64,
    },
}

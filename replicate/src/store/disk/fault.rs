//! What goes wrong inside the disk store, before it is known which file to blame.

use std::io;
use std::path::Path;

use redb::{CommitError, DatabaseError, SetDurabilityError, StorageError, TableError, TransactionError};

use super::files::Disk;
use crate::store::{Damage, StoreError};

/// A failure without its path.
#[derive(Debug)]
pub(super) enum Fault {
    Database(redb::Error),
    Row(&'static str),
    Short { found: u64, expected: u64 },
    BlockTooLong { bytes: usize },
    Io(io::Error),
    Senseless,
}

impl Fault {
    /// Says which file it happened to.
    pub(super) fn at(self, path: &Path) -> StoreError {
        let path = path.to_owned();
        match self {
            Self::Io(source) if is_full(&source) => StoreError::Full { path },
            Self::Io(source) => StoreError::Io { path, source },
            Self::Database(source @ redb::Error::Corrupted(_)) => {
                StoreError::Damaged { path, damage: Damage::Database(source.into()) }
            }
            Self::Senseless => StoreError::Damaged { path, damage: Damage::Senseless },
            Self::Database(source) => StoreError::Database { path, source: source.into() },
            Self::Row(table) => StoreError::Damaged { path, damage: Damage::Row(table) },
            Self::Short { found, expected } => StoreError::Damaged { path, damage: Damage::Short { found, expected } },
            Self::BlockTooLong { bytes } => StoreError::BlockTooLong { bytes },
        }
    }
}

impl dyn Disk {
    /// Returns what makes a fault of one of its files an error that names it.
    pub(super) fn fault(&self, name: &'static str) -> impl Fn(Fault) -> StoreError {
        move |fault| fault.at(&self.path().join(name))
    }

    /// The same for what the operating system says.
    pub(super) fn failure(&self, name: &'static str) -> impl Fn(io::Error) -> StoreError {
        move |error| Fault::from(error).at(&self.path().join(name))
    }
}

fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

macro_rules! from_redb {
    ($($error:ty)*) => {$(
        impl From<$error> for Fault {
            fn from(error: $error) -> Self {
                match error.into() {
                    redb::Error::Io(error) => Self::Io(error),
                    error => Self::Database(error),
                }
            }
        }
    )*};
}

from_redb!(CommitError DatabaseError SetDurabilityError StorageError TableError TransactionError);

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

//! What could not be brought over, by name: the rest goes on, and the exit code says so at the end.

use std::io;

use thiserror::Error;

use super::{BadLink, BadName};

/// One name that was left out, and why.
#[derive(Debug, Error)]
#[error("{name:?}: {cause}")]
pub struct Problem {
    /// The entry's name or the path in the folder; whatever a stranger put there, so it is printed escaped.
    pub name: String,
    /// Why.
    pub cause: Cause,
}

/// Why a name was left out.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Cause {
    /// The name cannot stand in a folder.
    #[error("refused: {0}")]
    Name(#[from] BadName),
    /// The link would leave the folder.
    #[error("refused: {0}")]
    Link(#[from] BadLink),
    /// A part of the way is a file or a link.
    #[error("refused: {part:?} on the way to it is not a folder")]
    Way {
        /// The part, as named in the entry.
        part: String,
    },
    /// The file system takes both names for one.
    #[error("refused: this file system takes it for {other:?}, which the drive holds too")]
    Twin {
        /// The other name.
        other: String,
    },
    /// Its owner wrote something else than an entry there.
    #[error("refused: its entry in the drive cannot be read")]
    Unreadable,
    /// The blocks do not hold what the entry claims.
    #[error("refused: the drive's data does not match its entry")]
    Damaged,
    /// The file here is not as clone left it.
    #[error("kept: it was changed here (--force overwrites it)")]
    ChangedHere,
    /// The same, and the drive no longer has it.
    #[error("kept: it was changed here, though the drive deleted it (--force deletes it)")]
    ChangedHereDeletedThere,
    /// A folder stands where a file should.
    #[error("kept: a folder stands here under the name of a file in the drive")]
    FolderInTheWay,
    /// Neither file, folder nor link.
    #[error("skipped: it is a {0}, which a drive cannot hold")]
    Special(&'static str),
    /// The seeds in it must not leave this machine.
    #[error("skipped: it is a store of this program, with the seeds that make drives yours")]
    Store,
    /// Changed while it was read.
    #[error("skipped: it is being written to; the next run, or --watch, brings it once it rests")]
    Busy,
    /// The operating system said no.
    #[error("skipped: {0}")]
    Io(#[from] io::Error),
}

impl Cause {
    /// Returns the word scripts know this by.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Name(_) => "bad_name",
            Self::Link(_) => "bad_link",
            Self::Way { .. } => "way_not_a_folder",
            Self::Twin { .. } => "twin",
            Self::Unreadable => "unreadable",
            Self::Damaged => "damaged",
            Self::ChangedHere | Self::ChangedHereDeletedThere => "changed_here",
            Self::FolderInTheWay => "folder_in_the_way",
            Self::Special(_) => "special",
            Self::Store => "store",
            Self::Busy => "busy",
            Self::Io(_) => "io",
        }
    }
}

/// Returns the error itself if it concerns the whole folder and not one name: going on would only repeat it.
pub(super) fn fatal(error: io::Error) -> Result<io::Error, io::Error> {
    use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    match error.kind() {
        QuotaExceeded | ReadOnlyFilesystem | StorageFull => Err(error),
        _ => Ok(error),
    }
}

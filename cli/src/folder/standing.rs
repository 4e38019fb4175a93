//! What stands in a folder under a name, as far as it can be known without reading it.

use serde::{Deserialize, Serialize};

use super::Fingerprint;

/// What stands under a name. Two equal ones of [`Standing::File`] or [`Standing::Symlink`] are the same, untouched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Standing {
    /// Nothing.
    Nothing,
    /// A file.
    File {
        /// Its state; the time of its last change of any kind is left out, for a rename counts as one.
        fingerprint: Fingerprint,
        /// Whether its owner may run it.
        executable: bool,
    },
    /// A link.
    Symlink {
        /// What it points to, if that is UTF-8.
        target: Option<String>,
        /// The link's own number in its file system; 0 where it has none.
        inode: u64,
    },
    /// A folder.
    Folder,
    /// A device, a pipe, a socket.
    Special,
}

impl Standing {
    /// Returns the number by which the file system knows a file or link whatever it is called, if it has one.
    pub(super) fn inode(&self) -> Option<u64> {
        match self {
            Self::File { fingerprint: Fingerprint { inode, .. }, .. } | Self::Symlink { inode, .. } => {
                Some(*inode).filter(|inode| *inode != 0)
            }
            _ => None,
        }
    }

    /// Returns the size of a file in bytes.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::File { fingerprint, .. } => fingerprint.size,
            _ => 0,
        }
    }
}

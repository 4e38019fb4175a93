//! The secrets of a store: 32 bytes from which its drives' keys derive, and 32 that are this node's own.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::lasting;

/// The seeds that lie in a store, made when they are first asked for.
///
/// On disk: 64 bytes, the drives' seed first, readable by their owner only.
#[derive(Clone)]
pub struct Keys {
    /// What npm corestore calls the primary key: every writable core's key pair derives from it and a name.
    pub primary: [u8; 32],
    /// The seed of this node's key pair, by which peers know it; unrelated to what it serves.
    pub node: [u8; 32],
}

impl Keys {
    /// Reads the seeds, or makes them from the system's randomness.
    ///
    /// # Errors
    /// Those of reading, writing and of the system's randomness; or if the file has another length.
    pub fn open(path: &Path) -> Result<Self> {
        let cannot = || format!("cannot read or make the keys in {}", path.display());
        match fs::read(path) {
            Ok(bytes) => Self::from_bytes(&bytes, path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut bytes = [0; 64];
                getrandom::fill(&mut bytes).with_context(cannot)?;
                // A drive whose link was passed on must not lose its seed.
                lasting::replace(path, |out| out.write_all(&bytes)).with_context(cannot)?;
                lasting::sync_way(path);
                Self::from_bytes(&bytes, path)
            }
            Err(error) => Err(error).with_context(cannot),
        }
    }

    fn from_bytes(bytes: &[u8], path: &Path) -> Result<Self> {
        let (halves, rest) = bytes.as_chunks::<32>();
        match (halves, rest) {
            ([primary, node], []) => Ok(Self { primary: *primary, node: *node }),
            _ => bail!("the keys in {} are damaged: {} bytes instead of 64", path.display(), bytes.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once_and_are_their_owners_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        let made = Keys::open(&path).unwrap();
        let read = Keys::open(&path).unwrap();
        assert_eq!((made.primary, made.node), (read.primary, read.node));
        assert_ne!(made.primary, made.node);
        #[cfg(unix)]
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions()) & 0o777, 0o600);
        fs::write(&path, [1; 63]).unwrap();
        assert!(Keys::open(&path).is_err());
    }
}

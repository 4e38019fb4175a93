//! The secrets of a store: 32 bytes from which its drives' keys derive, 32 that are this node's own, and what encrypted
//! drives of its own are encrypted with.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use anypath_wire::{EncryptionKey, PublicKey};
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};

use crate::config::check_private;
use crate::lasting;

/// The secrets that lie in a store, made when they are first asked for.
///
/// On disk, readable by their owner only:
///
/// | bytes | content |
/// |---|---|
/// | 32 | the drives' seed |
/// | 32 | this node's seed |
/// | 64 for each encrypted drive | the drive's key, its encryption key |
#[derive(Clone)]
pub struct Keys {
    path: PathBuf,
    /// What npm corestore calls the primary key: every writable core's key pair derives from it and a name.
    pub primary: [u8; 32],
    /// The seed of this node's key pair, by which peers know it; unrelated to what it serves.
    pub node: [u8; 32],
    encryption: BTreeMap<PublicKey, EncryptionKey>,
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

    /// Returns what a drive of this store is encrypted with, if it is.
    pub fn encryption(&self, drive: &PublicKey) -> Option<&EncryptionKey> {
        self.encryption.get(drive)
    }

    /// Makes a new encryption key for a drive of which nothing is stored yet, from the system's randomness; it is on disk
    /// when this returns. To be called by the one process that has the store.
    ///
    /// # Errors
    /// Those of [`Keys::open`].
    pub fn encrypt(&mut self, drive: PublicKey) -> Result<()> {
        // Another process may have added to the file before this one got the store.
        *self = Self::open(&self.path.clone())?;
        let cannot = || format!("cannot write the keys in {}", self.path.display());
        let mut key = [0; 32];
        getrandom::fill(&mut key).with_context(cannot)?;
        self.encryption.insert(drive, EncryptionKey::new(key));
        // What is encrypted with a key must not outlive it.
        lasting::replace(&self.path, |out| out.write_all(&self.to_bytes())).with_context(cannot)
    }

    fn from_bytes(bytes: &[u8], path: &Path) -> Result<Self> {
        let damaged = || format!("the keys in {} are damaged: {} bytes", path.display(), bytes.len());
        let (pairs, rest) = bytes.as_chunks::<PAIR_BYTES>();
        let mut pairs = pairs.iter().map(|pair| {
            let (halves, _) = pair.as_chunks::<32>();
            [halves[0], halves[1]]
        });
        let Some([primary, node]) = pairs.next().filter(|_| rest.is_empty()) else { bail!(damaged()) };
        let encryption = pairs.map(|[drive, key]| (PublicKey(drive), EncryptionKey::new(key))).collect();
        Ok(Self { path: path.to_owned(), primary, node, encryption })
    }

    fn to_bytes(&self) -> Vec<u8> {
        let drives = self.encryption.iter().flat_map(|(drive, key)| [&drive.0, key.bytes()]);
        [&self.primary, &self.node].into_iter().chain(drives).flatten().copied().collect()
    }
}

/// Reads a node's seed, 64 hex digits, from a file of its own that nobody else may read, or makes it there.
///
/// # Errors
/// Those of reading, writing and of the system's randomness; if others may read the file, or it holds something else.
pub(crate) fn read_identity(path: &Path) -> Result<[u8; 32]> {
    let cannot = || format!("cannot read or make the key in {}", path.display());
    if !path.try_exists().with_context(cannot)? {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).with_context(cannot)?;
        lasting::replace(path, |out| writeln!(out, "{}", HEXLOWER.encode(&seed))).with_context(cannot)?;
        return Ok(seed);
    }
    check_private(path)?;
    let text = fs::read_to_string(path).with_context(cannot)?;
    let seed = HEXLOWER_PERMISSIVE.decode(text.trim().as_bytes()).ok().and_then(|seed| seed.try_into().ok());
    seed.with_context(|| format!("{} holds no key: 64 hex digits are expected", path.display()))
}

/// How long the seeds are, and each encrypted drive's part, in bytes: the file is a whole number of these.
pub(crate) const PAIR_BYTES: usize = 64;

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
        for damaged in [0, 63, 96] {
            fs::write(&path, vec![1; damaged]).unwrap();
            assert!(Keys::open(&path).is_err(), "{damaged} bytes");
        }
    }

    #[test]
    fn a_node_may_have_a_key_file_that_nobody_else_reads() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.key");
        let made = read_identity(&path).unwrap();
        assert_eq!(read_identity(&path).unwrap(), made);
        #[cfg(unix)]
        {
            let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
            fs::set_permissions(&path, open).unwrap();
            assert!(read_identity(&path).unwrap_err().to_string().contains("chmod 600"));
        }
        fs::remove_file(&path).unwrap();
        fs::write(&path, "no key").unwrap();
        assert!(read_identity(&path).is_err());
    }

    #[test]
    fn a_drive_keeps_its_encryption_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        let (mut keys, mut stale) = (Keys::open(&path).unwrap(), Keys::open(&path).unwrap());
        let [one, two] = [PublicKey([1; 32]), PublicKey([2; 32])];
        keys.encrypt(one).unwrap();
        let made = keys.encryption(&one).cloned();
        assert!(made.is_some() && keys.encryption(&two).is_none());
        stale.encrypt(two).unwrap();
        let read = Keys::open(&path).unwrap();
        assert_eq!((read.encryption(&one).cloned(), read.primary), (made, keys.primary));
        assert_ne!(read.encryption(&one), read.encryption(&two));
        #[cfg(unix)]
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions()) & 0o777, 0o600);
    }
}

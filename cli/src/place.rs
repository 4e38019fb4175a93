//! Where the program keeps what is its own: never in a person's folder, one store for each shared or cloned one.

use std::fs::{self, DirBuilder};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use anypath_wire::{PublicKey, hash, hash_all};
use data_encoding::HEXLOWER;
use directories::ProjectDirs;

use crate::Failure;
use crate::keys::PAIR_BYTES;

/// A store's folder on disk, for its owner only.
///
/// ```text
/// cores/                 what the replicator keeps
/// keys                   the seeds of this node and of its drives, and what the encrypted ones are encrypted with
/// folders/<hash>.seen    what share saw of a folder
/// folders/<hash>.written what clone wrote into one
/// conflict-<key>.evidence that whoever signs for the key signed two histories
/// networks.json          what was learnt of networks on the way to relays; one for all stores in the default places
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place(PathBuf);

impl Place {
    /// Opens the store named on the command line, or else the default one for a folder (its canonical path).
    ///
    /// # Errors
    /// If there is no place for data on this system, or the store's folder cannot be made.
    pub fn for_folder(store: Option<&Path>, folder: &Path) -> Result<Self> {
        Self::open(store, &format!("{}-{}", short_hash(folder), readable_tail(folder)))
    }

    /// Opens the store named on the command line, or else the default one for seeding these drives.
    ///
    /// # Errors
    /// Those of [`Place::for_folder`].
    pub fn for_drives(store: Option<&Path>, keys: &[PublicKey]) -> Result<Self> {
        let mut keys: Vec<&[u8]> = keys.iter().map(|key| key.0.as_slice()).collect();
        keys.sort_unstable();
        Self::open(store, &format!("seed-{}", &HEXLOWER.encode(&hash_all(&keys))[..HASH_CHARS]))
    }

    /// Opens the store named on the command line, or else the default one of a relay.
    ///
    /// # Errors
    /// Those of [`Place::for_folder`].
    pub fn for_relay(store: Option<&Path>) -> Result<Self> {
        Self::open(store, "relay")
    }

    /// Returns whether a folder is a store, anybody's, by the seeds and the folder beside them: the two that are there
    /// first.
    pub fn is_at(path: &Path) -> bool {
        let place = Self(path.to_owned());
        let whole = |bytes: u64| bytes > 0 && bytes.is_multiple_of(PAIR_BYTES as u64);
        let seeds = fs::symlink_metadata(place.keys()).is_ok_and(|seeds| seeds.is_file() && whole(seeds.len()));
        seeds && place.0.join("folders").is_dir()
    }

    /// Returns the store's folder, as a canonical path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Returns where the replicator keeps cores.
    pub fn cores(&self) -> PathBuf {
        self.0.join("cores")
    }

    /// Returns where the seeds lie.
    pub fn keys(&self) -> PathBuf {
        self.0.join("keys")
    }

    /// Fails if the seeds are gone from a store that was in use: new ones would quietly make other drives of its folders.
    ///
    /// # Errors
    /// Then, with what can be done about it.
    pub(crate) fn check_keys(&self) -> Result<(), Failure> {
        if self.keys().exists() || !self.cores().exists() {
            return Ok(());
        }
        let (keys, store) = (self.keys(), self.0.display());
        let message = format!(
            "the seeds of this store are gone ({}), and with them the right to change its drives: put the file back, \
            or remove {store} to begin anew, with new links",
            keys.display()
        );
        Err(Failure::new("keys_gone", message))
    }

    /// Returns where share remembers what it saw of a folder.
    pub fn seen(&self, folder: &Path) -> PathBuf {
        self.0.join("folders").join(short_hash(folder) + ".seen")
    }

    /// Returns what share remembers of any folder, in this store and in those that have their default places.
    pub(crate) fn all_seen(&self) -> Vec<PathBuf> {
        let list = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let defaults = default_root().into_iter().flat_map(|root| list(&root));
        let stores = std::iter::once(self.0.clone()).chain(defaults);
        let remembered = stores.flat_map(|store| list(&store.join("folders")));
        remembered.filter(|path| path.extension().is_some_and(|extension| extension == "seen")).collect()
    }

    /// Returns where clone remembers what it wrote into a folder.
    pub fn written(&self, folder: &Path) -> PathBuf {
        self.0.join("folders").join(short_hash(folder) + ".written")
    }

    /// Returns where the evidence lies that there are two histories of a core.
    pub fn evidence(&self, core: &PublicKey) -> PathBuf {
        self.0.join(format!("conflict-{core}.evidence"))
    }

    /// Returns where it is remembered what was learnt of networks: for all stores that have their default places, in one.
    pub(crate) fn networks(&self) -> PathBuf {
        let default = default_root().ok().and_then(|root| root.canonicalize().ok());
        let beside =
            default.filter(|root| self.0.parent() == Some(root)).and_then(|root| Some(root.parent()?.to_owned()));
        beside.unwrap_or_else(|| self.0.clone()).join("networks.json")
    }

    fn open(store: Option<&Path>, default: &str) -> Result<Self> {
        let path = match store {
            Some(store) => store.to_owned(),
            None => default_root()?.join(default),
        };
        let cannot = || format!("cannot make the store's folder {}", path.display());
        make_private(&path).with_context(cannot)?;
        make_private(&path.join("folders")).with_context(cannot)?;
        Ok(Self(path.canonicalize().with_context(cannot)?))
    }
}

fn default_root() -> Result<PathBuf> {
    let dirs = ProjectDirs::from("", "", "anypath").ok_or_else(|| {
        Failure::new("no_home", "this system names no home folder for data; name a store with --store DIR")
    })?;
    Ok(dirs.data_local_dir().join("stores"))
}

/// Makes a folder for its owner only; one that exists keeps the rights its owner gave it.
fn make_private(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)?;
    if fs::metadata(path)?.is_dir() { Ok(()) } else { Err(io::ErrorKind::NotADirectory.into()) }
}

fn short_hash(folder: &Path) -> String {
    HEXLOWER.encode(&hash(folder.as_os_str().as_encoded_bytes()))[..HASH_CHARS].to_owned()
}

/// Returns the folder's own name, as far as it is plain: for people who look into the data folder.
fn readable_tail(folder: &Path) -> String {
    let tail = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    tail.chars().take(TAIL_CHARS_MAX).map(plain).collect()
}

/// How much of a hash names a store, in hexadecimal characters: 64 bits tell any one person's folders apart.
const HASH_CHARS: usize = 16;
/// How much of a folder's name is repeated in its store's, in characters.
const TAIL_CHARS_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_the_same_name_have_stores_of_their_own() {
        let names =
            ["/a/photos", "/b/photos"].map(|path| (short_hash(Path::new(path)), readable_tail(Path::new(path))));
        assert_ne!(names[0].0, names[1].0);
        assert_eq!(names[0].1, names[1].1);
        assert_eq!(readable_tail(Path::new("/x/ä ö/..\n")), ".._");
        assert_eq!(readable_tail(Path::new("/")), "");
    }

    #[test]
    fn seeds_that_are_gone_are_not_replaced_in_silence() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::for_folder(Some(dir.path()), Path::new("/x")).unwrap();
        place.check_keys().unwrap();
        crate::Keys::open(&place.keys()).unwrap();
        fs::create_dir(place.cores()).unwrap();
        place.check_keys().unwrap();
        fs::remove_file(place.keys()).unwrap();
        assert_eq!(place.check_keys().unwrap_err().code, "keys_gone");
    }

    #[cfg(unix)]
    #[test]
    fn a_store_is_made_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let place = Place::for_folder(Some(&dir.path().join("a/b")), Path::new("/x")).unwrap();
        let mode = fs::metadata(place.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(Place::for_folder(Some(&dir.path().join("file")), Path::new("/x")).is_err());
    }
}

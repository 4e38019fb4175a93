//! The folder that is restored into. Nothing here can touch what lies outside of it.
//!
//! Every step opens one part of a name within the folder opened before it and follows no link, so it does not matter
//! what a drive or anybody else put in the way. Content goes to an unfinished file beside its place and is renamed
//! over it in one step.

use std::io::{self, Write};
use std::path::Path;

use cap_fs_ext::{DirExt, FollowSymlinks, OpenOptionsFollowExt};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, Metadata, OpenOptions};
use thiserror::Error;

use super::fingerprint::ns;
use super::name::is_unfinished;
use super::standing::Standing;
use super::{Fingerprint, Name};

/// A folder, held open, and those within it on the way to the last name.
#[derive(Debug)]
pub struct Target {
    /// Whether each file waits for the disk before it is put in its place, and its place after it.
    pub durable: bool,
    root: Dir,
    way: Vec<(String, Dir)>,
}

/// Why a name could not be reached or changed.
#[derive(Debug, Error)]
pub(super) enum TargetError {
    /// A folder on the way is missing.
    #[error("a folder on the way is missing")]
    Missing,
    /// Something on the way is no folder.
    #[error("{0:?} is not a folder")]
    Blocked(String),
    /// The operating system said no.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A file that is being written, not yet in its place.
pub(super) struct Unfinished {
    file: File,
}

impl Target {
    /// Opens an existing folder. Links in the path to it are followed: it is the person's own choice.
    ///
    /// # Errors
    /// Those of opening it.
    pub fn open(folder: &Path) -> io::Result<Self> {
        Ok(Self { durable: false, root: Dir::open_ambient_dir(folder, ambient_authority())?, way: Vec::new() })
    }

    /// Returns whether nothing is in the folder but rests of this program's own.
    ///
    /// # Errors
    /// Those of listing it.
    pub fn is_empty(&self) -> io::Result<bool> {
        for entry in self.root.entries()? {
            if !entry?.file_name().to_str().is_some_and(is_unfinished) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns what stands under a name.
    pub(super) fn standing(&mut self, name: &Name) -> Result<Standing, TargetError> {
        let (parts, last) = name.split();
        let dir = match self.enter(&parts, false) {
            Err(TargetError::Missing) => return Ok(Standing::Nothing),
            dir => dir?,
        };
        match dir.symlink_metadata(last) {
            Ok(metadata) => Ok(standing(dir, last, &metadata)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Standing::Nothing),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens the file under a name to read it.
    pub(super) fn read(&mut self, name: &Name) -> Result<File, TargetError> {
        let (parts, last) = name.split();
        let mut options = OpenOptions::new();
        options.read(true).follow(FollowSymlinks::No);
        Ok(self.enter(&parts, false)?.open_with(last, &options)?)
    }

    /// Starts writing a file, making the folders on the way.
    pub(super) fn begin(&mut self, name: &Name) -> Result<Unfinished, TargetError> {
        let (parts, _) = name.split();
        let dir = self.enter(&parts, true)?;
        let unfinished = name.unfinished();
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        let file = match dir.open_with(&unfinished, &options) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                remove_rest(dir, &unfinished)?;
                dir.open_with(&unfinished, &options)
            }
            file => file,
        };
        Ok(Unfinished { file: file? })
    }

    /// Starts making a link: it stands beside its place, as an unfinished file does.
    pub(super) fn begin_symlink(&mut self, name: &Name, to: &str) -> Result<(), TargetError> {
        let (parts, _) = name.split();
        let dir = self.enter(&parts, true)?;
        let unfinished = name.unfinished();
        remove_rest(dir, &unfinished)?;
        Ok(DirExt::symlink(dir, to, &unfinished)?)
    }

    /// Returns what will stand under a name once its unfinished file or link is put in place.
    pub(super) fn begun(&mut self, name: &Name) -> Result<Standing, TargetError> {
        let (parts, _) = name.split();
        let dir = self.enter(&parts, false)?;
        let unfinished = name.unfinished();
        Ok(standing(dir, &unfinished, &dir.symlink_metadata(&unfinished)?)?)
    }

    /// Puts the unfinished file or link in its place, over a file or link that stands there.
    pub(super) fn finish(&mut self, name: &Name) -> Result<(), TargetError> {
        let (parts, last) = name.split();
        let durable = self.durable;
        let dir = self.enter(&parts, false)?;
        dir.rename(name.unfinished(), dir, last)?;
        if durable { Ok(sync_folder(dir)?) } else { Ok(()) }
    }

    /// Removes the unfinished file or link of a name, if there is one.
    pub(super) fn discard(&mut self, name: &Name) {
        let (parts, _) = name.split();
        if let Ok(dir) = self.enter(&parts, false) {
            let _ = remove_rest(dir, &name.unfinished());
        }
    }

    /// Removes the file or link under a name, and the folders on the way that this leaves empty.
    pub(super) fn remove(&mut self, name: &Name) -> Result<(), TargetError> {
        let (parts, last) = name.split();
        self.enter(&parts, false)?.remove_file_or_symlink(last)?;
        for (depth, part) in parts.iter().enumerate().rev() {
            self.way.truncate(depth);
            if self.last().remove_dir(part).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Lets go of the folders on the way: they may be others by now.
    pub(super) fn leave(&mut self) {
        self.way.clear();
    }

    fn enter(&mut self, parts: &[&str], create: bool) -> Result<&Dir, TargetError> {
        let common = self.way.iter().zip(parts).take_while(|((open, _), part)| open == *part).count();
        self.way.truncate(common);
        for part in &parts[common..] {
            let dir = step(self.last(), part, create)?;
            self.way.push(((*part).to_owned(), dir));
        }
        Ok(self.last())
    }

    fn last(&self) -> &Dir {
        self.way.last().map_or(&self.root, |(_, dir)| dir)
    }
}

impl Unfinished {
    /// Makes its content outlive a power cut.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Lets the file's owner run it, and whoever else may read it.
    pub(super) fn make_executable(&self) -> io::Result<()> {
        #[cfg(unix)]
        {
            use cap_std::fs::PermissionsExt;
            let mut permissions = self.file.metadata()?.permissions();
            permissions.set_mode(permissions.mode() | (permissions.mode() & 0o444) >> 2);
            self.file.set_permissions(permissions)?;
        }
        Ok(())
    }
}

impl Write for Unfinished {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn step(dir: &Dir, part: &str, create: bool) -> Result<Dir, TargetError> {
    let error = match dir.open_dir_nofollow(part) {
        Ok(next) => return Ok(next),
        Err(error) => error,
    };
    if error.kind() != io::ErrorKind::NotFound {
        let is_folder = dir.symlink_metadata(part).is_ok_and(|metadata| metadata.is_dir());
        return Err(if is_folder { error.into() } else { TargetError::Blocked(part.to_owned()) });
    }
    if !create {
        return Err(TargetError::Missing);
    }
    dir.create_dir(part)?;
    Ok(dir.open_dir_nofollow(part)?)
}

#[cfg(unix)]
fn sync_folder(dir: &Dir) -> io::Result<()> {
    dir.try_clone()?.into_std_file().sync_all()
}

/// A folder cannot be synced here, and need not.
#[cfg(not(unix))]
fn sync_folder(_: &Dir) -> io::Result<()> {
    Ok(())
}

fn remove_rest(dir: &Dir, unfinished: &str) -> io::Result<()> {
    match dir.remove_file_or_symlink(unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn standing(dir: &Dir, part: &str, metadata: &Metadata) -> io::Result<Standing> {
    let file_type = metadata.file_type();
    if file_type.is_symlink() {
        let target = dir.read_link_contents(part)?.to_str().map(str::to_owned);
        return Ok(Standing::Symlink { target, inode: inode(metadata) });
    }
    if file_type.is_dir() {
        return Ok(Standing::Folder);
    }
    if !file_type.is_file() {
        return Ok(Standing::Special);
    }
    let modified_ns = metadata.modified().map_or(0, |time| ns(time.into_std()));
    let fingerprint = Fingerprint { size: metadata.len(), modified_ns, changed_ns: 0, inode: inode(metadata) };
    Ok(Standing::File { fingerprint, executable: is_executable(metadata) })
}

#[cfg(unix)]
fn inode(metadata: &Metadata) -> u64 {
    cap_std::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_: &Metadata) -> u64 {
    0
}

#[cfg(unix)]
fn is_executable(metadata: &Metadata) -> bool {
    use cap_std::fs::PermissionsExt;
    metadata.permissions().mode() & 0o100 != 0
}

#[cfg(not(unix))]
fn is_executable(_: &Metadata) -> bool {
    false
}

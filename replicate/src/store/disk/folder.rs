//! The store's folder: readable by its owner alone, and held by one process at a time.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::fault::Fault;
use crate::store::StoreError;

/// The folder of an open store; another process can open it once this is dropped, or the process dead.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Creates the folder if it is not there, and takes hold of it.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if someone has it, with the process id they left in the lock file.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let fault = |error: io::Error| Fault::from(error).at(path);
        create(path).map_err(fault)?;
        let mut lock = open_file(&path.join("lock")).map_err(fault)?;
        match lock.try_lock() {
            Ok(()) => write_pid(&mut lock).map_err(fault)?,
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::InUse { path: path.to_owned(), pid: read_pid(&mut lock) });
            }
            Err(TryLockError::Error(error)) => return Err(fault(error)),
        }
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Returns the path of one of its files.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Returns its own path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Opens a file for reading and writing; a new one is its owner's alone.
pub(super) fn open_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn create(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

fn write_pid(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())
}

fn read_pid(lock: &mut File) -> Option<u32> {
    let mut pid = String::new();
    lock.take(PID_BYTES_MAX).read_to_string(&mut pid).ok()?;
    pid.trim().parse().ok()
}

/// Bytes of a process id in text: more in the lock file is not ours.
const PID_BYTES_MAX: u64 = 16;

//! The store's folder: readable by its owner alone, and held by one process at a time.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

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
        match take_hold(&lock) {
            // Only for the message others get: a full disk is no reason not to read what is there.
            Ok(()) => drop(write_pid(&mut lock)),
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::InUse { path: path.to_owned(), pid: read_pid(&mut lock) });
            }
            Err(TryLockError::Error(error)) => return Err(fault(error)),
        }
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Makes the names of the files in it, and its own in the folder above, outlive a power cut.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        let above = self.path.canonicalize().ok().and_then(|path| path.parent().map(Path::to_owned));
        let folders = [Some(self.path.clone()), above];
        folders
            .into_iter()
            .flatten()
            .try_for_each(|path| sync_folder(&path).map_err(|error| Fault::from(error).at(&path)))
    }

    /// Returns the path of one of its files.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Returns what makes a fault of one of its files an error that names it.
    pub(super) fn fault(&self, name: &'static str) -> impl Fn(Fault) -> StoreError {
        move |fault| fault.at(&self.file(name))
    }

    /// The same for what the operating system says.
    pub(super) fn failure(&self, name: &'static str) -> impl Fn(io::Error) -> StoreError {
        move |error| Fault::from(error).at(&self.file(name))
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

/// Writes all bytes at a place of their own, without moving any cursor another thread relies on.
#[cfg(unix)]
pub(super) fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

/// Reads as many bytes as there is room for.
#[cfg(unix)]
pub(super) fn read_exact_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

/// Writes all bytes at a place of their own.
#[cfg(windows)]
pub(super) fn write_all_at(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_write(file, bytes, offset)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => (bytes, offset) = (&bytes[written..], offset + written as u64),
        }
    }
    Ok(())
}

/// Reads as many bytes as there is room for.
#[cfg(windows)]
pub(super) fn read_exact_at(file: &File, mut bytes: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, bytes, offset)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => (bytes, offset) = (&mut bytes[read..], offset + read as u64),
        }
    }
    Ok(())
}

/// Reads the whole file.
pub(super) fn read_to_end(mut file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    match File::open(path) {
        // A folder we may pass through but not read, as the one above can be, is its owner's to look after.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        folder => folder?.sync_all(),
    }
}

/// A folder cannot be opened as a file here, and needs no sync of its own.
#[cfg(windows)]
fn sync_folder(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// Locks the file, with some patience: who held it may be just ending, or starting a program, which for an instant holds
/// everything its parent held.
#[expect(clippy::disallowed_methods, reason = "opening a store is not a step of the protocol and may wait")]
fn take_hold(lock: &File) -> Result<(), TryLockError> {
    for _ in 0..HOLD_TRIES_MAX {
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(HOLD_PAUSE),
            outcome => return outcome,
        }
    }
    lock.try_lock()
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

/// How often the lock is tried before its holder counts as running, and the pause between: half a second together.
const HOLD_TRIES_MAX: u32 = 25;
const HOLD_PAUSE: Duration = Duration::from_millis(20);

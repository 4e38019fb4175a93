//! The store's folder: readable by its owner alone, and held by one process at a time.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, IoSlice, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::fault::Fault;
use super::files::{Disk, DiskFile};
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
}

impl Disk for Folder {
    fn path(&self) -> &Path {
        &self.path
    }

    fn has(&self, name: &str) -> io::Result<bool> {
        self.path.join(name).try_exists()
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.path.join(name);
        Ok(Arc::new(Opened { written: open_file(&path)?, read: open_file(&path)? }))
    }

    /// Makes the folder's own name in the one above last as well.
    fn sync(&self) -> io::Result<()> {
        let above = self.path.canonicalize().ok().and_then(|path| path.parent().map(Path::to_owned));
        [Some(self.path.clone()), above].into_iter().flatten().try_for_each(|path| sync_folder(&path))
    }
}

/// An open file.
#[derive(Debug)]
struct Opened {
    /// Runs of slices go through its cursor.
    written: File,
    /// Read at places given, which on some systems moves the cursor: hence a handle of its own.
    read: File,
}

impl DiskFile for Opened {
    fn bytes(&self) -> io::Result<u64> {
        self.read.metadata().map(|metadata| metadata.len())
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        read_exact_at(&self.read, bytes, offset)
    }

    fn write_at(&self, mut slices: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        if let [bytes] = slices {
            return write_all_at(&self.written, bytes, offset);
        }
        let mut file = &self.written;
        file.seek(SeekFrom::Start(offset))?;
        IoSlice::advance_slices(&mut slices, 0);
        while !slices.is_empty() {
            match file.write_vectored(slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut slices, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        self.written.set_len(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.written.sync_data()
    }

    #[cfg(target_os = "linux")]
    fn free(&self, offset: u64, bytes: u64) {
        use rustix::fs::{FallocateFlags, fallocate};
        // A file system that cannot keeps them: no harm done.
        let _ = fallocate(&self.written, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, bytes);
    }

    #[cfg(not(target_os = "linux"))]
    fn free(&self, _offset: u64, _bytes: u64) {}
}

/// Opens a file for reading and writing; a new one is its owner's alone.
fn open_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Writes all bytes at a place of their own, without moving any cursor another thread relies on.
#[cfg(unix)]
fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

/// Reads as many bytes as there is room for.
#[cfg(unix)]
fn read_exact_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

/// Writes all bytes at a place of their own.
#[cfg(windows)]
fn write_all_at(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
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
fn read_exact_at(file: &File, mut bytes: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, bytes, offset)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => (bytes, offset) = (&mut bytes[read..], offset + read as u64),
        }
    }
    Ok(())
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

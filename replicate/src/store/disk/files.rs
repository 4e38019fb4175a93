//! The seam to the operating system's files: a test takes its place, keeps what was not synced apart, and cuts the power.

use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

/// A folder whose files belong to one store.
pub trait Disk: Debug + Send + Sync {
    /// Returns where it is, for messages.
    fn path(&self) -> &Path;
    /// Returns whether a file was ever opened.
    fn has(&self, name: &str) -> io::Result<bool>;
    /// Opens a file, or creates an empty one.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Returns once the names of all files opened so far outlive a power cut.
    fn sync(&self) -> io::Result<()>;
}

/// A file of a store. One thread writes at a time, any number of them reads meanwhile.
pub trait DiskFile: Debug + Send + Sync {
    /// Returns its length in bytes.
    fn bytes(&self) -> io::Result<u64>;
    /// Reads as many bytes as there is room for; fails with `UnexpectedEof` if there are fewer.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all the slices one behind the other; after a failure some of it may be there.
    fn write_at(&self, slices: &mut [IoSlice<'_>], offset: u64) -> io::Result<()>;
    /// Cuts it, or extends it by zeros.
    fn set_bytes(&self, bytes: u64) -> io::Result<()>;
    /// Returns once everything written before outlives a power cut.
    fn sync(&self) -> io::Result<()>;
    /// Gives the space of bytes nobody needs back to the file system, if that can be done; they may read as zeros then.
    fn free(&self, offset: u64, bytes: u64);
}

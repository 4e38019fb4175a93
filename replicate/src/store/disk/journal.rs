//! The journal: the batches since the last checkpoint, one behind the other, which the database may forget when killed.
//!
//! ```text
//! 8  length of the record; little-endian
//! 4  CRC-32 of the record
//!    the record
//! ```

use std::io::{self, IoSlice};
use std::sync::Arc;

use super::fault::Fault;
use super::files::DiskFile;
use super::record;
use super::rows::Placed;

/// The journal's file. The end up to which it counts is known to whoever appends.
#[derive(Debug)]
pub(super) struct Journal(pub(super) Arc<dyn DiskFile>);

impl Journal {
    /// Writes a batch at `end`, and returns the new end. After a failure there may be part of it: see [`Self::cut`].
    pub(super) fn append(&self, end: u64, placed: &Placed) -> io::Result<u64> {
        let mut entry = vec![0; HEADER_BYTES];
        record::encode(placed, &mut entry);
        let (header, body) = entry.split_at_mut(HEADER_BYTES);
        header[..8].copy_from_slice(&(body.len() as u64).to_le_bytes());
        header[8..].copy_from_slice(&crc32fast::hash(body).to_le_bytes());
        self.0.write_at(&mut [IoSlice::new(&entry)], end)?;
        Ok(end + entry.len() as u64)
    }

    /// Returns the batches that follow the one numbered `sequence`: everything up to the first record that is
    /// incomplete, damaged, or out of turn, as a power cut may leave behind.
    pub(super) fn read(&self, sequence: u64) -> Result<Vec<Placed>, Fault> {
        let mut bytes = vec![0; usize::try_from(self.0.bytes()?).map_err(io::Error::other)?];
        self.0.read_at(&mut bytes, 0)?;
        let mut rest = &bytes[..];
        let mut batches: Vec<Placed> = Vec::new();
        while let Some(placed) = next(&mut rest) {
            match sequence + 1 + batches.len() as u64 {
                // Settled already, by a checkpoint that could not empty the journal.
                _ if placed.sequence <= sequence => {}
                turn if placed.sequence == turn => batches.push(placed),
                _ => break,
            }
        }
        Ok(batches)
    }

    /// Forgets everything from `end` on.
    pub(super) fn cut(&self, end: u64) -> io::Result<()> {
        self.0.set_bytes(end)
    }

    /// Makes everything written so far outlive a power cut.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

/// Takes one record off the front, if it is whole.
fn next(rest: &mut &[u8]) -> Option<Placed> {
    let (length, bytes) = rest.split_first_chunk()?;
    let (checksum, bytes) = bytes.split_first_chunk()?;
    let (body, after) = bytes.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    *rest = after;
    if crc32fast::hash(body) == u32::from_le_bytes(*checksum) { record::decode(body).ok() } else { None }
}

/// Bytes before a record.
const HEADER_BYTES: usize = 12;

//! A drive in memory, for tests: honest unless told otherwise.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use anyhow::Result;
use bytes::{Bytes, BytesMut};

use super::drive::{BlobId, DriveSink, DriveSource, Entry, Kind, Read, Version};

/// A drive whose blobs lie one behind the other in `bytes`. Counts what is asked of it.
#[derive(Debug, Default)]
pub(super) struct MemoryDrive {
    pub(super) entries: BTreeMap<String, Entry>,
    pub(super) blobs: BytesMut,
    pub(super) version: Version,
    pub(super) reads: usize,
    pub(super) listed: usize,
    pub(super) appended: u64,
    pub(super) wanted: usize,
    /// How many more reads succeed before the drive fails as a whole.
    pub(super) reads_left: Option<usize>,
    pub(super) begun: Option<usize>,
}

impl MemoryDrive {
    /// Puts a file, whatever its name.
    pub(super) fn file(&mut self, name: &str, content: &[u8]) {
        self.append(Bytes::copy_from_slice(content)).unwrap();
        let blob = self.finish().unwrap();
        self.put(name, &Kind::File { blob, executable: false }).unwrap();
    }

    /// Puts a link, wherever it leads.
    pub(super) fn link(&mut self, name: &str, to: &str) {
        self.put(name, &Kind::Symlink(to.to_owned())).unwrap();
    }

    /// Returns the names in order.
    pub(super) fn names(&self) -> Vec<&str> {
        self.entries.keys().map(String::as_str).collect()
    }

    /// Returns the content of a file.
    pub(super) fn content(&self, name: &str) -> &[u8] {
        let Kind::File { blob, .. } = &self.entries[name].kind else { panic!("{name} is a link") };
        &self.blobs[blob.byte_offset as usize..][..blob.byte_length as usize]
    }
}

impl DriveSource for MemoryDrive {
    fn version(&self) -> Version {
        self.version
    }

    fn entries(&mut self, after: Option<&str>, limit: usize) -> Result<Vec<Entry>> {
        self.listed += 1;
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let entries = self.entries.range::<str, _>((after, Bound::Unbounded));
        Ok(entries.take(limit.min(3)).map(|(_, entry)| entry.clone()).collect())
    }

    fn want(&mut self, blobs: &[BlobId]) -> Result<()> {
        self.wanted += blobs.len();
        Ok(())
    }

    fn held(&mut self, blobs: &[BlobId]) -> Result<Vec<u64>> {
        Ok(vec![0; blobs.len()])
    }

    fn expect(&mut self, _: &[BlobId]) {}

    fn read(&mut self, blob: &BlobId, take: &mut dyn FnMut(&Bytes) -> ControlFlow<()>) -> Result<Read> {
        let mut offset = 0;
        while offset < blob.byte_length {
            self.reads += 1;
            if let Some(left) = &mut self.reads_left {
                *left = left.checked_sub(1).ok_or_else(|| anyhow::anyhow!("the peer is gone"))?;
            }
            let start = (blob.byte_offset + offset) as usize;
            let chunk = (blob.byte_length - offset).min(5) as usize;
            let Some(bytes) = self.blobs.get(start..start + chunk) else { return Ok(Read::Damaged) };
            if take(&Bytes::copy_from_slice(bytes)).is_break() {
                return Ok(Read::Stopped);
            }
            offset += chunk as u64;
        }
        Ok(Read::Whole)
    }
}

impl DriveSink for MemoryDrive {
    fn append(&mut self, bytes: Bytes) -> Result<()> {
        self.begun.get_or_insert(self.blobs.len());
        self.appended += bytes.len() as u64;
        self.blobs.extend_from_slice(&bytes);
        Ok(())
    }

    fn finish(&mut self) -> Result<BlobId> {
        let start = self.begun.take().unwrap_or(self.blobs.len());
        let byte_length = (self.blobs.len() - start) as u64;
        Ok(BlobId { byte_offset: start as u64, byte_length, ..BlobId::default() })
    }

    fn abandon(&mut self) -> Result<()> {
        self.begun = None;
        Ok(())
    }

    fn put(&mut self, name: &str, kind: &Kind) -> Result<()> {
        self.version.length += 1;
        let entry = Entry { name: name.to_owned(), seq: self.version.length, kind: kind.clone() };
        self.entries.insert(name.to_owned(), entry);
        Ok(())
    }

    fn delete(&mut self, name: &str) -> Result<()> {
        self.version.length += 1;
        self.entries.remove(name);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    fn commit(&mut self) -> Result<()> {
        Ok(())
    }
}

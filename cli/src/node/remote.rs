//! A drive that somebody else writes: read by what is needed, verified, kept in the store.

use std::collections::BTreeSet;
use std::ops::{ControlFlow, Range};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use anypath_replicate::bee::{self, Need, Operation};
use anypath_replicate::core::Core;
use anypath_replicate::corestore::blobs_manifest;
use anypath_replicate::drive::{self, BlobError, BlobId, BlobReader, DriveError, Files};
use anypath_replicate::replicator::{CoreId, Replicator};
use anypath_wire::PublicKey;
use bytes::Bytes;

use super::{Reach, Waiter};
use crate::Report;
use crate::folder::drive::{DriveSource, Entry, Kind, Read, Version};

/// A drive known by its key.
pub(crate) struct RemoteDrive {
    waiter: Waiter,
    db: CoreId,
    blobs: Option<CoreId>,
    version: Version,
    walk: Option<Walk>,
    unreadable: BTreeSet<u64>,
}

/// A walk over the entries, and the name it stands behind.
struct Walk {
    files: Files,
    after: Option<String>,
}

impl RemoteDrive {
    /// Opens the drive and asks every peer for it; nothing is known yet.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) fn open(waiter: Waiter, key: PublicKey) -> Result<Self> {
        let db = waiter.call(move |replicator| -> Result<CoreId> {
            let db = replicator.open(&key)?;
            replicator.want(db, 0..1)?;
            Ok(db)
        })??;
        let (version, unreadable) = (Version::default(), BTreeSet::new());
        Ok(Self { waiter, db, blobs: None, version, walk: None, unreadable })
    }

    /// Wraps a drive of our own, all of which is in the store.
    ///
    /// # Errors
    /// If the node has stopped.
    pub(super) fn own(waiter: Waiter, db: CoreId, blobs: CoreId) -> Result<Self> {
        let version = Version::default();
        let unreadable = BTreeSet::new();
        let mut drive = Self { waiter, db, blobs: Some(blobs), version, walk: None, unreadable };
        drive.renew()?;
        Ok(drive)
    }

    /// Moves on to the version that is in the store.
    ///
    /// # Errors
    /// If the node has stopped.
    pub(super) fn renew(&mut self) -> Result<()> {
        let db = self.db;
        let version = self.waiter.read(move |replicator| State::of(replicator, db).version)?;
        self.move_on(version).map(drop)
    }

    /// Returns the way to the node.
    pub(super) fn waiter(&self) -> &Waiter {
        &self.waiter
    }

    /// Moves on to the newest version that a connected peer has, waiting for one to come.
    ///
    /// # Errors
    /// If nobody has the drive, the person interrupted, or it is no drive.
    pub(crate) fn latest(&mut self, reach: &Reach, vias: usize) -> Result<Version> {
        let db = self.db;
        let mut first = None;
        self.waiter.refresh();
        loop {
            let state = self.waiter.read(move |replicator| State::of(replicator, db))?;
            if state.current {
                let since: Instant = *first.get_or_insert_with(Instant::now);
                let all = state.synced + reach.unreachable() >= vias;
                if all || since.elapsed() >= OTHERS_WAIT_MAX {
                    return self.move_on(state.version);
                }
            }
            self.waiter.pause()?;
        }
    }

    /// Waits, for as long as it takes, until a version other than this one is there.
    ///
    /// # Errors
    /// If the person interrupted or the node stopped.
    pub(crate) fn next_version(&mut self) -> Result<Version> {
        let (db, known) = (self.db, self.version);
        loop {
            let state = self.waiter.read(move |replicator| State::of(replicator, db))?;
            if state.version != known && state.version.length > 0 {
                return self.move_on(state.version);
            }
            self.waiter.pause_patiently()?;
        }
    }

    /// Asks for everything the drive has, now and later, and tells how much of it is here.
    ///
    /// # Errors
    /// If the node has stopped or the key is not that of a drive.
    pub(crate) fn keep_whole(&mut self, report: &Report) -> Result<()> {
        let (db, blobs) = (self.db, self.blobs);
        let state = self.waiter.read(move |replicator| State::of(replicator, db))?;
        if state.version.length == 0 || state.version == self.version {
            return Ok(());
        }
        self.move_on(state.version)?;
        let contents = self.contents()?;
        if blobs.is_none() {
            self.waiter.call(move |replicator| {
                [db, contents].into_iter().try_for_each(|core| replicator.want(core, 0..u64::MAX))
            })??;
        }
        let (held, total) = self.waiter.read(move |replicator| {
            let core = replicator.core(contents);
            (core.contiguous_length(), core.length())
        })?;
        report.progress(held, total, 0);
        Ok(())
    }

    /// Returns how many files and links the version has, their bytes, and where in the blobs core the last one ends.
    ///
    /// # Errors
    /// If the entries cannot be had.
    pub(crate) fn totals(&mut self) -> Result<(u64, u64, u64)> {
        let (mut files, mut bytes, mut end, mut last) = (0, 0_u64, 0, None);
        loop {
            let page = self.entries(last.as_deref(), TOTALS_PAGE)?;
            let Some(entry) = page.last() else { return Ok((files, bytes, end)) };
            last = Some(entry.name.clone());
            files += page.len() as u64;
            for entry in &page {
                bytes = bytes.saturating_add(entry.kind.bytes());
                if let Kind::File { blob, .. } = &entry.kind {
                    end = end.max(blob.blocks().end);
                }
            }
        }
    }

    /// Returns whether all contents are here, and as many blocks as the version needs.
    ///
    /// # Errors
    /// If the node has stopped.
    pub(crate) fn holds_contents(&self, end: u64) -> Result<bool> {
        let Some(blobs) = self.blobs else { return Ok(false) };
        self.waiter.read(move |replicator| {
            let core = replicator.core(blobs);
            core.length() >= end && core.contiguous_length() == core.length()
        })
    }

    /// Returns the names of the entries that could not be read, as far as these can be, and forgets them.
    ///
    /// # Errors
    /// If the node has stopped.
    pub(crate) fn take_unreadable(&mut self) -> Result<Vec<String>> {
        let (db, blocks) = (self.db, std::mem::take(&mut self.unreadable));
        self.waiter.read(move |replicator| blocks.iter().map(|seq| raw_name(replicator.core(db), *seq)).collect())
    }

    /// Returns whether the drive's history was rewritten since this version was taken.
    ///
    /// # Errors
    /// If the node has stopped.
    pub(crate) fn is_rewritten(&self) -> Result<bool> {
        let db = self.db;
        let fork = self.waiter.read(move |replicator| replicator.core(db).fork())?;
        Ok(fork != self.version.fork && self.version.length > 0)
    }

    fn move_on(&mut self, version: Version) -> Result<Version> {
        self.version = version;
        self.walk = None;
        if self.blobs.is_none() {
            self.blobs = Some(self.open_blobs()?);
        }
        Ok(version)
    }

    fn open_blobs(&mut self) -> Result<CoreId> {
        let db = self.db;
        let named = loop {
            match self.waiter.read(move |replicator| drive::content_key(replicator.core(db)))?? {
                Need::Ready(named) => break named,
                Need::Missing(blocks) => self.fetch(db, blocks)?,
            }
        };
        self.waiter.call(move |replicator| -> Result<CoreId> {
            let core = replicator.core(db);
            let derived = core.manifest().map(|manifest| blobs_manifest(core.key(), manifest).key());
            let key = named.or(derived).ok_or_else(|| anyhow!("this key belongs to a core that is not a drive"))?;
            Ok(replicator.open(&key)?)
        })?
    }

    fn contents(&self) -> Result<CoreId> {
        self.blobs.context("the drive's version is not known yet")
    }

    /// Asks for blocks and waits for a moment.
    fn fetch(&mut self, core: CoreId, blocks: Vec<u64>) -> Result<()> {
        let wanted = runs(blocks);
        self.waiter.call(move |replicator| wanted.into_iter().try_for_each(|run| replicator.want(core, run)))??;
        // What is missing of a version that no longer exists will never come.
        ensure!(!self.is_rewritten()?, "the drive's owner rewrote its history meanwhile; run the same command again");
        self.waiter.pause()
    }
}

impl DriveSource for RemoteDrive {
    fn version(&self) -> Version {
        self.version
    }

    fn entries(&mut self, after: Option<&str>, limit: usize) -> Result<Vec<Entry>> {
        let (db, length) = (self.db, self.version.length);
        let mut walk = match self.walk.take().filter(|walk| walk.after.as_deref() == after) {
            Some(walk) => walk,
            None => Walk { files: Files::new(length, "/")?, after: None },
        };
        let mut entries: Vec<Entry> = Vec::new();
        while entries.len() < limit {
            let (back, found) = self.waiter.read(move |replicator| {
                let found = take(&mut walk.files, replicator, db, limit);
                (walk, found)
            })?;
            walk = back;
            let (files, missing, unreadable) = found?;
            self.unreadable.extend(unreadable);
            let end = files.is_empty() && missing.is_empty();
            let skipped = |entry: &Entry| after.is_none_or(|after| entry.name.as_str() > after);
            entries.extend(files.into_iter().map(entry).filter(skipped));
            if end {
                break;
            }
            if !missing.is_empty() && entries.len() < limit {
                self.fetch(db, missing)?;
            }
        }
        walk.after = entries.last().map(|entry| entry.name.clone()).or(after.map(str::to_owned));
        self.walk = Some(walk);
        Ok(entries)
    }

    fn held(&mut self, blob: &BlobId) -> Result<u64> {
        let (blobs, blob) = (self.contents()?, *blob);
        self.waiter.read(move |replicator| held(replicator.core(blobs), &blob))
    }

    fn want(&mut self, wanted: &[BlobId]) -> Result<()> {
        let blobs = self.contents()?;
        let ranges: Vec<_> = wanted.iter().map(BlobId::blocks).collect();
        self.waiter.call(move |replicator| ranges.into_iter().try_for_each(|run| replicator.want(blobs, run)))??;
        Ok(())
    }

    fn read(&mut self, blob: &BlobId, take: &mut dyn FnMut(&Bytes) -> ControlFlow<()>) -> Result<Read> {
        let blobs = self.contents()?;
        let mut reader = BlobReader::new(*blob);
        loop {
            let (back, outcome) = self.waiter.read(move |replicator| {
                let outcome = fill(&mut reader, replicator, blobs);
                (reader, outcome)
            })?;
            reader = back;
            match outcome {
                Ok(Filled::Blocks(blocks)) => {
                    if blocks.iter().try_for_each(&mut *take).is_break() {
                        return Ok(Read::Stopped);
                    }
                }
                Ok(Filled::Missing(blocks)) => self.fetch(blobs, blocks)?,
                Ok(Filled::End) => return Ok(Read::Whole),
                Ok(Filled::Never) => return Ok(Read::Damaged),
                Err(BlobError::Blocks(error)) => return Err(anyhow!(error)),
                Err(error) => {
                    tracing::debug!(%error, "a file of the drive cannot be read");
                    return Ok(Read::Damaged);
                }
            }
        }
    }
}

/// How things stand with a drive's core.
struct State {
    version: Version,
    /// Peers that said what they have.
    synced: usize,
    /// Whether we have the newest head that any of them has.
    current: bool,
}

impl State {
    fn of(replicator: &Replicator, db: CoreId) -> Self {
        let core = replicator.core(db);
        let version = Version { length: core.length(), fork: core.fork() };
        let remotes: Vec<_> = replicator.remotes(db).filter(|remote| remote.synced && !remote.paused).collect();
        let ours = (version.fork, version.length);
        let current = remotes.iter().all(|remote| (remote.fork, remote.length) <= ours);
        Self { version, synced: remotes.len(), current: current && !remotes.is_empty() && version.length > 0 }
    }
}

enum Filled {
    Blocks(Vec<Bytes>),
    Missing(Vec<u64>),
    End,
    /// Blocks that no peer has or will have.
    Never,
}

/// Reads up to [`AHEAD_BYTES`] that are held.
fn fill(reader: &mut BlobReader, replicator: &Replicator, blobs: CoreId) -> Result<Filled, BlobError> {
    let core = replicator.core(blobs);
    let (mut blocks, mut bytes) = (Vec::new(), 0);
    while bytes < AHEAD_BYTES {
        match reader.next(core)? {
            Need::Ready(Some(block)) => {
                bytes += block.len();
                blocks.push(block);
            }
            Need::Ready(None) if blocks.is_empty() => return Ok(Filled::End),
            Need::Missing(missing) if blocks.is_empty() => return Ok(lacking(missing, replicator, blobs)),
            Need::Ready(None) | Need::Missing(_) => break,
        }
    }
    Ok(Filled::Blocks(blocks))
}

/// Blocks beyond a length that every peer agrees on will never come.
fn lacking(missing: Vec<u64>, replicator: &Replicator, blobs: CoreId) -> Filled {
    let core = replicator.core(blobs);
    let beyond = missing.first().is_some_and(|first| *first >= core.length());
    let mut synced = replicator.remotes(blobs).filter(|remote| remote.synced).peekable();
    let settled = core.writable() || synced.peek().is_some() && synced.all(|remote| remote.length <= core.length());
    if beyond && settled { Filled::Never } else { Filled::Missing(missing) }
}

/// Entries, the blocks that are missing for the next one, and those of entries that cannot be read.
type Taken = (Vec<drive::File>, Vec<u64>, Vec<u64>);

/// Takes up to `limit` entries that are held; what is missing is named when there is nothing more to take.
fn take(files: &mut Files, replicator: &Replicator, db: CoreId, limit: usize) -> Result<Taken, DriveError> {
    let (mut taken, mut unreadable) = (Vec::new(), Vec::new());
    while taken.len() < limit {
        match files.next(replicator.core(db)) {
            Ok(Need::Ready(Some(file))) => taken.push(file),
            Ok(Need::Ready(None)) => break,
            Ok(Need::Missing(blocks)) => return Ok((taken, blocks, unreadable)),
            Err(DriveError::Name { seq } | DriveError::Entry { seq }) => unreadable.push(seq),
            Err(error) => return Err(error),
        }
    }
    Ok((taken, Vec::new(), unreadable))
}

/// Returns the name of an entry that is no sound one, or else which block it is in.
fn raw_name(core: &Core, seq: u64) -> String {
    match bee::operation(core, seq) {
        Ok(Need::Ready(Operation { entry, .. })) => {
            let name = entry.key.strip_prefix(ENTRY_PREFIX).unwrap_or(&entry.key);
            String::from_utf8_lossy(name).into_owned()
        }
        _ => format!("(block {seq})"),
    }
}

/// Returns about how many of a blob's bytes are here; of a very large one, as far as it is worth counting.
fn held(core: &Core, blob: &BlobId) -> u64 {
    let blocks = blob.blocks();
    if blob.block_map || blob.block_length == 0 {
        return 0;
    }
    if blocks.end <= core.contiguous_length() {
        return blob.byte_length;
    }
    let end = blocks.end.min(core.length()).min(blocks.start.saturating_add(HELD_BLOCKS_MAX));
    let held = (blocks.start..end).filter(|block| core.has(*block)).count() as u128;
    u64::try_from(u128::from(blob.byte_length) * held / u128::from(blob.block_length)).unwrap_or(u64::MAX)
}

fn entry(file: drive::File) -> Entry {
    let drive::File { path, seq, entry } = file;
    let kind = match entry.linkname {
        Some(target) => Kind::Symlink(target),
        None => Kind::File { blob: entry.blob.unwrap_or_default(), executable: entry.executable },
    };
    Entry { name: path, seq, kind }
}

/// Returns the runs that ascending or descending block indices make up.
fn runs(blocks: Vec<u64>) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for block in blocks {
        match runs.last_mut() {
            Some(run) if run.end == block => run.end += 1,
            _ => runs.push(block..block + 1),
        }
    }
    runs
}

/// What an entry's key in the bee starts with (npm hyperdrive 13.3, `keyEncoding`).
const ENTRY_PREFIX: &[u8] = b"files\0";
/// How much of a file is read in one go, in bytes.
const AHEAD_BYTES: usize = 1 << 20;
/// How long other peers are waited for once one has shown its newest version.
const OTHERS_WAIT_MAX: Duration = Duration::from_secs(2);
/// How many entries are read at a time to add them up.
const TOTALS_PAGE: usize = 1024;
/// How many blocks of one file are looked for when counting what is here: 4 GiB of usual ones.
const HELD_BLOCKS_MAX: u64 = 1 << 16;

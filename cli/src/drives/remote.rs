//! A drive that somebody else writes: read by what is needed, verified, kept in the store.

use std::iter;
use std::ops::{ControlFlow, Range};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use anypath_replicate::bee::{BeeError, Need};
use anypath_replicate::corestore::blobs_manifest;
use anypath_replicate::drive::{self, BlobError, BlobId, BlobReader, DriveError, Files};
use anypath_replicate::replicator::CoreId;
use anypath_wire::{EncryptionKey, PublicKey};
use bytes::Bytes;
use thiserror::Error;

use super::ahead::Ahead;
use super::reading::{Cores, Filled, State, check_some, fill, held, held_blindly, held_of_all, read_ahead, take};
use super::refusal::{decrypting, encrypted, no_drive, not_kept_blindly};
use super::{Reach, Waiter};
use crate::conflict::Frozen;
use crate::folder::drive::{DriveSource, Entry, Kind, Read, Version};

/// A drive known by its key.
pub(crate) struct RemoteDrive {
    waiter: Waiter,
    db: CoreId,
    blobs: Option<CoreId>,
    encryption: Option<EncryptionKey>,
    reading: Reading,
    /// Whether it turned out to be encrypted with a key that is not known.
    sealed: bool,
    version: Version,
    walk: Option<Walk>,
    /// What was asked for last, by its first block.
    asked: Option<(CoreId, u64)>,
    ahead: Ahead,
}

/// Whether an encrypted drive is of use to somebody who does not know its encryption key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// No, its entries are needed.
    Needed,
    /// Yes, it is kept for others.
    IfPossible,
}

/// A walk over the entries, and the name it stands behind.
struct Walk {
    files: Files,
    after: Option<String>,
}

/// The drive's owner took back the version that is being read; there is another one to go on with.
#[derive(Debug, Error)]
#[error("the owner of the drive rewrote it meanwhile; run the same command again")]
pub(crate) struct VersionGone;

/// How much of a drive is here.
pub(crate) struct Kept {
    /// Which version that is.
    pub version: Version,
    /// Bytes of contents that are here, about.
    pub held: u64,
    /// Bytes of contents there are.
    pub total: u64,
    /// Whether entries are here to the last.
    pub entries: bool,
}

/// What a version holds.
pub(crate) struct Counted {
    /// Files and links, if they can be read.
    pub files: Option<u64>,
    /// Their bytes.
    pub bytes: u64,
    /// Whether all of these bytes are here.
    pub whole: bool,
}

impl RemoteDrive {
    /// Opens the drive and asks every peer for it; nothing is known yet.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) fn open(
        waiter: Waiter,
        key: PublicKey,
        encryption: Option<EncryptionKey>,
        reading: Reading,
    ) -> Result<Self> {
        let db = waiter.call(move |replicator| -> Result<CoreId> {
            let db = replicator.open(&key)?;
            replicator.want(db, 0..1)?;
            Ok(db)
        })??;
        Ok(Self { reading, ..Self::new(waiter, db, None, encryption) })
    }

    /// Wraps a drive of our own, all of which is in the store.
    ///
    /// # Errors
    /// If the node has stopped.
    pub(super) fn own(waiter: Waiter, db: CoreId, blobs: CoreId, encryption: Option<EncryptionKey>) -> Result<Self> {
        let mut drive = Self::new(waiter, db, Some(blobs), encryption);
        drive.renew()?;
        Ok(drive)
    }

    fn new(waiter: Waiter, db: CoreId, blobs: Option<CoreId>, encryption: Option<EncryptionKey>) -> Self {
        let (reading, version, ahead) = (Reading::Needed, Version::default(), Ahead::default());
        Self { waiter, db, blobs, encryption, reading, sealed: false, version, walk: None, asked: None, ahead }
    }

    /// Moves on to the version that is in the store.
    ///
    /// # Errors
    /// If the node has stopped.
    pub(super) fn renew(&mut self) -> Result<()> {
        let version = self.state()?.version;
        self.move_on(version)
    }

    /// Returns the way to the node.
    pub(super) fn waiter(&self) -> &Waiter {
        &self.waiter
    }

    /// Never gives up waiting for peers from now on.
    pub(crate) fn have_all_patience(&mut self) {
        self.waiter.have_all_patience();
    }

    /// Moves on to the newest version that a connected peer has, waiting for one to come, and a little longer for those
    /// of the `vias` that have not answered.
    ///
    /// # Errors
    /// If nobody has the drive, the person interrupted, or it is no drive.
    pub(crate) fn latest(&mut self, reach: &Reach, vias: usize) -> Result<()> {
        let mut first = None;
        loop {
            let state = self.state()?;
            if state.current {
                let since: Instant = *first.get_or_insert_with(Instant::now);
                let all = state.synced + reach.answered_without() >= vias;
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
    pub(crate) fn next_version(&mut self) -> Result<()> {
        loop {
            let state = self.state()?;
            if state.version != self.version && state.version.length > 0 {
                return self.move_on(state.version);
            }
            self.waiter.pause_patiently()?;
        }
    }

    /// Asks for everything the drive has, now and later, and returns how much of it is here; `None` as long as nothing
    /// is known of it.
    ///
    /// # Errors
    /// If the node has stopped or the key is not that of a drive.
    pub(crate) fn keep_whole(&mut self) -> Result<Option<Kept>> {
        let (version, db, fresh) = (self.state()?.version, self.db, self.blobs.is_none());
        if version.length == 0 || fresh && !self.waiter.read(move |replicator| replicator.core(db).has(0))? {
            return Ok(None);
        }
        if version != self.version {
            self.move_on(version)?;
        }
        let blobs = self.contents()?;
        if fresh {
            self.waiter.call(move |replicator| {
                [db, blobs].into_iter().try_for_each(|core| replicator.want(core, 0..u64::MAX))
            })??;
        }
        self.waiter.read(move |replicator| {
            let (held, total) = held_of_all(replicator, blobs);
            let entries = replicator.core(db).contiguous_length() >= version.length;
            Some(Kept { version, held, total, entries })
        })
    }

    /// Counts the version, whose entries are here.
    ///
    /// # Errors
    /// If the node has stopped or the drive is damaged.
    pub(crate) fn count(&mut self) -> Result<Counted> {
        if self.sealed {
            let cores = Cores { db: self.db, blobs: self.contents()? };
            let (bytes, whole) = self.waiter.call(move |replicator| held_blindly(replicator, cores))?;
            return Ok(Counted { files: None, bytes, whole });
        }
        let (blobs, mut last, mut end) = (self.contents()?, None::<String>, 0);
        let (mut files, mut bytes) = (0, 0u64);
        loop {
            let entries = self.entries(last.as_deref(), COUNTED_AT_ONCE)?;
            if entries.is_empty() {
                break;
            }
            for entry in entries {
                files += 1;
                bytes = bytes.saturating_add(entry.kind.bytes());
                match entry.kind {
                    Kind::File { blob, .. } => end = end.max(blob.blocks().end),
                    Kind::Symlink(_) => {}
                    Kind::Unreadable => continue,
                }
                last = Some(entry.name);
            }
        }
        let held = self.waiter.call(move |replicator| replicator.core(blobs).contiguous_length())?;
        Ok(Counted { files: Some(files), bytes, whole: held >= end })
    }

    /// Hashes every block that is kept against the drive's tree, and forgets those that do not hold: they are fetched
    /// again when they are needed. Returns how many.
    ///
    /// # Errors
    /// If the node has stopped.
    pub(crate) fn recheck(&mut self) -> Result<u64> {
        let mut spoilt = 0;
        for core in [self.db, self.contents()?] {
            let mut at = 0;
            while let Some(checked) = self.waiter.read(move |replicator| check_some(replicator, core, at))?? {
                at = checked.end;
                spoilt += checked.spoilt.len() as u64;
                if !checked.spoilt.is_empty() {
                    self.waiter.call(move |replicator| {
                        runs(checked.spoilt).into_iter().for_each(|run| replicator.clear(core, run));
                    })?;
                }
            }
        }
        Ok(spoilt)
    }

    /// Fails if the drive is frozen.
    ///
    /// # Errors
    /// [`Frozen`]; or if the node has stopped.
    pub(crate) fn check(&self) -> Result<()> {
        self.state().map(drop)
    }

    fn state(&self) -> Result<State> {
        let (db, blobs) = (self.db, self.blobs);
        let state = self.waiter.read(move |replicator| {
            Frozen::check(replicator, iter::once(db).chain(blobs)).map(|()| State::of(replicator, db))
        })?;
        Ok(state?)
    }

    fn move_on(&mut self, version: Version) -> Result<()> {
        self.version = version;
        (self.walk, self.asked) = (None, None);
        self.ahead.expect(&[]);
        if self.blobs.is_none() {
            self.blobs = Some(self.open_blobs()?);
        }
        Ok(())
    }

    fn open_blobs(&mut self) -> Result<CoreId> {
        let db = self.db;
        let named = loop {
            let key = self.encryption.clone();
            let (named, encrypted) = self.waiter.read(move |replicator| {
                let core = replicator.core(db);
                let unknown = key.is_none() && drive::seems_encrypted(core).unwrap_or(false);
                (drive::content_key(&core.plaintext(key.as_ref())), unknown)
            })?;
            match named {
                Ok(Need::Ready(named)) => break named,
                Ok(Need::Missing(blocks)) => self.fetch(db, blocks)?,
                Err(DriveError::Bee(BeeError::Header)) if encrypted => break self.seal()?,
                Err(error) => return Err(no_drive(error)),
            }
        };
        let sealed = self.sealed;
        self.waiter.call(move |replicator| -> Result<CoreId> {
            let core = replicator.core(db);
            if sealed && core.is_compat() {
                return Err(not_kept_blindly());
            }
            let derived = core.manifest().map(|manifest| blobs_manifest(core.key(), manifest).key());
            let key = named.or(derived).ok_or_else(|| no_drive(DriveError::ContentKey))?;
            Ok(replicator.open(&key)?)
        })?
    }

    /// Goes on without reading, if that is of use; the header that might name the blobs core is not read either.
    fn seal(&mut self) -> Result<Option<PublicKey>> {
        self.sealed = true;
        if self.reading == Reading::IfPossible { Ok(None) } else { Err(encrypted()) }
    }

    fn contents(&self) -> Result<CoreId> {
        self.blobs.context("the drive's version is not known yet")
    }

    /// Asks for blocks, unless that was done, and waits for a moment.
    fn fetch(&mut self, core: CoreId, blocks: Vec<u64>) -> Result<()> {
        let ask = blocks.first().map(|first| (core, *first));
        if self.asked != ask {
            let wanted = runs(blocks);
            self.waiter
                .call(move |replicator| wanted.into_iter().try_for_each(|run| replicator.want_now(core, run)))??;
            self.asked = ask;
        }
        self.waiter.pause()?;
        let Version { fork, length } = self.state()?.version;
        if fork == self.version.fork && length >= self.version.length { Ok(()) } else { Err(VersionGone.into()) }
    }
}

impl DriveSource for RemoteDrive {
    fn version(&self) -> Version {
        self.version
    }

    fn entries(&mut self, after: Option<&str>, limit: usize) -> Result<Vec<Entry>> {
        let (db, length) = (self.db, self.version.length);
        let mut walk = match (self.walk.take(), after) {
            (Some(walk), after) if walk.after.as_deref() == after => walk,
            (_, Some(after)) => Walk { files: Files::after(length, after), after: None },
            (_, None) => Walk { files: Files::new(length, "/")?, after: None },
        };
        let mut entries: Vec<Entry> = Vec::new();
        while entries.is_empty() {
            let key = self.encryption.clone();
            let (back, found) = self.waiter.read(move |replicator| {
                let found = take(&mut walk.files, replicator, db, key.as_ref(), limit);
                (walk, found)
            })?;
            walk = back;
            let (found, missing) = found.map_err(no_drive)?;
            entries = found;
            if entries.is_empty() && missing.is_empty() {
                break;
            }
            if entries.is_empty() {
                self.fetch(db, missing)?;
            }
        }
        let named = entries.iter().rfind(|entry| entry.kind != Kind::Unreadable);
        walk.after = named.map(|entry| entry.name.clone()).or(after.map(str::to_owned));
        self.walk = Some(walk);
        Ok(entries)
    }

    fn want(&mut self, wanted: &[BlobId]) -> Result<()> {
        let blobs = self.contents()?;
        let ranges: Vec<_> = wanted.iter().map(BlobId::blocks).collect();
        self.asked = None;
        self.waiter.call(move |replicator| {
            // What an earlier version wanted and this one does not is no longer of use.
            replicator.want_nothing(blobs);
            ranges.into_iter().try_for_each(|run| replicator.want(blobs, run))
        })??;
        Ok(())
    }

    fn held(&mut self, wanted: &[BlobId]) -> Result<Vec<u64>> {
        let (blobs, wanted) = (self.contents()?, wanted.to_vec());
        self.waiter.read(move |replicator| wanted.iter().map(|blob| held(replicator, blobs, blob)).collect())
    }

    fn expect(&mut self, next: &[BlobId]) {
        self.ahead.expect(next);
    }

    fn read(&mut self, blob: &BlobId, take: &mut dyn FnMut(&Bytes) -> ControlFlow<()>) -> Result<Read> {
        let mut hand_on = |blocks: &[Bytes]| blocks.iter().try_for_each(&mut *take).is_continue();
        if let Some(blocks) = self.ahead.take(blob) {
            return Ok(if hand_on(&blocks) { Read::Whole } else { Read::Stopped });
        }
        let cores = Cores { db: self.db, blobs: self.contents()? };
        let mut reader = BlobReader::new(*blob);
        loop {
            let (key, wanted) = (self.encryption.clone(), self.ahead.wanted());
            let (back, outcome, ahead) = self.waiter.read(move |replicator| {
                let outcome = fill(&mut reader, replicator, cores, key.as_ref());
                let last = matches!(outcome, Ok(Filled::Rest(_)));
                let ahead = if last { read_ahead(&wanted, replicator, cores, key.as_ref()) } else { Vec::new() };
                (reader, outcome, ahead)
            })?;
            reader = back;
            self.ahead.keep(ahead);
            match outcome {
                Ok(Filled::Blocks(blocks)) if hand_on(&blocks) => {}
                Ok(Filled::Rest(blocks)) if hand_on(&blocks) => return Ok(Read::Whole),
                Ok(Filled::Blocks(_) | Filled::Rest(_)) => return Ok(Read::Stopped),
                Ok(Filled::Staged) => self.waiter.call(|_| ())?,
                Ok(Filled::Missing(blocks)) => self.fetch(cores.blobs, blocks)?,
                Ok(Filled::Never) => return Ok(Read::Damaged),
                Err(BlobError::Blocks(error)) if decrypting(&*error).is_none() => return Err(anyhow!(error)),
                Err(error) => {
                    tracing::debug!(%error, "a file of the drive cannot be read");
                    return Ok(Read::Damaged);
                }
            }
        }
    }
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

/// How long other peers are waited for once one has shown its newest version.
const OTHERS_WAIT_MAX: Duration = Duration::from_secs(2);
/// How many entries are looked at in one go to count them.
const COUNTED_AT_ONCE: usize = 512;

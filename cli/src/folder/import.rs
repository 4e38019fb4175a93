//! Follows a folder into a drive: puts what is new or changed, deletes what is gone, reads nothing that did not change.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};
use bytes::Bytes;

use super::chunks::{CHUNK_BYTES, Chunks};
use super::drive::{BlobId, DriveSink, Entry, Kind};
use super::entries::Entries;
use super::fingerprint::ns;
use super::same::same;
use super::scan::is_executable;
use super::scan_ahead::ScanAhead;
use super::{Cause, Fingerprint, Found, FoundKind, Problem, Scan, Seen};
use crate::{Interrupt, Report};

/// What became of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Imported {
    /// Files and links that the drive now has of it.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Entries put because they were new or different.
    pub put: u64,
    /// Entries deleted because they were gone.
    pub deleted: u64,
    /// Names that were left out, each reported.
    pub problems: u64,
}

/// Brings the drive to what the folder holds, and commits. `store` is a folder not to descend into.
///
/// Interrupted, it commits and remembers what it has, and the next call goes on from there.
///
/// # Errors
/// If the folder itself cannot be listed, the drive fails, or [`crate::Interrupted`]. What concerns one name is
/// reported and counted instead.
pub fn import(
    folder: &Path,
    store: &Path,
    drive: &mut dyn DriveSink,
    seen: &mut Seen,
    report: &Report,
    interrupt: &Interrupt,
) -> Result<Imported> {
    let scan = || {
        let scan = Scan::new(folder, store).with_context(|| format!("cannot list the folder {}", folder.display()))?;
        anyhow::Ok(ScanAhead::start(scan)?)
    };
    let (chunks, counted) = (Chunks::default(), Imported::default());
    let mut import = Import { folder, drive, seen, report, interrupt, chunks, counted, uncommitted: 0 };
    if !import.is_unchanged(scan)? {
        let result = import.compare(scan()?).and_then(|work| import.bring(work));
        let saved = import.commit(result.is_ok());
        result.and(saved)?;
    }
    report.end_round();
    Ok(import.counted)
}

struct Import<'a> {
    folder: &'a Path,
    drive: &'a mut dyn DriveSink,
    seen: &'a mut Seen,
    report: &'a Report,
    interrupt: &'a Interrupt,
    chunks: Chunks,
    counted: Imported,
    uncommitted: u64,
}

/// A file that must be read, and what the drive has under its name.
struct Work {
    name: String,
    size: u64,
    old: Option<Kind>,
}

impl Import<'_> {
    /// Counts the folder if it holds what was seen and nothing else, and the drive too: that takes no look at the drive.
    fn is_unchanged(&mut self, scan: impl FnOnce() -> Result<ScanAhead>) -> Result<bool> {
        let Some(all) = self.seen.all(self.drive.version()) else { return Ok(false) };
        let mut scan = scan()?;
        let mut counted = Imported::default();
        for seen in all {
            self.interrupt.check()?;
            let Some((name, fingerprint)) = seen else { return Ok(false) };
            let same = |found: &Found| {
                let is_same = matches!(&found.kind, FoundKind::File { fingerprint: now, .. } if *now == fingerprint);
                found.name == name && is_same
            };
            if !scan.next().as_ref().is_some_and(same) {
                return Ok(false);
            }
            counted.files += 1;
            counted.bytes += fingerprint.size;
        }
        let unchanged = scan.next().is_none();
        if unchanged {
            self.counted = counted;
        }
        Ok(unchanged)
    }

    /// Walks folder and drive side by side. Links and deletions are done on the way; files to be read are returned.
    fn compare(&mut self, scan: ScanAhead) -> Result<Vec<Work>> {
        let mut entries = Entries::default();
        let mut unknown = None;
        let mut work = Vec::new();
        for found in scan {
            self.interrupt.check()?;
            self.delete_until(&mut entries, Some(&found.name), unknown.as_deref())?;
            let old = match found.kind {
                FoundKind::Left { unknown: false, .. } => None,
                _ => entries.next_if(self.drive, |name| name == found.name)?,
            };
            if matches!(found.kind, FoundKind::Left { unknown: true, .. }) {
                unknown = Some(found.name.clone());
            }
            work.extend(self.judge(found, old)?);
        }
        self.delete_until(&mut entries, None, unknown.as_deref())?;
        Ok(work)
    }

    fn judge(&mut self, found: Found, old: Option<Entry>) -> Result<Option<Work>> {
        let old = old.map(|entry| entry.kind);
        match &found.kind {
            FoundKind::File { fingerprint, executable } => {
                if self.is_known(&found.name, fingerprint, *executable, old.as_ref()) {
                    self.count(fingerprint.size);
                } else {
                    return Ok(Some(Work { name: found.name, size: fingerprint.size, old }));
                }
            }
            FoundKind::Symlink(target) => {
                let kind = Kind::Symlink(target.clone());
                if old.as_ref() != Some(&kind) {
                    self.put(&found.name, &kind)?;
                }
                self.count(0);
            }
            FoundKind::Left { .. } => {
                old.iter().for_each(|kind| self.count(kind.bytes()));
                found.into_problem().into_iter().for_each(|problem| self.problem(&problem));
            }
        }
        Ok(None)
    }

    fn is_known(&mut self, name: &str, fingerprint: &Fingerprint, executable: bool, old: Option<&Kind>) -> bool {
        let held = matches!(old, Some(Kind::File { blob, executable: was })
            if *was == executable && blob.byte_length == fingerprint.size);
        held && self.seen.holds(name, fingerprint)
    }

    /// Deletes the entries before `until` (all if there is none), save those under a name that nothing is known about.
    fn delete_until(&mut self, entries: &mut Entries, until: Option<&str>, unknown: Option<&str>) -> Result<()> {
        while let Some(gone) = entries.next_if(self.drive, |name| until.is_none_or(|until| name < until))? {
            if unknown.is_some_and(|unknown| unknown.ends_with('/') && gone.name.starts_with(unknown)) {
                self.count(gone.kind.bytes());
                continue;
            }
            self.drive.delete(&gone.name)?;
            self.seen.forget(&gone.name);
            self.counted.deleted += 1;
            self.commit_if_due(1)?;
        }
        Ok(())
    }

    fn bring(&mut self, work: Vec<Work>) -> Result<()> {
        let total = work.iter().map(|work| work.size).sum();
        let mut done = 0;
        for work in &work {
            self.interrupt.check()?;
            match self.bring_file(work, done, total) {
                Ok(Ok(())) => {}
                Ok(Err(cause)) => {
                    self.seen.forget(&work.name);
                    work.old.iter().for_each(|kind| self.count(kind.bytes()));
                    self.problem(&Problem { name: work.name.clone(), cause });
                }
                Err(error) => {
                    self.drive.abandon()?;
                    return Err(error);
                }
            }
            done += work.size;
            self.report.progress(done, total, 0);
        }
        Ok(())
    }

    /// Puts one file if it differs from what the drive has; the inner error is a matter of this file alone.
    fn bring_file(&mut self, work: &Work, done: u64, total: u64) -> Result<Result<(), Cause>> {
        let mut file = match Opened::new(self.folder.join(&work.name[1..])) {
            Ok(file) => file,
            Err(cause) => return Ok(Err(cause)),
        };
        let size = file.fingerprint.size;
        let held = match &work.old {
            Some(Kind::File { blob, .. }) if blob.byte_length == size => match self.holds(&mut file, blob)? {
                Ok(true) => Some(*blob),
                Ok(false) => None,
                Err(error) => return Ok(Err(error.into())),
            },
            _ => None,
        };
        let blob = match held {
            Some(blob) => blob,
            None => match self.append(&mut file, done, total)? {
                Ok(blob) => blob,
                Err(cause) => return Ok(Err(cause)),
            },
        };
        let kind = Kind::File { blob, executable: file.executable };
        if work.old.as_ref() != Some(&kind) {
            self.put(&work.name, &kind)?;
            self.commit_if_due(size)?;
        }
        self.remember(&work.name, &file);
        self.count(size);
        Ok(Ok(()))
    }

    fn holds(&mut self, file: &mut Opened, blob: &BlobId) -> Result<io::Result<bool>> {
        let held = same(&mut file.file, self.drive, blob, self.interrupt)?;
        Ok(held.and_then(|same| file.rewind().map(|()| same)))
    }

    fn append(&mut self, file: &mut Opened, done: u64, total: u64) -> Result<Result<BlobId, Cause>> {
        let size = file.fingerprint.size;
        let mut read = 0;
        while read < size {
            self.interrupt.check()?;
            let chunk =
                match file.read(&self.chunks, CHUNK_BYTES.min(usize::try_from(size - read).unwrap_or(CHUNK_BYTES))) {
                    Ok(chunk) => chunk,
                    Err(cause) => {
                        self.drive.abandon()?;
                        return Ok(Err(cause));
                    }
                };
            read += chunk.len() as u64;
            self.drive.append(chunk)?;
            self.report.progress(done + read, total, 0);
        }
        if !file.is_as_opened() {
            self.drive.abandon()?;
            return Ok(Err(Cause::Busy));
        }
        Ok(Ok(self.drive.finish()?))
    }

    fn remember(&mut self, name: &str, file: &Opened) {
        if file.fingerprint.is_racy(file.opened_ns) {
            self.seen.forget(name);
        } else {
            self.seen.insert(name, file.fingerprint);
        }
    }

    fn put(&mut self, name: &str, kind: &Kind) -> Result<()> {
        self.drive.put(name, kind)?;
        self.counted.put += 1;
        self.uncommitted += ENTRY_BYTES;
        Ok(())
    }

    fn count(&mut self, bytes: u64) {
        self.counted.files += 1;
        self.counted.bytes += bytes;
    }

    fn problem(&mut self, problem: &Problem) {
        self.counted.problems += 1;
        self.report.problem(problem);
    }

    fn commit_if_due(&mut self, bytes: u64) -> Result<()> {
        self.uncommitted += bytes;
        if self.uncommitted >= COMMIT_BYTES {
            self.drive.flush()?;
            self.uncommitted = 0;
        }
        Ok(())
    }

    fn commit(&mut self, finished: bool) -> Result<()> {
        self.drive.commit()?;
        if finished {
            self.seen.count(self.drive.version(), self.counted.files);
        }
        self.seen.save(self.drive.version()).context("cannot write the list of seen files into the store")
    }
}

/// A file being read, with what it looked like when it was opened.
struct Opened {
    path: PathBuf,
    file: File,
    fingerprint: Fingerprint,
    executable: bool,
    opened_ns: i64,
}

impl Opened {
    /// Opens a file, and not what a link that took its place points to.
    fn new(path: PathBuf) -> Result<Self, Cause> {
        let listed = fs::symlink_metadata(&path)?;
        if !listed.is_file() {
            return Err(Cause::Busy);
        }
        let opened_ns = ns(SystemTime::now());
        let file = File::open(&path)?;
        let metadata = file.metadata()?;
        let fingerprint = Fingerprint::of(&metadata);
        if Fingerprint::of(&listed).inode != fingerprint.inode {
            return Err(Cause::Busy);
        }
        Ok(Self { path, file, fingerprint, executable: is_executable(&metadata), opened_ns })
    }

    /// Reads so many bytes more; fewer only if there are no more, which is an error.
    fn read(&mut self, chunks: &Chunks, bytes: usize) -> Result<Bytes, Cause> {
        let chunk = chunks.read(&self.file, bytes)?;
        if chunk.len() < bytes { Err(Cause::Busy) } else { Ok(chunk) }
    }

    fn rewind(&mut self) -> io::Result<()> {
        io::Seek::rewind(&mut self.file)
    }

    fn is_as_opened(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|now| Fingerprint::of(&now) == self.fingerprint)
    }
}

/// After how much a commit is due, in bytes: what a kill costs at most.
const COMMIT_BYTES: u64 = 32 << 20;
/// What an entry counts for in that sum, in bytes, so that many empty files are committed by the thousand.
const ENTRY_BYTES: u64 = 32 << 10;

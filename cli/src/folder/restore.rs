//! Follows a drive into a folder: writes what is new or changed, deletes what is gone, keeps what a person changed.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::sync::Arc;

use anyhow::{Context, Result};

use super::drive::{BlobId, DriveSource, Entry, Kind, Read};
use super::entries::Entries;
use super::problem::fatal;
use super::same::same;
use super::standing::Standing;
use super::target::TargetError;
use super::written::Record;
use super::{Cause, Name, Problem, Target, Written};
use crate::{Event, Interrupt, Report};

/// What became of a drive's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Restored {
    /// Files and links of the version that now stand in the folder.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files and links written, because they were missing or different.
    pub written: u64,
    /// Files and links deleted, because the drive deleted them.
    pub deleted: u64,
    /// Names that were left out, each reported.
    pub problems: u64,
}

/// Brings the folder to the drive's version, as far as it stays inside the folder and off a person's own changes;
/// with `force` those are overwritten. What was never in the drive is left alone either way.
///
/// Interrupted or killed, it leaves each file either whole or as it was, and the next call goes on from there.
///
/// # Errors
/// If the drive, the journal or the whole file system fails, or [`crate::Interrupted`]. What concerns one name is
/// reported and counted instead.
pub fn restore(
    target: &mut Target,
    drive: &mut dyn DriveSource,
    written: &mut Written,
    force: bool,
    report: &Report,
    interrupt: &Interrupt,
) -> Result<Restored> {
    target.leave();
    let counted = Restored::default();
    let mut restore =
        Restore { target, drive, written, force, report, interrupt, counted, done: 0, total: 0, resumed: 0 };
    restore.discard_rests();
    let (work, gone) = restore.compare()?;
    restore.delete(gone)?;
    restore.bring(work)?;
    restore.written.complete().context(JOURNAL)?;
    report.end_round();
    Ok(restore.counted)
}

struct Restore<'a> {
    target: &'a mut Target,
    drive: &'a mut dyn DriveSource,
    written: &'a mut Written,
    force: bool,
    report: &'a Report,
    interrupt: &'a Interrupt,
    counted: Restored,
    done: u64,
    total: u64,
    resumed: u64,
}

/// An entry to be written over what stood in its place when it was looked at.
struct Work {
    name: Name,
    seq: u64,
    kind: Kind,
    over: Standing,
    /// Bytes that were here before this run.
    held: u64,
}

/// What is to be done about an entry.
enum Verdict {
    Stands(Standing),
    Write(Standing),
    Leave(Cause),
}

impl Restore<'_> {
    fn discard_rests(&mut self) {
        let names = self.written.take_begun();
        names.iter().filter_map(|name| Name::parse(name).ok()).for_each(|name| self.target.discard(&name));
    }

    /// Walks the drive's entries beside the journal's names; returns what to write and what to delete.
    fn compare(&mut self) -> Result<(Vec<Work>, Vec<Arc<str>>)> {
        let ours: Vec<Arc<str>> = self.written.names().cloned().collect();
        let mut ours = ours.into_iter().peekable();
        let mut entries = Entries::default();
        let (mut work, mut gone) = (Vec::new(), Vec::new());
        let mut unreadable = BTreeSet::new();
        while let Some(entry) = entries.next(self.drive)? {
            self.interrupt.check()?;
            if entry.kind == Kind::Unreadable {
                self.problem(&entry.name, Name::parse(&entry.name).map_or_else(Cause::from, |_| Cause::Unreadable))?;
                unreadable.insert(entry.name);
                continue;
            }
            gone.extend(std::iter::from_fn(|| ours.next_if(|name| **name < *entry.name)));
            ours.next_if(|name| **name == *entry.name);
            work.extend(self.judge(entry)?);
        }
        gone.extend(ours);
        gone.retain(|name| !unreadable.contains(&**name));
        self.count_what_is_held(&mut work)?;
        Ok((work, gone))
    }

    /// Counts what an earlier run wrote, and what it fetched and did not come to write.
    fn count_what_is_held(&mut self, work: &mut [Work]) -> Result<()> {
        self.total = work.iter().map(|work| work.kind.bytes()).fold(self.resumed, u64::saturating_add);
        let held = self.drive.held(&work.iter().map(|work| blob(&work.kind)).collect::<Vec<_>>())?;
        for (work, held) in work.iter_mut().zip(held) {
            work.held = held.min(work.kind.bytes());
            self.resumed = self.resumed.saturating_add(work.held);
        }
        self.done = self.resumed;
        self.report.progress(self.done, self.total, self.resumed);
        Ok(())
    }

    fn judge(&mut self, entry: Entry) -> Result<Option<Work>> {
        let name = match check(&entry) {
            Ok(name) => name,
            Err(cause) => return self.problem(&entry.name, cause).map(|()| None),
        };
        match self.verdict(&name, &entry)? {
            Verdict::Stands(here) => {
                self.count(&here);
                self.resumed = self.resumed.saturating_add(entry.kind.bytes());
                Ok(None)
            }
            Verdict::Write(over) => Ok(Some(Work { name, seq: entry.seq, kind: entry.kind, over, held: 0 })),
            Verdict::Leave(cause) => self.problem(&entry.name, cause).map(|()| None),
        }
    }

    fn verdict(&mut self, name: &Name, entry: &Entry) -> Result<Verdict> {
        let here = match self.target.standing(name) {
            Ok(here) => here,
            // Deletions and earlier names may yet clear the way.
            Err(TargetError::Missing | TargetError::Blocked(_)) => Standing::Nothing,
            Err(TargetError::Io(error)) => return Ok(Verdict::Leave(error.into())),
        };
        if matches!(here, Standing::Nothing | Standing::Folder) {
            return Ok(Verdict::Write(here));
        }
        let unsure = self.written.is_unsure();
        let record = self.written.record(name.as_str());
        let ours =
            record.is_some_and(|record| record.standing == here || unsure && record.before.as_ref() == Some(&here));
        let sure = !unsure && record.is_some_and(|record| record.seq == entry.seq);
        if ours && sure {
            return Ok(Verdict::Stands(here));
        }
        let twin = self.written.owner(&here).filter(|owner| *owner != name.as_str());
        if let Some(other) = twin {
            return Ok(Verdict::Leave(Cause::Twin { other: other.to_owned() }));
        }
        match self.holds(name, &here, &entry.kind)? {
            Err(error) => Ok(Verdict::Leave(error.into())),
            Ok(true) => {
                self.adopt(name, entry.seq, here.clone())?;
                Ok(Verdict::Stands(here))
            }
            Ok(false) if ours || self.force => {
                if ours && self.written.record(name.as_str()).is_some_and(|record| record.seq == entry.seq) {
                    self.report.event(&Event::Mended { name: name.as_str() });
                }
                Ok(Verdict::Write(here))
            }
            Ok(false) => Ok(Verdict::Leave(Cause::ChangedHere)),
        }
    }

    /// Returns whether what stands here is the entry already, by content.
    fn holds(&mut self, name: &Name, here: &Standing, kind: &Kind) -> Result<io::Result<bool>> {
        match (here, kind) {
            (Standing::Symlink { target, .. }, Kind::Symlink(wanted)) => Ok(Ok(target.as_ref() == Some(wanted))),
            (Standing::File { fingerprint, executable: is }, Kind::File { blob, executable })
                if (blob.block_map || fingerprint.size == blob.byte_length) && (is == executable || !cfg!(unix)) =>
            {
                match self.target.read(name) {
                    Ok(mut file) => same(&mut file, self.drive, blob, self.interrupt),
                    Err(TargetError::Io(error)) => Ok(Err(error)),
                    Err(_) => Ok(Ok(false)),
                }
            }
            _ => Ok(Ok(false)),
        }
    }

    fn adopt(&mut self, name: &Name, seq: u64, standing: Standing) -> Result<()> {
        let record = Record { seq, standing, before: None };
        if self.written.record(name.as_str()) == Some(&record) {
            return Ok(());
        }
        self.written.wrote(name.as_str(), record).context(JOURNAL)
    }

    fn delete(&mut self, gone: Vec<Arc<str>>) -> Result<()> {
        for text in gone {
            self.interrupt.check()?;
            let Ok(name) = Name::parse(&text) else { continue };
            match self.delete_one(&name) {
                Ok(deleted) => self.counted.deleted += u64::from(deleted),
                Err(cause) => self.problem(&text, cause)?,
            }
            self.written.gone(&text).context(JOURNAL)?;
        }
        Ok(())
    }

    fn delete_one(&mut self, name: &Name) -> Result<bool, Cause> {
        let here = match self.target.standing(name) {
            Ok(Standing::Nothing | Standing::Folder) | Err(TargetError::Missing | TargetError::Blocked(_)) => {
                return Ok(false);
            }
            Ok(here) => here,
            Err(TargetError::Io(error)) => return Err(error.into()),
        };
        let ours = self.written.record(name.as_str()).is_some_and(|record| {
            record.standing == here || self.written.is_unsure() && record.before.as_ref() == Some(&here)
        });
        if !ours && !self.force {
            return Err(Cause::ChangedHereDeletedThere);
        }
        self.target.remove(name)?;
        Ok(true)
    }

    /// Asks for everything at once and writes in the order the blobs lie in, in which they come: what a peer has of them
    /// is fetched while others are written, and nothing that can be written waits for what nobody has.
    fn bring(&mut self, mut work: Vec<Work>) -> Result<()> {
        self.drive.want(&blobs(&work))?;
        work.sort_by_key(|work| blob(&work.kind).byte_offset);
        for batch in work.chunks(BATCH_ENTRIES) {
            let names = batch.iter().map(|work| work.name.to_string()).collect();
            self.written.begin(names).context(JOURNAL)?;
            self.drive.expect(&blobs(batch));
            for work in batch {
                self.interrupt.check()?;
                self.bring_one(work)?;
            }
        }
        Ok(())
    }

    fn bring_one(&mut self, work: &Work) -> Result<()> {
        let before = self.done;
        let written = self.write(work);
        if !matches!(written, Ok(Ok(_))) {
            self.target.discard(&work.name);
        }
        let written = written?;
        self.done = before.saturating_add(work.kind.bytes() - work.held);
        self.report.progress(self.done, self.total, self.resumed);
        match written {
            Ok(standing) => {
                self.counted.written += 1;
                self.count(&standing);
                Ok(())
            }
            Err(cause) => self.problem(work.name.as_str(), cause),
        }
    }

    /// Writes one entry and returns what stands there then; the inner error is a matter of this entry alone.
    fn write(&mut self, work: &Work) -> Result<Result<Standing, Cause>> {
        let over = match self.clearance(work) {
            Ok(over) => over,
            Err(cause) => return Ok(Err(cause)),
        };
        let begun = match &work.kind {
            Kind::File { blob, executable } => self.write_unfinished(work, blob, *executable)?,
            Kind::Symlink(to) => self.target.begin_symlink(&work.name, to).map_err(Cause::from),
            Kind::Unreadable => Err(Cause::Unreadable),
        };
        let standing = match begun.and_then(|()| Ok(self.target.begun(&work.name)?)) {
            Ok(standing) => standing,
            Err(cause) => return Ok(Err(cause)),
        };
        let before = Some(over).filter(|over| *over != Standing::Nothing);
        let record = Record { seq: work.seq, standing: standing.clone(), before };
        self.written.wrote(work.name.as_str(), record).context(JOURNAL)?;
        if self.target.durable {
            self.written.sync().context(JOURNAL)?;
        }
        Ok(self.target.finish(&work.name).map(|()| standing).map_err(Cause::from))
    }

    /// Looks again at the last moment, and returns what is written over: an entry written meanwhile may be this one's
    /// twin, and a person may have been at work.
    fn clearance(&mut self, work: &Work) -> Result<Standing, Cause> {
        let here = match self.target.standing(&work.name) {
            Err(TargetError::Missing) => Standing::Nothing,
            here => here?,
        };
        match self.written.owner(&here) {
            Some(other) if other != work.name.as_str() => Err(Cause::Twin { other: other.to_owned() }),
            _ if here == Standing::Folder => Err(Cause::FolderInTheWay),
            _ if here == Standing::Nothing || here == work.over || self.force => Ok(here),
            _ => Err(Cause::ChangedHere),
        }
    }

    fn write_unfinished(&mut self, work: &Work, blob: &BlobId, executable: bool) -> Result<Result<(), Cause>> {
        let mut file = match self.target.begin(&work.name) {
            Ok(file) => file,
            Err(error) => return Ok(Err(error.into())),
        };
        let mut outcome = Ok(());
        let (report, interrupt, total, resumed) = (self.report, self.interrupt, self.total, self.resumed);
        let (before, mut copied) = (self.done, 0u64);
        let read = self.drive.read(blob, &mut |bytes| {
            outcome = file.write_all(bytes);
            copied = copied.saturating_add(bytes.len() as u64);
            let fresh = copied.saturating_sub(work.held);
            report.progress(total.min(before.saturating_add(fresh)), total, resumed);
            if outcome.is_ok() && !interrupt.is_asked() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        interrupt.check()?;
        if read != Read::Whole {
            return Ok(outcome.map_err(Cause::from).and(Err(Cause::Damaged)));
        }
        let executable = || if executable { file.make_executable() } else { Ok(()) };
        let synced = || if self.target.durable { file.sync() } else { Ok(()) };
        Ok(outcome.and_then(|()| executable()).and_then(|()| synced()).map_err(Cause::from))
    }

    fn count(&mut self, standing: &Standing) {
        self.counted.files += 1;
        self.counted.bytes += standing.bytes();
    }

    /// Reports what is wrong with one name, or ends the run if it is wrong with all.
    fn problem(&mut self, name: &str, cause: Cause) -> Result<()> {
        let cause = match cause {
            Cause::Io(error) => Cause::Io(fatal(error).with_context(|| format!("cannot write {name:?}"))?),
            cause => cause,
        };
        self.counted.problems += 1;
        self.report.problem(&Problem { name: name.to_owned(), cause });
        Ok(())
    }
}

impl From<TargetError> for Cause {
    fn from(error: TargetError) -> Self {
        match error {
            TargetError::Missing => Self::Io(io::ErrorKind::NotFound.into()),
            TargetError::Blocked(part) => Self::Way { part },
            TargetError::Io(error) => Self::Io(error),
        }
    }
}

fn check(entry: &Entry) -> Result<Name, Cause> {
    let name = Name::parse(&entry.name)?;
    if let Kind::Symlink(to) = &entry.kind {
        name.check_link(to)?;
    }
    Ok(name)
}

fn blob(kind: &Kind) -> BlobId {
    match kind {
        Kind::File { blob, .. } => *blob,
        Kind::Symlink(_) | Kind::Unreadable => BlobId::default(),
    }
}

fn blobs(batch: &[Work]) -> Vec<BlobId> {
    batch.iter().map(|work| blob(&work.kind)).filter(|blob| blob.byte_length > 0).collect()
}

/// What a failure to write the journal is introduced by.
const JOURNAL: &str = "cannot write the list of cloned files into the store";
/// How many entries are noted at a time before they are written.
const BATCH_ENTRIES: usize = 256;

//! What `clone` wrote into a folder, so that it can tell its own files from a person's, killed at any moment or not.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anypath_wire::PublicKey;
use serde::{Deserialize, Serialize};

use super::standing::Standing;
use crate::lasting;

/// A journal in the store's folder: one JSON value a line, written before what it tells of happens.
#[derive(Debug)]
pub struct Written {
    path: PathBuf,
    header: Header,
    journal: File,
    lines: usize,
    records: BTreeMap<Arc<str>, Record>,
    owners: HashMap<u64, Arc<str>>,
    begun: Vec<String>,
    unsure: bool,
}

/// A file or link as clone left it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Which entry it is, by [`super::drive::Entry::seq`].
    pub(super) seq: u64,
    /// What stood there afterwards.
    pub(super) standing: Standing,
    /// What stood there before, which still does if clone was killed between the journal and the deed.
    pub(super) before: Option<Standing>,
}

/// Whose journal it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The format of the journal.
    format: u32,
    /// The folder, as a canonical path.
    pub folder: String,
    /// The drive's key, in z-base-32.
    pub drive: String,
    /// The drive's fork.
    pub fork: u64,
}

#[derive(Serialize, Deserialize)]
enum Line {
    Header(Header),
    Begin(Vec<String>),
    Wrote(String, Record),
    Gone(String),
    Complete,
}

impl Written {
    /// Returns whose journal lies at this path, if there is a sound one.
    pub fn header(path: &Path) -> Option<Header> {
        let first = BufReader::new(File::open(path).ok()?).lines().next()?.ok()?;
        match serde_json::from_str(&first).ok()? {
            Line::Header(header) if header.format == FORMAT => Some(header),
            _ => None,
        }
    }

    /// Opens the journal of a folder and a drive; what another drive wrote there is no longer clone's own.
    ///
    /// # Errors
    /// Those of reading and writing the journal.
    pub fn open(path: &Path, folder: &Path, drive: &PublicKey, fork: u64) -> io::Result<Self> {
        let folder = folder.to_string_lossy().into_owned();
        let header = Header { format: FORMAT, folder, drive: drive.to_string(), fork };
        let known = Self::header(path).filter(|known| known.drive == header.drive && known.folder == header.folder);
        let journal = OpenOptions::new().append(true).create(true).open(path)?;
        let mut written = Self {
            path: path.to_owned(),
            journal,
            lines: 0,
            records: BTreeMap::new(),
            owners: HashMap::new(),
            begun: Vec::new(),
            unsure: false,
            header,
        };
        let same_history = known.as_ref().is_some_and(|known| known.fork == fork);
        if known.is_some() {
            written.replay()?;
            // Numbers of another history say nothing about content.
            written.unsure |= !same_history;
        }
        if written.unsure || !same_history {
            written.rewrite()?;
        }
        Ok(written)
    }

    /// Returns whether the last run did not come to its end, so that content must be compared.
    pub(super) fn is_unsure(&self) -> bool {
        self.unsure
    }

    /// Takes the names that were being written when the last run ended.
    pub(super) fn take_begun(&mut self) -> Vec<String> {
        std::mem::take(&mut self.begun)
    }

    /// Returns what was written under a name.
    pub(super) fn record(&self, name: &str) -> Option<&Record> {
        self.records.get(name)
    }

    /// Returns the names written so far, in the order of their bytes.
    pub(super) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.records.keys()
    }

    /// Returns the name under which clone wrote the file with this number.
    pub(super) fn owner(&self, standing: &Standing) -> Option<&str> {
        let name = self.owners.get(&standing.inode()?)?;
        let owned = self.records.get(name).is_some_and(|record| record.standing.inode() == standing.inode());
        owned.then_some(name)
    }

    /// Notes names that are about to be written, so that a power cut does not make them look complete.
    pub(super) fn begin(&mut self, names: Vec<String>) -> io::Result<()> {
        self.note(&Line::Begin(names))?;
        self.sync()
    }

    /// Makes what was noted so far outlive a power cut.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.journal.sync_data()
    }

    /// Trusts no size and no time: content is compared, as if the last run had not come to its end.
    pub fn distrust(&mut self) {
        self.unsure = true;
    }

    /// Notes what is about to be put in its place.
    pub(super) fn wrote(&mut self, name: &str, record: Record) -> io::Result<()> {
        self.note(&Line::Wrote(name.to_owned(), record.clone()))?;
        self.insert(name, record);
        Ok(())
    }

    /// Notes what was removed, or is no longer clone's own.
    pub(super) fn gone(&mut self, name: &str) -> io::Result<()> {
        self.records.remove(name);
        self.note(&Line::Gone(name.to_owned()))
    }

    /// Notes that everything is in its place.
    pub(super) fn complete(&mut self) -> io::Result<()> {
        self.unsure = false;
        if self.lines > LINES_SPARE + 2 * self.records.len() { self.rewrite() } else { self.note(&Line::Complete) }
    }

    fn insert(&mut self, name: &str, record: Record) {
        let name: Arc<str> = name.into();
        if let Some(inode) = record.standing.inode() {
            self.owners.insert(inode, name.clone());
        }
        self.records.insert(name, record);
    }

    fn note(&mut self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.lines += 1;
        self.journal.write_all(&text)
    }

    /// Reads the journal up to its end or to a line that was cut off.
    fn replay(&mut self) -> io::Result<()> {
        for line in BufReader::new(File::open(&self.path)?).split(b'\n') {
            match serde_json::from_slice(&line?) {
                Ok(Line::Header(_)) => {}
                Ok(Line::Begin(names)) => {
                    self.unsure = true;
                    self.begun.extend(names);
                }
                Ok(Line::Wrote(name, record)) => self.insert(&name, record),
                Ok(Line::Gone(name)) => drop(self.records.remove(name.as_str())),
                Ok(Line::Complete) => {
                    self.unsure = false;
                    self.begun.clear();
                }
                Err(_) => self.unsure = true,
            }
        }
        Ok(())
    }

    /// Replaces the journal, in one step, by one that says the same in fewer lines.
    fn rewrite(&mut self) -> io::Result<()> {
        lasting::replace(&self.path, |out| {
            let mut line = |line: &Line| {
                serde_json::to_writer(&mut *out, line)?;
                out.write_all(b"\n")
            };
            line(&Line::Header(self.header.clone()))?;
            for (name, record) in &self.records {
                line(&Line::Wrote(name.to_string(), record.clone()))?;
            }
            let unfinished = self.unsure || !self.begun.is_empty();
            if unfinished { line(&Line::Begin(self.begun.clone())) } else { Ok(()) }
        })?;
        self.journal = OpenOptions::new().append(true).open(&self.path)?;
        self.lines = self.records.len() + 1;
        Ok(())
    }
}

/// The format of the journal; another one is read as if there were none.
const FORMAT: u32 = 1;
/// How many lines a journal may have beyond two a record before it is rewritten.
const LINES_SPARE: usize = 4096;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn record(seq: u64, inode: u64) -> Record {
        Record { seq, standing: Standing::Symlink { target: Some("x".into()), inode }, before: None }
    }

    fn open(path: &Path, key: u8, fork: u64) -> Written {
        Written::open(path, Path::new("/f"), &PublicKey([key; 32]), fork).unwrap()
    }

    #[test]
    fn a_journal_cut_off_anywhere_keeps_what_was_before_the_cut() {
        let store = tempfile::tempdir().unwrap();
        let path = store.path().join("written");
        let mut written = open(&path, 1, 0);
        written.begin(vec!["/a".into(), "/b".into()]).unwrap();
        written.wrote("/a", record(1, 10)).unwrap();
        let whole = fs::read(&path).unwrap();
        written.wrote("/b", record(2, 11)).unwrap();
        drop(written);
        let mut cut = fs::read(&path).unwrap();
        cut.truncate(whole.len() + 9);
        fs::write(&path, cut).unwrap();

        let mut written = open(&path, 1, 0);
        assert!(written.is_unsure());
        assert_eq!(written.take_begun(), ["/a", "/b"]);
        assert_eq!(written.record("/a"), Some(&record(1, 10)));
        assert_eq!(written.record("/b"), None);
        written.complete().unwrap();
        let written = open(&path, 1, 0);
        assert!(!written.is_unsure());
        assert_eq!(written.owner(&record(0, 10).standing), Some("/a"));
    }

    #[test]
    fn another_drive_or_history_is_not_taken_for_the_same() {
        let store = tempfile::tempdir().unwrap();
        let path = store.path().join("written");
        let mut written = open(&path, 1, 0);
        written.wrote("/a", record(1, 10)).unwrap();
        written.complete().unwrap();
        assert!(open(&path, 1, 1).is_unsure());
        assert_eq!(open(&path, 2, 0).record("/a"), None);
    }
}

//! What `share` remembers of a folder, so that a file that did not change is not read again.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use anypath_wire::PublicKey;
use serde::{Deserialize, Serialize};

use super::Fingerprint;
use super::drive::Version;
use crate::lasting;

/// The fingerprints of the files that the drive holds as they are, in a file in the store's folder.
///
/// One JSON value a line: a header, then `["/name", {fingerprint}]` in the order of names. A missing, damaged or
/// foreign file only costs a comparison with the drive.
#[derive(Debug)]
pub struct Seen {
    path: PathBuf,
    folder: String,
    drive: String,
    /// Lines of the file that nobody asked about yet, or nothing; then `files` has nothing.
    unread: Vec<u8>,
    files: BTreeMap<String, Fingerprint>,
    /// The version of the drive that has these files and nothing else.
    whole: Option<Version>,
    /// Whether the file on disk says something else.
    changed: bool,
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    folder: String,
    drive: String,
    length: u64,
    fork: u64,
    /// Whether this version has the files named here and nothing else.
    #[serde(default)]
    whole: bool,
}

impl Seen {
    /// Takes up what was seen of this folder when it was last brought into this drive, if the drive has not lost a part
    /// of it since.
    pub fn load(path: &Path, folder: &Path, drive: &PublicKey, version: Version) -> Self {
        let mut seen = Self {
            path: path.to_owned(),
            folder: folder.to_string_lossy().into_owned(),
            drive: drive.to_string(),
            unread: Vec::new(),
            files: BTreeMap::new(),
            whole: None,
            changed: false,
        };
        let read = seen.read(version);
        seen.changed = read.is_none();
        (seen.unread, seen.whole) = read.unwrap_or_default();
        seen
    }

    /// Returns the folder that a list at this path is about, if it was shared as this drive.
    pub fn folder_of(path: &Path, drive: &PublicKey) -> Option<PathBuf> {
        let first = BufReader::new(File::open(path).ok()?).lines().next()?.ok()?;
        let header: Header = serde_json::from_str(&first).ok()?;
        (header.format == FORMAT && header.drive == drive.to_string()).then(|| header.folder.into())
    }

    /// Writes everything, replacing the file in one step, if anything changed since.
    ///
    /// # Errors
    /// Those of writing and renaming.
    pub fn save(&mut self, version: Version) -> io::Result<()> {
        if !std::mem::take(&mut self.changed) {
            return Ok(());
        }
        let Version { length, fork } = version;
        let (folder, drive, whole) = (self.folder.clone(), self.drive.clone(), self.whole == Some(version));
        let header = Header { format: FORMAT, folder, drive, length, fork, whole };
        self.read_all();
        lasting::replace(&self.path, |out| {
            line(out, &header)?;
            self.files.iter().try_for_each(|seen| line(out, &seen))
        })
    }

    /// Returns whether the file was brought over in just this state.
    pub(super) fn holds(&mut self, name: &str, fingerprint: &Fingerprint) -> bool {
        self.files().get(name) == Some(fingerprint)
    }

    /// Returns every file of the drive in the order of names, if this version of it has nothing else; one whose line is
    /// damaged is none of the drive's.
    pub(super) fn all(&self, version: Version) -> Option<impl Iterator<Item = Option<(String, Fingerprint)>>> {
        let known = self.files.iter().map(|(name, fingerprint)| Some((name.clone(), *fingerprint)));
        (self.whole == Some(version)).then(|| parse(&self.unread).chain(known))
    }

    /// Remembers how many entries this version of the drive has.
    pub(super) fn count(&mut self, version: Version, entries: u64) {
        let whole = Some(version).filter(|_| entries == self.files().len() as u64);
        self.changed |= self.whole != whole;
        self.whole = whole;
    }

    /// Remembers that the drive holds the file in this state.
    pub(super) fn insert(&mut self, name: &str, fingerprint: Fingerprint) {
        self.changed = true;
        match self.files().get_mut(name) {
            Some(known) => *known = fingerprint,
            None => drop(self.files.insert(name.to_owned(), fingerprint)),
        }
    }

    /// Forgets a file, so that it is read next time.
    pub(super) fn forget(&mut self, name: &str) {
        self.changed |= self.files().remove(name).is_some();
    }

    fn files(&mut self) -> &mut BTreeMap<String, Fingerprint> {
        self.read_all();
        &mut self.files
    }

    fn read_all(&mut self) {
        let unread = std::mem::take(&mut self.unread);
        if !unread.is_empty() {
            let read: Option<_> = parse(&unread).collect();
            self.changed |= read.is_none();
            self.files = read.unwrap_or_default();
        }
    }

    /// Returns the lines behind the header, and the version that has these files and nothing else.
    fn read(&self, version: Version) -> Option<(Vec<u8>, Option<Version>)> {
        let mut lines = fs::read(&self.path).ok()?;
        lines.pop_if(|last| *last == b'\n')?;
        let header_bytes = lines.iter().position(|byte| *byte == b'\n').unwrap_or(lines.len());
        let header: Header = serde_json::from_slice(&lines[..header_bytes]).ok()?;
        let ours = header.format == FORMAT && header.folder == self.folder && header.drive == self.drive;
        if !ours || header.fork != version.fork || header.length > version.length {
            return None;
        }
        lines.drain(..lines.len().min(header_bytes + 1));
        let then = Version { length: header.length, fork: header.fork };
        Some((lines, header.whole.then_some(then)))
    }
}

/// Takes lines apart as they are asked for, so that this goes on beside the scan that they are compared with.
fn parse(lines: &[u8]) -> impl Iterator<Item = Option<(String, Fingerprint)>> {
    let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).ok())
}

fn line(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

/// The format of the file; another one is read as if there were none.
const FORMAT: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_remembered_for_that_folder_and_drive_only() {
        let store = tempfile::tempdir().unwrap();
        let path = store.path().join("seen");
        let key = PublicKey([1; 32]);
        let at = |length| Version { length, fork: 0 };
        let print = Fingerprint { size: 1, modified_ns: 2, changed_ns: 3, inode: 4 };
        let load = |folder: &str, key, version| Seen::load(&path, Path::new(folder), key, version);

        let mut seen = load("/f", &key, at(0));
        seen.insert("/\u{1f600}\"", print);
        seen.save(at(7)).unwrap();

        assert!(load("/f", &key, at(7)).holds("/\u{1f600}\"", &print));
        assert!(!load("/g", &key, at(7)).holds("/\u{1f600}\"", &print));
        assert!(!load("/f", &PublicKey([2; 32]), at(7)).holds("/\u{1f600}\"", &print));
        assert!(!load("/f", &key, at(6)).holds("/\u{1f600}\"", &print), "the drive lost what was seen");
        assert!(!load("/f", &key, Version { length: 9, fork: 1 }).holds("/\u{1f600}\"", &print));
    }
    #[test]
    fn a_damaged_line_costs_what_was_seen_and_nothing_else() {
        let store = tempfile::tempdir().unwrap();
        let path = store.path().join("seen");
        let (key, at) = (PublicKey([1; 32]), Version { length: 7, fork: 0 });
        let print = Fingerprint { size: 1, modified_ns: 2, changed_ns: 3, inode: 4 };
        let load = || Seen::load(&path, Path::new("/f"), &key, at);
        let mut seen = load();
        seen.insert("/a", print);
        seen.insert("/b", print);
        seen.count(at, 2);
        seen.save(at).unwrap();
        assert!(load().all(at).unwrap().all(|seen| seen.is_some()) && load().holds("/b", &print));

        fs::write(&path, fs::read_to_string(&path).unwrap().replace("\"/b\"", "\"/b")).unwrap();
        let mut damaged = load();
        assert!(damaged.all(at).unwrap().any(|seen| seen.is_none()));
        assert!(!damaged.holds("/a", &print) && !damaged.holds("/b", &print));
        damaged.save(at).unwrap();
        assert!(!fs::read_to_string(&path).unwrap().contains("/a"), "what was damaged is written anew");
    }
}

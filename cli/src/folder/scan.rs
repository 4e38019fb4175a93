//! Walks a folder in the order of a drive's names, one entry at a time, naming what a drive cannot hold.

use std::fs::{self, DirEntry, FileType, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::vec;

use super::name::{check_part, is_unfinished};
use super::{BadName, Cause, Fingerprint, Name, Problem};
use crate::Place;

/// The files and links of a folder, in the order of their names' bytes, which is a drive's own order.
///
/// Links are never followed. The store's folder and this program's unfinished files are passed over in silence; other
/// stores, whose seeds are nobody else's business, are left out by name.
/// Memory is that of the folders on the way to the current one.
pub struct Scan {
    root: PathBuf,
    store: PathBuf,
    levels: Vec<Level>,
}

/// One thing in the folder.
#[derive(Debug)]
pub struct Found {
    /// The name it has, or would have, in a drive; a folder left out ends in a slash.
    pub name: String,
    /// What it is.
    pub kind: Kind,
}

/// What a thing in a folder is.
#[derive(Debug)]
pub enum Kind {
    /// A file.
    File {
        /// Its state when it was listed.
        fingerprint: Fingerprint,
        /// Whether its owner may run it.
        executable: bool,
    },
    /// A link that stays in the folder, and what it points to.
    Symlink(String),
    /// Something a drive cannot hold; `unknown` if it could not even be looked at, so that nothing is known about
    /// what the drive has under its name.
    Left {
        /// Why.
        cause: Cause,
        /// Whether it may still be what it was.
        unknown: bool,
    },
}

struct Level {
    name: String,
    siblings: vec::IntoIter<(DirEntry, FileType)>,
}

impl Scan {
    /// Opens a folder to walk it; `store` is a folder not to descend into. Both paths are canonical.
    ///
    /// # Errors
    /// If the folder itself cannot be listed.
    pub fn new(root: &Path, store: &Path) -> io::Result<Self> {
        let levels = vec![Level { name: String::new(), siblings: siblings(root)? }];
        Ok(Self { root: root.to_owned(), store: store.to_owned(), levels })
    }

    fn visit(&mut self, entry: &DirEntry, file_type: FileType, within: &str) -> Option<Found> {
        let file_name = entry.file_name();
        let Some(part) = file_name.to_str() else {
            let name = format!("{within}/{}", file_name.to_string_lossy());
            return Some(left(name, BadName::NotUtf8.into()));
        };
        let name = format!("{within}/{part}");
        if is_unfinished(part) {
            return None;
        }
        if file_type.is_dir() { self.descend(name, part) } else { leaf(entry, file_type, name) }
    }

    fn descend(&mut self, name: String, part: &str) -> Option<Found> {
        let path = self.root.join(&name[1..]);
        if path == self.store {
            return None;
        }
        if let Err(bad) = check_part(part).and_then(|()| Name::parse(&name)) {
            return Some(left(name + "/", bad.into()));
        }
        if Place::is_at(&path) {
            return Some(left(name + "/", Cause::Store));
        }
        match siblings(&path) {
            Ok(siblings) => self.levels.push(Level { name, siblings }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Some(Found { name: name + "/", kind: Kind::Left { cause: error.into(), unknown: true } });
            }
        }
        None
    }
}

impl Iterator for Scan {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        loop {
            let level = self.levels.last_mut()?;
            let Some((entry, file_type)) = level.siblings.next() else {
                self.levels.pop();
                continue;
            };
            let within = level.name.clone();
            if let Some(found) = self.visit(&entry, file_type, &within) {
                return Some(found);
            }
        }
    }
}

impl Found {
    /// Returns the problem to report, if this was left out.
    pub fn into_problem(self) -> Option<Problem> {
        match self.kind {
            Kind::Left { cause, .. } => Some(Problem { name: self.name, cause }),
            _ => None,
        }
    }
}

/// Returns whether a file's owner may run it; never where files have no such bit.
pub(super) fn is_executable(metadata: &Metadata) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        metadata.permissions().mode() & 0o100 != 0
    }
    #[cfg(not(unix))]
    {
        let _ = metadata;
        false
    }
}

/// Lists a folder so that walking it in this order gives whole names in the order of their bytes: a folder counts
/// with the slash that will follow it.
fn siblings(folder: &Path) -> io::Result<vec::IntoIter<(DirEntry, FileType)>> {
    let mut siblings = fs::read_dir(folder)?
        .map(|entry| entry.and_then(|entry| entry.file_type().map(|file_type| (entry, file_type))))
        .collect::<io::Result<Vec<_>>>()?;
    siblings.sort_by_cached_key(|(entry, file_type)| {
        let mut key = entry.file_name().into_encoded_bytes();
        if file_type.is_dir() {
            key.push(b'/');
        }
        key
    });
    Ok(siblings.into_iter())
}

fn leaf(entry: &DirEntry, file_type: FileType, name: String) -> Option<Found> {
    let checked = match Name::parse(&name) {
        Ok(checked) => checked,
        Err(bad) => return Some(left(name, bad.into())),
    };
    let kind = if file_type.is_symlink() {
        link(entry, &checked)
    } else if file_type.is_file() {
        entry.metadata().map(|metadata| Kind::File {
            fingerprint: Fingerprint::of(&metadata),
            executable: is_executable(&metadata),
        })
    } else {
        Ok(Kind::Left { cause: Cause::Special(special(file_type)), unknown: false })
    };
    match kind {
        Ok(kind) => Some(Found { name, kind }),
        // Gone since it was listed: as if it had never been there.
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(Found { name, kind: Kind::Left { cause: error.into(), unknown: true } }),
    }
}

fn link(entry: &DirEntry, name: &Name) -> io::Result<Kind> {
    let target = fs::read_link(entry.path())?;
    let cause = match target.to_str() {
        None => Cause::Name(BadName::NotUtf8),
        Some(text) => match name.check_link(text) {
            Ok(()) => return Ok(Kind::Symlink(text.to_owned())),
            Err(bad) => bad.into(),
        },
    };
    Ok(Kind::Left { cause, unknown: false })
}

fn left(name: String, cause: Cause) -> Found {
    Found { name, kind: Kind::Left { cause, unknown: false } }
}

#[cfg(unix)]
fn special(file_type: FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    match file_type {
        _ if file_type.is_fifo() => "named pipe",
        _ if file_type.is_socket() => "socket",
        _ => "device",
    }
}

#[cfg(not(unix))]
fn special(_: FileType) -> &'static str {
    "special file"
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn scan(root: &Path, store: &Path) -> Vec<(String, String)> {
        let described = |found: Found| match found.kind {
            Kind::File { executable, .. } => (found.name, if executable { "program" } else { "file" }.into()),
            Kind::Symlink(target) => (found.name, format!("-> {target}")),
            Kind::Left { cause, .. } => (found.name, cause.code().into()),
        };
        Scan::new(root, store).unwrap().map(described).collect()
    }

    #[test]
    fn names_come_in_the_order_of_their_bytes() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::create_dir(folder.path().join("empty")).unwrap();
        for name in ["a/b/c", "a/b.x", "a.txt", "a-", "ä", "a/z", "b"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        let names: Vec<_> = scan(folder.path(), Path::new("/")).into_iter().map(|(name, _)| name).collect();
        let mut sorted = names.clone();
        sorted.sort();
        assert_eq!(names, sorted);
        assert_eq!(names, ["/a-", "/a.txt", "/a/b.x", "/a/b/c", "/a/z", "/b", "/ä"]);
    }

    #[test]
    fn links_are_not_followed_and_what_a_drive_cannot_hold_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("store/x")).unwrap();
        fs::create_dir(at("in")).unwrap();
        for (target, name) in [("in", "link"), ("/etc", "leaves"), ("../../x", "in/leaves"), ("loop", "loop")] {
            symlink(target, at(name)).unwrap();
        }
        let _socket = UnixListener::bind(at("socket")).unwrap();
        fs::write(folder.path().join(std::ffi::OsStr::from_bytes(b"n\xff")), "").unwrap();
        fs::write(at("back\\slash"), "").unwrap();
        fs::write(at(".anypath-unfinished-0"), "").unwrap();
        let found = scan(folder.path(), &at("store"));
        let found: Vec<_> = found.iter().map(|(name, kind)| (name.as_str(), kind.as_str())).collect();
        assert_eq!(
            found,
            [
                ("/back\\slash", "bad_name"),
                ("/in/leaves", "bad_link"),
                ("/leaves", "bad_link"),
                ("/link", "-> in"),
                ("/loop", "-> loop"),
                ("/n\u{fffd}", "bad_name"),
                ("/socket", "special"),
            ]
        );
    }

    #[test]
    fn the_seeds_of_other_stores_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["data/other", "own"] {
            let place = Place::for_folder(Some(&folder.path().join(name)), Path::new("/x")).unwrap();
            crate::Keys::open(&place.keys()).unwrap();
        }
        fs::write(folder.path().join("keys"), "a file of this name is anybody's").unwrap();
        let found = scan(folder.path(), &folder.path().join("own"));
        assert_eq!(found, [("/data/other/", "store"), ("/keys", "file")].map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn a_program_is_told_from_a_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o744)).unwrap();
        assert_eq!(scan(folder.path(), Path::new("/")), [("/run".to_owned(), "program".to_owned())]);
    }
}

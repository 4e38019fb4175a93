//! Tests: what one folder holds comes out of another the same, and what did not change costs nothing.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anypath_wire::PublicKey;
use tempfile::TempDir;

use super::memory::MemoryDrive;
use super::{Imported, Restored, Seen, Target, Written, import, restore};
use crate::{Interrupt, Interrupted, Report};

/// One machine's folder and store.
struct Place {
    _dir: TempDir,
    folder: PathBuf,
    store: PathBuf,
    interrupt: Interrupt,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (folder, store) = (dir.path().join("folder"), dir.path().join("store"));
        fs::create_dir(&folder).unwrap();
        fs::create_dir(&store).unwrap();
        Self { _dir: dir, folder, store, interrupt: Interrupt::default() }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a file with a modification time long past.
    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::create_dir_all(self.at(name).parent().unwrap()).unwrap();
        fs::write(self.at(name), content).unwrap();
    }

    fn import(&self, drive: &mut MemoryDrive) -> anyhow::Result<Imported> {
        let mut seen = Seen::load(&self.store.join("seen"), &self.folder, &KEY, drive.version);
        import(&self.folder, &self.store, drive, &mut seen, &Report::to_nobody(), &self.interrupt)
    }

    fn restore(&self, drive: &mut MemoryDrive, force: bool) -> anyhow::Result<Restored> {
        let mut written = Written::open(&self.store.join("written"), &self.folder, &KEY, drive.version.fork)?;
        let mut target = Target::open(&self.folder)?;
        restore(&mut target, drive, &mut written, force, &Report::to_nobody(), &self.interrupt)
    }

    fn listing(&self) -> BTreeMap<PathBuf, (Vec<u8>, bool)> {
        let mut listing = BTreeMap::new();
        list(&self.folder, &self.folder, &mut listing);
        listing
    }
}

fn list(root: &Path, dir: &Path, listing: &mut BTreeMap<PathBuf, (Vec<u8>, bool)>) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let (path, file_type) = (entry.path(), entry.file_type().unwrap());
        if file_type.is_dir() {
            list(root, &path, listing);
            continue;
        }
        let content = if file_type.is_symlink() {
            fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
        } else {
            fs::read(&path).unwrap()
        };
        let executable = entry.metadata().unwrap().permissions().mode() & 0o100 != 0;
        listing.insert(path.strip_prefix(root).unwrap().to_owned(), (content, executable));
    }
}

fn sample() -> Place {
    let place = Place::new();
    for (name, size) in [("a/b/c", 1), ("a/b.txt", 0), ("a.txt", 70_000), ("ü", 65_536), ("z/z", 200_001)] {
        place.write(name, vec![b'x'; size]);
    }
    place.write("run", "#!/bin/sh");
    fs::set_permissions(place.at("run"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("../a.txt", place.at("a/link")).unwrap();
    symlink("nowhere", place.at("dangling")).unwrap();
    place
}

#[test]
fn a_folder_comes_out_as_it_went_in() {
    let (from, to, mut drive) = (sample(), Place::new(), MemoryDrive::default());
    let imported = from.import(&mut drive).unwrap();
    assert_eq!((imported.files, imported.put, imported.deleted, imported.problems), (8, 8, 0, 0));
    assert_eq!(imported.bytes, 335_547);
    let restored = to.restore(&mut drive, false).unwrap();
    assert_eq!((restored.files, restored.written, restored.bytes, restored.problems), (8, 8, 335_547, 0));
    assert_eq!(to.listing(), from.listing());
    assert_eq!(drive.wanted, 5, "every blob with bytes is asked for once");
}

#[test]
fn what_did_not_change_is_neither_read_nor_put_again() {
    let (place, mut drive) = (sample(), MemoryDrive::default());
    place.import(&mut drive).unwrap();
    std::thread::sleep(Duration::from_millis(150));
    place.import(&mut drive).unwrap();
    let (appended, reads) = (drive.appended, drive.reads);
    let again = place.import(&mut drive).unwrap();
    assert_eq!((again.files, again.bytes, again.put, again.deleted), (8, 335_547, 0, 0));
    assert_eq!((drive.appended, drive.reads), (appended, reads));

    fs::remove_file(place.store.join("seen")).unwrap();
    let relearned = place.import(&mut drive).unwrap();
    assert_eq!(relearned.put, 0, "without memory, content is compared");
    assert_eq!(drive.appended, appended);
}

#[test]
fn a_folder_without_a_change_takes_no_look_at_the_drive() {
    let (place, mut drive) = (Place::new(), MemoryDrive::default());
    ["a/b", "a/c", "d"].iter().for_each(|name| place.write(name, name));
    std::thread::sleep(Duration::from_millis(150));
    place.import(&mut drive).unwrap();
    let mut looks = |change: &dyn Fn()| {
        change();
        drive.listed = 0;
        let imported = place.import(&mut drive).unwrap();
        assert_eq!(imported.files, drive.entries.len() as u64);
        (drive.listed > 0, imported.put, imported.deleted)
    };
    assert_eq!(looks(&|| ()), (false, 0, 0));
    assert_eq!(looks(&|| fs::remove_file(place.at("a/c")).unwrap()), (true, 0, 1));
    assert_eq!(looks(&|| ()), (false, 0, 0));
    assert_eq!(looks(&|| fs::remove_file(place.at("d")).unwrap()), (true, 0, 1));
    let executable = fs::Permissions::from_mode(0o755);
    assert_eq!(looks(&|| fs::set_permissions(place.at("a/b"), executable.clone()).unwrap()), (true, 1, 0));
    assert_eq!(looks(&|| symlink("b", place.at("a/link")).unwrap()), (true, 1, 0));
    assert_eq!(looks(&|| ()), (true, 0, 0), "links are not remembered");
    place.import(&mut drive).unwrap();
    drive.file("/not from here", b"a/b");
    assert_eq!(place.import(&mut drive).unwrap().deleted, 1);
}

#[test]
fn a_change_that_leaves_size_and_time_alone_is_seen() {
    let (place, mut drive) = (Place::new(), MemoryDrive::default());
    place.write("f", "one");
    let time = SystemTime::now() - Duration::from_secs(60);
    File::options().write(true).open(place.at("f")).unwrap().set_modified(time).unwrap();
    place.import(&mut drive).unwrap();
    place.write("f", "two");
    File::options().write(true).open(place.at("f")).unwrap().set_modified(time).unwrap();
    place.import(&mut drive).unwrap();
    assert_eq!(drive.content("/f"), b"two");
}

#[test]
fn changes_of_every_kind_are_followed_both_ways() {
    let (from, to, mut drive) = (sample(), Place::new(), MemoryDrive::default());
    from.import(&mut drive).unwrap();
    to.restore(&mut drive, false).unwrap();
    to.write("extra/mine", "mine");

    fs::remove_file(from.at("a/b/c")).unwrap();
    fs::remove_dir(from.at("a/b")).unwrap();
    from.write("a/b", "a file where a folder was");
    fs::remove_file(from.at("a.txt")).unwrap();
    from.write("a.txt/f", "a folder where a file was");
    fs::set_permissions(from.at("run"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::remove_file(from.at("dangling")).unwrap();
    symlink("elsewhere", from.at("dangling")).unwrap();
    from.write("ü", "shorter");
    let appended = drive.appended;
    let imported = from.import(&mut drive).unwrap();
    assert_eq!((imported.put, imported.deleted), (5, 2));
    assert_eq!(drive.appended - appended, 57, "the program's content is not put again for its bit");

    let restored = to.restore(&mut drive, false).unwrap();
    assert_eq!((restored.written, restored.deleted, restored.problems), (5, 2, 0));
    let mut expected = from.listing();
    expected.insert("extra/mine".into(), (b"mine".to_vec(), false));
    assert_eq!(to.listing(), expected);

    fs::remove_dir_all(from.at("z")).unwrap();
    from.import(&mut drive).unwrap();
    to.restore(&mut drive, false).unwrap();
    assert!(!to.at("z").exists(), "folders left empty go too");
}

#[test]
fn a_persons_own_changes_are_kept_unless_forced() {
    let (from, to, mut drive) = (sample(), Place::new(), MemoryDrive::default());
    from.import(&mut drive).unwrap();
    to.restore(&mut drive, false).unwrap();
    to.write("run", "mine now!");
    fs::remove_file(to.at("a/link")).unwrap();
    to.write("a/b/c", "mine");
    fs::remove_file(from.at("a/b/c")).unwrap();
    from.import(&mut drive).unwrap();

    let restored = to.restore(&mut drive, false).unwrap();
    assert_eq!((restored.problems, restored.written, restored.deleted), (2, 1, 0));
    assert_eq!(fs::read(to.at("run")).unwrap(), b"mine now!");
    assert_eq!(fs::read(to.at("a/b/c")).unwrap(), b"mine", "deleted there, changed here");
    assert!(to.at("a/link").is_symlink(), "what was removed here is restored");

    let forced = to.restore(&mut drive, true).unwrap();
    assert_eq!((forced.problems, forced.written), (0, 1));
    assert_eq!(fs::read(to.at("run")).unwrap(), b"#!/bin/sh");
    assert_eq!(fs::read(to.at("a/b/c")).unwrap(), b"mine", "no longer clone's own");
}

#[test]
fn a_run_that_ends_anywhere_is_gone_on_with() {
    let (from, mut drive) = (sample(), MemoryDrive::default());
    from.import(&mut drive).unwrap();
    for reads in [0, 1, 2, 100, 14_000, 27_000, 40_000] {
        let to = Place::new();
        drive.reads_left = Some(reads);
        assert!(to.restore(&mut drive, false).is_err());
        drive.reads_left = None;
        to.write("a/b/.anypath-unfinished-of-another", "");
        let restored = to.restore(&mut drive, false).unwrap();
        assert_eq!((restored.files, restored.problems), (8, 0), "{reads}");
        fs::remove_file(to.at("a/b/.anypath-unfinished-of-another")).unwrap();
        assert_eq!(to.listing(), from.listing(), "{reads}");
    }
}

#[test]
fn after_a_run_that_did_not_end_content_is_compared() {
    let (from, to, mut drive) = (sample(), Place::new(), MemoryDrive::default());
    from.import(&mut drive).unwrap();
    to.restore(&mut drive, false).unwrap();
    let modified = fs::metadata(to.at("z/z")).unwrap().modified().unwrap();
    to.write("z/z", vec![b'?'; 200_001]);
    File::options().write(true).open(to.at("z/z")).unwrap().set_modified(modified).unwrap();
    assert_eq!(to.restore(&mut drive, false).unwrap().written, 0);

    drive.file("/new", b"new");
    drive.reads_left = Some(0);
    to.restore(&mut drive, false).unwrap_err();
    drive.reads_left = None;
    assert_eq!(to.restore(&mut drive, false).unwrap().written, 2);
    assert_eq!(fs::read(to.at("z/z")).unwrap(), fs::read(from.at("z/z")).unwrap());
}

#[test]
fn killed_between_the_journal_and_the_deed_the_old_file_is_still_ours() {
    let (to, mut drive) = (Place::new(), MemoryDrive::default());
    drive.file("/f", b"one");
    to.restore(&mut drive, false).unwrap();
    fs::copy(to.at("f"), to.at("../old")).unwrap();
    let old = fs::metadata(to.at("f")).unwrap();
    drive.file("/f", b"three");
    let journal = to.store.join("written");
    let mut written = Written::open(&journal, &to.folder, &KEY, 0).unwrap();
    let before = written.record("/f").unwrap().standing.clone();
    let standing = super::standing::Standing::Symlink { target: None, inode: 1 };
    written.begin(vec!["/f".into()]).unwrap();
    written.wrote("/f", super::written::Record { seq: 2, standing, before: Some(before) }).unwrap();
    drop(written);

    let restored = to.restore(&mut drive, false).unwrap();
    assert_eq!((restored.written, restored.problems), (1, 0));
    assert_eq!(fs::read(to.at("f")).unwrap(), b"three");
    assert_ne!(fs::metadata(to.at("f")).unwrap().len(), old.len());
}

#[test]
fn another_history_is_compared_by_content() {
    let (to, mut drive) = (Place::new(), MemoryDrive::default());
    drive.file("/same", b"same");
    drive.file("/other", b"one");
    to.restore(&mut drive, false).unwrap();
    drive = MemoryDrive { version: super::drive::Version { length: 0, fork: 1 }, ..MemoryDrive::default() };
    drive.file("/same", b"same");
    drive.file("/other", b"two");
    let restored = to.restore(&mut drive, false).unwrap();
    assert_eq!((restored.files, restored.written, restored.problems), (2, 1, 0));
    assert_eq!(fs::read(to.at("other")).unwrap(), b"two");
}

#[test]
fn an_interruption_is_obeyed_and_remembered() {
    let (place, mut drive) = (sample(), MemoryDrive::default());
    place.interrupt.ask();
    assert!(place.import(&mut drive).unwrap_err().is::<Interrupted>());
    assert!(place.restore(&mut drive, false).is_ok(), "nothing to do, nothing to interrupt");
    assert_eq!(drive.names(), [] as [&str; 0]);
}

#[test]
fn what_cannot_be_read_stays_in_the_drive() {
    let (place, mut drive) = (sample(), MemoryDrive::default());
    place.import(&mut drive).unwrap();
    let busy = super::Found {
        name: "/a/".into(),
        kind: super::FoundKind::Left { cause: std::io::Error::other("denied").into(), unknown: true },
    };
    assert!(busy.into_problem().is_some());
    fs::remove_dir_all(place.at("z")).unwrap();
    fs::remove_dir_all(place.at("a")).unwrap();
    symlink("a.txt", place.at("a")).unwrap();
    let imported = place.import(&mut drive).unwrap();
    assert_eq!(imported.deleted, 4);
    assert_eq!(drive.names(), ["/a", "/a.txt", "/dangling", "/run", "/ü"]);
}

#[test]
fn ten_thousand_unchanged_files_are_listed_and_not_opened() {
    let (place, mut drive) = (Place::new(), MemoryDrive::default());
    for i in 0..10_000 {
        place.write(&format!("{}/{i}", i % 100), i.to_string());
    }
    std::thread::sleep(Duration::from_millis(150));
    place.import(&mut drive).unwrap();
    let reads = drive.reads;
    // A file without the right to be read would be named, were it opened.
    let closed = place.at("7/7");
    let modified = fs::metadata(&closed).unwrap().modified().unwrap();
    let again = place.import(&mut drive).unwrap();
    assert_eq!((again.files, again.put, again.problems), (10_000, 0, 0));
    assert_eq!(drive.reads, reads);
    assert_eq!(fs::metadata(&closed).unwrap().modified().unwrap(), modified);
}

const KEY: PublicKey = PublicKey([7; 32]);

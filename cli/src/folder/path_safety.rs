//! Tests: whatever a stranger's drive holds, not a byte outside the folder changes, and the rest is cloned.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anypath_wire::PublicKey;
use bytes::Bytes;
use tempfile::TempDir;

use super::drive::{BlobId, DriveSink, Kind, Read};
use super::memory::MemoryDrive;
use super::{Restored, Target, Written, restore};
use crate::{Interrupt, Report};

/// A folder to restore into, in the middle of others that nobody may touch.
struct World {
    dir: TempDir,
    said: Said,
}

#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Said {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl World {
    fn new() -> Self {
        let world = Self { dir: tempfile::tempdir().unwrap(), said: Said::default() };
        for folder in ["above/target", "above/beside", "store"] {
            fs::create_dir_all(world.dir.path().join(folder)).unwrap();
        }
        for file in ["secret", "above/secret", "above/beside/secret"] {
            fs::write(world.dir.path().join(file), "untouched").unwrap();
        }
        world
    }

    fn target(&self) -> PathBuf {
        self.dir.path().join("above/target")
    }

    fn restore(&self, drive: &mut MemoryDrive, force: bool) -> anyhow::Result<Restored> {
        let journal = self.dir.path().join("store/written");
        let mut written = Written::open(&journal, &self.target(), &PublicKey([7; 32]), 0)?;
        let report = Report::to_writer(Box::new(self.said.clone()));
        restore(&mut Target::open(&self.target())?, drive, &mut written, force, &report, &Interrupt::default())
    }

    /// Returns everything outside the target, without the journal.
    fn outside(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut outside = BTreeMap::new();
        list(self.dir.path(), &self.target(), &mut outside);
        outside.retain(|path, _| !path.starts_with(self.dir.path().join("store")));
        outside
    }

    fn inside(&self) -> Vec<String> {
        let mut inside = BTreeMap::new();
        list(&self.target(), Path::new("/"), &mut inside);
        let root = format!("{}/", self.target().display());
        inside.into_keys().map(|path| path.display().to_string().strip_prefix(&root).unwrap().to_owned()).collect()
    }

    /// Returns the codes of the problems told, by name.
    fn problems(&self) -> BTreeMap<String, String> {
        let said = String::from_utf8(self.said.0.lock().unwrap().clone()).unwrap();
        let events = said.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        events.filter(|event| event["event"] == "problem").map(|e| (text(&e["name"]), text(&e["code"]))).collect()
    }
}

fn list(dir: &Path, except: &Path, listing: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        match entry.file_type().unwrap() {
            _ if path == except => {}
            file_type if file_type.is_dir() => {
                listing.insert(path.join(""), Vec::new());
                list(&path, except, listing);
            }
            file_type if file_type.is_symlink() => {
                let to = fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes();
                listing.insert(path, to);
            }
            _ => drop(listing.insert(path.clone(), fs::read(&path).unwrap())),
        }
    }
}

#[test]
fn names_that_lead_out_are_refused_one_by_one_and_the_rest_is_cloned() {
    let (world, mut drive) = (World::new(), MemoryDrive::default());
    let absolute = format!("/{}", world.dir.path().join("secret").display());
    let long = format!("/{}", "n".repeat(300));
    let deep = "/d".repeat(5000);
    let bad = [
        "",
        "/",
        "relative",
        "../secret",
        "/../secret",
        "/a/../../secret",
        "/a/./b",
        "//secret",
        "/a//b",
        "/folder/",
        "/..\\..\\secret",
        "/back\\slash",
        "/nul\0byte",
        "/line\nbreak",
        "/\u{1b}[2J",
        "/.anypath-unfinished-0",
        &absolute,
        &long,
        &deep,
    ];
    for name in bad {
        drive.file(name, b"evil");
    }
    for name in ["/good", "/folder/good", "/z/…/good"] {
        drive.file(name, b"good");
    }
    let before = world.outside();
    let restored = world.restore(&mut drive, true).unwrap();
    assert_eq!(world.outside(), before);
    assert_eq!((restored.problems as usize, restored.files), (bad.len(), 3));
    assert_eq!(world.inside(), ["folder/", "folder/good", "good", "z/", "z/…/", "z/…/good"]);
    let problems = world.problems();
    for name in bad {
        assert_eq!(problems.get(name).map(String::as_str), Some("bad_name"), "{name:?}");
    }
}

#[test]
fn links_that_lead_out_are_refused_and_no_link_is_followed() {
    let (world, mut drive) = (World::new(), MemoryDrive::default());
    let outside = world.dir.path().display().to_string();
    drive.link("/absolute", &outside);
    drive.link("/up", "..");
    drive.link("/d/upup", "../../beside");
    drive.link("/d/winding", "x/../../../beside");
    // A harmless link and an entry beyond it: the link stands, the entry would lie elsewhere.
    drive.link("/inner", "d");
    drive.file("/inner/through", b"evil");
    drive.file("/d/good", b"good");
    // Two harmless ones that would lead out together.
    drive.link("/e/f/root", "../..");
    drive.link("/out", "e/f/root/../beside");
    let before = world.outside();
    let restored = world.restore(&mut drive, true).unwrap();
    assert_eq!(world.outside(), before);
    assert_eq!(restored.files, 3);
    assert_eq!(world.inside(), ["d/", "d/good", "e/", "e/f/", "e/f/root", "inner"]);
    let problems = world.problems();
    for name in ["/absolute", "/up", "/d/upup", "/d/winding", "/out"] {
        assert_eq!(problems[name], "bad_link", "{name}");
    }
    assert_eq!(problems["/inner/through"], "way_not_a_folder");
}

#[test]
fn links_that_stand_in_the_folder_already_lead_nowhere() {
    let (world, mut drive) = (World::new(), MemoryDrive::default());
    symlink("../beside", world.target().join("way")).unwrap();
    symlink("../secret", world.target().join("file")).unwrap();
    symlink(world.dir.path().join("secret"), world.target().join("gone")).unwrap();
    drive.file("/way/secret", b"evil");
    drive.file("/way/new/evil", b"evil");
    drive.file("/file", b"evil");
    drive.file("/good", b"good");
    let before = world.outside();
    for force in [false, true] {
        world.restore(&mut drive, force).unwrap();
        assert_eq!(world.outside(), before, "force {force}");
    }
    assert_eq!(fs::read(world.target().join("file")).unwrap(), b"evil", "forced: the link itself is replaced");
    assert_eq!(world.problems()["/way/secret"], "way_not_a_folder");

    // A folder that clone made becomes a link: neither writing nor deleting goes through it.
    drive.file("/way2/secret", b"one");
    world.restore(&mut drive, false).unwrap();
    fs::remove_dir_all(world.target().join("way2")).unwrap();
    symlink("../beside", world.target().join("way2")).unwrap();
    drive.delete("/way2/secret").unwrap();
    world.restore(&mut drive, true).unwrap();
    drive.file("/way2/secret", b"two");
    world.restore(&mut drive, true).unwrap();
    assert_eq!(world.outside(), before);
}

#[test]
fn an_unfinished_file_cannot_be_aimed_elsewhere() {
    let (world, mut drive) = (World::new(), MemoryDrive::default());
    let unfinished = super::Name::parse("/f").unwrap().unfinished();
    symlink("../secret", world.target().join(&unfinished)).unwrap();
    drive.file("/f", b"content");
    let before = world.outside();
    world.restore(&mut drive, false).unwrap();
    assert_eq!(world.outside(), before);
    assert_eq!(world.inside(), ["f"]);
}

#[test]
fn a_name_that_is_both_file_and_folder_is_one_of_them() {
    let (world, mut drive) = (World::new(), MemoryDrive::default());
    drive.file("/a", b"file");
    drive.file("/a/b", b"in a folder");
    drive.file("/c", b"good");
    let restored = world.restore(&mut drive, false).unwrap();
    assert_eq!((restored.files, restored.problems), (2, 1));
    assert_eq!(world.inside(), ["a", "c"]);
    assert_eq!(world.problems()["/a/b"], "way_not_a_folder");
}

#[test]
fn a_folder_of_the_persons_own_is_never_replaced() {
    let (world, mut drive) = (World::new(), MemoryDrive::default());
    fs::create_dir(world.target().join("mine")).unwrap();
    fs::write(world.target().join("mine/file"), "mine").unwrap();
    drive.file("/mine", b"evil");
    let restored = world.restore(&mut drive, true).unwrap();
    assert_eq!((restored.files, restored.problems), (0, 1));
    assert_eq!(world.problems()["/mine"], "folder_in_the_way");
    assert_eq!(world.inside(), ["mine/", "mine/file"]);
}

#[test]
fn twins_that_the_file_system_takes_for_one_are_refused() {
    let (world, mut drive) = (World::new(), MemoryDrive::default());
    drive.file("/readme", b"lower");
    world.restore(&mut drive, false).unwrap();
    // What a file system that folds case shows under the other name: the very same file.
    fs::hard_link(world.target().join("readme"), world.target().join("README")).unwrap();
    drive.file("/README", b"UPPER");
    let restored = world.restore(&mut drive, true).unwrap();
    assert_eq!((restored.files, restored.problems), (1, 1));
    assert_eq!(world.problems()["/README"], "twin");
    assert_eq!(fs::read(world.target().join("readme")).unwrap(), b"lower");
}

#[test]
fn case_twins_stand_side_by_side_where_the_file_system_tells_them_apart() {
    let (world, mut drive) = (World::new(), MemoryDrive::default());
    for name in ["/A", "/a", "/D/x", "/d/x"] {
        drive.file(name, name.as_bytes());
    }
    let restored = world.restore(&mut drive, false).unwrap();
    let folds = world.target().join("A").exists() && world.inside().len() < 6;
    assert_eq!(restored.problems, if folds { 2 } else { 0 });
}

#[test]
fn entries_that_claim_what_the_drive_does_not_hold_are_refused() {
    let (world, mut drive) = (World::new(), MemoryDrive::default());
    drive.file("/good", b"good");
    let beyond = BlobId { byte_offset: 1 << 40, byte_length: u64::MAX, ..BlobId::default() };
    drive.put("/beyond", &Kind::File { blob: beyond, executable: true }).unwrap();
    let more = BlobId { byte_offset: 0, byte_length: 1 << 50, ..BlobId::default() };
    drive.put("/more", &Kind::File { blob: more, executable: false }).unwrap();
    let restored = world.restore(&mut drive, false).unwrap();
    assert_eq!((restored.files, restored.problems), (1, 2));
    assert_eq!(world.problems()["/beyond"], "damaged");
    assert_eq!(world.inside(), ["good"]);
}

#[test]
fn a_list_of_entries_that_goes_in_circles_ends_the_run() {
    struct Circle(MemoryDrive);
    impl super::drive::DriveSource for Circle {
        fn version(&self) -> super::drive::Version {
            self.0.version()
        }

        fn entries(&mut self, _: Option<&str>, limit: usize) -> anyhow::Result<Vec<super::drive::Entry>> {
            self.0.entries(None, limit)
        }

        fn held(&mut self, blobs: &[BlobId]) -> anyhow::Result<Vec<u64>> {
            Ok(vec![0; blobs.len()])
        }

        fn want(&mut self, _: &[BlobId]) -> anyhow::Result<()> {
            Ok(())
        }

        fn expect(&mut self, _: &[BlobId]) {}

        fn read(&mut self, _: &BlobId, _: &mut dyn FnMut(&Bytes) -> ControlFlow<()>) -> anyhow::Result<Read> {
            Ok(Read::Whole)
        }
    }
    let world = World::new();
    let mut drive = MemoryDrive::default();
    drive.file("/a", b"a");
    let mut written = Written::open(&world.dir.path().join("w"), &world.target(), &PublicKey([7; 32]), 0).unwrap();
    let mut target = Target::open(&world.target()).unwrap();
    let (report, interrupt) = (Report::to_nobody(), Interrupt::default());
    let error = restore(&mut target, &mut Circle(drive), &mut written, false, &report, &interrupt).unwrap_err();
    assert!(error.to_string().contains("not in order"), "{error}");
}

//! What the disk store promises beyond `Store`: killed, locked out, damaged or out of space, it says so and loses
//! nothing it announced; many cores are cheap, and dropped blocks cost nothing.
//!
//! Cases that need a second process start this very test program again, told by environment variables which part to
//! play; without them that part returns at once.
#![allow(clippy::disallowed_methods, reason = "a case starts this program again and tells it its part")]
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::env;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anypath_replicate::Node;
use anypath_replicate::store::{Batch, Config, CoreChanges, Damage, DiskStore, Durability, Store, StoreError};
use anypath_wire::DiscoveryKey;
use bytes::Bytes;

const CORE: DiscoveryKey = DiscoveryKey([7; 32]);
const OTHER: DiscoveryKey = DiscoveryKey([8; 32]);

/// Blocks in each commit of the writer.
const STEP: u64 = 10;

fn config(durability: Durability) -> Config {
    Config { durability, ..Config::default() }
}

fn block(index: u64) -> Bytes {
    let bytes = if index.is_multiple_of(7) { 40_000 } else { (index % 100) as usize };
    Bytes::from(vec![index as u8; bytes])
}

/// The `n`th commit: ten more blocks with their nodes, the length so far as head of both cores; now and then a
/// truncation, after which the same blocks are written again.
fn batch(n: u64) -> Batch {
    let range = || n * STEP..(n + 1) * STEP;
    let changes = CoreChanges {
        head: Some(n.to_le_bytes().to_vec()),
        truncate: n.is_multiple_of(5).then_some(n * STEP),
        nodes: (2 * n * STEP..2 * (n + 1) * STEP).map(|index| Node { index, size: n, hash: [n as u8; 32] }).collect(),
        blocks: range().map(|index| (index, block(index))).collect(),
        ..CoreChanges::new(CORE)
    };
    let other = CoreChanges { head: Some(n.to_le_bytes().to_vec()), ..CoreChanges::new(OTHER) };
    Batch { records: vec![("last".to_owned(), Some(n.to_le_bytes().to_vec()))], cores: vec![changes, other] }
}

/// A large row and no block, for the one core (`cores` 1) or for so many in turn.
fn row(n: u64, cores: u64) -> Batch {
    let mut core = [0; 32];
    core[..8].copy_from_slice(&(n % cores).to_be_bytes());
    let info = Some(vec![n as u8; 10_000]);
    Batch { cores: vec![CoreChanges { info, ..CoreChanges::new(DiscoveryKey(core)) }], ..Batch::default() }
}

fn filling(part: &str, n: u64) -> Batch {
    match part {
        "fill blocks" => batch(n),
        "fill one row" => row(n, 1),
        _ => row(n, u64::MAX),
    }
}

/// Returns the number of the last commit, after checking that all of it and all before it is there.
fn check(store: &DiskStore) -> Option<u64> {
    let last = u64::from_le_bytes(store.record("last").unwrap()?.try_into().unwrap());
    for core in [CORE, OTHER] {
        assert_eq!(store.head(&core).unwrap().unwrap(), last.to_le_bytes(), "both heads move together");
    }
    let length = (last + 1) * STEP;
    for index in 0..length {
        assert_eq!(store.block(&CORE, index).unwrap().unwrap(), block(index), "block {index} of {length}");
    }
    for index in 0..2 * length {
        let n = index / (2 * STEP);
        // Parents that reach beyond the length at a truncation went with it.
        if let Some(node) = store.node(&CORE, index).unwrap() {
            assert_eq!(node, Node { index, size: n, hash: [n as u8; 32] });
        } else {
            assert!(index % 2 == 1, "leaf {index} is gone");
        }
    }
    assert_eq!(store.block(&CORE, length).unwrap(), None);
    Some(last)
}

fn play(part: &str, folder: &Path, durability: Durability) -> Child {
    start(Command::new(env::current_exe().unwrap()), part, folder, durability)
}

fn start(mut program: Command, part: &str, folder: &Path, durability: Durability) -> Child {
    program
        .args(["--exact", "second_process", "--nocapture", "--test-threads=1"])
        .env("STORE_PART", part)
        .env("STORE_FOLDER", folder)
        .env("STORE_FULL", if durability == Durability::Full { "1" } else { "" })
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The other process of the cases below; by itself it does nothing.
#[test]
fn second_process() {
    let Ok(part) = env::var("STORE_PART") else { return };
    let folder = env::var("STORE_FOLDER").unwrap();
    let durability = if env::var("STORE_FULL").unwrap().is_empty() { Durability::Relaxed } else { Durability::Full };
    let opened = DiskStore::open(&folder, config(durability));
    let mut out = std::io::stdout();
    let mut say = |line: String| {
        writeln!(out, "\nsays {line}").unwrap();
        out.flush().unwrap();
    };
    match (&*part, opened) {
        ("fill blocks" | "fill one row" | "fill rows", Ok(store)) => {
            // Goes on after a failure, as a program might, until it has seen a few.
            let (mut n, mut failures) = (0, 0);
            while failures < 3 {
                match store.commit(filling(&part, n)) {
                    Ok(()) => n += 1,
                    Err(error) => {
                        failures += 1;
                        say(error.to_string());
                    }
                }
            }
            say(n.to_string());
        }
        ("write", Ok(store)) => {
            let from = store.record("last").unwrap().map_or(0, |row| u64::from_le_bytes(row.try_into().unwrap()) + 1);
            for n in from.. {
                store.commit(batch(n)).unwrap();
                say(n.to_string());
            }
        }
        (_, Ok(_)) => say("opened".to_owned()),
        (_, Err(error)) => say(error.to_string()),
    }
}

fn sayings(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    lines.filter_map(|line| line.strip_prefix("says ").map(str::to_owned))
}

#[test]
fn a_killed_process_loses_nothing_it_announced() {
    // Killed after ever more commits, each time at whatever instant the signal happens to meet; every process goes on
    // where the one before was killed. 2000 commits pass several checkpoints.
    let cases: [(Durability, &[usize]); 2] =
        [(Durability::Relaxed, &[1, 2, 3, 5, 8, 13, 21, 34, 400, 2000]), (Durability::Full, &[1, 2, 3, 20, 100])];
    for (durability, runs) in cases {
        let folder = tempfile::tempdir().unwrap();
        let mut announced = None;
        for commits in runs {
            let mut child = play("write", folder.path(), durability);
            let mut said = sayings(&mut child);
            announced = said.by_ref().take(*commits).last().map(|n| n.parse::<u64>().unwrap());
            assert!(announced.is_some(), "the writer failed");
            child.kill().unwrap();
            announced = said.last().map_or(announced, |n| n.parse().ok());
            child.wait().unwrap();
            if *commits == 400 {
                assert_reopens_with(folder.path(), durability, announced);
            }
        }
        assert_reopens_with(folder.path(), durability, announced);
    }
}

fn assert_reopens_with(folder: &Path, durability: Durability, announced: Option<u64>) {
    let store = DiskStore::open(folder, config(durability)).unwrap();
    let last = check(&store);
    assert!(last >= announced, "{announced:?} was announced, {last:?} is there");
}

#[test]
fn a_journal_torn_anywhere_ends_with_a_whole_batch() {
    let folder = tempfile::tempdir().unwrap();
    let store = DiskStore::open(folder.path(), config(Durability::Relaxed)).unwrap();
    (0..4).for_each(|n| store.commit(batch(n)).unwrap());
    // As a process killed now would leave it.
    let journal = fs::read(folder.path().join("journal")).unwrap();
    let copy = tempfile::tempdir().unwrap();
    let mut seen = [false; 5];
    for end in (0..=journal.len()).step_by(397).chain([journal.len()]) {
        copy_folder(folder.path(), copy.path());
        cut(&copy.path().join("journal"), end as u64);
        let last = check(&DiskStore::open(copy.path(), config(Durability::Relaxed)).unwrap());
        seen[last.map_or(0, |n| n as usize + 1)] = true;
    }
    assert_eq!(seen, [true; 5], "every prefix of the batches came up, and nothing else");
}

#[test]
fn a_batch_whose_blocks_did_not_arrive_is_dropped_whole() {
    let folder = tempfile::tempdir().unwrap();
    let store = DiskStore::open(folder.path(), config(Durability::Relaxed)).unwrap();
    (0..3).for_each(|n| store.commit(batch(n)).unwrap());
    let bytes = fs::metadata(folder.path().join("blocks")).unwrap().len();
    let copy = tempfile::tempdir().unwrap();
    // What a power cut may leave of the last bytes: nothing, or zeros.
    for zeros in [false, true] {
        copy_folder(folder.path(), copy.path());
        cut(&copy.path().join("blocks"), bytes - 10);
        if zeros {
            cut(&copy.path().join("blocks"), bytes);
        }
        let reopened = DiskStore::open(copy.path(), config(Durability::Relaxed)).unwrap();
        assert_eq!(check(&reopened), Some(1));
        // The number of the lost batch is given again, and lasts.
        reopened.commit(batch(2)).unwrap();
        drop(reopened);
        assert_eq!(check(&DiskStore::open(copy.path(), config(Durability::Relaxed)).unwrap()), Some(2));
    }
}

#[test]
fn a_second_process_is_told_who_has_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = DiskStore::open(folder.path(), config(Durability::Relaxed)).unwrap();
    let said = |mut child: Child| {
        let said = sayings(&mut child).last().unwrap();
        child.wait().unwrap();
        said
    };
    let (path, pid) = (folder.path().display(), std::process::id());
    let expected = format!(
        "the store in {path} is in use by another process (pid {pid}): stop it or give this one another --store"
    );
    assert_eq!(said(play("open", folder.path(), Durability::Relaxed)), expected);
    drop(store);
    assert_eq!(said(play("open", folder.path(), Durability::Relaxed)), "opened");
}

#[test]
#[cfg(unix)]
fn out_of_space_is_said_and_harms_nothing() {
    // What meets the limit on a file's size, which stands in for a full disk.
    let cases = [("fill blocks", 1600, "blocks"), ("fill one row", 2000, "journal"), ("fill rows", 2000, "rows.redb")];
    for (part, kib, file) in cases {
        for durability in [Durability::Relaxed, Durability::Full] {
            let folder = tempfile::tempdir().unwrap();
            let mut shell = Command::new("bash");
            let limit = format!("trap '' XFSZ; ulimit -f {kib}; exec \"$@\"");
            shell.args(["-c", &limit, "bash"]).arg(env::current_exe().unwrap());
            let mut child = start(shell, part, folder.path(), durability);
            let said: Vec<String> = sayings(&mut child).collect();
            child.wait().unwrap();
            let (commits, errors) = said.split_last().unwrap();
            let path = folder.path().join(file);
            assert_eq!(errors[0], format!("no space is left to write {}", path.display()), "at {kib} KiB: {errors:?}");
            let commits: u64 = commits.parse().unwrap();
            let store = DiskStore::open(folder.path(), config(durability)).unwrap();
            if part == "fill blocks" {
                assert_eq!(check(&store), Some(commits - 1), "{errors:?}");
            }
            let last = if part == "fill one row" { commits - 1..commits } else { 0..commits };
            for expected in last.map(|n| filling(part, n).cores.remove(0)) {
                assert_eq!(store.info(&expected.core).unwrap(), expected.info, "{part}: {errors:?}");
            }
            store.commit(filling(part, commits)).unwrap();
        }
    }
}

#[test]
#[cfg(unix)]
fn the_folder_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("deep/store");
    let store = DiskStore::open(&folder, Config::default()).unwrap();
    store.commit(batch(0)).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
#[cfg(target_os = "linux")]
fn the_space_of_dropped_blocks_comes_back() {
    use std::os::unix::fs::MetadataExt;
    let folder = tempfile::tempdir().unwrap();
    let store = DiskStore::open(folder.path(), Config::default()).unwrap();
    let blocks = (0..64).map(|index| (index, Bytes::from(vec![1; 65536]))).collect();
    store.commit(Batch { cores: vec![CoreChanges { blocks, ..CoreChanges::new(CORE) }], ..Batch::default() }).unwrap();
    let shorter = CoreChanges { truncate: Some(1), ..CoreChanges::new(CORE) };
    store.commit(Batch { cores: vec![shorter], ..Batch::default() }).unwrap();
    drop(store);
    let blocks = fs::metadata(folder.path().join("blocks")).unwrap();
    assert_eq!(blocks.len(), 64 * 65536);
    assert!(blocks.blocks() * 512 <= 2 * 65536, "{} bytes are still taken", blocks.blocks() * 512);
    let store = DiskStore::open(folder.path(), Config::default()).unwrap();
    assert_eq!(store.block(&CORE, 0).unwrap().unwrap(), vec![1; 65536]);
}

#[test]
fn thousands_of_cores_are_four_files_and_little_else() {
    let folder = tempfile::tempdir().unwrap();
    let store = DiskStore::open(folder.path(), Config::default()).unwrap();
    let core = |n: u64| {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&n.to_be_bytes());
        let mut page = Box::new([0; 4096]);
        page[0] = 1;
        CoreChanges {
            head: Some(vec![1; 120]),
            info: Some(vec![2; 120]),
            nodes: vec![Node { index: 0, size: 9, hash: [n as u8; 32] }],
            blocks: vec![(0, Bytes::from(n.to_string()))],
            bitfield: vec![(0, page)],
            ..CoreChanges::new(DiscoveryKey(key))
        }
    };
    for first in (0..4000).step_by(1000) {
        let cores = (first..first + 1000).map(core).collect();
        store.commit(Batch { cores, ..Batch::default() }).unwrap();
    }
    for n in 0..4000 {
        assert_eq!(store.block(&core(n).core, 0).unwrap().unwrap(), n.to_string());
    }
    drop(store);
    let files: Vec<u64> = fs::read_dir(folder.path()).unwrap().map(|f| f.unwrap().metadata().unwrap().len()).collect();
    assert_eq!(files.len(), 4);
    let bytes_a_core = files.iter().sum::<u64>() / 4000;
    assert!(bytes_a_core < 2048, "{bytes_a_core} bytes a core");
}

#[test]
fn readers_see_whole_batches_while_others_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let store = DiskStore::open(folder.path(), Config::default()).unwrap();
    store.commit(batch(0)).unwrap();
    let last = || u64::from_le_bytes(store.head(&CORE).unwrap().unwrap().try_into().unwrap());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while last() < 299 {
                    let index = (last() + 1) * STEP - 1;
                    assert_eq!(store.block(&CORE, index).unwrap().unwrap(), block(index));
                    assert!(store.node(&CORE, 2 * index).unwrap().is_some());
                }
            });
        }
        (1..300).for_each(|n| store.commit(batch(n)).unwrap());
    });
}

#[test]
fn a_block_file_that_lost_its_end_is_damage() {
    let folder = filled(20);
    let blocks = folder.path().join("blocks");
    let expected = fs::metadata(&blocks).unwrap().len();
    cut(&blocks, expected - 1);
    let error = DiskStore::open(folder.path(), Config::default()).unwrap_err();
    let StoreError::Damaged { path, damage: Damage::Short { found, expected: said } } = error else {
        panic!("{error}");
    };
    assert_eq!((path, found, said), (blocks, expected - 1, expected));
}

#[test]
fn a_block_file_cut_while_open_is_damage() {
    let folder = filled(3);
    let store = DiskStore::open(folder.path(), Config::default()).unwrap();
    cut(&folder.path().join("blocks"), 100);
    let error = store.block(&CORE, 7).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { damage: Damage::Short { found: 100, .. }, .. }), "{error}");
}

#[test]
fn a_database_that_is_none_is_refused() {
    let folder = filled(1);
    fs::write(folder.path().join("rows.redb"), vec![b'x'; 10_000]).unwrap();
    let error = DiskStore::open(folder.path(), Config::default()).unwrap_err();
    assert!(error.to_string().contains("rows.redb"), "{error}");
}

#[test]
fn a_store_whose_making_was_cut_short_is_made_anew() {
    // As a kill between the first bytes of the database and its last leaves it: redb would refuse it for ever.
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("rows.redb"), vec![0; 10_000]).unwrap();
    let store = DiskStore::open(folder.path(), Config::default()).unwrap();
    store.commit(batch(0)).unwrap();
    assert_eq!(check(&store), Some(0));
}

#[test]
fn flipped_bits_never_panic() {
    let folder = filled(40);
    let copy = tempfile::tempdir().unwrap();
    let bytes = fs::read(folder.path().join("rows.redb")).unwrap();
    let mut complaints = 0;
    // Bytes that are zero throughout are mostly unused: flip some of the others.
    let used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
    for at in used.iter().step_by(used.len() / 150) {
        copy_folder(folder.path(), copy.path());
        let mut damaged = bytes.clone();
        damaged[*at] ^= 0x55;
        fs::write(copy.path().join("rows.redb"), damaged).unwrap();
        complaints += u32::from(use_all(copy.path()).is_err());
    }
    assert!(complaints > 0, "some of it must have been noticed");
}

/// Reads everything there is, and writes some more.
fn use_all(folder: &Path) -> Result<(), StoreError> {
    let store = DiskStore::open(folder, Config::default())?;
    store.record("last")?;
    store.cores()?;
    for core in [CORE, OTHER] {
        store.head(&core)?;
        store.bitfield(&core)?;
        for index in 0..1000 {
            store.node(&core, index)?;
            store.block(&core, index)?;
        }
    }
    store.commit(batch(40))
}

fn filled(commits: u64) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let store = DiskStore::open(folder.path(), Config::default()).unwrap();
    (0..commits).for_each(|n| store.commit(batch(n)).unwrap());
    folder
}

fn cut(path: &Path, bytes: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(bytes).unwrap();
}

fn copy_folder(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

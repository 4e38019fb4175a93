//! How long it takes to bring a folder into a drive, beside what cannot be spared: reading and hashing it, or listing it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use anypath_wire::Hasher;
use rustix::process::{Pid, Signal, kill_process};

use crate::warm;

/// A folder to be shared.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// What it is called in a table.
    pub name: &'static str,
    /// How many files.
    pub files: usize,
    /// Bytes of each.
    pub file_bytes: usize,
}

/// One round over one folder; each time is wall clock.
#[derive(Debug, Clone, Copy)]
pub struct Imported {
    /// All bytes of the folder.
    pub bytes: u64,
    /// Reading every byte and hashing it with BLAKE2b, on one thread.
    pub hash: Duration,
    /// `anypath share` from its start to its `shared`, with a new store.
    pub import: Duration,
    /// Listing every folder and asking for the state of each file.
    pub list: Duration,
    /// `anypath share` again, from its start to its `shared`.
    pub again: Duration,
    /// The same over an empty folder: what starting the program and opening a store takes.
    pub start: Duration,
}

/// The folders measured: large files, and many small ones.
pub const LOADS: [Load; 3] = [
    Load { name: "4 files of 128 MiB", files: 4, file_bytes: 128 << 20 },
    Load { name: "2,000 files of 128 KiB", files: 2_000, file_bytes: 128 << 10 },
    Load { name: "10,000 files of 4 KiB", files: 10_000, file_bytes: 4 << 10 },
];

/// Shares a folder with a store, the first path and the second, and returns how long it took until it was shared.
pub type Share<'a> = &'a dyn Fn(&Path, &Path) -> Result<Duration>;

/// Makes the folder `root/folder` and measures a round.
///
/// # Errors
/// If the file system or the program fails.
pub fn measure(share: Share<'_>, root: &Path, load: Load) -> Result<Imported> {
    let folder = root.join("folder");
    let bytes = make(&folder, load)?;
    let share = |folder: &Path, store: &str| share(folder, &root.join(store));
    let hash = timed(|| hash_all(&folder))?;
    warm();
    let import = share(&folder, "store")?;
    let list = timed(|| list(&folder, &mut |_| Ok(())))?;
    let again = share(&folder, "store")?;
    fs::create_dir(root.join("empty"))?;
    share(&root.join("empty"), "empty store")?;
    let start = share(&root.join("empty"), "empty store")?;
    Ok(Imported { bytes, hash, import, list, again, start })
}

/// Makes files of pseudo-random bytes, 256 to a folder, older than the last tick of the file system's clock; returns the
/// bytes of all.
///
/// # Errors
/// If the file system fails.
pub fn make(folder: &Path, load: Load) -> Result<u64> {
    let mut state = 1u64;
    let mut content = vec![0; load.file_bytes];
    for number in 0..load.files {
        let within = folder.join((number / 256).to_string());
        if number % 256 == 0 {
            fs::create_dir_all(&within)?;
        }
        for word in content.chunks_mut(8) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            word.copy_from_slice(&(state ^ (state >> 29)).to_le_bytes()[..word.len()]);
        }
        fs::write(within.join(number.to_string()), &content)?;
    }
    // What is still on its way to the disk would be measured with whatever is measured first.
    File::open(folder)?.sync_all()?;
    list(folder, &mut |file| Ok(File::open(file)?.sync_all()?))?;
    Ok((load.files * load.file_bytes) as u64)
}

fn hash_all(folder: &Path) -> Result<()> {
    let mut chunk = vec![0; 64 << 10];
    let mut hasher = Hasher::new();
    list(folder, &mut |path| {
        let mut file = File::open(path)?;
        loop {
            match file.read(&mut chunk)? {
                0 => return Ok(()),
                read => hasher.update(&chunk[..read]),
            };
        }
    })?;
    std::hint::black_box(hasher.finish());
    Ok(())
}

fn list(folder: &Path, file: &mut dyn FnMut(&Path) -> Result<()>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if fs::symlink_metadata(&path)?.is_dir() { list(&path, file)? } else { file(&path)? }
    }
    Ok(())
}

/// Runs `program`, a release build of `anypath`, as [`Share`].
///
/// # Errors
/// If it cannot be started or fails.
pub fn share(program: &Path, folder: &Path, store: &Path) -> Result<Duration> {
    let began = Instant::now();
    let mut command = Command::new(program);
    command.args(["share", "--json", "--listen", "tcp://127.0.0.1:0", "--store"]).args([store, folder]);
    let mut child = Running(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?);
    let stdout = child.0.stdout.take().context("a started process has no output")?;
    for line in BufReader::new(stdout).lines() {
        if line?.contains(r#""event":"shared""#) {
            return Ok(began.elapsed());
        }
    }
    bail!("`anypath share` ended early")
}

/// A process that ends with this.
struct Running(Child);

impl Drop for Running {
    /// Interrupts it as a person would: killed, it would have its store checked at the next start.
    fn drop(&mut self) {
        let id = Pid::from_child(&self.0);
        if kill_process(id, Signal::INT).is_err() {
            let _ = self.0.kill();
        }
        let _ = self.0.wait();
    }
}

fn timed(work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let began = Instant::now();
    work().map(|()| began.elapsed())
}

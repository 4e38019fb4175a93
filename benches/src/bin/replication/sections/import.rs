//! A folder becomes a drive, against hashing it; shared again unchanged, against listing it.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use anypath_benches::{Bars, Figures, Page, Plan, Section, Summary, Table, Target, Tone, figure};
use anypath_wire::hash;

use crate::sides::drive::{Share, make_files};
use crate::sides::{MIB, Program};

pub(crate) struct Import;

impl Section for Import {
    fn name(&self) -> &'static str {
        "import"
    }

    fn measure(&self, plan: &Plan, figures: &mut Figures) -> Result<()> {
        let dir = tempfile::tempdir()?;
        for folder in FOLDERS {
            make_files(&dir.path().join(folder.name), folder.files, folder.bytes)?;
        }
        // What changed this shortly before it is read is read again: not what an unchanged folder is.
        std::thread::sleep(SETTLING);
        for round in 1..=plan.rounds.min(ROUNDS_MAX) {
            for folder in FOLDERS {
                let at = dir.path().join(folder.name);
                let mut add = |quantity, seconds| {
                    figures.add(folder.name, quantity, seconds);
                    plan.say(&format!("import, round {round}: {}, {quantity} {seconds:.3} s", folder.name));
                };
                add(LIST, timed(|| visit(&at, &mut |_| Ok(())), folder.files)?);
                add(HASH, timed(|| visit(&at, &mut hash_file), folder.files)?);
                let stores = tempfile::tempdir_in(dir.path())?;
                let store = |program: Program| stores.path().join(program.name());
                add(OURS, Share::start(Program::Ours, &store(Program::Ours), &at)?.seconds);
                add(AGAIN, Share::start(Program::Ours, &store(Program::Ours), &at)?.seconds);
                add(JS, Share::start(Program::Js, &store(Program::Js), &at)?.seconds);
            }
        }
        Ok(())
    }

    fn page(&self, figures: &Figures) -> Result<Page> {
        let mut page = Page::new("Import, and sharing again");
        page.text(INTRODUCTION);
        let mut table = Table::new(&["", "seconds", "MiB/s", "files/s", "of hashing's speed"]);
        for folder in FOLDERS {
            let mut bars = Bars::new(&format!("A folder of {} imported", folder.name), "MiB/s");
            bars.mark(folder.mib() / figures.of(folder.name, HASH)?.median * SHARE_ASKED / 100.0, "asked of ours");
            for (quantity, tone) in [(HASH, Tone::Bare), (OURS, Tone::Ours), (JS, Tone::Js)] {
                let seconds = figures.of(folder.name, quantity)?;
                let rate = figures.each(folder.name, quantity, |seconds| folder.mib() / seconds)?;
                let share = format!("{} %", figure(folder.share(figures, quantity)?.median));
                table.row([
                    format!("{}: {quantity}", folder.name),
                    seconds.text(),
                    figure(rate.median),
                    figure(folder.files as f64 / seconds.median),
                    share.clone(),
                ]);
                bars.bar(quantity, tone, rate, &share);
            }
            page.bars(bars);
            let what = format!("import of {}, of hashing's speed", folder.name);
            page.targets.push(Target::at_least(&what, SHARE_ASKED, folder.share(figures, OURS)?, " %"));
        }
        page.table(&table);
        page.text("### Unchanged");
        page.table(&again(figures)?);
        Ok(page)
    }
}

/// What is imported.
#[derive(Debug, Clone, Copy)]
struct Folder {
    name: &'static str,
    files: u64,
    bytes: usize,
}

impl Folder {
    fn mib(self) -> f64 {
        self.files as f64 * self.bytes as f64 / MIB
    }

    /// Returns the speed of something in percent of that of hashing.
    fn share(self, figures: &Figures, quantity: &str) -> Result<Summary> {
        let hashing = figures.of(self.name, HASH)?.median;
        figures.each(self.name, quantity, |seconds| 100.0 * hashing / seconds)
    }
}

fn again(figures: &Figures) -> Result<Table> {
    let mut table = Table::new(&["", "listing it, s", "sharing it again, s", "times listing"]);
    for folder in FOLDERS {
        let (list, again) = (figures.of(folder.name, LIST)?, figures.of(folder.name, AGAIN)?);
        table.row([folder.name.to_owned(), list.text(), again.text(), figure(again.median / list.median)]);
    }
    Ok(table)
}

/// Returns how long it takes to visit a folder, in seconds.
fn timed(work: impl FnOnce() -> Result<u64>, files: u64) -> Result<f64> {
    let begun = Instant::now();
    let visited = work()?;
    let seconds = begun.elapsed().as_secs_f64();
    ensure!(visited == files, "{visited} of {files} files were found");
    Ok(seconds)
}

/// Lists a folder with what each name is and when it changed, and does something with each file; returns how many.
fn visit(folder: &Path, with: &mut dyn FnMut(&Path) -> Result<()>) -> Result<u64> {
    let mut files = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let metadata = fs::symlink_metadata(&path)?;
        if metadata.is_dir() {
            files += visit(&path, with)?;
        } else {
            black_box(metadata.modified()?);
            with(&path)?;
            files += 1;
        }
    }
    Ok(files)
}

/// Reads a file in pieces as large as a drive's blocks, and hashes each.
fn hash_file(path: &Path) -> Result<()> {
    let mut file = File::open(path)?;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let bytes = file.read(&mut piece)?;
        if bytes == 0 {
            return Ok(());
        }
        black_box(hash(&piece[..bytes]));
    }
}

const FOLDERS: [Folder; 2] = [
    Folder { name: "512 files of 1 MiB", files: 512, bytes: 1 << 20 },
    Folder { name: "10,000 files of 4 KiB", files: 10_000, bytes: 4 << 10 },
];
const PIECE_BYTES: usize = 64 << 10;
const ROUNDS_MAX: usize = 3;
const SETTLING: Duration = Duration::from_secs(3);
/// Percent of the speed of hashing.
const SHARE_ASKED: f64 = 50.0;

const LIST: &str = "listing";
const HASH: &str = "hashing";
const OURS: &str = "import, ours";
const AGAIN: &str = "sharing again, ours";
const JS: &str = "import, JS";

const INTRODUCTION: &str = "\
*Hashing* reads every file in pieces of 64 KiB on one thread and hashes each with the BLAKE2b we use; *import* is from the
start of `anypath share` until the drive holds everything, is committed and served: it also writes every byte a second time.
*Listing* looks at every name, its kind and its times. All with the files in the page cache. JavaScript puts all files in one
batch; it has no counterpart to sharing again. At most three rounds.";

//! Many small files as a drive: put into it and served, fetched and written, on a file system in memory.

use std::path::{Path, PathBuf};

use anyhow::Result;
use anypath_benches::import::{Load, make};
use anypath_benches::{Bars, Figures, Page, Plan, Section, Summary, Table, Target, figure, file_system};

use crate::sides::drive::{Share, compare};
use crate::sides::{Pair, Program};

pub(crate) struct Files;

impl Section for Files {
    fn name(&self) -> &'static str {
        "files"
    }

    fn measure(&self, plan: &Plan, figures: &mut Figures) -> Result<()> {
        let memory = Path::new("/dev/shm");
        let in_memory = file_system(memory).is_ok_and(|kind| kind.starts_with("tmpfs"));
        let place: PathBuf = if in_memory { memory.into() } else { std::env::temp_dir() };
        figures.note(PLACE, &if in_memory { "tmpfs (/dev/shm)".to_owned() } else { file_system(&place)? });
        let dir = tempfile::tempdir_in(&place)?;
        let folder = dir.path().join("files");
        make(&folder, LOAD)?;
        for round in plan.rounds(ROUNDS_MAX) {
            for pair in PAIRS {
                let place = tempfile::tempdir_in(dir.path())?;
                let at = |name: &str| place.path().join(name);
                let share = Share::start(pair.from, &at("store"), &folder)?;
                let cloned = share.clone(pair.to, &at("other"), &at("copy"))?;
                compare(&folder, &at("copy"))?;
                let case = pair.name();
                let both = share.seconds + cloned.seconds;
                for (quantity, value) in [(SHARE, share.seconds), (CLONE, cloned.seconds), (BOTH, both)] {
                    figures.add(&case, quantity, value);
                }
                figures.add(&case, "share's processor seconds", share.usage()?.cpu_seconds);
                figures.add(&case, "clone's processor seconds", cloned.usage.cpu_seconds);
                let (shared, cloned) = (share.seconds, cloned.seconds);
                plan.say(&format!("files, round {round}: {case}, share {shared:.3} s, clone {cloned:.3} s"));
            }
        }
        Ok(())
    }

    fn page(&self, figures: &Figures) -> Result<Page> {
        let mut page = Page::new("Many small files: 20,000 of 1 KiB as a drive");
        page.text(INTRODUCTION.replace("PLACE", figures.fact(PLACE)));
        let times = |quantity| -> Result<Summary> {
            let js = figures.of(&Pair::JS.name(), quantity)?.median;
            figures.each(&Pair::OURS.name(), quantity, |seconds| js / seconds)
        };
        let mut table = Table::new(&["", "JS to JS, s", "ours to ours, s", "ours, files/s", "times JS to JS"]);
        for quantity in [SHARE, CLONE, BOTH] {
            let [js, ours] = PAIRS.map(|pair| figures.of(&pair.name(), quantity));
            let (js, ours) = (js?, ours?);
            let rate = figure(LOAD.files as f64 / ours.median);
            table.row([quantity.to_owned(), js.text(), ours.text(), rate, figure(times(quantity)?.median)]);
        }
        page.table(&table);
        let mut bars = Bars::new("20,000 files of 1 KiB: shared by one process, cloned by another", "seconds");
        for quantity in [SHARE, CLONE] {
            for pair in PAIRS {
                let note = if pair.from == Program::Js {
                    String::new()
                } else {
                    format!("{} × JS", figure(times(quantity)?.median))
                };
                let label = format!("{quantity}, {}", pair.from.name());
                bars.bar(&label, pair.tone(), figures.of(&pair.name(), quantity)?, &note);
            }
        }
        page.bars(bars);
        for (what, quantity) in [("share and clone", BOTH), ("clone alone", CLONE)] {
            let what = format!("20,000 files of 1 KiB, {what}, against JS to JS");
            page.targets.push(Target::at_least(&what, TIMES_ASKED, times(quantity)?, " times"));
        }
        Ok(page)
    }
}

const PAIRS: [Pair; 2] = [Pair::JS, Pair::OURS];
const LOAD: Load = Load { name: "20,000 files of 1 KiB", files: 20_000, file_bytes: 1 << 10 };
/// A round takes JavaScript a third of a minute, and varies little.
const ROUNDS_MAX: usize = 3;
/// How many times JavaScript's speed is asked for.
const TIMES_ASKED: f64 = 8.0;

const PLACE: &str = "file system";
const SHARE: &str = "share";
const CLONE: &str = "clone";
const BOTH: &str = "both";

const INTRODUCTION: &str = "\
`anypath share` and `anypath clone` as their users run them against corestore and hyperdrive, on PLACE. *Share* is until the
drive holds every file and is served (of ours with the start of the program, of JavaScript without that of Node and its
packages); *clone* is from dialling until every file is written, and compared afterwards. JavaScript puts all files in one
batch, asks for all blocks ahead and writes 32 files at a time: faster than its own mirror, which takes one after the other.
At most three rounds.";

//! A folder becomes a drive, against hashing it; shared again unchanged, against listing it.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use anypath_benches::import::{Imported, LOADS, Load, measure};
use anypath_benches::{Bars, Figures, Page, Plan, Section, Summary, Table, Target, Tone, figure, warm};

use crate::sides::drive::Share;
use crate::sides::{MIB, Program};

pub(crate) struct Import;

impl Section for Import {
    fn name(&self) -> &'static str {
        "import"
    }

    fn measure(&self, plan: &Plan, figures: &mut Figures) -> Result<()> {
        let share = |folder: &Path, store: &Path| {
            let share = Share::start(Program::Ours, store, folder)?;
            let seconds = share.seconds;
            share.end()?;
            Ok(Duration::from_secs_f64(seconds))
        };
        for round in plan.rounds(ROUNDS_MAX) {
            for load in LOADS {
                let dir = tempfile::tempdir()?;
                let Imported { hash, import, list, again, start, .. } = measure(&share, dir.path(), load)?;
                for (quantity, time) in [(HASH, hash), (OURS, import), (LIST, list), (AGAIN, again), (START, start)] {
                    figures.add(load.name, quantity, time.as_secs_f64());
                }
                warm();
                let js = Share::start(Program::Js, &dir.path().join("js"), &dir.path().join("folder"))?.seconds;
                figures.add(load.name, JS, js);
                let (hash, import) = (hash.as_secs_f64(), import.as_secs_f64());
                plan.say(&format!(
                    "import, {}, round {round}: hashing {hash:.3} s, ours {import:.3} s, JS {js:.3} s",
                    load.name
                ));
            }
        }
        Ok(())
    }

    fn page(&self, figures: &Figures) -> Result<Page> {
        let mut page = Page::new("Import, and sharing again");
        page.text(INTRODUCTION);
        let mut table = Table::new(&["", "seconds", "MiB/s", "files/s", "of hashing's speed"]);
        for load in LOADS {
            let mut bars = Bars::new(&format!("A folder of {} imported", load.name), "MiB/s");
            bars.mark(mib(load) / figures.of(load.name, HASH)?.median * SHARE_ASKED / 100.0, "asked of ours");
            for (quantity, tone) in [(HASH, Tone::Bare), (OURS, Tone::Ours), (JS, Tone::Js)] {
                let seconds = figures.of(load.name, quantity)?;
                let rate = figures.each(load.name, quantity, |seconds| mib(load) / seconds)?;
                let share = format!("{} %", figure(share_of_hashing(figures, load, quantity)?.median));
                table.row([
                    format!("{}: {quantity}", load.name),
                    seconds.text(),
                    figure(rate.median),
                    figure(load.files as f64 / seconds.median),
                    share.clone(),
                ]);
                bars.bar(quantity, tone, rate, &share);
            }
            page.bars(bars);
            let what = format!("import of {}, of hashing's speed", load.name);
            page.targets.push(Target::at_least(&what, SHARE_ASKED, share_of_hashing(figures, load, OURS)?, " %"));
        }
        page.table(&table);
        page.text("### Unchanged");
        page.table(&again(figures)?);
        Ok(page)
    }
}

fn mib(load: Load) -> f64 {
    load.files as f64 * load.file_bytes as f64 / MIB
}

/// Returns the speed of something in percent of that of hashing.
fn share_of_hashing(figures: &Figures, load: Load, quantity: &str) -> Result<Summary> {
    let hashing = figures.of(load.name, HASH)?.median;
    figures.each(load.name, quantity, |seconds| 100.0 * hashing / seconds)
}

fn again(figures: &Figures) -> Result<Table> {
    let mut table = Table::new(&[
        "",
        "listing it, s",
        "sharing it again, s",
        "sharing nothing, s",
        "times listing, without the start",
    ]);
    for load in LOADS {
        let [list, again, start] = [LIST, AGAIN, START].map(|quantity| figures.of(load.name, quantity));
        let (list, again, start) = (list?, again?, start?);
        let times = figure((again.median - start.median) / list.median);
        table.row([load.name.to_owned(), list.text(), again.text(), start.text(), times]);
    }
    Ok(table)
}

const ROUNDS_MAX: usize = 3;
/// Percent of the speed of hashing.
const SHARE_ASKED: f64 = 50.0;

const LIST: &str = "listing";
const HASH: &str = "hashing";
const OURS: &str = "import, ours";
const AGAIN: &str = "sharing again, ours";
const START: &str = "sharing an empty folder again, ours";
const JS: &str = "import, JS";

const INTRODUCTION: &str = "\
*Hashing* reads every file in pieces of 64 KiB on one thread and hashes each with the BLAKE2b we use; *import* is from the
start of `anypath share` until the drive holds everything, is committed and served: it also writes every byte a second time.
*Listing* looks at every name and its state. All with the files in the page cache, and synced before; before each import,
2 GiB of memory were used and given back, as the host of a virtual machine may be slow to give what was not used before.
*Sharing nothing* is the same with an empty folder: what starting the program and opening a store takes. JavaScript puts
all files in one batch; it has no counterpart to sharing again. At most three rounds.";

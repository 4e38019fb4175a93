//! What a large file costs in memory and processor time, and what many idle cores cost in memory.

use anyhow::Result;
use anypath_benches::{Bars, Figures, Page, Plan, Section, Table, Target, figure};

use crate::sides::drive::{Share, compare, make_file};
use crate::sides::{Pair, Program, many};

pub(crate) struct Memory;

impl Section for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn measure(&self, plan: &Plan, figures: &mut Figures) -> Result<()> {
        let gib = if plan.long { GIB_LONG } else { 1 };
        figures.note(GIB, &gib.to_string());
        let dir = tempfile::tempdir()?;
        let folder = dir.path().join("files");
        std::fs::create_dir(&folder)?;
        make_file(&folder.join("large.bin"), gib << 30)?;
        for pair in PAIRS {
            // The reference takes long and varies little.
            for _ in plan.rounds(if pair.from == Program::Js { 1 } else { ROUNDS_MAX }) {
                let place = tempfile::tempdir_in(dir.path())?;
                let at = |name: &str| place.path().join(name);
                let share = Share::start(pair.from, &at("store"), &folder)?;
                let import = share.usage()?;
                let cloned = share.clone(pair.to, &at("other"), &at("copy"))?;
                compare(&folder, &at("copy"))?;
                let (case, served, gib) = (pair.name(), share.usage()?, gib as f64);
                figures.add(&case, IMPORT_CPU, import.cpu_seconds / gib);
                figures.add(&case, SERVE_CPU, (served.cpu_seconds - import.cpu_seconds) / gib);
                figures.add(&case, CLONE_CPU, cloned.usage.cpu_seconds / gib);
                figures.add(&case, SHARE_PEAK, served.peak_mib);
                figures.add(&case, CLONE_PEAK, cloned.usage.peak_mib);
                figures.add(&case, "share seconds", share.seconds);
                figures.add(&case, "clone seconds", cloned.seconds);
                plan.say(&format!("memory: {case}, share {:.1} s, clone {:.1} s", share.seconds, cloned.seconds));
            }
            let place = tempfile::tempdir_in(dir.path())?;
            let ends = many::measure(pair.from, place.path(), CORES)?;
            for (name, usage) in ["owner", "reader"].into_iter().zip(ends) {
                figures.add(&pair.name(), &format!("{name} resident"), usage.resident_mib);
                figures.add(&pair.name(), &format!("{name} peak"), usage.peak_mib);
            }
            plan.say(&format!("memory: {}, {CORES} cores", pair.name()));
        }
        Ok(())
    }

    fn page(&self, figures: &Figures) -> Result<Page> {
        let mut page = Page::new("Memory and processor time");
        let gib = figures.fact(GIB);
        page.text(INTRODUCTION.replace("GIB", gib));
        let mut table = Table::new(&["", "JS to JS", "ours to ours"]);
        for (quantity, unit) in QUANTITIES {
            let [js, ours] = PAIRS.map(|pair| figures.of(&pair.name(), quantity));
            table.row([format!("{quantity}, {unit}"), js?.text(), ours?.text()]);
        }
        page.table(&table);
        let mut peaks = Bars::new(&format!("Peak memory: a file of {gib} GiB shared and cloned"), "MiB");
        peaks.mark(LARGE_FILE_MIB, "asked of ours");
        let mut idle = Bars::new("Memory: idle with 1,000 cores and a peer that has them too", "MiB");
        idle.mark(IDLE_MIB, "asked of ours");
        for (bars, quantities) in [(&mut peaks, [SHARE_PEAK, CLONE_PEAK]), (&mut idle, [OWNER, READER])] {
            for quantity in quantities {
                for pair in PAIRS {
                    let side = quantity.split(' ').next().unwrap_or_default();
                    let peak = figures.of(&pair.name(), quantity)?;
                    bars.bar(&format!("{side}, {}", pair.from.name()), pair.tone(), peak, "");
                }
            }
        }
        page.bars(peaks);
        page.bars(idle);
        let ours = Pair::OURS.name();
        for (quantity, what, asked) in [
            (SHARE_PEAK, format!("peak memory, sharing a file of {gib} GiB"), LARGE_FILE_MIB),
            (CLONE_PEAK, format!("peak memory, cloning a file of {gib} GiB"), LARGE_FILE_MIB),
            (OWNER, format!("memory, idle owner of {} cores", figure(f64::from(CORES))), IDLE_MIB),
            (READER, format!("memory, idle reader of {} cores", figure(f64::from(CORES))), IDLE_MIB),
        ] {
            page.targets.push(Target::at_most(&what, asked, figures.of(&ours, quantity)?, " MiB"));
        }
        Ok(page)
    }
}

const PAIRS: [Pair; 2] = [Pair::JS, Pair::OURS];
const ROUNDS_MAX: usize = 3;
const GIB: &str = "GiB";
const GIB_LONG: u64 = 4;
const CORES: u32 = 1000;
/// What is asked of either side of a large file, in MiB.
const LARGE_FILE_MIB: f64 = 128.0;
/// What is asked of an idle peer, in MiB.
const IDLE_MIB: f64 = 64.0;

const IMPORT_CPU: &str = "import's processor time";
const SERVE_CPU: &str = "serving's processor time";
const CLONE_CPU: &str = "cloning's processor time";
const SHARE_PEAK: &str = "share peak";
const CLONE_PEAK: &str = "clone peak";
const OWNER: &str = "owner resident";
const READER: &str = "reader resident";
const QUANTITIES: [(&str, &str); 11] = [
    (SHARE_PEAK, "MiB"),
    (CLONE_PEAK, "MiB"),
    ("share seconds", "s"),
    ("clone seconds", "s"),
    (IMPORT_CPU, "s/GiB"),
    (SERVE_CPU, "s/GiB"),
    (CLONE_CPU, "s/GiB"),
    (OWNER, "MiB"),
    ("owner peak", "MiB"),
    (READER, "MiB"),
    ("reader peak", "MiB"),
];

const INTRODUCTION: &str = "\
One file of GIB GiB as a drive, on the disk: `anypath share` (which also imports it) and `anypath clone` against corestore and
hyperdrive. Peak memory is what the kernel counts as the most a process ever had resident (`VmHWM`). JavaScript has one round
here, ours at most three.

*Owner* and *reader* are two peers with 1,000 cores of one block of 100 bytes each, open and on one connection. Resident is what
they have (`VmRSS`) twelve seconds after the last block came; the reader's peak is of fetching them.";

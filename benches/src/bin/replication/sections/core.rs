//! One core over loopback TCP, from disk to disk, between all pairs of programs.

use anyhow::Result;
use anypath_benches::{Bars, Figures, Page, Plan, Section, Summary, Table, Target, figure};

use super::{PEAK, READER_CPU, SECONDS, SERVER_CPU, add_fetch};
use crate::sides::core::Server;
use crate::sides::{Load, Pair, Program};

pub(crate) struct Core;

impl Section for Core {
    fn name(&self) -> &'static str {
        "core"
    }

    fn measure(&self, plan: &Plan, figures: &mut Figures) -> Result<()> {
        for load in Load::ALL {
            let dir = tempfile::tempdir()?;
            let start = |program: Program| Server::start(program, &dir.path().join(program.name()), load);
            let (js, ours) = (start(Program::Js)?, start(Program::Ours)?);
            for round in plan.rounds(usize::MAX) {
                for pair in Pair::ALL {
                    let server = if pair.from == Program::Js { &js } else { &ours };
                    let fetched = server.fetch(pair.to, &dir.path().join("copy"), load, server.port)?;
                    add_fetch(figures, &case(load, pair), &fetched);
                    let (name, seconds) = (pair.name(), fetched.seconds);
                    plan.say(&format!("core, {}, round {round}: {name} {seconds:.3} s", load.name));
                }
            }
        }
        Ok(())
    }

    fn page(&self, figures: &Figures) -> Result<Page> {
        let mut page = Page::new("One core over loopback TCP, disk to disk");
        page.text(INTRODUCTION);
        for (load, asked) in Load::ALL.into_iter().zip(TIMES_ASKED) {
            let js = figures.of(&case(load, Pair::JS), SECONDS)?.median;
            let times = |pair| figures.each(&case(load, pair), SECONDS, |seconds| js / seconds);
            page.text(format!("### {}", load.text()));
            page.table(&table(figures, load, &times)?);
            let mut bars = bars(figures, load, &times)?;
            bars.mark(asked * load.mib() / js, &format!("asked: {asked} × JS"));
            page.bars(bars);
            let what = format!("core, {} blocks, ours against JS to JS", load.name);
            page.targets.push(Target::at_least(&what, asked, times(Pair::OURS)?, " times"));
        }
        Ok(page)
    }
}

fn table(figures: &Figures, load: Load, times: &dyn Fn(Pair) -> Result<Summary>) -> Result<Table> {
    let mut table = Table::new(&[
        "from, to",
        "seconds",
        "blocks/s",
        "MiB/s",
        "times JS to JS",
        "CPU s/GiB, server",
        "CPU s/GiB, reader",
        "reader's peak MiB",
    ]);
    for pair in Pair::ALL {
        let case = case(load, pair);
        let seconds = figures.of(&case, SECONDS)?;
        let a_gib = |quantity| anyhow::Ok(figure(figures.of(&case, quantity)?.median * 1024.0 / load.mib()));
        table.row([
            pair.name(),
            seconds.text(),
            figure(load.count as f64 / seconds.median),
            figure(load.mib() / seconds.median),
            figure(times(pair)?.median),
            a_gib(SERVER_CPU)?,
            a_gib(READER_CPU)?,
            figure(figures.of(&case, PEAK)?.median),
        ]);
    }
    Ok(table)
}

fn bars(figures: &Figures, load: Load, times: &dyn Fn(Pair) -> Result<Summary>) -> Result<Bars> {
    let mut bars = Bars::new(&format!("One core, {} blocks, loopback TCP, disk to disk", load.name), "MiB/s");
    for pair in Pair::ALL {
        let rate = figures.each(&case(load, pair), SECONDS, |seconds| load.mib() / seconds)?;
        bars.bar(&pair.name(), pair.tone(), rate, &format!("{} × JS", figure(times(pair)?.median)));
    }
    Ok(bars)
}

fn case(load: Load, pair: Pair) -> String {
    format!("{}, {}", load.name, pair.name())
}

/// How many times JavaScript's speed is asked for, with each load.
const TIMES_ASKED: [f64; 2] = [5.0, 15.0];

const INTRODUCTION: &str = "\
From dialling to the last block committed at the reader. The server has the core already and stays up; each reader is a new
process with an empty folder.

**Durability.** Ours commits with `Durability::Relaxed`: a commit is written to the file system before it is announced, so
nothing announced is lost with the process, and a thread syncs block file and journal within 50 ms (`fdatasync`), so a power
cut costs at most the last 100 ms. The reference writes its batches into RocksDB's log and syncs when it opens and when a table
is flushed, not batch by batch (`strace` counts 11 syncs for 20,000 blocks, 27 of ours): it too survives its process, and leaves
the rest to the kernel.";

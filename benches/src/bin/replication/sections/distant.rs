//! A distant peer behind a slow line, against plain TCP through the same line.

use std::time::Duration;

use anyhow::Result;
use anypath_benches::{Bars, Figures, Page, Plan, Section, Summary, Table, Target, Tone, figure};

use super::{SECONDS, add_fetch};
use crate::sides::bare::Sender;
use crate::sides::core::Server;
use crate::sides::link::{Line, lay};
use crate::sides::{Load, Pair, Program};

pub(crate) struct Distant;

impl Section for Distant {
    fn name(&self) -> &'static str {
        "distant"
    }

    fn measure(&self, plan: &Plan, figures: &mut Figures) -> Result<()> {
        for load in Load::ALL {
            let dir = tempfile::tempdir()?;
            let start = |program: Program| Server::start(program, &dir.path().join(program.name()), load);
            let servers = [(Pair::OURS, start(Program::Ours)?), (Pair::JS, start(Program::Js)?)];
            for round in plan.rounds(ROUNDS_MAX) {
                let bytes = load.count * load.bytes as u64;
                let sender = Sender::start(bytes, load.bytes)?;
                let port = lay(LINE, sender.port)?;
                let (_, received) = sender.receive(port, bytes)?;
                figures.add(&case(load, PLAIN), SECONDS, received.seconds);
                let mut said = format!("distant, {}, round {round}: {PLAIN} {:.2} s", load.name, received.seconds);
                // The reference varies little and takes long.
                for (pair, server) in servers.iter().filter(|(pair, _)| pair.from == Program::Ours || round == 1) {
                    let fetched = server.fetch(pair.to, &dir.path().join("copy"), load, lay(LINE, server.port)?)?;
                    add_fetch(figures, &case(load, &pair.name()), &fetched);
                    said += &format!(", {} {:.2} s", pair.name(), fetched.seconds);
                }
                plan.say(&said);
            }
        }
        Ok(())
    }

    fn page(&self, figures: &Figures) -> Result<Page> {
        let mut page = Page::new("A distant peer: 50 ms there and back, 100 Mbit/s");
        page.text(INTRODUCTION);
        for load in Load::ALL {
            let plain = figures.of(&case(load, PLAIN), SECONDS)?.median;
            let share = |who: &str| figures.each(&case(load, who), SECONDS, |seconds| 100.0 * plain / seconds);
            let (table, bars) = told(figures, load, &share)?;
            page.text(format!("### {}", load.text()));
            page.table(&table);
            page.bars(bars);
            let what = format!("50 ms, 100 Mbit/s, {} blocks, ours against plain TCP", load.name);
            page.targets.push(Target::at_least(&what, SHARE_ASKED, share(&Pair::OURS.name())?, " %"));
        }
        Ok(page)
    }
}

fn told(figures: &Figures, load: Load, share: &dyn Fn(&str) -> Result<Summary>) -> Result<(Table, Bars)> {
    let mut table = Table::new(&["", "seconds", "Mbit/s of blocks", "of plain TCP"]);
    let mut bars = Bars::new(&format!("50 ms, 100 Mbit/s, {} blocks", load.name), "Mbit/s of blocks");
    bars.mark(LINE.bytes_per_second * 8.0 / 1e6, "the line");
    let (ours, js) = (Pair::OURS.name(), Pair::JS.name());
    for (who, tone) in [(PLAIN, Tone::Bare), (&ours, Tone::Ours), (&js, Tone::Js)] {
        let case = case(load, who);
        let bits = load.mib() * 8.0 * 1.048_576;
        let (rate, share) = (figures.each(&case, SECONDS, |seconds| bits / seconds)?, share(who)?);
        let percent = format!("{} %", figure(share.median));
        table.row([who.to_owned(), figures.of(&case, SECONDS)?.text(), figure(rate.median), percent.clone()]);
        bars.bar(who, tone, rate, &percent);
    }
    Ok((table, bars))
}

fn case(load: Load, who: &str) -> String {
    format!("{}, {who}", load.name)
}

const LINE: Line = Line { delay: Duration::from_millis(25), bytes_per_second: 100e6 / 8.0 };
const PLAIN: &str = "plain TCP";
/// A round takes half a minute, and the line's pace leaves little to chance.
const ROUNDS_MAX: usize = 3;
/// Percent.
const SHARE_ASKED: f64 = 90.0;

const INTRODUCTION: &str = "\
All go through the same relay on this machine: each direction is a line of 100 Mbit/s with a queue of 256 KiB before it and a
delay of 25 ms behind it. Nothing is lost, and the kernel's TCP sees local peers on both sides of the relay, so that slow start
and congestion control play no part; that is the same for all of them. What is compared is what a protocol adds to the bytes
and how well it keeps a distant line full. Plain TCP is one write of the same blocks after the other, by std alone. Time is
from dialling to the last byte, for cores to the last block committed; opening a core takes a few round trips more than
opening a socket. At most three rounds, JavaScript one.";

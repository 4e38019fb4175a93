//! What two cores could do at best with the code we have, and what share of that a real transfer reaches.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Result;
use anypath_benches::{Bars, Figures, Page, Plan, REPORTS, Section, Summary, Table, Target, Tone, figure};

use super::{READER_CPU, SECONDS, SERVER_CPU, add_fetch};
use crate::sides::bare::Sender;
use crate::sides::core::Server;
use crate::sides::stages::{self, Cost};
use crate::sides::{Load, Program};

pub(crate) struct Limit;

impl Section for Limit {
    fn name(&self) -> &'static str {
        "limit"
    }

    fn measure(&self, plan: &Plan, figures: &mut Figures) -> Result<()> {
        for load in Load::ALL {
            let dir = tempfile::tempdir()?;
            let server = Server::start(Program::Ours, &dir.path().join("server"), load)?;
            for round in plan.rounds(usize::MAX) {
                let place = tempfile::tempdir_in(dir.path())?;
                let (mut costs, frame_bytes) = stages::measure(place.path(), load)?;
                let bytes = load.count * load.bytes as u64;
                let sender = Sender::start(bytes, frame_bytes)?;
                let port = sender.port;
                let (sent, received) = sender.receive(port, bytes)?;
                costs.extend([("send".to_owned(), sent), ("receive".to_owned(), received)]);
                for (stage, cost) in &costs {
                    figures.add(load.name, &format!("{stage} seconds"), cost.seconds);
                    figures.add(load.name, &format!("{stage} CPU"), cost.cpu_seconds);
                }
                let fetched = server.fetch(Program::Ours, &dir.path().join("copy"), load, server.port)?;
                add_fetch(figures, load.name, &fetched);
                let stages: f64 = STAGES.iter().map(|stage| costs[stage.name].seconds).sum();
                let transfer = fetched.seconds;
                plan.say(&format!(
                    "limit, {}, round {round}: stages {stages:.3} s, transfer {transfer:.3} s",
                    load.name
                ));
            }
        }
        Ok(())
    }

    fn page(&self, figures: &Figures) -> Result<Page> {
        let mut page = Page::new("Against the limit: what two cores can do with this code");
        page.text(INTRODUCTION);
        for load in Load::ALL {
            let rounds = Round::all(figures, load)?;
            page.text(format!("### {}", load.text()));
            page.table(&stage_table(&rounds, load));
            page.bars(stage_bars(&rounds, load));
            page.table(&limit_table(&rounds, load));
            page.text(told(&rounds, load));
            page.table(&time_table(&rounds, load));
            if load.bytes == LARGE_BYTES {
                let what = format!("transfer at {} blocks, of the limit", load.name);
                page.targets.push(Target::at_least(&what, SHARE_ASKED, summary(&rounds, Round::share), " %"));
            }
        }
        page.text(profile());
        Ok(page)
    }
}

/// Where the rest of the time goes, as whoever profiled it last wrote it down beside the report.
fn profile() -> String {
    let text = fs::read_to_string(format!("{REPORTS}/replication-profile.md")).unwrap_or_default();
    if text.is_empty() { String::new() } else { format!("### Where the rest goes\n\n{}", text.trim()) }
}

/// A stage of a transfer.
struct Stage {
    name: &'static str,
    /// Whether it is the server's, or else the reader's.
    server: bool,
    what: &'static str,
}

/// What one round measured of one load.
struct Round {
    costs: BTreeMap<&'static str, Cost>,
    transfer_seconds: f64,
    transfer_cpu_seconds: f64,
}

impl Round {
    fn all(figures: &Figures, load: Load) -> Result<Vec<Self>> {
        let of = |quantity: &str, round: usize| anyhow::Ok(figures.values(load.name, quantity)?[round]);
        let rounds = 0..figures.values(load.name, SECONDS)?.len();
        let one = |round| {
            let cost = |stage: &Stage| {
                let seconds = of(&format!("{} seconds", stage.name), round)?;
                let cpu_seconds = of(&format!("{} CPU", stage.name), round)?;
                anyhow::Ok((stage.name, Cost { seconds, cpu_seconds }))
            };
            Ok(Self {
                costs: STAGES.iter().map(cost).collect::<Result<_>>()?,
                transfer_seconds: of(SECONDS, round)?,
                transfer_cpu_seconds: of(READER_CPU, round)? + of(SERVER_CPU, round)?,
            })
        };
        rounds.map(one).collect()
    }

    /// Returns the least seconds that the slowest stage takes.
    fn slowest(&self) -> f64 {
        self.costs.values().map(|cost| cost.seconds).fold(0.0, f64::max)
    }

    /// Returns the processor time of one side's stages.
    fn side(&self, server: bool) -> f64 {
        STAGES.iter().filter(|stage| stage.server == server).map(|stage| self.costs[stage.name].cpu_seconds).sum()
    }

    /// Returns the least seconds of the slower side, if it had both cores to itself.
    fn slower_side(&self) -> f64 {
        self.slowest().max(self.side(true).max(self.side(false)) / CORES)
    }

    /// Returns the least seconds of both sides' work on two cores.
    fn both_sides(&self) -> f64 {
        self.work() / CORES
    }

    fn work(&self) -> f64 {
        self.side(true) + self.side(false)
    }

    fn limit(&self) -> f64 {
        self.slower_side().max(self.both_sides())
    }

    /// Returns the percentage of the limit that the transfer reached.
    fn share(&self) -> f64 {
        100.0 * self.limit() / self.transfer_seconds
    }
}

/// Something computed from a round, in seconds.
type Seconds<'a> = &'a dyn Fn(&Round) -> f64;

fn summary(rounds: &[Round], of: impl Fn(&Round) -> f64) -> Summary {
    Summary::of(rounds.iter().map(of))
}

fn stage_table(rounds: &[Round], load: Load) -> Table {
    let mut table = Table::new(&["stage", "side", "MiB/s alone", "CPU s/GiB"]);
    for Stage { name, server, what } in STAGES {
        let rate = summary(rounds, |round| load.mib() / round.costs[name].seconds);
        let cost = summary(rounds, |round| round.costs[name].cpu_seconds * 1024.0 / load.mib());
        let side = if *server { "server" } else { "reader" };
        table.row([format!("{name}: {what}"), side.to_owned(), rate.text(), cost.text()]);
    }
    for (server, side) in [(true, "server"), (false, "reader")] {
        let cost = summary(rounds, |round| round.side(server) * 1024.0 / load.mib());
        table.row(["all".to_owned(), side.to_owned(), String::new(), cost.text()]);
    }
    table
}

fn stage_bars(rounds: &[Round], load: Load) -> Bars {
    let mut bars = Bars::new(&format!("Each stage alone, {} blocks; the limit; the transfer", load.name), "MiB/s");
    let rate = |seconds: Seconds<'_>| summary(rounds, |round| load.mib() / seconds(round));
    for Stage { name, .. } in STAGES.iter().filter(|stage| stage.name != "sync") {
        bars.bar(name, Tone::Bare, rate(&|round| round.costs[name].seconds), "");
    }
    bars.bar("limit on two cores", Tone::Mixed, rate(&Round::limit), "");
    let share = format!("{} % of it", figure(summary(rounds, Round::share).median));
    bars.bar("ours to ours", Tone::Ours, rate(&|round| round.transfer_seconds), &share);
    bars
}

fn limit_table(rounds: &[Round], load: Load) -> Table {
    let mut table = Table::new(&["bound", "MiB/s"]);
    let rows: [(&str, Seconds<'_>); 4] = [
        ("A: the slower side, both cores to itself", &Round::slower_side),
        ("B: both sides' work on two cores", &Round::both_sides),
        ("limit: the lower of the two", &Round::limit),
        ("reached by the transfer", &|round| round.transfer_seconds),
    ];
    for (name, seconds) in rows {
        table.row([name.to_owned(), summary(rounds, |round| load.mib() / seconds(round)).text()]);
    }
    table
}

fn told(rounds: &[Round], load: Load) -> String {
    let (slower, both) = (summary(rounds, Round::slower_side).median, summary(rounds, Round::both_sides).median);
    let rules = if both >= slower { "B" } else { "A" };
    let share = summary(rounds, Round::share).text();
    format!("Bound {rules} rules. At {} blocks the transfer reaches **{share} %** of the limit.", load.name)
}

/// Where the time of both cores goes during a transfer.
fn time_table(rounds: &[Round], load: Load) -> Table {
    let mut table = Table::new(&["core seconds of the transfer", "s/GiB", "%"]);
    let all = |round: &Round| CORES * round.transfer_seconds;
    let rows: [(&str, Seconds<'_>); 3] = [
        ("the stages above", &Round::work),
        ("other work: tasks, threads, bookkeeping, caches shared", &|round| round.transfer_cpu_seconds - round.work()),
        ("idle, or another process", &|round| all(round) - round.transfer_cpu_seconds),
    ];
    for (name, seconds) in rows {
        let a_gib = summary(rounds, |round| seconds(round) * 1024.0 / load.mib());
        let share = summary(rounds, |round| 100.0 * seconds(round) / all(round));
        table.row([name.to_owned(), a_gib.text(), figure(share.median)]);
    }
    table
}

const STAGES: &[Stage] = &[
    Stage { name: "read", server: true, what: "requests, proofs, blocks from the store, encoding" },
    Stage { name: "encrypt", server: true, what: "XChaCha20-Poly1305" },
    Stage { name: "send", server: true, what: "`write` into the socket" },
    Stage { name: "receive", server: false, what: "`read` from the socket" },
    Stage { name: "decrypt", server: false, what: "XChaCha20-Poly1305" },
    Stage { name: "hash", server: false, what: "decoding, BLAKE2b, proofs, staging, the next requests" },
    Stage { name: "write", server: false, what: "a commit of 2 MiB: block file, journal, database" },
    Stage { name: "sync", server: false, what: "the store's thread that syncs files meanwhile" },
];
/// What both processes share here, and what the formula is about.
const CORES: f64 = 2.0;
/// At which size of blocks the share is asked for.
const LARGE_BYTES: usize = 64 << 10;
/// Percent of the limit.
const SHARE_ASKED: f64 = 80.0;

const INTRODUCTION: &str = "\
Each stage alone: one thread replicates the core from one disk store to another, with a stopwatch at every stage, through the
very code that two processes run (replicator, proofs, encryption, store; frames in bursts of 8, commits of 2 MiB, as the
engine makes them). What a socket costs is taken from a bare copy over loopback TCP by std, written in pieces as large as our
frames and read into 256 KiB. The transfer beside it is ours to ours, two processes, in the same round.

**The limit.** Let *t* be the seconds a stage takes alone for the whole load, *c* its processor seconds, *S* and *R* the sums
of *c* over the server's and the reader's stages.

- A, the slower of the two sides when its stages overlap perfectly: no faster than max(largest *t*, *S* / 2, *R* / 2), as if
each side had both cores.
- B, both sides share the two cores: no faster than (*S* + *R*) / 2.

The limit is the lower speed of the two, and the share is the limit's time by the transfer's. Since *S* + *R* is at least
either, B rules unless one stage alone takes half of all the work.";

#[cfg(test)]
mod tests {
    use super::*;

    fn round(seconds: [f64; 8], transfer_seconds: f64) -> Round {
        let cost = |(stage, seconds): (&Stage, f64)| (stage.name, Cost { seconds, cpu_seconds: seconds });
        let costs = STAGES.iter().zip(seconds).map(cost).collect();
        Round { costs, transfer_seconds, transfer_cpu_seconds: transfer_seconds }
    }

    #[test]
    fn both_sides_work_rules_unless_one_stage_is_half_of_it() {
        let even = round([1.0; 8], 8.0);
        assert_eq!((even.slower_side(), even.both_sides(), even.limit(), even.share()), (2.5, 4.0, 4.0, 50.0));
        let uneven = round([1.0, 1.0, 1.0, 1.0, 1.0, 9.0, 1.0, 1.0], 9.0);
        assert_eq!((uneven.slower_side(), uneven.both_sides(), uneven.share()), (9.0, 8.0, 100.0));
    }
}

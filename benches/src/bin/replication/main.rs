//! Measures the replication core, ours and JavaScript's in one run, and writes `reports/replication.*`.
//!
//! `cargo run --release -p anypath-benches --bin replication`; `--help` says what may be chosen. Needs Node and
//! `interop/js/node_modules`. The program is also our side of what it measures: it starts itself with the hidden words.

mod sections;
mod sides;

use std::path::PathBuf;

use anyhow::Result;
use anypath_benches::{Options, Subject, run};
use clap::{Parser, Subcommand};

use sides::{core, drive, many, stages};

/// Measures the replication core against JavaScript's and against the machine's limits.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Args {
    #[command(flatten)]
    options: Options,

    /// The same as `--only core --rounds N`.
    #[arg(value_name = "N")]
    core_rounds: Option<usize>,

    #[command(subcommand)]
    side: Option<Side>,
}

/// What this program does in the processes that are measured.
#[derive(Debug, Subcommand)]
enum Side {
    /// Serve a core of so many blocks until killed; print key and port.
    #[command(hide = true)]
    Serve { folder: PathBuf, count: u64, bytes: usize },
    /// Fetch a core whole; print seconds, blocks, seconds of processor time and peak MiB.
    #[command(hide = true)]
    Fetch { folder: PathBuf, key: String, port: u16 },
    /// Replicate a core with itself, one stage at a time; print what each took.
    #[command(hide = true)]
    Stages { folder: PathBuf, count: u64, bytes: usize },
    /// Hold so many cores open, as their owner or, with a port, as a peer that fetched them.
    #[command(hide = true)]
    Cores { folder: PathBuf, count: u32, port: Option<u16> },
    /// Be the program anypath, and print an event with what it cost at the end.
    #[command(hide = true, trailing_var_arg = true)]
    Anypath {
        #[arg(allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

fn main() -> Result<()> {
    let Args { mut options, core_rounds, side } = Args::parse();
    match side {
        Some(Side::Serve { folder, count, bytes }) => core::serve(&folder, count, bytes),
        Some(Side::Fetch { folder, key, port }) => core::fetch(&folder, &key, port),
        Some(Side::Stages { folder, count, bytes }) => stages::replicate(&folder, count, bytes),
        Some(Side::Cores { folder, count, port }) => many::hold(&folder, count, port),
        Some(Side::Anypath { words }) => drive::anypath(&words),
        None => {
            if let Some(rounds) = core_rounds {
                options = Options { rounds, only: vec!["core".to_owned()], ..options };
            }
            run(&Subject { name: "replication", title: TITLE, lead: LEAD, sections: sections::ALL }, &options)
        }
    }
}

const TITLE: &str = "Replication, measured";

const LEAD: &str = "\
Ours and the JavaScript reference in one run on one machine: each side is a process of its own, both share its cores, and
the runs of one round follow each other, so that a busy machine is busy for all of them. Figures are medians (min..max) of
all rounds, each process and each folder new. Before each round 2 GiB of memory are used and given back, since the host of a
virtual machine may give memory slowly when it is first used. Machines like this one vary by a third from run to run: compare within a
table. The raw figures lie beside this report; written by:";

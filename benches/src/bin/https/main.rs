//! Measures replication by way of a relay through real proxies, and writes `reports/https.*`.
//!
//! `cargo build --release -p anypath-cli && cargo run --release -p anypath-benches --bin https`; `--help` says what may
//! be chosen. Needs what the laboratory of networks needs (root, squid, mitmproxy, nginx, curl). The program is also
//! both ends of what it measures: it starts itself with the hidden words.

mod ends;
mod first;
mod place;
mod sections;

use anyhow::Result;
use anypath_benches::{Options, Subject, run};
use clap::Parser;

use ends::Side;

/// Measures the HTTPS transport against curl through the same proxies.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Args {
    #[command(flatten)]
    options: Options,

    #[command(subcommand)]
    side: Option<Side>,
}

fn main() -> Result<()> {
    let Args { options, side } = Args::parse();
    match side {
        Some(side) => tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(side.run()),
        None => run(&Subject { name: "https", title: TITLE, lead: LEAD, sections: sections::ALL }, &options),
    }
}

const TITLE: &str = "HTTPS by way of a relay, measured";

const LEAD: &str = "\
A site is a network namespace with a real proxy in another one, and a line of 100 Mbit/s with a delay of 25 ms each way
(a userspace link between TAP devices, with a queue of 100 ms) to the public network, where relay, peer and nginx are. All of
it, both programs, the proxy, the relay and the line, shares the machine's processors. Runs of one round follow each other.
Figures are medians (min..max) of all rounds. The raw figures lie beside this report; written by:";

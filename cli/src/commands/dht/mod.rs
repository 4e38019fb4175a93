//! `anypath dht`: a node that stays, or one question.

mod ask;
mod run;

use std::time::Duration;

use anyhow::{Context, Result};
use anypath_swarm::discover::Source;
use tokio::runtime::Runtime;

use crate::dht::{Dht, What};
use crate::{Exit, Failure, Interrupt, NOBODY, Report};

/// Does what is asked for.
///
/// # Errors
/// If there is no socket, nobody answers, or nothing is found.
pub(super) fn dht(args: &Dht, report: &Report, interrupt: &Interrupt) -> Result<Exit> {
    let runtime = Runtime::new().context("cannot start threads")?;
    let outcome = match &args.what {
        What::Run(args) => run::run(args, &runtime, report, interrupt),
        What::Lookup(args) => ask::lookup(args, &runtime, report, interrupt),
        What::Announce(args) => ask::announce(args, &runtime, report, interrupt),
    };
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

/// Returns what is told of a network that does not answer.
fn unanswered(source: &Source) -> Failure {
    let message = format!(
        "no node of {} answers: is UDP let through here, and does a node run where --bootstrap says?",
        source.kind()
    );
    Failure::new(NOBODY, message)
}

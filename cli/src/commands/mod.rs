//! The commands, each from its arguments to its exit code.

mod clone;
mod dht;
mod doctor;
mod looking;
mod relay;
mod seed;
mod session;
mod share;

use std::sync::Arc;

use anyhow::Result;

use crate::config::Config;
use crate::conflict::verify;
use crate::{Args, Command, Exit, Interrupt, Report, demo};

/// Runs the command that was asked for.
///
/// # Errors
/// Whatever keeps it from being done; [`crate::Failure::of`] finds the sentence and the exit code.
pub fn run(mut args: Args, report: &Arc<Report>, interrupt: &Interrupt) -> Result<Exit> {
    Config::load(args.config.as_deref())?.apply(&mut args);
    let storage = &args.storage;
    match &args.command {
        Command::Share(share) => share::share(share, storage, report, interrupt),
        Command::Clone(clone) => clone::clone(clone, storage, report, interrupt),
        Command::Seed(seed) => seed::seed(seed, storage, report, interrupt),
        Command::Relay(args) => relay::relay(args, storage, report),
        Command::Doctor(args) => doctor::doctor(args, report),
        Command::Dht(args) => dht::dht(args, report, interrupt),
        Command::Verify(args) => verify(&args.file, report).map(|()| Exit::Done),
        Command::Demo => demo(report, interrupt),
    }
}

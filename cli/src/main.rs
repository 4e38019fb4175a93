//! The program anypath: share a folder, clone it, byte for byte.

use std::process::ExitCode;
use std::sync::Arc;

use anypath_cli::{Args, Command, Event, Exit, Failure, Interrupt, Report, run};
use clap::Parser;
use tracing::level_filters::LevelFilter;

fn main() -> ExitCode {
    let args = Args::parse();
    log_to_stderr(&args);
    let report = Arc::new(if args.json { Report::to_scripts() } else { Report::to_people() });
    // A relay hears signals by itself: one of them says something else to it.
    let is_relay = matches!(args.command, Command::Relay(_));
    let outcome = if is_relay { Ok(Interrupt::default()) } else { Interrupt::listen().map_err(anyhow::Error::from) };
    let exit =
        outcome.and_then(|interrupt| run(args, &report, &interrupt)).unwrap_or_else(|error| fail(&report, error));
    exit.into()
}

fn fail(report: &Report, error: anyhow::Error) -> Exit {
    let (failure, exit) = Failure::of(error);
    report.event(&Event::Error { code: failure.code, message: &failure.message, rungs: &failure.rungs });
    exit
}

/// For people, or an object a line for scripts. Nobody looks at a relay as it runs, so it says more by itself.
fn log_to_stderr(args: &Args) {
    let verbose = args.verbose.max(u8::from(matches!(args.command, Command::Relay(_))));
    let level =
        [LevelFilter::ERROR, LevelFilter::INFO, LevelFilter::DEBUG, LevelFilter::TRACE][usize::from(verbose.min(3))];
    let log = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr);
    if args.json { log.json().init() } else { log.init() }
}

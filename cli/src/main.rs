//! The program anypath: share a folder, clone it, byte for byte.

use std::process::ExitCode;
use std::sync::Arc;

use anypath_cli::{Args, Event, Exit, Failure, Interrupt, Report, run};
use clap::Parser;
use tracing::level_filters::LevelFilter;

fn main() -> ExitCode {
    let args = Args::parse();
    log_to_stderr(args.verbose);
    let report = Arc::new(if args.json { Report::to_scripts() } else { Report::to_people() });
    let outcome = Interrupt::listen().map_err(anyhow::Error::from);
    let exit =
        outcome.and_then(|interrupt| run(&args, &report, &interrupt)).unwrap_or_else(|error| fail(&report, error));
    exit.into()
}

fn fail(report: &Report, error: anyhow::Error) -> Exit {
    let (failure, exit) = Failure::of(error);
    report.event(&Event::Error { code: failure.code, message: &failure.message, rungs: &failure.rungs });
    exit
}

fn log_to_stderr(verbose: u8) {
    let level =
        [LevelFilter::ERROR, LevelFilter::INFO, LevelFilter::DEBUG, LevelFilter::TRACE][usize::from(verbose.min(3))];
    tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).init();
}

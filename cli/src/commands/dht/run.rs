//! `anypath dht run`: a node until it is interrupted, and how it stands.

use std::time::{Duration, Instant};

use anyhow::Result;
use anypath_swarm::discover::{Serves, Source, SourceKind, Standing};
use data_encoding::HEXLOWER;
use tokio::runtime::Runtime;

use crate::dht::Run;
use crate::{Event, Exit, Failure, Interrupt, Report, USAGE};

/// Runs a node until interrupted.
///
/// # Errors
/// If its port is taken, no name of those it begins at means anything, or it ends by itself.
pub(super) fn run(args: &Run, runtime: &Runtime, report: &Report, interrupt: &Interrupt) -> Result<Exit> {
    let serves = if args.persistent { Serves::AtOnce } else { Serves::InTime };
    let config = args.network.config(usual_port(args.network.dialect)?, serves)?;
    let source =
        runtime.block_on(Source::start(config)).map_err(|error| Failure::new("dht_start", error.to_string()))?;
    let mut told: Option<(&str, Standing, Instant)> = None;
    loop {
        let standing = runtime.block_on(source.standing())?;
        let state = state(source.kind(), &standing);
        let is_news = told
            .as_ref()
            .is_none_or(|(told, before, at)| *told != state || (at.elapsed() >= TELL_EVERY && *before != standing));
        if is_news {
            tell(&source, state, &standing, report);
            told = Some((state, standing, Instant::now()));
        }
        if interrupt.wait(LOOK_EVERY) {
            return Ok(Exit::Done);
        }
    }
}

fn state(kind: SourceKind, standing: &Standing) -> &'static str {
    match standing {
        Standing { is_ready: false, .. } => "starting",
        Standing { id: None, .. } if kind == SourceKind::Hyperswarm => "ephemeral",
        _ => "serving",
    }
}

fn tell(source: &Source, state: &str, standing: &Standing, report: &Report) {
    report.event(&Event::Node {
        dialect: source.kind().name(),
        state,
        address: &source.address().to_string(),
        seen_at: standing.seen_at.map(|address| address.to_string()).as_deref(),
        id: standing.id.as_ref().map(|id| HEXLOWER.encode(id)).as_deref(),
        nodes: standing.neighbours,
        stored: standing.stored,
    });
}

/// Returns the port that a node is expected at.
fn usual_port(kind: SourceKind) -> Result<u16> {
    match kind {
        SourceKind::Hyperswarm => Ok(49_737),
        SourceKind::Classic => Ok(6_881),
        SourceKind::Lan | SourceKind::Tracker => {
            Err(Failure::new(USAGE, format!("{kind} is no DHT: nobody runs nodes of it")).into())
        }
    }
}

/// How often the node is looked at, and an interruption may go unnoticed.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often figures are told that changed.
const TELL_EVERY: Duration = Duration::from_secs(60);

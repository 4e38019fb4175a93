//! `anypath relay`: a meeting point for peers, until it is told to end.

mod files;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use anypath_relay::{Config, Relay};
use anypath_wire::{Address, KeyPair};
use tokio::runtime::Runtime;
use tokio::time::sleep;

use self::files::Files;
use crate::args::{Relay as Args, Storage};
use crate::relays::RELAY_SCHEME;
use crate::signals::{Signals, Wish};
use crate::{Event, Exit, Failure, Keys, Place, Report};

/// Runs a relay until it is told to end.
///
/// # Errors
/// If its files cannot be read, or the place to listen not be had.
pub(super) fn relay(args: &Args, storage: &Storage, report: &Arc<Report>) -> Result<Exit> {
    let keys = Keys::open(&Place::for_relay(storage.store.as_deref())?.keys())?;
    let files = Files::open(args)?;
    let runtime = Runtime::new().context("cannot start threads")?;
    let exit = runtime.block_on(run(args, KeyPair::from_seed(&keys.node), files, report));
    runtime.shutdown_background();
    exit
}

async fn run(args: &Args, identity: KeyPair, mut files: Files, report: &Report) -> Result<Exit> {
    let mut signals = Signals::listen().context("cannot hear signals")?;
    let started = Relay::start(args.listen, identity, files.tls(), config(args, &files)).await;
    let relay = started.map_err(|error| Failure::new("listen", error.to_string()))?;
    report.event(&Event::Listening { transport: RELAY_SCHEME, address: &address(args, &relay).to_string() });
    if let Some(at) = relay.metrics_address() {
        tracing::info!("figures are told at http://{at}/metrics");
    }
    loop {
        tokio::select! {
            wish = signals.next() => match wish {
                Wish::End => break,
                Wish::Reload => files.read_again(&relay).await,
            },
            () = sleep(REREAD_INTERVAL) => files.read_again(&relay).await,
        }
    }
    tracing::info!("nobody new is let in; the others are sent away one after the other");
    let again = async { while signals.next().await != Wish::End {} };
    tokio::select! {
        () = relay.retire(args.drain) => Ok(Exit::Done),
        // Whoever asks twice does not want to wait.
        () = again => Ok(Exit::Interrupted),
    }
}

fn config(args: &Args, files: &Files) -> Config {
    let echo = !(args.no_echo || args.plain);
    Config {
        access: files.access(),
        echo,
        contact: args.contact.clone(),
        metrics: args.metrics,
        tags: args.tags,
        fronts: fronts(args),
        opens_per_minute_max: args.opens_per_minute,
        memory_bytes_max: usize::try_from(args.memory).unwrap_or(usize::MAX).saturating_mul(1 << 20),
        ..Config::default()
    }
}

/// Returns who stands in front: who is named, or something on this machine where it speaks without TLS.
fn fronts(args: &Args) -> Vec<IpAddr> {
    let here = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    if args.plain && args.front.is_empty() { here.into() } else { args.front.clone() }
}

/// Returns the address by which others name it.
fn address(args: &Args, relay: &Relay) -> Address {
    let at = relay.address();
    let host = args.name.clone().unwrap_or_else(|| at.ip().to_string());
    let port = if args.name.is_some() && args.plain { 443 } else { at.port() };
    Address { scheme: RELAY_SCHEME.to_owned(), host, port, key: Some(relay.key()) }
}

/// How often files are looked at; SIGHUP makes it at once.
const REREAD_INTERVAL: Duration = Duration::from_secs(60);

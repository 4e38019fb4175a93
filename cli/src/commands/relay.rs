//! `anypath relay`: a meeting point for peers, until interrupted.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use anypath_relay::{Access, Config, Relay, ServerTls};
use anypath_wire::{Address, KeyPair};
use tokio::runtime::Runtime;

use crate::args::{Relay as Args, Storage};
use crate::relays::{RELAY_SCHEME, read_token};
use crate::{Event, Exit, Failure, Interrupt, Interrupted, Keys, Place, Report};

/// Runs a relay until interrupted.
///
/// # Errors
/// If its files cannot be read, or the place to listen not be had.
pub(super) fn relay(args: &Args, storage: &Storage, report: &Arc<Report>, interrupt: &Interrupt) -> Result<Exit> {
    let keys = Keys::open(&Place::for_relay(storage.store.as_deref())?.keys())?;
    let access = args.token_file.as_deref().map(read_token).transpose()?;
    let access = access.map_or(Access::Open, Access::Token);
    let mut config = Config { access, contact: args.contact.clone(), ..Config::default() };
    if args.plain {
        // All connections come from what is in front.
        config.connections_per_address_max = config.connections_max;
    }
    let mut certificate = args.tls_cert.clone().zip(args.tls_key.clone()).map(Certificate::open).transpose()?;
    let runtime = Runtime::new().context("cannot start threads")?;
    let tls = certificate.as_ref().map(|certificate| certificate.tls.clone());
    let started = runtime.block_on(Relay::start(args.listen, KeyPair::from_seed(&keys.node), tls, config));
    let relay = started.map_err(|error| Failure::new("listen", error.to_string()))?;
    let at = relay.address();
    let host = args.name.clone().unwrap_or_else(|| at.ip().to_string());
    let port = if args.name.is_some() && args.plain { 443 } else { at.port() };
    let address = Address { scheme: RELAY_SCHEME.to_owned(), host, port, key: Some(relay.key()) };
    report.event(&Event::Listening { transport: RELAY_SCHEME, address: &address.to_string() });
    while !interrupt.wait(REREAD_INTERVAL) {
        if let Some(Err(error)) = certificate.as_mut().map(Certificate::read_again) {
            tracing::warn!(%error, "the certificate stays as it was");
        }
    }
    runtime.shutdown_background();
    Err(Interrupted.into())
}

/// A certificate in files.
struct Certificate {
    files: (PathBuf, PathBuf),
    content: (Vec<u8>, Vec<u8>),
    tls: ServerTls,
}

impl Certificate {
    fn open(files: (PathBuf, PathBuf)) -> Result<Self> {
        let content = read(&files)?;
        let tls = ServerTls::new(&content.0, &content.1);
        let tls = tls.map_err(|error| Failure::new("certificate", format!("{}: {error}", files.0.display())))?;
        Ok(Self { files, content, tls })
    }

    /// Takes the files' content if it is another one by now.
    fn read_again(&mut self) -> Result<()> {
        let content = read(&self.files)?;
        if content != self.content {
            self.tls.replace(&content.0, &content.1)?;
            self.content = content;
        }
        Ok(())
    }
}

fn read((chain, key): &(PathBuf, PathBuf)) -> Result<(Vec<u8>, Vec<u8>)> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    Ok((read(chain)?, read(key)?))
}

/// How often the files are looked at: whoever renews a certificate does so weeks before it ends.
const REREAD_INTERVAL: Duration = Duration::from_secs(60);

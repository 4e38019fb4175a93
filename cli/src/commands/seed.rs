//! `anypath seed`: keeps whole drives and serves them, without writing files.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use anypath_wire::{Address, PublicKey};

use super::session::Session;
use super::share::listen_at;
use crate::args::Seed;
use crate::node::RemoteDrive;
use crate::{Exit, Interrupt, Place, Report};

/// Seeds drives until interrupted.
///
/// # Errors
/// If the store cannot be opened or a place to listen not be had.
pub(super) fn seed(args: &Seed, store: Option<&Path>, report: &Arc<Report>, interrupt: &Interrupt) -> Result<Exit> {
    let keys: Vec<PublicKey> = args.links.iter().map(|link| link.key).collect();
    let session = Session::open(Place::for_drives(store, &keys)?, report, interrupt)?;
    let outcome = keep(args, &keys, &session, report, interrupt);
    session.close(outcome)
}

fn keep(args: &Seed, keys: &[PublicKey], session: &Session, report: &Report, interrupt: &Interrupt) -> Result<Exit> {
    session.listen(&listen_at(&args.network.listen)?, report)?;
    let drives = keys.iter().map(|key| RemoteDrive::open(session.waiter(Duration::MAX), *key));
    let mut drives = drives.collect::<Result<Vec<_>>>()?;
    let hints = args.links.iter().flat_map(|link| &link.via);
    let mut vias: Vec<Address> = args.network.via.iter().chain(hints).cloned().collect();
    vias.sort();
    vias.dedup();
    session.connect(vias);
    let mut waiter = session.waiter(Duration::MAX);
    while !interrupt.is_asked() {
        for drive in &mut drives {
            drive.keep_whole(report)?;
        }
        waiter.pause().or_else(|error| if interrupt.is_asked() { Ok(()) } else { Err(error) })?;
    }
    Ok(Exit::Interrupted)
}

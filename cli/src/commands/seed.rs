//! `anypath seed`: keeps whole drives and serves them, without writing files.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use anypath_wire::{Address, PublicKey};

use super::session::Session;
use super::share::listen_at;
use crate::args::Seed;
use crate::folder::drive::{DriveSource, Version};
use crate::node::RemoteDrive;
use crate::{Event, Exit, Interrupt, Place, Report};

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
    let started = Instant::now();
    let mut told = vec![Version::default(); drives.len()];
    while !interrupt.is_asked() {
        for (drive, told) in drives.iter_mut().zip(&mut told) {
            drive.keep_whole(report)?;
            if drive.version() != *told
                && let Some((files, bytes)) = whole(drive)?
            {
                *told = drive.version();
                let (seconds, transport) = (started.elapsed().as_secs_f64(), session.reach.transport());
                report.event(&Event::Done { files, bytes, seconds, transport });
            }
        }
        waiter.pause().or_else(|error| if interrupt.is_asked() { Ok(()) } else { Err(error) })?;
    }
    Ok(Exit::Interrupted)
}

/// Returns how many files and bytes the drive's version has, if all of them are here.
fn whole(drive: &mut RemoteDrive) -> Result<Option<(u64, u64)>> {
    if !drive.holds_contents(0)? {
        return Ok(None);
    }
    let (files, bytes, end) = drive.totals()?;
    Ok(drive.holds_contents(end)?.then_some((files, bytes)))
}

//! `anypath seed`: keeps whole drives and serves them, without writing files.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use anypath_wire::PublicKey;

use super::session::Session;
use super::share::listen_at;
use crate::args::{Seed, Storage};
use crate::drives::{Kept, RemoteDrive};
use crate::folder::drive::Version;
use crate::{Event, Exit, Interrupt, Interrupted, Place, Report};

/// Seeds drives until interrupted.
///
/// # Errors
/// If the store cannot be opened or a place to listen not be had.
pub(super) fn seed(args: &Seed, storage: &Storage, report: &Arc<Report>, interrupt: &Interrupt) -> Result<Exit> {
    let mut keys: Vec<PublicKey> = args.links.iter().map(|link| link.key).collect();
    keys.sort_unstable();
    keys.dedup();
    let place = Place::for_drives(storage.store.as_deref(), &keys)?;
    Session::open(place, storage, report, interrupt)?.run(|session| keep(args, &keys, session, report, interrupt))
}

fn keep(args: &Seed, keys: &[PublicKey], session: &Session, report: &Report, interrupt: &Interrupt) -> Result<Exit> {
    session.listen(&listen_at(&args.network.listen)?, report)?;
    let drives = keys.iter().map(|key| RemoteDrive::open(session.waiter(Duration::MAX), *key));
    let mut drives = drives.collect::<Result<Vec<_>>>()?;
    session.connect(args.network.via.iter().chain(args.links.iter().flat_map(|link| &link.via)));
    let mut waiter = session.waiter(Duration::MAX);
    let mut told: Vec<Version> = Vec::new();
    let mut started = Instant::now();
    while !interrupt.is_asked() {
        let kept = drives.iter_mut().map(RemoteDrive::keep_whole).collect::<Result<Option<Vec<_>>>>();
        if let Some(kept) = unless(interrupt, kept)?.flatten() {
            let versions: Vec<Version> = kept.iter().map(|kept| kept.version).collect();
            if versions != told {
                tell_progress(&kept, report);
                if let Some((files, bytes)) = unless(interrupt, count_if_whole(&mut drives, &kept))?.flatten() {
                    let seconds = started.elapsed().as_secs_f64();
                    let transport = session.reach.transport();
                    report.event(&Event::Done { files, bytes, seconds, transport, problems: 0 });
                    told = versions;
                }
            } else {
                started = Instant::now();
            }
        }
        unless(interrupt, waiter.pause())?;
    }
    Err(Interrupted.into())
}

/// An interruption is how seeding ends, and no error.
fn unless<T>(interrupt: &Interrupt, outcome: Result<T>) -> Result<Option<T>> {
    match outcome {
        Err(_) if interrupt.is_asked() => Ok(None),
        outcome => outcome.map(Some),
    }
}

fn tell_progress(kept: &[Kept], report: &Report) {
    let sum = |bytes: fn(&Kept) -> u64| kept.iter().map(bytes).fold(0, u64::saturating_add);
    let total = sum(|kept| kept.total);
    if total > 0 {
        report.progress(sum(|kept| kept.held), total, 0);
    }
}

/// Returns files and bytes of all drives once all of them are here.
fn count_if_whole(drives: &mut [RemoteDrive], kept: &[Kept]) -> Result<Option<(u64, u64)>> {
    if !kept.iter().all(|kept| kept.entries && kept.held == kept.total) {
        return Ok(None);
    }
    let (mut files, mut bytes) = (0, 0u64);
    for drive in drives {
        let counted = drive.count()?;
        if !counted.whole {
            return Ok(None);
        }
        files += counted.files;
        bytes = bytes.saturating_add(counted.bytes);
    }
    Ok(Some((files, bytes)))
}

//! `anypath seed`: keeps whole drives and serves them, without writing files.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use anypath_wire::{EncryptionKey, PublicKey};

use super::session::Session;
use crate::args::{Seed, Storage};
use crate::conflict::Frozen;
use crate::drives::{Kept, Reading, RemoteDrive};
use crate::folder::drive::Version;
use crate::{Event, Exit, Interrupt, Interrupted, Place, Report};

/// Seeds drives until interrupted. Those that are encrypted need no key for it: they are kept without being read.
///
/// # Errors
/// If the store cannot be opened or a place to listen not be had.
pub(super) fn seed(args: &Seed, storage: &Storage, report: &Arc<Report>, interrupt: &Interrupt) -> Result<Exit> {
    let mut named = Named::new();
    for link in &args.links {
        let known = named.entry(link.key).or_default();
        *known = known.take().or_else(|| link.encryption.clone());
    }
    let keys: Vec<PublicKey> = named.keys().copied().collect();
    let place = Place::for_drives(storage.store.as_deref(), &keys)?;
    let hints = args.links.iter().flat_map(|link| &link.via);
    Session::open(place, storage, &args.network, hints, report, interrupt)?
        .run(|session| keep(args, named, session, report, interrupt))
}

/// Drives, each with what it is read with as far as a link told.
type Named = BTreeMap<PublicKey, Option<EncryptionKey>>;

fn keep(args: &Seed, named: Named, session: &Session, report: &Arc<Report>, interrupt: &Interrupt) -> Result<Exit> {
    let bound = session.listen(&args.network.listen_at()?, report)?;
    let open =
        |(key, encryption)| RemoteDrive::open(session.waiter(Duration::MAX), key, encryption, Reading::IfPossible);
    let keys: Vec<PublicKey> = named.keys().copied().collect();
    let drives = named.into_iter().map(open);
    let mut drives = drives.collect::<Result<Vec<_>>>()?;
    keys.iter().for_each(|key| session.meet(key));
    session.register(args.network.via.iter().chain(args.links.iter().flat_map(|link| &link.via)), report)?;
    session.connect(args.network.via.iter().chain(args.links.iter().flat_map(|link| &link.via)));
    session.discover(&args.network.finding, &keys, &bound, report)?;
    let mut waiter = session.waiter(Duration::MAX);
    let mut told: Vec<Version> = Vec::new();
    let mut started = Instant::now();
    while !interrupt.is_asked() {
        leave_out_frozen(&mut drives, session)?;
        let kept = drives.iter_mut().map(RemoteDrive::keep_whole).collect::<Result<Option<Vec<_>>>>();
        if kept.as_ref().is_err_and(anyhow::Error::is::<Frozen>) {
            continue;
        }
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

/// Leaves out the drives that are frozen, each told; the last one ends it all.
fn leave_out_frozen(drives: &mut Vec<RemoteDrive>, session: &Session) -> Result<()> {
    let mut at = 0;
    while let Some(drive) = drives.get(at) {
        let checked = drive.check();
        match checked.as_ref().map_err(anyhow::Error::downcast_ref::<Frozen>) {
            Err(Some(frozen)) if drives.len() > 1 => {
                session.conflicts.tell(&frozen.0);
                drives.remove(at);
            }
            Ok(()) => at += 1,
            Err(_) => return checked,
        }
    }
    Ok(())
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

/// Returns files, if all drives can be read, and bytes of all drives once all of them are here.
fn count_if_whole(drives: &mut [RemoteDrive], kept: &[Kept]) -> Result<Option<(Option<u64>, u64)>> {
    if !kept.iter().all(|kept| kept.entries && kept.held == kept.total) {
        return Ok(None);
    }
    let (mut files, mut bytes) = (Some(0), 0u64);
    for drive in drives {
        let counted = drive.count()?;
        if !counted.whole {
            return Ok(None);
        }
        files = files.zip(counted.files).map(|(files, counted)| files + counted);
        bytes = bytes.saturating_add(counted.bytes);
    }
    Ok(Some((files, bytes)))
}

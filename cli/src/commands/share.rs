//! `anypath share`: a folder becomes a drive, is served, and is followed if so wished.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use anypath_replicate::corestore::Namespace;
use anypath_transports::outward;
use anypath_wire::{Address, EncryptionKey, Link, PublicKey};

use super::session::{Session, place_for};
use crate::args::{Share, Storage};
use crate::drives::OwnDrive;
use crate::folder::drive::DriveSource;
use crate::folder::{Imported, Seen, import};
use crate::relays::RELAY_SCHEME;
use crate::{Event, Exit, Failure, Interrupt, Interrupted, Keys, Place, Report, Watch};

/// Shares a folder until interrupted.
///
/// # Errors
/// If the folder cannot be read, the store not be opened, or a place to listen not be had.
pub(super) fn share(args: &Share, storage: &Storage, report: &Arc<Report>, interrupt: &Interrupt) -> Result<Exit> {
    let folder = folder(&args.folder)?;
    let place = place_for(storage, &folder)?;
    if Place::is_at(&folder) || folder.starts_with(place.path()) {
        let message =
            format!("cannot share {}: it is a store, with the seeds that make drives yours", folder.display());
        return Err(Failure::new("folder", message).into());
    }
    Session::open(place, storage, &args.network, [], report, interrupt)?
        .run(|session| serve(args, &folder, session, report, interrupt))
}

fn serve(args: &Share, folder: &Path, session: &Session, report: &Arc<Report>, interrupt: &Interrupt) -> Result<Exit> {
    let named = session.primary.core(&Namespace::default(), &drive_name(folder));
    let encryption = encryption(args, folder, named.key(), session)?;
    let bound = session.listen(&args.network.listen_at()?, report)?;
    let mut drive = OwnDrive::open(session.waiter(Duration::MAX), &named, encryption.clone())?;
    let mut seen = Seen::load(&session.place.seen(folder), folder, &drive.key(), drive.version());
    let store = session.place.path();
    let bring = |drive: &mut OwnDrive, seen: &mut Seen| import(folder, store, drive, seen, report, interrupt);

    // The watch starts first, so that no change falls between it and the import.
    let watch = args.watch.then(|| Watch::new(folder, store));
    let imported = bring(&mut drive, &mut seen)?;
    session.meet(&drive.key());
    let relays = session.register(&args.network.via, report)?;
    let peers: Vec<Address> = args.network.via.iter().filter(|via| via.scheme != RELAY_SCHEME).cloned().collect();
    session.connect(&peers);
    session.discover(&args.network.finding, &[drive.key()], &bound, report)?;
    let hints = if args.no_hints { Vec::new() } else { hints(&bound, &[peers, relays].concat()) };
    let encrypted = encryption.is_some();
    let link = Link { key: drive.key(), via: hints, encryption }.to_string();
    let tell = |imported: &Imported, again: bool| {
        let Imported { files, bytes, .. } = *imported;
        report.event(&Event::Shared { link: &link, key: &named.key().to_string(), files, bytes, encrypted, again });
    };
    tell(&imported, false);
    if let Some(watch) = watch {
        while watch.wait(interrupt).is_ok() {
            drive.check()?;
            let again = bring(&mut drive, &mut seen)?;
            if again.put + again.deleted > 0 {
                tell(&again, true);
            }
        }
    }
    let mut waiter = session.waiter(Duration::MAX);
    while !interrupt.is_asked() {
        drive.check()?;
        waiter.pause().or_else(|error| if interrupt.is_asked() { Ok(()) } else { Err(error) })?;
    }
    Err(Interrupted.into())
}

/// Returns what the folder's drive is encrypted with: what it was before, or a new key if that is asked for.
///
/// # Errors
/// If the drive is there already without one, or the store fails.
fn encryption(args: &Share, folder: &Path, drive: PublicKey, session: &Session) -> Result<Option<EncryptionKey>> {
    let mut keys = Keys::open(&session.place.keys())?;
    let known = keys.encryption(&drive).is_some();
    if !args.encrypt && !known {
        return Ok(None);
    }
    let length = session.waiter(Duration::MAX).call(move |replicator| {
        let core = replicator.open(&drive)?;
        anyhow::Ok(replicator.core(core).length())
    })??;
    match (known, length) {
        // Also a key that was known: whoever took the drive out of the store may have served blocks under it before.
        (_, 0) => keys.encrypt(drive)?,
        (true, _) => {}
        (false, _) => {
            let message = format!(
                "{} is shared already without encryption, and what others have of it stays readable: to share it \
                encrypted, as another drive with another link, name another store with --store DIR",
                folder.display()
            );
            return Err(Failure::new("shared_unencrypted", message).into());
        }
    }
    Ok(keys.encryption(&drive).cloned())
}

/// Returns the folder's canonical path, or a sentence on why it is none.
fn folder(path: &Path) -> Result<std::path::PathBuf> {
    let folder = path
        .canonicalize()
        .map_err(|error| Failure::new("folder", format!("cannot share {}: {error}", path.display())))?;
    if !folder.is_dir() {
        let message = format!("cannot share {}: it is not a folder; share the folder it is in", path.display());
        return Err(Failure::new("folder", message).into());
    }
    Ok(folder)
}

/// A store may serve several folders; the name sets their drives apart.
fn drive_name(folder: &Path) -> String {
    format!("folder {}", folder.display())
}

/// Returns the addresses for the link: those listened at, as others would dial them, and the peers and relays that
/// were named.
fn hints(bound: &[Address], via: &[Address]) -> Vec<Address> {
    bound.iter().map(outward).chain(via.iter().cloned()).collect()
}

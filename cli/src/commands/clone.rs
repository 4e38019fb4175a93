//! `anypath clone`: a drive's newest version becomes a folder, and is followed if so wished.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use anypath_wire::{Address, PublicKey};

use super::session::{Session, place_for};
use crate::args::Clone;
use crate::folder::drive::DriveSource;
use crate::folder::{Cause, Problem, Restored, Target, Written, restore};
use crate::node::RemoteDrive;
use crate::{Event, Exit, Failure, Interrupt, Place, Report};

/// Clones a drive into a folder.
///
/// # Errors
/// If the folder is somebody else's, nobody has the drive, the store or the disk fails, or on interruption.
pub(super) fn clone(args: &Clone, store: Option<&Path>, report: &Arc<Report>, interrupt: &Interrupt) -> Result<Exit> {
    let folder = args.folder.clone().unwrap_or_else(|| PathBuf::from(args.link.key.to_string()));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let folder = folder.canonicalize().with_context(|| format!("cannot open the folder {}", folder.display()))?;
    let place = place_for(store, &folder)?;
    let mut target = Target::open(&folder).with_context(|| format!("cannot open the folder {}", folder.display()))?;
    check_target(args, &target, &place, &folder)?;
    let session = Session::open(place, report, interrupt)?;
    let outcome = fetch(args, &folder, &mut target, &session, report, interrupt);
    session.close(outcome)
}

/// Refuses a folder with contents that no clone of this drive made, and one in which a drive could overwrite the store.
fn check_target(args: &Clone, target: &Target, place: &Place, folder: &Path) -> Result<()> {
    let refuse = |code, why: &str| Err(Failure::new(code, format!("{} {why}", folder.display())).into());
    if place.path().starts_with(folder) {
        return refuse("store_in_target", "holds the store: name a store outside of it with --store");
    }
    let drive = Written::header(&place.written(folder)).map(|header| header.drive);
    if args.force || drive.as_ref() == Some(&args.link.key.to_string()) {
        return Ok(());
    }
    if target.is_empty().with_context(|| format!("cannot list {}", folder.display()))? {
        return Ok(());
    }
    match drive {
        Some(_) => {
            let why = "was cloned from another drive: choose another folder, or --force to write this one over it";
            refuse("target_of_another", why)
        }
        None => {
            let why = "is not empty and was not made by cloning this drive: choose another folder, or --force to \
                write into it";
            refuse("target_not_empty", why)
        }
    }
}

fn fetch(
    args: &Clone,
    folder: &Path,
    target: &mut Target,
    session: &Session,
    report: &Report,
    interrupt: &Interrupt,
) -> Result<Exit> {
    let key: PublicKey = args.link.key;
    session.listen(&args.network.listen, report)?;
    let mut vias: Vec<Address> = args.network.via.iter().chain(&args.link.via).cloned().collect();
    vias.sort();
    vias.dedup();
    let mut drive = RemoteDrive::open(session.waiter(args.timeout), key)?;
    session.connect(vias.iter().cloned());
    let mut started = Instant::now();
    drive.latest(&session.reach, vias.len())?;
    let mut whole = true;
    loop {
        let mut written = Written::open(&session.place.written(folder), folder, &key, drive.version().fork)
            .context("cannot open the record of what was cloned")?;
        let restored = match restore(target, &mut drive, &mut written, args.force, report, interrupt) {
            // The version that was being cloned is gone: on to the newest.
            Err(_) if drive.is_rewritten()? => {
                drive.latest(&session.reach, vias.len())?;
                continue;
            }
            restored => restored?,
        };
        let unreadable = tell_unreadable(&mut drive, report)?;
        whole &= restored.problems == 0 && !unreadable;
        let Restored { files, bytes, .. } = restored;
        let seconds = started.elapsed().as_secs_f64();
        report.event(&Event::Done { files, bytes, seconds, transport: session.reach.transport() });
        if !args.live {
            return Ok(if whole { Exit::Done } else { Exit::Failed });
        }
        drive.next_version()?;
        started = Instant::now();
    }
}

/// Tells about entries that cannot be read, and returns whether there are any.
fn tell_unreadable(drive: &mut RemoteDrive, report: &Report) -> Result<bool> {
    let names = drive.take_unreadable()?;
    let any = !names.is_empty();
    names.into_iter().for_each(|name| report.problem(&Problem { name, cause: Cause::Damaged }));
    Ok(any)
}

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
use crate::folder::{Restored, Target, Written, restore};
use crate::node::RemoteDrive;
use crate::{Event, Exit, Failure, Interrupt, Report};

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
    check_target(args, &target, &place.written(&folder), &folder)?;
    let session = Session::open(place, report, interrupt)?;
    let outcome = fetch(args, &folder, &mut target, &session, report, interrupt);
    let closed = session.close();
    let exit = outcome?;
    closed.map(|()| exit)
}

/// Refuses a folder with contents that no clone of this drive made.
fn check_target(args: &Clone, target: &Target, journal: &Path, folder: &Path) -> Result<()> {
    let ours = Written::header(journal).is_some_and(|header| header.drive == args.link.key.to_string());
    if args.force || ours || target.is_empty().with_context(|| format!("cannot list {}", folder.display()))? {
        return Ok(());
    }
    let message = format!(
        "{} is not empty and was not made by cloning this drive: choose another folder, or --force to write into it",
        folder.display()
    );
    Err(Failure::new("target_not_empty", message).into())
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
        let restored = restore(target, &mut drive, &mut written, args.force, report, interrupt)?;
        whole &= restored.problems == 0;
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

//! `anypath clone`: a drive's newest version becomes a folder, and is followed if so wished.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use anypath_wire::PublicKey;

use super::session::{Session, place_for};
use crate::args::{Clone, Storage};
use crate::drives::{Reading, RemoteDrive, VersionGone};
use crate::folder::drive::DriveSource;
use crate::folder::{Restored, Seen, Target, Written, restore};
use crate::{Event, Exit, Failure, Interrupt, Place, Report};

/// Clones a drive into a folder.
///
/// # Errors
/// If the folder is somebody else's, nobody has the drive, the store or the disk fails, or on interruption.
pub(super) fn clone(args: &Clone, storage: &Storage, report: &Arc<Report>, interrupt: &Interrupt) -> Result<Exit> {
    let folder = args.folder.clone().unwrap_or_else(|| PathBuf::from(args.link.key.to_string()));
    let fresh = !folder.exists();
    fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let folder = folder.canonicalize().with_context(|| format!("cannot open the folder {}", folder.display()))?;
    let outcome = clone_into(args, &folder, storage, report, interrupt);
    if fresh && outcome.is_err() {
        // Without anything in it, the folder was of no use; with something in it, this fails.
        drop(fs::remove_dir(&folder));
    }
    outcome
}

fn clone_into(
    args: &Clone,
    folder: &Path,
    storage: &Storage,
    report: &Arc<Report>,
    interrupt: &Interrupt,
) -> Result<Exit> {
    let place = place_for(storage, folder)?;
    let mut target = Target::open(folder).with_context(|| format!("cannot open the folder {}", folder.display()))?;
    target.durable = storage.durable;
    check_target(args, &target, &place, folder)?;
    Session::open(place, storage, &args.network, &args.link.via, report, interrupt)?
        .run(|session| fetch(args, folder, &mut target, session, report, interrupt))
}

/// Refuses a folder with contents that no clone of this drive made, and one in which a drive could overwrite the store.
fn check_target(args: &Clone, target: &Target, place: &Place, folder: &Path) -> Result<()> {
    let refuse = |code, why: &str| Err(Failure::new(code, format!("{} {why}", folder.display())).into());
    if place.path().starts_with(folder) {
        return refuse("store_in_target", "holds the store: name a store outside of it with --store");
    }
    let shared = place.all_seen().into_iter().find_map(|seen| Seen::folder_of(&seen, &args.link.key));
    if let Some(shared) = shared.filter(|shared| folder.starts_with(shared)) {
        let why = format!(
            "lies in {}, which is shared as this very drive: every copy would hold all copies before it; choose a \
            folder outside of it",
            shared.display()
        );
        return refuse("target_in_shared", &why);
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
    report: &Arc<Report>,
    interrupt: &Interrupt,
) -> Result<Exit> {
    let key: PublicKey = args.link.key;
    let bound = session.listen(&args.network.listen, report)?;
    let mut drive =
        RemoteDrive::open(session.waiter(args.timeout), key, args.link.encryption.clone(), Reading::Needed)?;
    session.meet(&key);
    let vias = session.connect(args.network.via.iter().chain(&args.link.via));
    session.discover(&args.network.finding, &[key], &bound, report)?;
    let (mut started, mut verified) = (Instant::now(), false);
    drive.latest(&session.reach, vias)?;
    loop {
        let mut written = Written::open(&session.place.written(folder), folder, &key, drive.version().fork)
            .context("cannot open the record of what was cloned")?;
        if args.verify && !verified {
            drive.recheck()?;
            written.distrust();
            verified = true;
        }
        let restored = match restore(target, &mut drive, &mut written, args.force, report, interrupt) {
            Err(error) if error.is::<VersionGone>() => {
                drive.next_version()?;
                continue;
            }
            restored => restored?,
        };
        let Restored { files, bytes, problems, .. } = restored;
        let seconds = started.elapsed().as_secs_f64();
        report.event(&Event::Done {
            files: Some(files),
            bytes,
            seconds,
            transport: session.reach.transport(),
            problems,
        });
        if !args.live {
            return Ok(if problems == 0 { Exit::Done } else { Exit::Failed });
        }
        drive.have_all_patience();
        drive.next_version()?;
        started = Instant::now();
    }
}

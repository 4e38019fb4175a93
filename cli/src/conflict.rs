//! Two histories of a drive: told once, kept as a file in the store, checked by whoever has the file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use anypath_replicate::core::{EVIDENCE_BYTES_MAX, Evidence};
use anypath_replicate::replicator::{Conflict, CoreId, Replicator};
use anypath_wire::PublicKey;
use thiserror::Error;

use crate::drives::Reach;
use crate::{Event, Failure, Place, Report, lasting};

/// A core of a drive is frozen, so that nothing can be done with the drive.
#[derive(Debug, Error)]
#[error("whoever signs for {} signed two histories that contradict each other", .0.key)]
pub(crate) struct Frozen(pub(crate) Conflict);

impl Frozen {
    /// Fails if one of these cores is frozen.
    pub(crate) fn check(replicator: &Replicator, cores: impl IntoIterator<Item = CoreId>) -> Result<(), Self> {
        let conflict = cores.into_iter().find_map(|core| replicator.conflict(core));
        conflict.map_or(Ok(()), |conflict| Err(Self(conflict.clone())))
    }
}

/// The conflicts of a session, each told once. Clones share one memory.
#[derive(Clone)]
pub(crate) struct Conflicts {
    place: Place,
    report: Arc<Report>,
    reach: Reach,
    /// Where the evidence lies, by the cores' keys.
    told: Arc<Mutex<BTreeMap<PublicKey, Option<PathBuf>>>>,
}

impl Conflicts {
    /// Begins without any.
    pub(crate) fn new(place: Place, report: Arc<Report>, reach: Reach) -> Self {
        Self { place, report, reach, told: Arc::default() }
    }

    /// Writes the evidence into the store and tells so, unless that was done; returns the file.
    pub(crate) fn tell(&self, conflict: &Conflict) -> Option<PathBuf> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let keep = || {
            let file = self.keep(conflict);
            let key = conflict.key.to_string();
            let peer = conflict.peer.and_then(|peer| self.reach.peer(peer)).map(|info| info.key.to_string());
            let name = file.as_deref().map(Path::to_string_lossy);
            self.report.event(&Event::Conflict { key: &key, file: name.as_deref(), peer: peer.as_deref() });
            file
        };
        told.entry(conflict.key).or_insert_with(keep).clone()
    }

    /// Returns what a command ends with whose drive is frozen, after that was told.
    pub(crate) fn failure(&self, frozen: &Frozen) -> Failure {
        let evidence = match self.tell(&frozen.0) {
            Some(file) => format!(" (check it: `anypath verify {}`)", file.display()),
            None => String::new(),
        };
        let store = self.place.path().display();
        let message = format!(
            "the drive is frozen: {frozen}{evidence}; its owner can share the folder from a new store, under a new \
             link; others take that link, or remove the store {store} and clone whichever history is served"
        );
        Failure::new("frozen", message)
    }

    fn keep(&self, conflict: &Conflict) -> Option<PathBuf> {
        let evidence = conflict.evidence.as_deref()?;
        let file = self.place.evidence(&conflict.key);
        let write = || lasting::replace(&file, |out| out.write_all(&evidence.encode()));
        let kept = if file.exists() { Ok(()) } else { write() };
        // The store has it all the same, and writes it when it is opened again.
        kept.inspect_err(|error| tracing::error!(%error, file = %file.display(), "cannot write the evidence")).ok()?;
        Some(file)
    }
}

/// Checks a file of evidence with nothing else, and tells what it proves.
///
/// # Errors
/// If it cannot be read or proves nothing, with the reason.
pub(crate) fn verify(file: &Path, report: &Report) -> Result<()> {
    let bytes = read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let proven = Evidence::decode(&bytes).and_then(|evidence| evidence.verify());
    let proven =
        proven.map_err(|error| Failure::new("not_proven", format!("{} proves nothing: {error}", file.display())))?;
    report.event(&Event::proven(&proven));
    Ok(())
}

/// Reads a file, but no more of it than evidence can have and one byte that shows that it is none.
fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(EVIDENCE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

//! Which cores make up a drive, as a store knows it.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use anypath_replicate::corestore::blobs_manifest;
use anypath_replicate::replicator::Replicator;
use anypath_replicate::store::{Config, DiskStore};
use anypath_wire::PublicKey;

use crate::content::hex;

/// Returns the keys of the cores of a drive's entries and contents, in hexadecimal, from the store of a program that has
/// ended (`--store`).
pub fn drive_cores(store: &Path, key: PublicKey) -> Result<[(&'static str, String); 2]> {
    let mut replicator = Replicator::new(Arc::new(DiskStore::open(store.join("cores"), Config::default())?));
    let db = replicator.open(&key)?;
    let manifest = replicator.core(db).manifest().context("the store does not know the drive's manifest")?;
    let blobs = blobs_manifest(&key, manifest).key();
    Ok([("db", hex(&key.0)), ("blobs", hex(&blobs.0))])
}

//! What a disk store promises when the power fails at any operation, and what was not synced arrives in part, torn and
//! out of order, or not at all.
//!
//! `ANYPATH_LONG=1` tries thousands of cuts instead of hundreds.
#![allow(clippy::disallowed_methods, reason = "the long run is asked for by the environment")]
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod chance;
mod disk;
mod histories;

mod model;

use std::sync::Arc;
use std::time::Duration;

use anypath_replicate::store::{Config, DiskStore, Durability};

use self::chance::Chance;
use self::disk::SimulatedDisk;

/// Opens a store whose syncs are those that commits ask for, so that a seed says everything; `None` if the power fails.
fn open(disk: &SimulatedDisk, durability: Durability) -> Option<DiskStore> {
    let config = Config { durability, cache_bytes: 1 << 20, sync_delay: Duration::MAX };
    match DiskStore::open_on(Arc::new(disk.clone()), config) {
        Ok(store) => Some(store),
        Err(_) if disk.is_dead() => None,
        Err(error) => panic!("a power cut made the store useless: {error}"),
    }
}

/// Returns the seeds of a test: so many, and many more in a long run.
fn seeds(normally: u64) -> std::ops::Range<u64> {
    0..if std::env::var_os("ANYPATH_LONG").is_some() { normally * 20 } else { normally }
}

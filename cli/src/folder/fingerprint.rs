//! How a file is known not to have changed without reading it, and when that cannot be trusted.

use std::fs::Metadata;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// What the file system says about a file; equal means unchanged, unless [`Fingerprint::is_racy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Size in bytes.
    pub size: u64,
    /// When the content changed last, in nanoseconds since 1970.
    pub modified_ns: i64,
    /// When anything about the file changed last, in nanoseconds since 1970; 0 where the system has no such time.
    pub changed_ns: i64,
    /// The file's number in its file system; 0 where it has none.
    pub inode: u64,
}

impl Fingerprint {
    /// Takes the fingerprint from what `lstat` or `fstat` returned.
    pub fn of(metadata: &Metadata) -> Self {
        let (changed_ns, inode) = beyond_std(metadata);
        Self { size: metadata.len(), modified_ns: metadata.modified().map_or(0, ns), changed_ns, inode }
    }

    /// Returns whether the file could change once more and look the same: it changed so shortly before `seen_ns`
    /// (or, by a clock that is ahead, after it) that the file system's next tick may not have come.
    pub fn is_racy(&self, seen_ns: i64) -> bool {
        let whole_seconds = self.modified_ns % SECOND_NS == 0 && self.changed_ns % SECOND_NS == 0;
        let tick_ns = if whole_seconds { COARSE_TICK_NS } else { FINE_TICK_NS };
        self.modified_ns.max(self.changed_ns) >= seen_ns.saturating_sub(tick_ns)
    }
}

/// Returns a point in time in nanoseconds since 1970, negative before.
pub(super) fn ns(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |ns| -ns),
    }
}

#[cfg(unix)]
fn beyond_std(metadata: &Metadata) -> (i64, u64) {
    use std::os::unix::fs::MetadataExt;
    (metadata.ctime().saturating_mul(SECOND_NS).saturating_add(metadata.ctime_nsec()), metadata.ino())
}

#[cfg(not(unix))]
fn beyond_std(_: &Metadata) -> (i64, u64) {
    (0, 0)
}

const SECOND_NS: i64 = 1_000_000_000;
/// The slowest tick of a file system with fine times, in nanoseconds: Linux updates them by the timer, up to 10 ms.
const FINE_TICK_NS: i64 = 100_000_000;
/// The tick of one with whole seconds: FAT counts by two.
const COARSE_TICK_NS: i64 = 2 * SECOND_NS;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_within_the_last_tick_or_in_the_future_is_not_trusted() {
        let at = |modified_ns| Fingerprint { size: 1, modified_ns, changed_ns: modified_ns, inode: 1 };
        let now = 1_000_000 * SECOND_NS;
        assert!(at(now - 1).is_racy(now));
        assert!(at(now + SECOND_NS).is_racy(now));
        assert!(!at(now - FINE_TICK_NS - 1).is_racy(now));
        assert!(at(now - SECOND_NS).is_racy(now), "whole seconds: a coarse file system");
        assert!(!at(now - 3 * SECOND_NS).is_racy(now));
    }
}

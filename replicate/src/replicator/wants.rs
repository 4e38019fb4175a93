//! The regions for which a peer asked to be told about every block.

use std::collections::BTreeSet;

/// A peer's wants: aligned regions, or everything once it asked for too many.
#[derive(Debug, Default)]
pub(super) struct RemoteWants {
    regions: BTreeSet<(u64, u64)>,
    all: bool,
}

impl RemoteWants {
    /// Adds a region; its length is a power of two between 32 and 2^21 and its start a multiple of it, or it is ignored.
    /// Returns whether it is a region to answer.
    pub(super) fn add(&mut self, start: u64, length: u64) -> bool {
        let legal =
            length.is_power_of_two() && (REGION_MIN..=REGION_MAX).contains(&length) && start.is_multiple_of(length);
        if !legal || self.all {
            return legal;
        }
        self.regions.insert((start, length));
        if self.regions.len() > REGIONS_MAX {
            self.regions.clear();
            self.all = true;
        }
        legal
    }

    /// Removes a region.
    pub(super) fn remove(&mut self, start: u64, length: u64) {
        self.regions.remove(&(start, length));
    }

    /// Returns whether any block of `start..end` lies in a wanted region.
    pub(super) fn touches(&self, start: u64, end: u64) -> bool {
        self.all || self.regions.range(..(end, 0)).rev().take(REGIONS_MAX).any(|(from, length)| from + length > start)
    }
}

/// Smallest region, in blocks: one 32-bit word of a bitfield message.
const REGION_MIN: u64 = 32;
/// Largest region, in blocks; also what this side asks for.
pub(super) const REGION_MAX: u64 = 1 << 21;
/// Most regions kept for one peer and core; the reference gives up at the same number.
pub(super) const REGIONS_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_aligned_powers_of_two_are_kept() {
        let mut wants = RemoteWants::default();
        assert!(!wants.add(0, 33) && !wants.add(16, 32) && !wants.add(0, 1 << 22) && !wants.touches(0, 100));
        assert!(wants.add(64, 64) && wants.touches(0, 65) && !wants.touches(128, 200) && wants.touches(127, 128));
        wants.remove(64, 64);
        assert!(!wants.touches(0, 1000));
    }

    #[test]
    fn too_many_regions_mean_everything() {
        let mut wants = RemoteWants::default();
        assert!((0..600).all(|i| wants.add(i * 32, 32)));
        assert!(wants.touches(1 << 40, (1 << 40) + 1) && wants.regions.is_empty());
    }
}

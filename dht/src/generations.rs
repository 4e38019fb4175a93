//! A cache of two generations: what was written or read in neither is forgotten.

use std::collections::BTreeMap;
use std::ops::RangeBounds;
use std::time::Duration;

use anypath_wire::Time;

/// Entries that live between one and two turns. A turn comes when its time is up, or when the fresh generation is full;
/// so at most twice `entries_max` are held. Source: npm xache 1.3 and record-cache 1.2.
#[derive(Debug)]
pub(crate) struct Generations<K, V> {
    fresh: BTreeMap<K, V>,
    stale: BTreeMap<K, V>,
    entries_max: usize,
    span: Duration,
    turned: Time,
}

impl<K: Ord + Copy, V> Generations<K, V> {
    /// Makes an empty cache whose entries live for about `age`: two thirds of it, up to four thirds.
    pub(crate) fn new(entries_max: usize, age: Duration) -> Self {
        let (fresh, stale) = (BTreeMap::new(), BTreeMap::new());
        Self { fresh, stale, entries_max, span: age * 2 / 3, turned: Time::ZERO }
    }

    /// Returns how many entries are held; those whose time is up are among them until somebody looks.
    pub(crate) fn len(&self) -> usize {
        self.fresh.len() + self.stale.len()
    }

    /// Writes an entry, over an older one.
    pub(crate) fn set(&mut self, now: Time, key: K, value: V) {
        self.turn(now);
        self.stale.remove(&key);
        self.fresh.insert(key, value);
        if self.fresh.len() >= self.entries_max {
            self.age(now);
        }
    }

    /// Returns an entry, which is fresh again by that.
    pub(crate) fn renew(&mut self, now: Time, key: &K) -> Option<&V> {
        self.turn(now);
        if let Some(value) = self.stale.remove(key) {
            self.fresh.insert(*key, value);
        }
        self.fresh.get(key)
    }

    /// Takes an entry out.
    pub(crate) fn remove(&mut self, now: Time, key: &K) -> Option<V> {
        self.turn(now);
        self.fresh.remove(key).or_else(|| self.stale.remove(key))
    }

    /// Returns whether the entry is there and fresh.
    pub(crate) fn is_fresh(&mut self, now: Time, key: &K) -> bool {
        self.turn(now);
        self.fresh.contains_key(key)
    }

    /// Returns the entries of a range of keys, generation by generation.
    pub(crate) fn range(
        &mut self,
        now: Time,
        range: impl RangeBounds<K> + Clone,
    ) -> [impl Iterator<Item = (&K, &V)>; 2] {
        self.turn(now);
        [self.fresh.range(range.clone()), self.stale.range(range)]
    }

    /// Forgets what is too old.
    pub(crate) fn turn(&mut self, now: Time) {
        let passed = now.since(self.turned);
        if passed >= self.span * 2 {
            self.fresh.clear();
            self.age(now);
        } else if passed >= self.span {
            // The turn was due before: what is forgotten when does not depend on who looks.
            self.age(self.turned + self.span);
        }
    }

    fn age(&mut self, at: Time) {
        self.stale = std::mem::take(&mut self.fresh);
        self.turned = at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_outlive_one_turn_and_no_more_unless_they_are_used() {
        let at = |secs: u64| Time::from_micros(secs * 1_000_000);
        let mut cache = Generations::new(100, Duration::from_secs(30));
        cache.set(at(0), 1, "used");
        cache.set(at(0), 2, "unused");
        assert_eq!(cache.renew(at(25), &1), Some(&"used"));
        assert_eq!(cache.renew(at(42), &1), Some(&"used"));
        assert_eq!(cache.renew(at(42), &2), None);
        assert_eq!(cache.renew(at(1000), &1), None);
    }

    #[test]
    fn a_flood_is_bounded() {
        let mut cache = Generations::new(10, Duration::from_secs(30));
        (0..1000).for_each(|key| cache.set(Time::ZERO, key, ()));
        assert!(cache.len() <= 20);
        assert!(cache.renew(Time::ZERO, &999).is_some());
    }
}

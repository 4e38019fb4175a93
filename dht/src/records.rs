//! Who announced what: records by topic, all of them for a while and within limits.

use std::time::Duration;

use anypath_wire::{Hash, Time};

use crate::chance::Chance;
use crate::generations::Generations;

/// Records `V` of those who announced topics of `N` bytes, each under 32 bytes that tell them apart.
#[derive(Debug)]
pub(crate) struct Records<const N: usize, V>(Generations<([u8; N], Hash), V>);

impl<const N: usize, V: Clone> Records<N, V> {
    /// Makes an empty one of so many records in each of two generations, which live for about `age`.
    pub(crate) fn new(entries_max: usize, age: Duration) -> Self {
        Self(Generations::new(entries_max, age))
    }

    /// Returns how many records there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether a record is there and fresh.
    pub(crate) fn is_fresh(&mut self, now: Time, topic: &[u8; N], who: &Hash) -> bool {
        self.0.is_fresh(now, &(*topic, *who))
    }

    /// Keeps a record. One of a topic that has very many takes the place of another, so that no topic takes all the room
    /// and nobody's flood keeps others out.
    pub(crate) fn set(&mut self, now: Time, topic: [u8; N], who: Hash, record: V, chance: &mut Chance) {
        let count: usize = self.0.range(now, all_of(topic)).into_iter().map(|e| e.take(OF_TOPIC_MAX).count()).sum();
        if count >= OF_TOPIC_MAX
            && let Some(other) = self.one_of(now, topic, chance)
        {
            self.0.remove(now, &other);
        }
        self.0.set(now, (topic, who), record);
    }

    /// Forgets a record.
    pub(crate) fn remove(&mut self, now: Time, topic: &[u8; N], who: &Hash) {
        self.0.remove(now, &(*topic, *who));
    }

    /// Returns `most` of a topic's records, which by chance. Costs the same however many there are: of more, those behind
    /// a place of chance are taken.
    pub(crate) fn some_of(&mut self, now: Time, topic: [u8; N], most: usize, chance: &mut Chance) -> Vec<V> {
        let pivot = (topic, chance.bytes());
        let mut found: Vec<V> = Vec::new();
        let behind = self.0.range(now, pivot..=(topic, LAST));
        found.extend(behind.into_iter().flat_map(|entries| entries.take(most)).map(|(_, v)| v.clone()));
        let before = self.0.range(now, (topic, FIRST)..pivot);
        found.extend(before.into_iter().flat_map(|entries| entries.take(most)).map(|(_, v)| v.clone()));
        while found.len() > most {
            let at = chance.below(found.len() as u64) as usize;
            found.swap_remove(at);
        }
        found
    }

    fn one_of(&mut self, now: Time, topic: [u8; N], chance: &mut Chance) -> Option<([u8; N], Hash)> {
        let pivot = (topic, chance.bytes());
        let behind = self
            .0
            .range(now, pivot..=(topic, LAST))
            .into_iter()
            .filter_map(|mut entries| entries.next())
            .min_by_key(|(key, _)| **key);
        let behind = behind.map(|(key, _)| *key);
        behind.or_else(|| {
            self.0.range(now, all_of(topic)).into_iter().find_map(|mut entries| entries.next()).map(|(key, _)| *key)
        })
    }
}

fn all_of<const N: usize>(topic: [u8; N]) -> std::ops::RangeInclusive<([u8; N], Hash)> {
    (topic, FIRST)..=(topic, LAST)
}

const FIRST: Hash = [0; 32];
const LAST: Hash = [0xff; 32];
/// Records of one topic: a reply tells a few dozen of them, so more are of little use.
const OF_TOPIC_MAX: usize = 1_024;

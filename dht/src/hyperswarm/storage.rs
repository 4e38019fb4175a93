//! What a storing node keeps for others, all of it for a while and within limits.

use std::net::SocketAddrV4;
use std::time::Duration;

use anypath_wire::{Encode, Hash, PublicKey, Time};

use super::Id;
use super::messages::MutableValue;
use crate::chance::Chance;
use crate::generations::Generations;
use crate::records::Records;

/// Everything stored.
#[derive(Debug)]
pub(super) struct Storage {
    /// Encoded peers by topic and key.
    records: Records<32, Vec<u8>>,
    /// Peers that announced themselves, by the hash of their key.
    pub(super) forwards: Generations<Id, Forward>,
    /// What a refresh token renews.
    pub(super) refreshes: Generations<Hash, Renewal>,
    /// The largest bump of each topic.
    bumps: Generations<Id, u64>,
    /// Mutable values by the hash of their key.
    pub(super) mutables: Generations<Id, MutableValue>,
    /// Bytes by their hash.
    pub(super) immutables: Generations<Id, Vec<u8>>,
}

/// A peer that can be reached through us.
#[derive(Debug, Clone)]
pub(super) struct Forward {
    /// Where it announced itself from.
    pub(super) relay: SocketAddrV4,
    /// Its record.
    pub(super) record: Vec<u8>,
}

/// A record that whoever knows the token may renew.
#[derive(Debug, Clone)]
pub(super) struct Renewal {
    /// The topic.
    pub(super) target: Id,
    /// Whose it is.
    pub(super) key: PublicKey,
    /// The record.
    pub(super) record: Vec<u8>,
    /// Whether it is a peer that announced itself.
    pub(super) is_self: bool,
}

impl Storage {
    /// Makes an empty one with so many entries of each kind, half as many values.
    pub(super) fn new(entries_max: usize) -> Self {
        Self {
            records: Records::new(entries_max, RECORD_AGE),
            forwards: Generations::new(entries_max, RECORD_AGE),
            refreshes: Generations::new(entries_max, RECORD_AGE),
            bumps: Generations::new(entries_max, RECORD_AGE),
            mutables: Generations::new(entries_max / 2, VALUE_AGE),
            immutables: Generations::new(entries_max / 2, VALUE_AGE),
        }
    }

    /// Returns how many records, forwards and values there are.
    pub(super) fn len(&self) -> usize {
        self.records.len() + self.forwards.len() + self.mutables.len() + self.immutables.len()
    }

    /// Keeps a record, unless a fresh one of the key is there.
    pub(super) fn add_record(&mut self, now: Time, target: Id, key: &PublicKey, record: Vec<u8>, chance: &mut Chance) {
        if !self.records.is_fresh(now, &target, &key.0) {
            self.records.set(now, target, key.0, record, chance);
        }
    }

    /// Forgets a record.
    pub(super) fn remove_record(&mut self, now: Time, target: &Id, key: &PublicKey) {
        self.records.remove(now, target, &key.0);
    }

    /// Keeps the larger bump.
    pub(super) fn bump(&mut self, now: Time, target: Id, bump: u64) {
        if self.bumps.renew(now, &target).is_none_or(|known| *known < bump) {
            self.bumps.set(now, target, bump);
        }
    }

    /// Returns the encoded reply to a lookup: at most 20 records and the peer that announced itself under the target.
    pub(super) fn lookup(&mut self, now: Time, target: &Id, chance: &mut Chance) -> Option<Vec<u8>> {
        let mut found = self.records.some_of(now, *target, RECORDS_MAX, chance);
        if found.len() < RECORDS_MAX {
            found.extend(self.forwards.renew(now, target).map(|forward| forward.record.clone()));
        }
        if found.is_empty() {
            return None;
        }
        let mut reply = Vec::new();
        reply.uint(found.len() as u64);
        found.iter().for_each(|record| reply.raw(record));
        reply.uint(self.bumps.renew(now, target).copied().unwrap_or_default());
        Some(reply)
    }
}

/// Records in one reply.
const RECORDS_MAX: usize = 20;
/// How long records live without being renewed: as the reference.
const RECORD_AGE: Duration = Duration::from_secs(20 * 60);
/// How long values do.
const VALUE_AGE: Duration = Duration::from_secs(48 * 60 * 60);

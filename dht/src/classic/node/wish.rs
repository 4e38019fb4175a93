//! Wishes of the application, each of which may take several walks.

use std::collections::BTreeSet;

use super::search::Kind;
use super::*;
use crate::classic::mutable_target;
use crate::discovery::{Ask, Outcome};

/// A wish, and how far it is.
#[derive(Debug, Default)]
pub(super) struct Wish {
    /// Walks under way.
    walks: usize,
    outcome: Outcome,
    found: BTreeSet<SocketAddr>,
    /// The newest item so far, of those that may change.
    best: Option<Item>,
}

impl Node {
    /// Begins what the application wishes for.
    pub(super) fn begin(&mut self, now: Time, command: Command) {
        let query = command.query;
        let infohashes = |topic: &Hash| -> Vec<Id> {
            let mut all: Vec<_> = self.config.mappings.iter().map(|mapping| mapping.infohash(topic)).collect();
            all.dedup();
            all
        };
        let walks: Vec<(Kind, Id)> = match command.ask {
            Ask::Lookup { topic } => infohashes(&topic).into_iter().map(|id| (Kind::Lookup, id)).collect(),
            Ask::Announce(announcement) => {
                let port = announcement.port;
                infohashes(&announcement.topic).into_iter().map(|id| (Kind::Announce(port), id)).collect()
            }
            Ask::PutImmutable { value } => {
                let item = Item::of_bytes(&value);
                let target = item.target();
                vec![(Kind::Put(item), target)]
            }
            Ask::GetImmutable { target } => vec![(Kind::Get(0), std::array::from_fn(|at| target[at]))],
            Ask::PutMutable { key_pair, seq, value } => {
                let item = Item::sign(&key_pair, b"", i64::try_from(seq).unwrap_or(i64::MAX), &value);
                let target = item.target();
                vec![(Kind::Put(item), target)]
            }
            Ask::GetMutable { key, seq } => {
                vec![(Kind::Get(i64::try_from(seq).unwrap_or(i64::MAX)), mutable_target(&key, b""))]
            }
            // These are Hyperswarm's alone: announcements here have no key, and end by being old.
            Ask::Unannounce { .. }
            | Ask::Refresh { .. }
            | Ask::FindPeer { .. }
            | Ask::Listen { .. }
            | Ask::Unlisten { .. } => Vec::new(),
        };
        self.wishes.insert(query, Wish { walks: walks.len(), ..Wish::default() });
        for (kind, target) in walks {
            self.begin_search(now, Some(query), kind, target);
        }
        self.end_wish(query);
    }

    /// Tells of a peer, unless it was told of before.
    pub(super) fn found_peer(&mut self, query: u64, address: SocketAddr) {
        let Some(wish) = self.wishes.get_mut(&query) else { return };
        if wish.found.len() < FOUND_MAX && wish.found.insert(address) {
            self.events.push_back(Event::Address { query, address });
        }
    }

    /// Takes an item that is what it was looked for as; returns whether nothing better can come.
    pub(super) fn found_item(&mut self, query: u64, item: Item, least: i64) -> bool {
        let Some(wish) = self.wishes.get_mut(&query) else { return true };
        let seq = |item: &Item| item.mutable.as_ref().map(|mutable| mutable.seq);
        if wish.best.as_ref().is_none_or(|best| seq(best) < seq(&item)) && seq(&item).is_none_or(|seq| seq >= least) {
            wish.best = Some(item);
        }
        wish.best.as_ref().is_some_and(|best| best.mutable.is_none())
    }

    /// Takes what one of a wish's walks took.
    pub(super) fn walk_ended(&mut self, query: u64, took: Outcome) {
        if let Some(wish) = self.wishes.get_mut(&query) {
            wish.walks -= 1;
            wish.outcome.asked += took.asked;
            wish.outcome.answers += took.answers;
            wish.outcome.errors += took.errors;
            wish.outcome.stored += took.stored;
        }
        self.end_wish(query);
    }

    fn end_wish(&mut self, query: u64) {
        if self.wishes.get(&query).is_none_or(|wish| wish.walks > 0) {
            return;
        }
        let Some(Wish { outcome, best, .. }) = self.wishes.remove(&query) else { return };
        let value = best.and_then(|item| {
            let seq = item.mutable.as_ref().map_or(0, |mutable| mutable.seq);
            Some((u64::try_from(seq).unwrap_or_default(), item.bytes()?.to_vec()))
        });
        self.events.extend(value.map(|(seq, value)| Event::Value { query, seq, value }));
        self.events.push_back(Event::Done { query, outcome });
    }
}

/// Peers told of for one wish.
const FOUND_MAX: usize = 4_096;

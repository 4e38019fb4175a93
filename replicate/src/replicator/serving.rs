//! A peer's requests that wait for an answer: the urgent ones first, each kind in the order it came.
//!
//! Source: npm hypercore 11.37, `lib/receiver-queue.js`; there the last urgent one comes first.

use std::collections::BTreeMap;

use crate::Request;

/// One of the peer's requests.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// The id it chose.
    pub(super) id: u64,
    /// The fork it means.
    pub(super) fork: u64,
    /// Whether somebody waits for it there.
    pub(super) urgent: bool,
    /// What it asks.
    pub(super) request: Request,
}

/// The requests by the order in which they are answered.
#[derive(Debug, Default)]
pub(super) struct Serving {
    waiting: BTreeMap<Place, Asked>,
    places: BTreeMap<u64, Place>,
    seen: u64,
}

/// Whether it is not urgent, and how many came before it.
type Place = (bool, u64);

impl Serving {
    /// Returns how many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Returns whether none waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Adds a request; one of the same id that still waits is replaced.
    pub(super) fn push(&mut self, asked: Asked) {
        self.cancel(asked.id);
        self.seen += 1;
        let place = (!asked.urgent, self.seen);
        self.places.insert(asked.id, place);
        self.waiting.insert(place, asked);
    }

    /// Forgets a request, if it still waits.
    pub(super) fn cancel(&mut self, id: u64) {
        if let Some(place) = self.places.remove(&id) {
            self.waiting.remove(&place);
        }
    }

    /// Returns the request to be answered next.
    pub(super) fn first(&self) -> Option<&Asked> {
        self.waiting.first_key_value().map(|(_, asked)| asked)
    }

    /// Takes out the request to be answered next.
    pub(super) fn pop(&mut self) -> Option<Asked> {
        let (_, asked) = self.waiting.pop_first()?;
        self.places.remove(&asked.id);
        Some(asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urgent_requests_come_first_and_an_id_stands_once() {
        let mut serving = Serving::default();
        for (id, urgent) in [(1, false), (2, true), (3, false), (4, true), (1, false)] {
            serving.push(Asked { id, fork: 0, urgent, request: Request::default() });
        }
        serving.cancel(3);
        serving.cancel(9);
        assert_eq!((serving.len(), serving.first().map(|asked| asked.id)), (3, Some(2)));
        let order: Vec<_> = std::iter::from_fn(|| serving.pop()).map(|asked| asked.id).collect();
        assert_eq!(order, [2, 4, 1]);
        assert!(serving.is_empty() && serving.places.is_empty());
    }
}

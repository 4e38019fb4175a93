//! The requests a peer has not answered yet.

use std::collections::{BTreeMap, VecDeque};

/// Requests in flight to one peer for one core; ids ascend from 1, so answers in order cost nothing to find.
#[derive(Debug)]
pub(super) struct Window<T> {
    first: u64,
    requests: VecDeque<Option<T>>,
    open: usize,
    /// Requests that were overtaken by more than a deque should span.
    overtaken: BTreeMap<u64, T>,
}

impl<T> Window<T> {
    /// Returns how many requests wait for an answer.
    pub(super) fn len(&self) -> usize {
        self.open
    }

    /// Adds a request and returns its id.
    pub(super) fn add(&mut self, request: T) -> u64 {
        if self.requests.len() >= SPAN_MAX {
            self.overtaken.extend(self.requests.pop_front().flatten().map(|request| (self.first, request)));
            self.first += 1;
            self.skip_answered();
        }
        self.requests.push_back(Some(request));
        self.open += 1;
        self.first + self.requests.len() as u64 - 1
    }

    /// Returns the requests in flight.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.overtaken.values_mut().chain(self.requests.iter_mut().flatten())
    }

    /// Returns the requests in flight.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.overtaken.values().chain(self.requests.iter().flatten())
    }

    /// Returns the request with that id, if it is in flight.
    pub(super) fn peek(&self, id: u64) -> Option<&T> {
        match id.checked_sub(self.first) {
            Some(at) => self.requests.get(usize::try_from(at).ok()?)?.as_ref(),
            None => self.overtaken.get(&id),
        }
    }

    /// Takes the request with that id out, if it is still in flight.
    pub(super) fn take(&mut self, id: u64) -> Option<T> {
        let request = match id.checked_sub(self.first) {
            Some(at) => self.requests.get_mut(usize::try_from(at).ok()?)?.take()?,
            None => self.overtaken.remove(&id)?,
        };
        self.open -= 1;
        self.skip_answered();
        Some(request)
    }

    fn skip_answered(&mut self) {
        while let Some(None) = self.requests.front() {
            self.requests.pop_front();
            self.first += 1;
        }
    }

    /// Empties the window, returning what was in flight.
    pub(super) fn drain(&mut self) -> Vec<T> {
        self.first += self.requests.len() as u64;
        self.open = 0;
        std::mem::take(&mut self.overtaken).into_values().chain(self.requests.drain(..).flatten()).collect()
    }
}

impl<T> Default for Window<T> {
    fn default() -> Self {
        Self { first: 1, requests: VecDeque::new(), open: 0, overtaken: BTreeMap::new() }
    }
}

/// How many ids the deque spans at most, answered ones included: beyond it a peer that holds back one answer would
/// make it grow with every other.
const SPAN_MAX: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_in_any_order_and_only_once() {
        let mut window = Window::default();
        let ids: Vec<_> = (0..4).map(|_| window.add(())).collect();
        assert_eq!(ids, [1, 2, 3, 4]);
        assert!(
            window.take(3).is_some()
                && window.take(3).is_none()
                && window.take(0).is_none()
                && window.take(9).is_none()
        );
        assert!(window.take(1).is_some() && window.take(2).is_some() && window.take(1).is_none());
        assert_eq!(window.len(), 1);
        assert_eq!((window.drain().len(), window.add(())), (1, 5));
    }

    #[test]
    fn an_answer_held_back_costs_no_more_than_one() {
        let mut window = Window::default();
        let held_back = window.add(7);
        for i in 0..100_000 {
            let id = window.add(i);
            assert_eq!(window.take(id), Some(i));
        }
        assert!(window.requests.len() <= SPAN_MAX && window.overtaken.len() <= 1);
        assert_eq!((window.len(), window.take(held_back), window.take(held_back), window.len()), (1, Some(7), None, 0));
    }
}

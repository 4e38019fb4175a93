//! The requests a peer has not answered yet.

use std::collections::VecDeque;

/// Requests in flight to one peer for one core; ids ascend from 1, so answers in order cost nothing to find.
#[derive(Debug)]
pub(super) struct Window<T> {
    first: u64,
    requests: VecDeque<Option<T>>,
    open: usize,
}

impl<T> Window<T> {
    /// Returns how many requests wait for an answer.
    pub(super) fn len(&self) -> usize {
        self.open
    }

    /// Adds a request and returns its id.
    pub(super) fn add(&mut self, request: T) -> u64 {
        self.requests.push_back(Some(request));
        self.open += 1;
        self.first + self.requests.len() as u64 - 1
    }

    /// Takes the request with that id out, if it is still in flight.
    pub(super) fn take(&mut self, id: u64) -> Option<T> {
        let at = usize::try_from(id.checked_sub(self.first)?).ok()?;
        let request = self.requests.get_mut(at)?.take()?;
        self.open -= 1;
        while let Some(None) = self.requests.front() {
            self.requests.pop_front();
            self.first += 1;
        }
        Some(request)
    }

    /// Empties the window, returning what was in flight.
    pub(super) fn drain(&mut self) -> Vec<T> {
        self.first += self.requests.len() as u64;
        self.open = 0;
        self.requests.drain(..).flatten().collect()
    }
}

impl<T> Default for Window<T> {
    fn default() -> Self {
        Self { first: 1, requests: VecDeque::new(), open: 0 }
    }
}

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
}

//! How many bytes of requests may be in memory at once, whoever sends them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What there is; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Budget(Arc<Purse>);

#[derive(Debug)]
struct Purse {
    most: usize,
    taken: AtomicUsize,
}

/// A part of it, given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Budget,
    bytes: usize,
}

impl Budget {
    /// Makes one of so many bytes.
    pub(crate) fn new(most: usize) -> Self {
        Self(Arc::new(Purse { most, taken: AtomicUsize::new(0) }))
    }

    /// Returns a part of nothing yet.
    pub(crate) fn share(&self) -> Share {
        Share { budget: self.clone(), bytes: 0 }
    }
}

impl Share {
    /// Takes so many bytes more, and returns whether there were as many.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let Purse { most, taken } = &*self.budget.0;
        let fits = |taken: usize| taken.checked_add(bytes).filter(|sum| sum <= most);
        let grown = taken.try_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok();
        if grown {
            self.bytes += bytes;
        }
        grown
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.0.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_given_than_there_is() {
        let budget = Budget::new(10);
        let (mut one, mut other) = (budget.share(), budget.share());
        assert!(one.grow(6) && !other.grow(5) && other.grow(4) && !one.grow(1) && !one.grow(usize::MAX));
        drop(one);
        assert!(other.grow(6) && !other.grow(1));
    }
}

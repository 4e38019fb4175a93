//! Which numbers have come, of a window that moves up: exactly once, in any order.

use std::collections::BTreeMap;

use super::control::{Acked, RANGES_MAX};

/// The numbers that have come. Its size is bounded by [`WINDOW`].
#[derive(Debug, Default)]
pub(super) struct Received {
    next: u64,
    /// Beginning and end (exclusive) of what came beyond `next`; none touches another.
    ranges: BTreeMap<u64, u64>,
}

/// What a number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It had not come before.
    New,
    /// It had.
    Again,
    /// It is beyond the window, where no honest end sends.
    TooFar,
}

impl Received {
    /// Says what a number is, without noting it.
    pub(super) fn look(&self, number: u64) -> Arrival {
        let covered = || self.ranges.range(..=number).next_back().is_some_and(|(_, end)| number < *end);
        if number < self.next || covered() {
            Arrival::Again
        } else if number >= self.next + WINDOW {
            Arrival::TooFar
        } else {
            Arrival::New
        }
    }

    /// Notes a number, and says what it was.
    pub(super) fn note(&mut self, number: u64) -> Arrival {
        let arrival = self.look(number);
        if arrival == Arrival::New {
            let before = self.ranges.range(..number).next_back().filter(|(_, end)| **end == number);
            let begin = before.map_or(number, |(begin, _)| *begin);
            let end = self.ranges.remove(&(number + 1)).unwrap_or(number + 1);
            self.ranges.insert(begin, end);
            if begin == self.next {
                self.ranges.remove(&begin);
                self.next = end;
            }
        }
        arrival
    }

    /// Returns what to tell the other end: all of it, or the lowest ranges.
    pub(super) fn acked(&self) -> Acked {
        let ranges = self.ranges.iter().take(RANGES_MAX).map(|(begin, end)| (*begin, *end)).collect();
        Acked { next: self.next, ranges }
    }
}

/// How far numbers may run ahead of the lowest that has not come: 16 MiB in segments as we make them.
pub(super) const WINDOW: u64 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_ends_the_same() {
        for shuffle in 0..50_u64 {
            let mut received = Received::default();
            let mut numbers: Vec<u64> = (0..100).collect();
            numbers.sort_by_key(|number| {
                (number + 1).wrapping_mul(0x9e37_79b9 + shuffle * 2).wrapping_mul(shuffle | 1) % 251
            });
            for (count, number) in numbers.iter().enumerate() {
                assert_eq!(received.note(*number), Arrival::New);
                assert_eq!(received.note(*number), Arrival::Again);
                let acked = received.acked();
                let told = acked.next + acked.ranges.iter().map(|(begin, end)| end - begin).sum::<u64>();
                assert_eq!(told, count as u64 + 1);
                assert!(acked.ranges.iter().all(|(begin, _)| *begin > acked.next));
            }
            assert_eq!(received.acked(), Acked { next: 100, ranges: Vec::new() });
        }
    }

    #[test]
    fn numbers_do_not_run_ahead() {
        let mut received = Received::default();
        assert_eq!(received.note(WINDOW), Arrival::TooFar);
        assert_eq!(received.note(WINDOW - 1), Arrival::New);
        assert_eq!(received.note(0), Arrival::New);
        assert_eq!(received.note(WINDOW), Arrival::New);
    }
}

//! How fast others answer, and how long it is worth waiting for them.

use std::time::Duration;

use anypath_wire::Time;

use crate::generations::Generations;

/// What nodes took to answer lately.
///
/// An attempt at a node that is known waits for its average and twice its deviation, times the number of the attempt; at
/// others longer with each. Source: npm adaptive-timeout 1.0, `index.js`.
#[derive(Debug)]
pub(super) struct Pace<A>(Generations<A, Took>);

#[derive(Debug, Clone, Copy)]
struct Took {
    average: Duration,
    deviation: Duration,
}

impl<A: Copy + Ord> Pace<A> {
    pub(super) fn new() -> Self {
        Self(Generations::new(KNOWN_MAX, AGE))
    }

    /// Takes note of how long a node took.
    pub(super) fn took(&mut self, now: Time, node: A, took: Duration) {
        let took = match self.0.renew(now, &node) {
            None => Took { average: took, deviation: took / 2 },
            Some(Took { average, deviation }) => Took {
                average: *average * 7 / 8 + took / 8,
                deviation: *deviation * 3 / 4 + average.abs_diff(took) / 4,
            },
        };
        self.0.set(now, node, took);
    }

    /// Returns how long an attempt, counted from 1, waits for the node; `chance` spreads those sent together.
    pub(super) fn timeout(&mut self, now: Time, node: &A, attempt: u32, chance: u16) -> Duration {
        let jitter = Duration::from_millis(u64::from(chance.wrapping_add(attempt as u16) % JITTER_MS));
        match self.0.renew(now, node) {
            Some(Took { average, deviation }) => {
                ((*average + *deviation * 2).saturating_mul(attempt) + jitter).clamp(LEAST, MOST)
            }
            None => UNKNOWN * (1 << (attempt - 1).min(DOUBLINGS_MAX)) + jitter,
        }
    }
}

/// Nodes remembered in each of two generations.
const KNOWN_MAX: usize = 4_096;
/// How long they are.
const AGE: Duration = Duration::from_secs(600);
/// The bounds of an attempt at a node that is known.
const LEAST: Duration = Duration::from_millis(300);
const MOST: Duration = Duration::from_secs(4);
/// The first attempt at one that is not; it doubles so often, to 4 s.
const UNKNOWN: Duration = Duration::from_millis(250);
const DOUBLINGS_MAX: u32 = 4;
/// Spreads attempts over so many milliseconds.
const JITTER_MS: u16 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_answer_fast_are_waited_for_less() {
        let ms = |span: Duration| span.as_millis() as u64;
        let mut pace = Pace::new();
        let unknown: Vec<_> = (1..=6).map(|attempt| ms(pace.timeout(Time::ZERO, &1, attempt, 0)) / 250).collect();
        assert_eq!(unknown, [1, 2, 4, 8, 16, 16]);
        for _ in 0..100 {
            pace.took(Time::ZERO, 1, Duration::from_millis(20));
            pace.took(Time::ZERO, 2, Duration::from_millis(900));
        }
        assert_eq!(ms(pace.timeout(Time::ZERO, &1, 1, 0)), 300);
        assert!((900..1_000).contains(&ms(pace.timeout(Time::ZERO, &2, 1, 0))));
        assert!((1_800..2_000).contains(&ms(pace.timeout(Time::ZERO, &2, 2, 0))));
        assert_eq!(ms(pace.timeout(Time::ZERO, &2, 9, 0)), 4_000);
    }
}

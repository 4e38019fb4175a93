//! Secrets of which tokens are made: whoever has a token could be reached at its host a while ago.

use std::time::Duration;

use anypath_wire::{Hash, Time, keyed_hash};

/// A secret for each span of time; that of the span before still holds, so a token holds for one to two spans.
#[derive(Debug)]
pub(crate) struct Secrets {
    seed: Hash,
    span: Duration,
    /// The last two spans asked for.
    known: [(u64, Hash); 2],
}

impl Secrets {
    /// Begins; nobody who does not know the seed can tell the secrets.
    pub(crate) fn new(seed: &Hash, span: Duration) -> Self {
        let seed = keyed_hash(seed, b"tokens");
        let known = [0, 1].map(|number| (number, secret(&seed, number)));
        Self { seed, span, known }
    }

    /// Returns the secret to make a token with now.
    pub(crate) fn current(&mut self, now: Time) -> Hash {
        self.of_span(self.span_at(now))
    }

    /// Returns whether a token was made with a secret that still holds.
    pub(crate) fn holds(&mut self, now: Time, made: impl Fn(&Hash) -> bool) -> bool {
        let span = self.span_at(now);
        [span, span.saturating_sub(1)].into_iter().any(|span| made(&self.of_span(span)))
    }

    fn span_at(&self, now: Time) -> u64 {
        now.as_micros() / self.span.as_micros() as u64
    }

    fn of_span(&mut self, span: u64) -> Hash {
        let slot = &mut self.known[(span % 2) as usize];
        if slot.0 != span {
            *slot = (span, secret(&self.seed, span));
        }
        slot.1
    }
}

fn secret(seed: &Hash, span: u64) -> Hash {
    keyed_hash(seed, &span.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_holds_for_one_to_two_spans() {
        let at = |ms: u64| Time::from_micros(ms * 1000);
        let new = |seed| Secrets::new(&[seed; 32], Duration::from_millis(7_500));
        let mut secrets = new(1);
        for start in [0, 7_000, 7_499, 90_000] {
            let secret = secrets.current(at(start));
            assert!(secrets.holds(at(start + 7_499), |known| *known == secret));
            assert!(!secrets.holds(at(start + 15_000), |known| *known == secret));
            assert!(!new(2).holds(at(start), |known| *known == secret));
        }
    }
}

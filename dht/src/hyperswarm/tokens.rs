//! Tokens: whoever has one could be reached at its host a few seconds ago.

use std::net::Ipv4Addr;
use std::time::Duration;

use anypath_wire::{Hash, Time, keyed_hash};

use super::{Token, token};

/// Makes and knows tokens. Each span of time has a secret, and the one before it still holds.
#[derive(Debug)]
pub(super) struct Tokens {
    seed: Hash,
    /// The last two spans asked for, with their secrets.
    secrets: [(u64, Hash); 2],
}

impl Tokens {
    pub(super) fn new(seed: &Hash) -> Self {
        let seed = keyed_hash(seed, b"tokens");
        let secrets = [0, 1].map(|span| (span, secret(&seed, span)));
        Self { seed, secrets }
    }

    /// Returns the token for a host now.
    pub(super) fn issue(&mut self, now: Time, host: &Ipv4Addr) -> Token {
        token(&self.secret(span(now)), host)
    }

    /// Returns whether a token was issued for the host in this span or the one before.
    pub(super) fn holds(&mut self, now: Time, host: &Ipv4Addr, given: &Token) -> bool {
        let span = span(now);
        [span, span.saturating_sub(1)].into_iter().any(|span| token(&self.secret(span), host) == *given)
    }

    fn secret(&mut self, span: u64) -> Hash {
        let slot = &mut self.secrets[(span % 2) as usize];
        if slot.0 != span {
            *slot = (span, secret(&self.seed, span));
        }
        slot.1
    }
}

fn secret(seed: &Hash, span: u64) -> Hash {
    keyed_hash(seed, &span.to_le_bytes())
}

fn span(now: Time) -> u64 {
    now.as_micros() / SPAN.as_micros() as u64
}

/// A token holds for one to two of these: as the reference.
const SPAN: Duration = Duration::from_millis(7_500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_holds_for_its_host_and_for_some_seconds() {
        let at = |ms: u64| Time::from_micros(ms * 1000);
        let (here, there) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let mut tokens = Tokens::new(&[1; 32]);
        for start in [0, 7_000, 7_499, 90_000] {
            let token = tokens.issue(at(start), &here);
            assert!(tokens.holds(at(start + 7_499), &here, &token));
            assert!(!tokens.holds(at(start + 7_499), &there, &token));
            assert!(!tokens.holds(at(start + 15_000), &here, &token));
            assert!(!Tokens::new(&[2; 32]).holds(at(start), &here, &token));
        }
    }
}

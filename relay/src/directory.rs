//! Who is where: keys by session, topics by key, circuits by token. All of it lasts as long as the circuits that asked for it.

use std::collections::{BTreeMap, BTreeSet};

use anypath_transports::https::session::{CircuitId, SessionId};
use anypath_wire::{DiscoveryKey, PublicKey};

/// A circuit, and whose.
pub(crate) type End = (SessionId, CircuitId);

/// Who is where.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    keys: BTreeMap<PublicKey, End>,
    topics: BTreeMap<DiscoveryKey, BTreeMap<PublicKey, End>>,
    /// Who waits for another with the same token.
    tokens: BTreeMap<Token, End>,
    /// What each circuit stands for.
    held: BTreeMap<End, Held>,
}

/// What two circuits have that are to be joined.
pub(crate) type Token = [u8; 32];

#[derive(Debug, Clone, Copy)]
enum Held {
    Token(Token),
    Key(PublicKey),
    Topic(DiscoveryKey, PublicKey),
}

impl Directory {
    /// Returns the session that has a key.
    pub(crate) fn session_of(&self, key: &PublicKey) -> Option<SessionId> {
        self.keys.get(key).map(|(session, _)| *session)
    }

    /// Registers a key; returns the circuit that had it before.
    pub(crate) fn register(&mut self, key: PublicKey, end: End) -> Option<End> {
        self.held.insert(end, Held::Key(key));
        let before = self.keys.insert(key, end)?;
        self.held.remove(&before);
        Some(before)
    }

    /// Puts a key under a topic.
    pub(crate) fn announce(&mut self, topic: DiscoveryKey, key: PublicKey, end: End) {
        self.held.insert(end, Held::Topic(topic, key));
        if let Some(before) = self.topics.entry(topic).or_default().insert(key, end) {
            self.held.remove(&before);
        }
    }

    /// Returns keys under a topic that are registered now.
    pub(crate) fn look_up(&self, topic: &DiscoveryKey) -> Vec<PublicKey> {
        let keys = self.topics.get(topic).into_iter().flat_map(|keys| keys.keys());
        keys.filter(|key| self.keys.contains_key(key)).take(FOUND_MAX).copied().collect()
    }

    /// Lets a circuit wait for another with the same token, unless one does already: that is returned, and waits no
    /// longer.
    pub(crate) fn pair(&mut self, token: Token, end: End) -> Option<End> {
        if let Some(other) = self.tokens.remove(&token) {
            self.held.remove(&other);
            return Some(other);
        }
        self.tokens.insert(token, end);
        self.held.insert(end, Held::Token(token));
        None
    }

    /// Forgets what a circuit stood for.
    pub(crate) fn forget(&mut self, end: End) {
        match self.held.remove(&end) {
            Some(Held::Key(key)) => drop(self.keys.remove(&key)),
            Some(Held::Topic(topic, key)) => {
                if let Some(keys) = self.topics.get_mut(&topic) {
                    keys.remove(&key);
                    if keys.is_empty() {
                        self.topics.remove(&topic);
                    }
                }
            }
            Some(Held::Token(token)) => drop(self.tokens.remove(&token)),
            None => {}
        }
    }

    /// Forgets everything of a session.
    pub(crate) fn forget_session(&mut self, session: SessionId) {
        let from = (session, CircuitId(0));
        let ends: BTreeSet<End> =
            self.held.range(from..).map(|(end, _)| *end).take_while(|end| end.0 == session).collect();
        ends.into_iter().for_each(|end| self.forget(end));
    }

    /// Returns how many keys and topics there are.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.keys.len(), self.topics.len())
    }
}

/// How many keys a look-up brings: more than anybody dials.
const FOUND_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn end(session: u8, circuit: u64) -> End {
        (SessionId([session; 16]), CircuitId(circuit))
    }

    #[test]
    fn what_a_circuit_stood_for_goes_with_it() {
        let (key, topic) = (PublicKey([1; 32]), DiscoveryKey([2; 32]));
        let mut directory = Directory::default();
        assert_eq!(directory.register(key, end(1, 0)), None);
        directory.announce(topic, key, end(1, 2));
        assert_eq!(directory.look_up(&topic), [key]);
        assert_eq!(directory.session_of(&key), Some(SessionId([1; 16])));
        directory.forget(end(1, 0));
        assert_eq!((directory.look_up(&topic), directory.session_of(&key)), (Vec::new(), None));
        directory.forget(end(1, 2));
        assert_eq!(directory.size(), (0, 0));
    }

    #[test]
    fn a_token_is_good_for_one_pair() {
        let mut directory = Directory::default();
        assert_eq!(directory.pair([1; 32], end(1, 0)), None);
        assert_eq!(directory.pair([2; 32], end(1, 2)), None);
        assert_eq!(directory.pair([1; 32], end(2, 0)), Some(end(1, 0)));
        assert_eq!(directory.pair([1; 32], end(3, 0)), None);
        directory.forget_session(SessionId([1; 16]));
        assert_eq!(directory.pair([2; 32], end(2, 2)), None, "who waited is gone");
    }

    #[test]
    fn who_registers_last_has_the_key() {
        let (key, topic) = (PublicKey([1; 32]), DiscoveryKey([2; 32]));
        let mut directory = Directory::default();
        directory.register(key, end(1, 0));
        directory.announce(topic, key, end(1, 2));
        assert_eq!(directory.register(key, end(2, 0)), Some(end(1, 0)));
        directory.announce(topic, key, end(2, 2));
        directory.forget_session(SessionId([1; 16]));
        assert_eq!(directory.look_up(&topic), [key]);
        assert_eq!(directory.session_of(&key), Some(SessionId([2; 16])));
        directory.forget_session(SessionId([2; 16]));
        assert_eq!(directory.size(), (0, 0));
    }
}

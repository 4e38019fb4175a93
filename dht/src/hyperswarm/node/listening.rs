//! Peers of ours that announced themselves under their own keys: the nodes that forward to them are pinged every 3 s, which
//! keeps the way through NATs open, and found anew when some are gone.
//!
//! Source: npm hyperdht 6.34.0, `lib/announcer.js`.

use anypath_wire::{KeyPair, PublicKey};

use super::asking::{Purpose, Question};
use super::search::{Kind, RELAYS};
use super::*;
use crate::discovery::{Outcome, Relay};
use crate::hyperswarm::messages::{Announce, FIND_PEER, PING, Peer, UNANNOUNCE};
use crate::hyperswarm::{Reply, key_target, unannounce_signable};

/// A peer that listens.
#[derive(Debug)]
pub(super) struct Listening {
    query: u64,
    pair: KeyPair,
    relays: Vec<Relay>,
    /// When the next round of pings is due; `None` while a walk or a round is under way.
    due: Option<Time>,
    rounds: u32,
    waits: usize,
    pongs: usize,
}

/// A wish to take something back, and how far it is.
#[derive(Debug, Default)]
pub(super) struct Withdrawing {
    asked: usize,
    waits: usize,
    stored: usize,
}

/// Something that is taken back from one node.
#[derive(Debug, Clone)]
pub(super) struct Withdrawal {
    pair: KeyPair,
    /// Whose wish it is; nobody's if other nodes are nearer now.
    query: Option<u64>,
}

impl Node {
    /// Begins to listen for a peer.
    pub(super) fn listen(&mut self, now: Time, query: u64, pair: KeyPair) {
        let target = key_target(&pair.public());
        let listening =
            Listening { query, pair: pair.clone(), relays: Vec::new(), due: None, rounds: 0, waits: 0, pongs: 0 };
        if let Some(before) = self.listening.insert(target, listening) {
            self.done(before.query, 0);
        }
        self.begin_search(now, Some(query), Kind::Listen(pair), target);
    }

    /// Ends it.
    pub(super) fn unlisten(&mut self, now: Time, query: u64, key: PublicKey) {
        let Some(listening) = self.listening.remove(&key_target(&key)) else { return self.done(query, 0) };
        self.done(listening.query, 0);
        self.withdrawals.insert(query, Withdrawing { asked: listening.relays.len(), ..Withdrawing::default() });
        for Relay { relay, .. } in &listening.relays {
            self.ask_token(now, *relay, Withdrawal { pair: listening.pair.clone(), query: Some(query) });
        }
        self.end_withdrawal(query);
    }

    /// Takes the nodes that know of a peer now.
    pub(super) fn listened(&mut self, now: Time, target: &Id, relays: Vec<Relay>) {
        let Some(listening) = self.listening.get_mut(target) else { return };
        (listening.due, listening.rounds) = (Some(now + KEEP_INTERVAL), 0);
        let before = std::mem::replace(&mut listening.relays, relays);
        let (query, pair, relays) = (listening.query, listening.pair.clone(), listening.relays.clone());
        if relays != before {
            self.events.push_back(Event::Listening { query, relays: relays.clone() });
        }
        let is_gone = |old: &&Relay| !relays.iter().any(|new| new.relay == old.relay);
        for Relay { relay, .. } in before.iter().filter(is_gone) {
            self.ask_token(now, *relay, Withdrawal { pair: pair.clone(), query: None });
        }
    }

    /// Begins the rounds of pings that are due.
    pub(super) fn keep_listening(&mut self, now: Time) {
        let due = |listening: &Listening| listening.due.is_some_and(|due| due <= now);
        let targets: Vec<_> = self.listening.iter().filter(|(_, l)| due(l)).map(|(target, _)| *target).collect();
        for target in targets {
            let Some(listening) = self.listening.get_mut(&target) else { continue };
            (listening.due, listening.waits, listening.pongs) = (None, listening.relays.len(), 0);
            for relay in listening.relays.clone() {
                if !self.ask(now, relay.relay, Purpose::Keep(target), Question::internal(PING, None)) {
                    self.kept(now, target, false);
                }
            }
            if self.listening.get(&target).is_some_and(|listening| listening.relays.is_empty()) {
                self.listen_again(now, target);
            }
        }
    }

    /// Takes note of whether a node that forwards is still there.
    pub(super) fn kept(&mut self, now: Time, target: Id, is_there: bool) {
        let Some(listening) = self.listening.get_mut(&target).filter(|listening| listening.waits > 0) else { return };
        listening.waits -= 1;
        listening.pongs += usize::from(is_there);
        if listening.waits > 0 {
            return;
        }
        listening.rounds += 1;
        if listening.pongs < RELAYS.min(listening.relays.len()) || listening.rounds >= ROUNDS_MAX {
            self.listen_again(now, target);
        } else {
            listening.due = Some(now + KEEP_INTERVAL);
        }
    }

    /// Returns when a round of pings is due next.
    pub(super) fn keeps_at(&self) -> Option<Time> {
        self.listening.values().filter_map(|listening| listening.due).min()
    }

    fn listen_again(&mut self, now: Time, target: Id) {
        let Some(listening) = self.listening.get(&target) else { return };
        let (query, pair) = (listening.query, listening.pair.clone());
        self.begin_search(now, Some(query), Kind::Listen(pair), target);
    }

    /// Asks a node for the token that taking back needs.
    fn ask_token(&mut self, now: Time, from: SocketAddrV4, withdrawal: Withdrawal) {
        let target = Some(key_target(&withdrawal.pair.public()));
        let question = Question { command: FIND_PEER, target, ..Question::default() };
        let query = withdrawal.query;
        if self.ask(now, from, Purpose::Token(withdrawal), question)
            && let Some(waiting) = query.and_then(|query| self.withdrawals.get_mut(&query))
        {
            waiting.waits += 1;
        }
    }

    /// Takes back what a node still has.
    pub(super) fn withdraw(
        &mut self,
        now: Time,
        from: SocketAddrV4,
        id: Option<Id>,
        reply: &Reply<'_>,
        withdrawal: Withdrawal,
    ) {
        let (Some(token), Some(id), Some(_)) = (reply.token, id, reply.value) else {
            return self.withdrawn(&withdrawal, false);
        };
        let pair = &withdrawal.pair;
        let target = key_target(&pair.public());
        let peer = Peer { public_key: pair.public(), relay_addresses: Vec::new() };
        let signature = Some(pair.sign(&unannounce_signable(&target, &token, &id, &peer, None)));
        let value = Announce { peer: Some(peer), signature, ..Announce::default() }.encode();
        let question = Question {
            token: Some(token),
            internal: false,
            command: UNANNOUNCE,
            target: Some(target),
            value: Some(&value),
        };
        if !self.ask(now, from, Purpose::Withdraw(withdrawal.clone()), question) {
            self.withdrawn(&withdrawal, false);
        }
    }

    /// Takes note of whether something was taken back from one node.
    pub(super) fn withdrawn(&mut self, withdrawal: &Withdrawal, success: bool) {
        let Some(query) = withdrawal.query else { return };
        if let Some(withdrawing) = self.withdrawals.get_mut(&query) {
            withdrawing.waits -= 1;
            withdrawing.stored += usize::from(success);
        }
        self.end_withdrawal(query);
    }

    fn end_withdrawal(&mut self, query: u64) {
        if self.withdrawals.get(&query).is_some_and(|withdrawing| withdrawing.waits == 0)
            && let Some(Withdrawing { asked, stored, .. }) = self.withdrawals.remove(&query)
        {
            let outcome = Outcome { asked, answers: stored, errors: asked - stored, stored };
            self.events.push_back(Event::Done { query, outcome });
        }
    }

    fn done(&mut self, query: u64, stored: usize) {
        self.events.push_back(Event::Done { query, outcome: Outcome { stored, ..Outcome::default() } });
    }
}

/// How often the nodes that forward are pinged: as the reference, whose NATs forget after some ten seconds.
const KEEP_INTERVAL: Duration = Duration::from_secs(3);
/// Rounds until they are looked for anew: five minutes.
const ROUNDS_MAX: u32 = 100;

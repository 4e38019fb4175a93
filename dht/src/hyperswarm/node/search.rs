//! Walks of ours towards a target: what is asked on the way, and what of those who answered nearest.

use std::collections::BTreeSet;

use anypath_wire::{Encode, KeyPair, PublicKey, hash};

use super::asking::{Asked, Purpose, Question};
use super::*;
use crate::discovery::{Announcement, Ask, Outcome, Relay};
use crate::hyperswarm::messages::{
    ANNOUNCE, Announce, FIND_NODE, FIND_PEER, IMMUTABLE_GET, IMMUTABLE_PUT, LOOKUP, LookupReply, MUTABLE_GET,
    MUTABLE_PUT, MutablePut, MutableValue, Peer, UNANNOUNCE,
};
use crate::hyperswarm::{Reply, Token, announce_signable, key_target, unannounce_signable};
use crate::kademlia::{Candidate, Query, Replier};

/// A walk with its errand.
#[derive(Debug)]
pub(super) struct Search {
    /// Whose wish it is; nobody's for those of the node itself.
    query: Option<u64>,
    kind: Kind,
    pub(super) walk: Query<32, SocketAddrV4, Token>,
    found: BTreeSet<PublicKey>,
    best: Option<MutableValue>,
    /// Those that stored, or forgot.
    stored: Vec<Relay>,
    /// Nodes that are asked to store or to forget and have not answered.
    commits: usize,
    is_walking: bool,
}

/// The errand of a walk.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// Towards ourselves, at the beginning.
    Bootstrap,
    /// To refresh the table.
    Background,
    Lookup,
    Announce(Announcement),
    Refresh(Hash),
    /// Of a peer that listens; the wish goes on behind the walk.
    Listen(KeyPair),
    Unannounce(KeyPair),
    FindPeer,
    PutImmutable(Vec<u8>),
    GetImmutable,
    PutMutable(MutablePut),
    GetMutable(PublicKey, u64),
}

impl Kind {
    /// Returns whether nobody waits for it.
    fn is_background(&self) -> bool {
        matches!(self, Self::Bootstrap | Self::Background)
    }

    /// Returns how many of the nearest nodes are asked in the end.
    fn commits_max(&self) -> usize {
        if matches!(self, Self::Listen(_)) { RELAYS } else { usize::MAX }
    }

    /// Returns what is asked on the way: the command, whether it is dht-rpc's own, and the value.
    fn step(&self) -> (u64, bool, Option<Vec<u8>>) {
        let uint = |number| {
            let mut out = Vec::new();
            out.uint(number);
            Some(out)
        };
        match self {
            Self::Bootstrap | Self::Background => (FIND_NODE, true, None),
            Self::Lookup | Self::Announce(..) | Self::Refresh(_) | Self::Unannounce(_) => (LOOKUP, false, None),
            Self::FindPeer | Self::Listen(_) => (FIND_PEER, false, None),
            Self::PutImmutable(_) | Self::GetImmutable => (IMMUTABLE_GET, false, None),
            Self::PutMutable(_) => (MUTABLE_GET, false, uint(0)),
            Self::GetMutable(_, seq) => (MUTABLE_GET, false, uint(*seq)),
        }
    }

    /// Returns what one of the nearest nodes is asked in the end: the command and the value.
    fn commit(&self, target: &Id, replier: &Replier<32, SocketAddrV4, Token>) -> Option<(u64, Vec<u8>)> {
        let token = replier.token.as_ref()?;
        match self {
            Self::Announce(Announcement { key_pair: pair, relays, bump, refresh, .. }) => {
                let peer = Peer { public_key: pair.public(), relay_addresses: relays.clone() };
                let signature = pair.sign(&announce_signable(target, token, &replier.id, &peer, refresh.as_ref()));
                let signature = Some(signature);
                let announce = Announce { peer: Some(peer), refresh: *refresh, signature, bump: *bump };
                Some((ANNOUNCE, announce.encode()))
            }
            Self::Refresh(token) => {
                Some((ANNOUNCE, Announce { refresh: Some(*token), ..Announce::default() }.encode()))
            }
            Self::Listen(pair) => {
                let peer = Peer { public_key: pair.public(), relay_addresses: Vec::new() };
                let signature = Some(pair.sign(&announce_signable(target, token, &replier.id, &peer, None)));
                Some((ANNOUNCE, Announce { peer: Some(peer), signature, ..Announce::default() }.encode()))
            }
            Self::PutImmutable(value) => Some((IMMUTABLE_PUT, value.clone())),
            Self::PutMutable(put) => Some((MUTABLE_PUT, put.encode())),
            _ => None,
        }
    }
}

impl Node {
    /// Begins what the application wishes for.
    pub(super) fn begin(&mut self, now: Time, command: Command) {
        let (kind, target) = match command.ask {
            Ask::Lookup { topic } => (Kind::Lookup, topic),
            Ask::Announce(announcement) => {
                let topic = announcement.topic;
                (Kind::Announce(announcement), topic)
            }
            Ask::Refresh { topic, token } => (Kind::Refresh(token), topic),
            Ask::Listen { key_pair } => return self.listen(now, command.query, key_pair),
            Ask::Unlisten { key } => return self.unlisten(now, command.query, key),
            Ask::Unannounce { topic, key_pair } => (Kind::Unannounce(key_pair), topic),
            Ask::FindPeer { key } => (Kind::FindPeer, key_target(&key)),
            Ask::PutImmutable { value } => {
                let target = hash(&value);
                (Kind::PutImmutable(value), target)
            }
            Ask::GetImmutable { target } => (Kind::GetImmutable, target),
            Ask::PutMutable { key_pair, seq, value } => {
                let (public_key, value) = (key_pair.public(), MutableValue::sign(&key_pair, seq, &value));
                (Kind::PutMutable(MutablePut { public_key, value }), key_target(&public_key))
            }
            Ask::GetMutable { key, seq } => (Kind::GetMutable(key, seq), key_target(&key)),
        };
        self.begin_search(now, Some(command.query), kind, target);
    }

    /// Begins a walk at the nearest contacts, and where they are few at those everybody begins at.
    pub(super) fn begin_search(&mut self, now: Time, query: Option<u64>, kind: Kind, target: Id) {
        self.refresh_at = now + REFRESH_INTERVAL;
        let mut rules = self.config.query;
        if kind.is_background() {
            rules.concurrency = rules.concurrency.min(BACKGROUND_CONCURRENCY);
        }
        let mut walk = Query::new(rules, *self.table.own(), target);
        let closest = self.table.closest(&target, rules.k);
        let mut nodes: Vec<_> =
            closest.into_iter().map(|contact| Candidate { id: contact.id, address: contact.address }).collect();
        if nodes.len() < rules.k {
            nodes.extend(
                self.config.bootstrap.iter().map(|address| Candidate { id: node_id(address), address: *address }),
            );
        }
        walk.add(&nodes);
        let (found, best) = (BTreeSet::new(), None);
        let search = Search { query, kind, walk, found, best, stored: Vec::new(), commits: 0, is_walking: true };
        self.searches_begun += 1;
        self.searches.insert(self.searches_begun, search);
    }

    /// Lets every walk go on as far as it may.
    pub(super) fn pump(&mut self, now: Time) {
        let mut last = 0;
        // Those that begin meanwhile come behind.
        while let Some((&key, _)) = self.searches.range(last + 1..).next() {
            last = key;
            self.step(now, key);
            let Some(search) = self.searches.get_mut(&key) else { continue };
            if search.is_walking && search.walk.is_at_end() {
                search.is_walking = false;
                self.walked(now, key);
            }
            if self.searches.get(&key).is_some_and(|search| !search.is_walking && search.commits == 0) {
                self.finish(now, key);
            }
        }
    }

    fn step(&mut self, now: Time, key: u64) {
        while let Some(search) = self.searches.get_mut(&key).filter(|search| search.is_walking) {
            let Some(next) = search.walk.poll_candidate() else { return };
            let (command, internal, value) = search.kind.step();
            let target = Some(*search.walk.target());
            let question = Question { token: None, internal, command, target, value: value.as_deref() };
            if !self.ask(now, next.address, Purpose::Step(key), question)
                && let Some(search) = self.searches.get_mut(&key)
            {
                search.walk.not_asked(next.address);
            }
        }
    }

    /// Takes the answer to a step.
    pub(super) fn step_answered(
        &mut self,
        now: Time,
        key: u64,
        from: SocketAddrV4,
        id: Option<Id>,
        reply: &Reply<'_>,
        was_slow: bool,
    ) {
        let quiet = self.requests.len() < QUIET;
        let Some(search) = self.searches.get_mut(&key) else { return };
        let told = reply.closer.iter().filter(|address| address.port() != 0);
        let told = told.map(|address| Candidate { id: node_id(address), address: *address });
        search.walk.answered(from, id, reply.error == 0, reply.token, told, was_slow);
        if search.kind.is_background() {
            let most = self.config.query.concurrency;
            search.walk.set_concurrency(if quiet { most } else { most.min(BACKGROUND_CONCURRENCY) });
        }
        if matches!(search.kind, Kind::Bootstrap) {
            self.try_quickly(now, from);
        } else if let Some(value) = reply.value.filter(|_| reply.error == 0) {
            self.found(now, key, from, id, reply.token, value);
        }
    }

    /// Takes note that a step was not answered.
    pub(super) fn step_failed(&mut self, now: Time, key: u64, to: SocketAddrV4, was_slow: bool) {
        self.table.remove(&node_id(&to));
        let Some(search) = self.searches.get_mut(&key) else { return };
        let told_by = search.walk.failed(to, was_slow);
        self.hint(now, to, told_by);
    }

    /// Takes a value that came with an answer.
    fn found(&mut self, now: Time, key: u64, from: SocketAddrV4, id: Option<Id>, token: Option<Token>, value: &[u8]) {
        let Some(search) = self.searches.get_mut(&key) else { return };
        let Some(query) = search.query else { return };
        match &search.kind {
            Kind::Lookup | Kind::Announce(..) | Kind::Refresh(_) => {
                let Ok(reply) = LookupReply::decode(value) else { return };
                for peer in reply.peers {
                    if search.found.len() < FOUND_MAX && search.found.insert(peer.public_key) {
                        let (key, relays) = (peer.public_key, peer.relay_addresses);
                        self.events.push_back(Event::Peer { query, key, relays });
                    }
                }
            }
            Kind::FindPeer => {
                let Ok(peer) = Peer::decode(&mut anypath_wire::Decoder::new(value)) else { return };
                let (key, relays) = (peer.public_key, peer.relay_addresses);
                if key_target(&key) == *search.walk.target() && search.found.insert(key) {
                    self.events.push_back(Event::Peer { query, key, relays });
                }
            }
            Kind::Unannounce(pair) => {
                let pair = pair.clone();
                self.unannounce_at(
                    now,
                    key,
                    &pair,
                    Replier { id: id.unwrap_or_default(), address: from, token },
                    value,
                );
            }
            Kind::GetImmutable if hash(value) == *search.walk.target() => {
                search.is_walking = false;
                self.requests
                    .forget(now, |asked| matches!(asked, Asked { purpose: Purpose::Step(k), .. } if *k == key));
                self.events.push_back(Event::Value { query, seq: 0, value: value.to_vec() });
            }
            Kind::GetMutable(owner, least) => {
                let Ok(value) = MutableValue::decode(value) else { return };
                let newer = search.best.as_ref().is_none_or(|best| best.seq < value.seq);
                if newer && value.seq >= *least && value.is_signed_by(owner) {
                    search.best = Some(value);
                }
            }
            _ => {}
        }
    }

    /// Asks a node that has our record, or may have it among more than it tells, to forget it.
    fn unannounce_at(
        &mut self,
        now: Time,
        key: u64,
        pair: &KeyPair,
        replier: Replier<32, SocketAddrV4, Token>,
        value: &[u8],
    ) {
        let (Ok(reply), Some(token)) = (LookupReply::decode(value), replier.token) else { return };
        let has_it =
            reply.peers.len() >= RECORDS_TOLD || reply.peers.iter().any(|peer| peer.public_key == pair.public());
        let Some(search) = self.searches.get_mut(&key).filter(|_| has_it && replier.id != [0; 32]) else { return };
        let (target, peer) = (*search.walk.target(), Peer { public_key: pair.public(), relay_addresses: Vec::new() });
        let signature = pair.sign(&unannounce_signable(&target, &token, &replier.id, &peer, None));
        let value = Announce { peer: Some(peer), refresh: None, signature: Some(signature), bump: 0 }.encode();
        self.commit(now, key, &replier, UNANNOUNCE, &value);
    }

    /// Goes on from the end of a walk.
    fn walked(&mut self, now: Time, key: u64) {
        let Some(search) = self.searches.get(&key) else { return };
        let (target, kind, closest) = (*search.walk.target(), search.kind.clone(), search.walk.closest().to_vec());
        for replier in closest.into_iter().take(kind.commits_max()) {
            if let Some((command, value)) = kind.commit(&target, &replier) {
                self.commit(now, key, &replier, command, &value);
            }
        }
    }

    fn commit(&mut self, now: Time, key: u64, replier: &Replier<32, SocketAddrV4, Token>, command: u64, value: &[u8]) {
        let Some(target) = self.searches.get(&key).map(|search| *search.walk.target()) else { return };
        let question =
            Question { token: replier.token, internal: false, command, target: Some(target), value: Some(value) };
        if self.ask(now, replier.address, Purpose::Commit(key), question)
            && let Some(search) = self.searches.get_mut(&key)
        {
            search.commits += 1;
        }
    }

    /// Takes note of what a node said that was to store or to forget.
    pub(super) fn committed(&mut self, key: u64, stored: Option<Relay>) {
        if let Some(search) = self.searches.get_mut(&key) {
            search.commits -= 1;
            search.stored.extend(stored);
        }
    }

    fn finish(&mut self, now: Time, key: u64) {
        let Some(search) = self.searches.remove(&key) else { return };
        self.requests.forget(now, |asked| matches!(asked, Asked { purpose: Purpose::Step(k), .. } if *k == key));
        if matches!(search.kind, Kind::Bootstrap) {
            self.bootstrap_walked(now);
        }
        if matches!(search.kind, Kind::Listen(_)) {
            return self.listened(now, search.walk.target(), search.stored);
        }
        let Some(query) = search.query else { return };
        if let Some(MutableValue { seq, value, .. }) = search.best {
            self.events.push_back(Event::Value { query, seq, value });
        }
        let (asked, answers, errors) = search.walk.counts();
        let outcome = Outcome { asked, answers, errors, stored: search.stored.len() };
        self.events.push_back(Event::Done { query, outcome });
    }
}

/// Nodes that forward to a peer that listens.
pub(super) const RELAYS: usize = 3;
/// Requests at once of a walk nobody waits for, unless the line is quiet.
const BACKGROUND_CONCURRENCY: usize = 2;
/// Fewer requests than this on their way are a quiet line.
const QUIET: usize = 3;
/// Peers told of in one search.
const FOUND_MAX: usize = 4_096;
/// A node that tells this many records may have more.
const RECORDS_TOLD: usize = 20;

//! Walks of ours towards a target: what is asked on the way, and what of those who answered nearest.

use super::*;
use crate::classic::{Method, Response, Want};
use crate::discovery::Outcome;
use crate::kademlia::{Candidate, Query, Replier};

/// A walk with its errand.
#[derive(Debug)]
pub(super) struct Search {
    /// Whose wish it is; nobody's for those of the node itself.
    query: Option<u64>,
    kind: Kind,
    pub(super) walk: Query<20, SocketAddr, Vec<u8>>,
    stored: usize,
    /// Nodes that are asked to store and have not answered.
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
    /// At a port, or the one we are seen at.
    Announce(Option<u16>),
    Put(Item),
    /// Nothing older than this.
    Get(i64),
}

impl Kind {
    fn step(&self, target: Id) -> Method<'static> {
        match self {
            Self::Bootstrap | Self::Background => Method::FindNode { target, want: Want::default() },
            Self::Lookup | Self::Announce(_) => Method::GetPeers { info_hash: target, want: Want::default() },
            Self::Put(_) | Self::Get(_) => Method::Get { target, seq: None },
        }
    }
}

impl Node {
    /// Begins a walk at the nearest contacts, and where they are few at those everybody begins at.
    pub(super) fn begin_search(&mut self, now: Time, query: Option<u64>, kind: Kind, target: Id) {
        self.refresh_at = now + REFRESH_INTERVAL;
        let mut rules = self.config.query;
        if query.is_none() {
            rules.concurrency = rules.concurrency.min(BACKGROUND_CONCURRENCY);
        }
        let mut walk = Query::new(rules, *self.table.own(), target);
        // More than are asked if all is well: where some do not answer, the others may know nobody else near.
        let closest = self.table.closest(&target, BEGIN_AT * rules.k);
        let mut nodes: Vec<_> =
            closest.into_iter().map(|contact| Candidate { id: contact.id, address: contact.address }).collect();
        if nodes.len() < rules.k {
            let of_family = self.config.bootstrap.iter().filter(|address| address.is_ipv6() == self.config.ipv6);
            // Their ids are not known, so that they are taken for near until they answer.
            nodes.extend(of_family.map(|address| Candidate { id: target, address: *address }));
        }
        walk.add(&nodes);
        self.searches_begun += 1;
        let search = Search { query, kind, walk, stored: 0, commits: 0, is_walking: true };
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
            let method = search.kind.step(*search.walk.target());
            if !self.ask(now, next.address, Purpose::Step(key), method)
                && let Some(search) = self.searches.get_mut(&key)
            {
                search.walk.not_asked(next.address);
            }
        }
    }

    /// Takes the answer to a step.
    pub(super) fn step_answered(
        &mut self,
        key: u64,
        from: SocketAddr,
        response: &Response<'_>,
        was_slow: bool,
        now: Time,
    ) {
        let contacts = if self.config.ipv6 { &response.contacts.nodes6 } else { &response.contacts.nodes };
        let told = contacts.iter().flatten().filter(|(id, address)| self.accepts(id, address));
        let mut told: Vec<_> = told.map(|(id, address)| Candidate { id: *id, address: *address }).collect();
        let id = Some(response.id).filter(|id| self.accepts(id, &from));
        let Some(search) = self.searches.get_mut(&key) else { return };
        // Not everybody sorts its answer, and what stands behind a far node is not looked at.
        told.sort_by(|a, b| crate::kademlia::closer(search.walk.target(), &a.id, &b.id));
        let token = response.token.filter(|token| token.len() <= TOKEN_BYTES_MAX).map(<[u8]>::to_vec);
        search.walk.answered(from, id, true, token, told, was_slow);
        let (Some(query), target) = (search.query, *search.walk.target()) else { return };
        match search.kind {
            Kind::Lookup | Kind::Announce(_) => {
                let peers = response.values.iter().flatten().take(VALUES_MAX).filter(|address| address.port() != 0);
                peers.for_each(|address| self.found_peer(query, *address));
            }
            Kind::Get(least) => {
                let item = response.item.as_ref().filter(|item| item.target() == target && item.is_sound());
                if item.is_some_and(|item| self.found_item(query, item.clone(), least)) {
                    self.stop(now, key);
                }
            }
            _ => {}
        }
    }

    /// Ends a walk that has what it was for.
    fn stop(&mut self, now: Time, key: u64) {
        if let Some(search) = self.searches.get_mut(&key) {
            search.is_walking = false;
            self.requests.forget(now, |purpose| matches!(purpose, Purpose::Step(k) if *k == key));
        }
    }

    /// Goes on from the end of a walk.
    fn walked(&mut self, now: Time, key: u64) {
        let Some(search) = self.searches.get(&key) else { return };
        let (target, kind, closest) = (*search.walk.target(), search.kind.clone(), search.walk.closest().to_vec());
        for Replier { address, token, .. } in closest {
            let Some(token) = &token else { continue };
            let method = match &kind {
                Kind::Announce(port) => Method::AnnouncePeer {
                    info_hash: target,
                    port: port.unwrap_or(self.config.port),
                    implied_port: Some(port.is_none()),
                    token,
                },
                Kind::Put(item) => Method::Put { item: item.clone(), token },
                _ => return,
            };
            if self.ask(now, address, Purpose::Commit(key), method)
                && let Some(search) = self.searches.get_mut(&key)
            {
                search.commits += 1;
            }
        }
    }

    /// Takes note of what a node said that was to store.
    pub(super) fn committed(&mut self, key: u64, success: bool) {
        if let Some(search) = self.searches.get_mut(&key) {
            search.commits -= 1;
            search.stored += usize::from(success);
        }
    }

    fn finish(&mut self, now: Time, key: u64) {
        self.stop(now, key);
        let Some(search) = self.searches.remove(&key) else { return };
        if matches!(search.kind, Kind::Bootstrap) && !std::mem::replace(&mut self.is_bootstrapped, true) {
            self.events.push_back(Event::Bootstrapped);
        }
        if let Some(query) = search.query {
            let (asked, answers, errors) = search.walk.counts();
            self.walk_ended(query, Outcome { asked, answers, errors, stored: search.stored });
        }
    }
}

/// Contacts a walk begins at, for each that shall answer.
const BEGIN_AT: usize = 4;
/// Requests at once of a walk nobody waits for.
const BACKGROUND_CONCURRENCY: usize = 4;
/// Bytes of a token that are given back; programs use 4 to 20.
const TOKEN_BYTES_MAX: usize = 64;
/// Peers taken from one response.
const VALUES_MAX: usize = 200;

//! Queries of others.

use anypath_wire::keyed_hash;

use super::asking::VERSION;
use super::*;
use crate::classic::{Contacts, Method, Query, Response};

impl Node {
    /// Answers a query, if we answer any.
    pub(super) fn serve(&mut self, now: Time, from: SocketAddr, message: &Message<'_>, query: &Query<'_>) {
        if self.config.read_only {
            return;
        }
        if let Some(id) = query.id.filter(|_| !message.read_only) {
            self.met(now, id, from);
        }
        let token = self.token(now, &from.ip());
        let response = Response { id: *self.table.own(), ..Response::default() };
        let answer = match &query.method {
            Method::Ping => Ok(response),
            Method::FindNode { target, .. } => Ok(Response { contacts: self.nearest(target), ..response }),
            Method::GetPeers { info_hash, .. } => {
                let peers = self.peers.some_of(now, *info_hash, PEERS_TOLD_MAX, &mut self.chance);
                let values = Some(peers).filter(|peers| !peers.is_empty());
                Ok(Response { contacts: self.nearest(info_hash), token: Some(&token), values, ..response })
            }
            Method::Get { target, seq } => {
                let (item, seq) = self.stored_item(now, target, *seq);
                Ok(Response { contacts: self.nearest(target), token: Some(&token), item, seq, ..response })
            }
            Method::AnnouncePeer { info_hash, port, implied_port, token } => {
                let port = if *implied_port == Some(true) { from.port() } else { *port };
                self.announced(now, from, token, *info_hash, port).map(|()| response)
            }
            Method::Put { item, token } => self.put(now, &from, token, item).map(|()| response),
            Method::Other(_) => Err(Refusal::UnknownMethod),
        };
        let body = match answer {
            Ok(response) => Body::Response(response),
            Err(refusal) => Body::Error(refusal.code(), refusal.text()),
        };
        let reply = Message::new(message.transaction, body);
        let datagram = Message { ip: Some(from), version: Some(VERSION), ..reply }.encode();
        self.outbox.push_back(Transmit { to: from, datagram });
    }

    /// Returns the token for a host now.
    fn token(&mut self, now: Time, host: &IpAddr) -> [u8; TOKEN_BYTES] {
        token(&self.secrets.current(now), host)
    }

    /// Returns whether a token was given to the host not long ago.
    pub(super) fn is_token(&mut self, now: Time, host: &IpAddr, given: &[u8]) -> bool {
        self.secrets.holds(now, |secret| token(secret, host) == given)
    }

    /// Takes note of whoever asks: it is pinged if there is room for it, and a contact if it answers.
    fn met(&mut self, now: Time, id: Id, from: SocketAddr) {
        if self.accepts(&id, &from) && self.table.find(&id).is_none() && self.table.row(&id).len() < self.config.query.k
        {
            self.check(now, id, from);
        }
    }

    fn nearest(&self, target: &Id) -> Contacts {
        let closest = self.table.closest(target, self.config.query.k);
        let closest = Some(closest.into_iter().map(|contact| (contact.id, contact.address)).collect());
        if self.config.ipv6 {
            Contacts { nodes: None, nodes6: closest }
        } else {
            Contacts { nodes: closest, nodes6: None }
        }
    }
}

/// Why a query is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The token is not one of ours for the host, or too old; or there is no port.
    Protocol,
    /// Nothing we know.
    UnknownMethod,
    /// The value is too long.
    TooLong,
    /// The signature does not hold.
    Signature,
    /// The salt is too long.
    Salt,
    /// The stored item is not the one that was to be replaced.
    Cas,
    /// What is stored is newer.
    Seq,
}

impl Refusal {
    /// Returns its number: BEP 5 and 44.
    fn code(self) -> i64 {
        match self {
            Self::Protocol => 203,
            Self::UnknownMethod => 204,
            Self::TooLong => 205,
            Self::Signature => 206,
            Self::Salt => 207,
            Self::Cas => 301,
            Self::Seq => 302,
        }
    }

    fn text(self) -> &'static [u8] {
        match self {
            Self::Protocol => b"Bad token or port",
            Self::UnknownMethod => b"Method Unknown",
            Self::TooLong => b"message (v field) too big.",
            Self::Signature => b"invalid signature",
            Self::Salt => b"salt (salt field) too big.",
            Self::Cas => b"the CAS hash mismatched, re-read value and try again.",
            Self::Seq => b"sequence number less than current.",
        }
    }
}

fn token(secret: &Hash, host: &IpAddr) -> [u8; TOKEN_BYTES] {
    let hash = match host {
        IpAddr::V4(ip) => keyed_hash(secret, &ip.octets()),
        IpAddr::V6(ip) => keyed_hash(secret, &ip.octets()),
    };
    std::array::from_fn(|at| hash[at])
}

/// Bytes of a token of ours: nobody guesses as many in ten minutes.
const TOKEN_BYTES: usize = 8;
/// Peers in one response: with 8 contacts some 600 bytes, six times what the question took.
const PEERS_TOLD_MAX: usize = 40;

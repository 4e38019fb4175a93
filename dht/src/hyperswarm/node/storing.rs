//! HyperDHT's storage commands, as a persistent node serves them. What does not verify is not answered.
//!
//! Source: npm hyperdht 6.34.0, `lib/persistent.js`.

use anypath_wire::{Decoder, hash};

use super::serving::{Answer, Place};
use super::*;
use crate::hyperswarm::messages::{
    ANNOUNCE, Announce, FIND_PEER, IMMUTABLE_GET, IMMUTABLE_PUT, LOOKUP, MUTABLE_GET, MUTABLE_PUT, MutablePut, PLUGIN,
    Peer, SEQ_REUSED, SEQ_TOO_LOW, UNANNOUNCE,
};
use crate::hyperswarm::storage::{Forward, Renewal};
use crate::hyperswarm::{Request, key_target};

impl Node {
    /// Serves a command about a target.
    pub(super) fn serve_storage(&mut self, now: Time, place: Place, request: &Request<'_>) {
        let found = match request.command {
            FIND_PEER..=IMMUTABLE_GET if request.target.is_none() => return,
            // As the reference answers requests to plugins that it does not have.
            PLUGIN => return,
            FIND_PEER => self.find_peer(now, request),
            LOOKUP => request.target.and_then(|target| self.storage.lookup(now, &target, &mut self.chance)),
            MUTABLE_GET => match self.mutable_get(now, request) {
                Ok(found) => found,
                Err(Unanswered) => return,
            },
            IMMUTABLE_GET => request.target.and_then(|target| self.storage.immutables.renew(now, &target).cloned()),
            ANNOUNCE | UNANNOUNCE => {
                if self.announced(now, place.to, request).is_some() {
                    self.reply(now, place, request, Answer::default());
                }
                return;
            }
            MUTABLE_PUT => match self.mutable_put(now, request) {
                Some(error) => {
                    let answer = Answer { token: error == 0, closer: true, error, value: None };
                    return self.reply(now, place, request, answer);
                }
                None => return,
            },
            IMMUTABLE_PUT => match self.immutable_put(now, request) {
                Some(()) => None,
                None => return,
            },
            _ => return self.refuse(now, place, request),
        };
        self.reply(now, place, request, Answer { token: true, closer: true, error: 0, value: found.as_deref() });
    }

    fn find_peer(&mut self, now: Time, request: &Request<'_>) -> Option<Vec<u8>> {
        self.storage.forwards.renew(now, &request.target?).map(|forward| forward.record.clone())
    }

    fn mutable_get(&mut self, now: Time, request: &Request<'_>) -> Result<Option<Vec<u8>>, Unanswered> {
        let wanted = Decoder::new(request.value.ok_or(Unanswered)?).uint().map_err(|_| Unanswered)?;
        let stored = request.target.and_then(|target| self.storage.mutables.renew(now, &target));
        Ok(stored.filter(|value| value.seq >= wanted).map(|value| value.encode()))
    }

    /// Stores a mutable value; returns the error to answer with, 0 for none.
    fn mutable_put(&mut self, now: Time, request: &Request<'_>) -> Option<u64> {
        let (target, _) = (request.target?, request.token?);
        let put = MutablePut::decode(request.value?).ok()?;
        let sound = put.value.value.len() <= VALUE_BYTES_MAX && key_target(&put.public_key) == target;
        if !sound || !put.value.is_signed_by(&put.public_key) {
            return None;
        }
        if let Some(stored) = self.storage.mutables.renew(now, &target) {
            if stored.seq == put.value.seq && stored.value != put.value.value {
                return Some(SEQ_REUSED);
            }
            if put.value.seq < stored.seq {
                return Some(SEQ_TOO_LOW);
            }
        }
        self.storage.mutables.set(now, target, put.value);
        Some(0)
    }

    fn immutable_put(&mut self, now: Time, request: &Request<'_>) -> Option<()> {
        let (target, _, value) = (request.target?, request.token?, request.value?);
        let sound = value.len() <= VALUE_BYTES_MAX && hash(value) == target;
        sound.then(|| self.storage.immutables.set(now, target, value.to_vec()))
    }

    /// Stores or forgets a peer.
    fn announced(&mut self, now: Time, from: SocketAddrV4, request: &Request<'_>) -> Option<()> {
        let (target, token, node) = (request.target?, request.token?, self.id()?);
        let announce = Announce::decode(request.value?).ok()?;
        let Some(peer) = &announce.peer else {
            let refresh = announce.refresh.filter(|_| request.command == ANNOUNCE)?;
            return self.renew(now, from, refresh);
        };
        if !announce.is_signed(request.command, &target, &token, &node) {
            return None;
        }
        let (key, is_self) = (peer.public_key, key_target(&peer.public_key) == target);
        if request.command == UNANNOUNCE {
            if is_self {
                self.storage.forwards.remove(now, &target);
            }
            self.storage.remove_record(now, &target, &key);
            return Some(());
        }
        let relay_addresses = peer.relay_addresses.iter().take(RELAYS_MAX).copied().collect();
        let mut record = Vec::new();
        Peer { public_key: key, relay_addresses }.encode(&mut record);
        let latest = self.config.epoch_ms + now.as_micros() / 1_000 + BUMP_AHEAD_MS_MAX;
        if announce.bump > 0 && announce.bump <= latest && !is_self {
            self.storage.bump(now, target, announce.bump);
        }
        let renewal = Renewal { target, key, record, is_self };
        self.keep(now, from, &renewal);
        if let Some(refresh) = announce.refresh {
            self.storage.refreshes.set(now, refresh, renewal);
        }
        Some(())
    }

    fn renew(&mut self, now: Time, from: SocketAddrV4, refresh: Hash) -> Option<()> {
        let renewal = self.storage.refreshes.remove(now, &hash(&refresh))?;
        self.keep(now, from, &renewal);
        self.storage.refreshes.set(now, refresh, renewal);
        Some(())
    }

    fn keep(&mut self, now: Time, from: SocketAddrV4, renewal: &Renewal) {
        let Renewal { target, key, record, is_self } = renewal;
        if *is_self {
            self.storage.forwards.set(now, *target, Forward { relay: from, record: record.clone() });
            self.storage.remove_record(now, target, key);
        } else {
            self.storage.add_record(now, *target, key, record.clone(), &mut self.chance);
        }
    }
}

/// A request that is not answered.
struct Unanswered;

/// Addresses of relays kept with a record.
const RELAYS_MAX: usize = 3;
/// Bytes of a value: what fits with the rest of a reply into a datagram that is not cut on its way.
const VALUE_BYTES_MAX: usize = 1_000;
/// How far ahead of our clock a bump may be, in milliseconds.
const BUMP_AHEAD_MS_MAX: u64 = 60_000;

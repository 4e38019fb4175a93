//! What is learnt of those that answer us: that they are there, and where they see us.

use super::*;
use crate::classic::{Method, Response};
use crate::kademlia::Row;

impl Node {
    /// Takes a response, if it is one we wait for.
    pub(super) fn hear_response(
        &mut self,
        now: Time,
        from: SocketAddr,
        message: &Message<'_>,
        response: &Response<'_>,
    ) {
        let Some(pending) = self.take_pending(now, from, message.transaction) else { return };
        self.heard(now, from, response.id);
        if let Some(seen_at) = message.ip {
            self.vote(now, from.ip(), seen_at.ip());
        }
        match pending.purpose {
            Purpose::Step(key) => self.step_answered(key, from, response, pending.slow, now),
            Purpose::Commit(key) => self.committed(key, true),
            Purpose::Check(id) => {
                self.checks -= 1;
                // Somebody else answered at its address.
                if id != response.id {
                    self.table.remove(&id);
                }
            }
            Purpose::Swap(id, newcomer) => {
                self.checks -= 1;
                if id != response.id {
                    self.swap(now, &id, newcomer);
                }
            }
        }
    }

    /// Takes an error: whoever sends one is there, and does not do what it was asked.
    pub(super) fn hear_error(&mut self, now: Time, from: SocketAddr, transaction: &[u8]) {
        let Some(pending) = self.take_pending(now, from, transaction) else { return };
        match pending.purpose {
            Purpose::Step(key) => {
                if let Some(search) = self.searches.get_mut(&key) {
                    search.walk.answered(from, None, false, None, [], pending.slow);
                }
            }
            Purpose::Commit(key) => self.committed(key, false),
            Purpose::Check(_) | Purpose::Swap(..) => self.checks -= 1,
        }
    }

    fn take_pending(
        &mut self,
        now: Time,
        from: SocketAddr,
        transaction: &[u8],
    ) -> Option<crate::kademlia::Pending<SocketAddr, Purpose>> {
        let tid = u16::from_be_bytes(transaction.try_into().ok()?);
        self.requests.answer(now, tid, from)
    }

    /// Takes note of a node that answered.
    fn heard(&mut self, now: Time, from: SocketAddr, id: Id) {
        if !self.accepts(&id, &from) {
            return;
        }
        match self.table.find_mut(&id) {
            Some(contact) if contact.address == from => (contact.seen, contact.pinged) = (now, now),
            // An id is taken by whoever had it first, for as long as it is there.
            Some(_) => {}
            None => {
                let contact = Contact::new(id, from, now);
                if self.table.add(contact) == Row::Full {
                    self.challenge(now, contact);
                }
            }
        }
    }

    /// Pings the contact of a full row that was silent longest: the newcomer takes its place if it is gone.
    fn challenge(&mut self, now: Time, newcomer: Contact<20, SocketAddr>) {
        if !self.is_bootstrapped || self.checks >= SWAPS_MAX {
            return;
        }
        let Some(oldest) = self.table.challenged(now, &newcomer.id, &self.config.row) else { return };
        let (id, address) = (oldest.id, oldest.address);
        if self.ask(now, address, Purpose::Swap(id, newcomer), Method::Ping) {
            self.checks += 1;
            self.table.find_mut(&id).into_iter().for_each(|contact| contact.pinged = now);
        }
    }

    /// Gives a contact's place to another.
    pub(super) fn swap(&mut self, now: Time, id: &Id, newcomer: Contact<20, SocketAddr>) {
        self.table.remove(id);
        self.table.add(Contact { added: now, seen: now, pinged: now, ..newcomer });
    }

    /// Takes note of where a node sees us. When many hosts agree on an address that our id does not follow from, we take
    /// one that does (BEP 42).
    fn vote(&mut self, now: Time, voter: IpAddr, seen_at: IpAddr) {
        self.votes.retain(|(known, _)| *known != voter);
        self.votes.push_back((voter, seen_at));
        if self.votes.len() > VOTES_MAX {
            self.votes.pop_front();
        }
        let agree = self.votes.iter().filter(|(_, vote)| *vote == seen_at).count();
        if agree < VOTES_MIN || 2 * agree <= self.votes.len() || id_fits(&seen_at, self.table.own()) {
            return;
        }
        let chance = id_of(&mut self.chance);
        self.table.rebuild(id_for(&seen_at, chance));
        self.refresh(now);
    }
}

/// Contacts that are challenged at once.
const SWAPS_MAX: usize = 3;
/// Hosts whose word about our address is remembered, each once,
const VOTES_MAX: usize = 32;
/// and how many of them must agree, who must be most of all.
const VOTES_MIN: usize = 5;

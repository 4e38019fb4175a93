//! What is learnt of whoever sends us anything: that it is there, and where it sees us.

use super::asking::{Asked, Purpose, Question};
use super::*;
use crate::discovery::Relay;
use crate::hyperswarm::Reply;
use crate::hyperswarm::messages::PING;
use crate::kademlia::{Row, RowRules};

impl Node {
    /// Takes a reply, if it is one we wait for.
    pub(super) fn hear_reply(&mut self, now: Time, socket: Socket, from: SocketAddrV4, reply: &Reply<'_>) {
        let Some(pending) = self.requests.answer(now, reply.tid, from) else { return };
        let id = reply.id.filter(|id| *id == node_id(&from));
        self.heard(now, socket, from, id, reply.to);
        let Asked { purpose, .. } = pending.purpose;
        match purpose {
            Purpose::Step(key) => self.step_answered(now, key, from, id, reply, pending.slow),
            Purpose::Commit(key) => {
                let stored = (reply.error == 0).then_some(Relay { relay: from, peer: reply.to });
                self.committed(key, stored);
            }
            Purpose::Keep(target) => self.kept(now, target, true),
            Purpose::Token(withdrawal) => self.withdraw(now, from, id, reply, withdrawal),
            Purpose::Withdraw(withdrawal) => self.withdrawn(&withdrawal, reply.error == 0),
            Purpose::Check(id) => {
                self.checks -= 1;
                self.remove_if_silent(&id, pending.since);
            }
            Purpose::Swap(id, newcomer) => {
                self.swaps -= 1;
                // It answered, but as somebody else.
                if self.table.find(&id).is_some_and(|contact| contact.seen < pending.since) {
                    self.swap(now, &id, newcomer);
                }
            }
            Purpose::QuickTrial => self.bootstrap.is_promising |= socket == Socket::Server,
            Purpose::Trial => self.pong(now, (socket == Socket::Server).then_some(reply.to)),
            Purpose::Hint => {}
        }
    }

    /// Takes note of a node that was heard: its id, if its address proves it, and where it sees us.
    pub(super) fn heard(&mut self, now: Time, socket: Socket, from: SocketAddrV4, id: Option<Id>, to: SocketAddrV4) {
        let Some(id) = id else {
            self.sample_nameless(from, to);
            return;
        };
        // What others see of the socket that asks nothing is not our address.
        let counts = socket == self.main_socket();
        match self.table.find_mut(&id) {
            Some(contact) => {
                (contact.seen, contact.pinged) = (now, now);
                let is_due = contact.sampled.is_none_or(|at| now.since(at) >= OLD);
                if counts && is_due {
                    contact.sampled = Some(now);
                    self.nat.add(*to.ip(), to.port());
                }
            }
            None => {
                let contact = Contact { sampled: counts.then_some(now), ..Contact::new(id, from, now) };
                match self.table.add(contact) {
                    Row::Added if counts => self.nat.add(*to.ip(), to.port()),
                    Row::Full => self.challenge(now, contact),
                    Row::Added | Row::Known => {}
                }
            }
        }
    }

    /// Pings the contact of a full row that was pinged longest ago: the newcomer takes its place if it is gone.
    fn challenge(&mut self, now: Time, newcomer: Contact<32, SocketAddrV4>) {
        if !self.bootstrap.is_done || self.swaps >= SWAPS_MAX {
            return;
        }
        let rules = RowRules { idle: TICK, recent: RECENT, old: OLD };
        let Some(oldest) = self.table.challenged(now, &newcomer.id, &rules) else { return };
        let (id, address) = (oldest.id, oldest.address);
        if self.ask(now, address, Purpose::Swap(id, newcomer), Question::internal(PING, None)) {
            self.swaps += 1;
            self.table.find_mut(&id).into_iter().for_each(|contact| contact.pinged = now);
        }
    }

    /// Gives a contact's place to another.
    pub(super) fn swap(&mut self, now: Time, id: &Id, newcomer: Contact<32, SocketAddrV4>) {
        self.table.remove(id);
        self.table.add(Contact { added: now, seen: now, pinged: now, ..newcomer });
    }

    /// Takes out a contact that was not heard since then: somebody else answered at its address.
    fn remove_if_silent(&mut self, id: &Id, since: Time) {
        if self.table.find(id).is_some_and(|contact| contact.seen < since) {
            self.table.remove(id);
        }
    }

    /// Nodes without an id tell us our address before anybody else can; a few of them are believed.
    fn sample_nameless(&mut self, from: SocketAddrV4, to: SocketAddrV4) {
        let most = self.config.bootstrap.len().max(1);
        if self.nameless_samples.len() < most && !self.nameless_samples.contains(&from) {
            self.nameless_samples.push(from);
            self.nat.add(*to.ip(), to.port());
        }
    }
}

/// Contacts that are challenged at once.
const SWAPS_MAX: usize = 3;
/// Nobody is pinged twice within this.
pub(super) const TICK: Duration = Duration::from_secs(5);
/// A contact pinged within this is there.
pub(super) const RECENT: Duration = Duration::from_secs(60);
/// A contact known for longer than this is trusted more, and asked again where it sees us.
const OLD: Duration = Duration::from_secs(30 * 60);

//! Requests of ours: how they leave, and what their answers are for.

use super::*;
use crate::classic::{Method, Query};
use crate::kademlia::Expired;

/// What an answer is for.
#[derive(Debug)]
pub(super) enum Purpose {
    /// A step of a walk.
    Step(u64),
    /// One of the nodes at the end of a walk, to store.
    Commit(u64),
    /// Whether somebody who asked us, or a contact, is there.
    Check(Id),
    /// Whether a contact is still there, or else another takes its place.
    Swap(Id, Contact<20, SocketAddr>),
}

impl Node {
    /// Sends a query; returns whether it could be.
    pub(super) fn ask(&mut self, now: Time, to: SocketAddr, purpose: Purpose, method: Method<'_>) -> bool {
        let query = Query { id: Some(*self.table.own()), method };
        let read_only = self.config.read_only;
        let encode = |tid: u16| {
            let transaction = tid.to_be_bytes();
            let message = Message::new(&transaction, Body::Query(query));
            Message { read_only, version: Some(VERSION), ..message }.encode()
        };
        let chance = self.chance.short();
        let retries = if matches!(purpose, Purpose::Commit(_)) { COMMIT_RETRIES } else { RETRIES };
        self.requests.ask(now, to, purpose, retries, chance, encode).is_ok()
    }

    /// Pings somebody, who is a contact only if it answers.
    pub(super) fn check(&mut self, now: Time, id: Id, address: SocketAddr) {
        if self.checks < CHECKS_MAX && self.ask(now, address, Purpose::Check(id), Method::Ping) {
            self.checks += 1;
            self.table.find_mut(&id).into_iter().for_each(|contact| contact.pinged = now);
        }
    }

    /// Sends again, or gives up, what was not answered in time.
    pub(super) fn expire_requests(&mut self, now: Time) {
        while let Some(expired) = self.requests.expire(now) {
            match expired {
                Expired::Slow(tid) => {
                    if let Some(Purpose::Step(key)) = self.requests.purpose(tid) {
                        self.searches.get_mut(key).into_iter().for_each(|search| search.walk.slowed());
                    }
                }
                Expired::Failed(pending) => match pending.purpose {
                    Purpose::Step(key) => {
                        self.forget_at(&pending.to);
                        if let Some(search) = self.searches.get_mut(&key) {
                            search.walk.failed(pending.to, pending.slow);
                        }
                    }
                    Purpose::Commit(key) => self.committed(key, false),
                    Purpose::Check(id) => {
                        self.checks -= 1;
                        self.table.remove(&id);
                    }
                    Purpose::Swap(id, newcomer) => {
                        self.checks -= 1;
                        self.swap(now, &id, newcomer);
                    }
                },
            }
        }
    }

    /// Takes out the contact at an address.
    pub(super) fn forget_at(&mut self, address: &SocketAddr) {
        let found = self.table.iter().find(|contact| contact.address == *address).map(|contact| contact.id);
        if let Some(id) = found {
            self.table.remove(&id);
        }
    }
}

/// Attempts after the first; of those that store more, for no other node stands in for one that was the nearest.
const RETRIES: u32 = 1;
const COMMIT_RETRIES: u32 = 3;
/// Nodes that are pinged at once because they asked us or want a place.
const CHECKS_MAX: usize = 32;
/// How the program names itself: two letters, two bytes of version.
pub(super) const VERSION: &[u8] = b"AP\x00\x01";

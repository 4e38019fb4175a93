//! Requests of ours: how they leave, and what their answers are for.

use super::listening::Withdrawal;
use super::*;
use crate::hyperswarm::messages::{DOWN_HINT, PING};
use crate::hyperswarm::{Request, Token};
use crate::kademlia::Expired;

/// A request on its way.
#[derive(Debug)]
pub(super) struct Asked {
    /// The socket it leaves by.
    pub(super) socket: Socket,
    /// What for.
    pub(super) purpose: Purpose,
}

/// What an answer is for.
#[derive(Debug)]
pub(super) enum Purpose {
    /// A step of a walk.
    Step(u64),
    /// One of the nodes at the end of a walk, to store or to forget.
    Commit(u64),
    /// Whether a contact is still there.
    Check(Id),
    /// Whether a contact is still there, or else another takes its place.
    Swap(Id, Contact<32, SocketAddrV4>),
    /// Nothing: the receiver is told.
    Hint,
    /// Whether a node still forwards to a peer of ours that listens there.
    Keep(Id),
    /// A token, to take back that a peer of ours listens there.
    Token(Withdrawal),
    /// To take it back.
    Withdraw(Withdrawal),
    /// Whether the server socket might be reachable.
    QuickTrial,
    /// Whether it is.
    Trial,
}

/// A request's contents.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Question<'a> {
    pub(super) token: Option<Token>,
    pub(super) internal: bool,
    pub(super) command: u64,
    pub(super) target: Option<Id>,
    pub(super) value: Option<&'a [u8]>,
}

impl<'a> Question<'a> {
    /// Makes one of dht-rpc's own, about no target.
    pub(super) fn internal(command: u64, value: Option<&'a [u8]>) -> Self {
        Self { internal: true, command, value, ..Self::default() }
    }
}

impl Node {
    /// Sends a request; returns whether it could be.
    pub(super) fn ask(&mut self, now: Time, to: SocketAddrV4, purpose: Purpose, question: Question<'_>) -> bool {
        let retries = if matches!(purpose, Purpose::Step(_)) { STEP_RETRIES } else { RETRIES };
        let socket = self.main_socket();
        let id = self.id().filter(|_| socket == Socket::Server);
        let Question { token, internal, command, target, value } = question;
        let encode = |tid| Request { tid, to, id, token, internal, command, target, value }.encode();
        let chance = self.chance.short();
        self.requests.ask(now, to, Asked { socket, purpose }, retries, chance, encode).is_ok()
    }

    /// Pings a contact, which is gone if it does not answer.
    pub(super) fn check(&mut self, now: Time, id: Id) {
        let Some(contact) = self.table.find_mut(&id) else { return };
        contact.pinged = now;
        let address = contact.address;
        if self.ask(now, address, Purpose::Check(id), Question::internal(PING, None)) {
            self.checks += 1;
        }
    }

    /// Tells those who told of a node that it does not answer.
    pub(super) fn hint(&mut self, now: Time, down: SocketAddrV4, told_by: Vec<SocketAddrV4>) {
        let value = crate::hyperswarm::address::address_bytes(&down);
        for to in told_by {
            let span = now.as_micros() / HINT_SPAN.as_micros() as u64;
            if self.hints.0 != span {
                self.hints = (span, 0);
            }
            if self.hints.1 < HINTS_MAX {
                self.hints.1 += 1;
                self.ask(now, to, Purpose::Hint, Question::internal(DOWN_HINT, Some(&value)));
            }
        }
    }

    /// Sends again, or gives up, what was not answered in time.
    pub(super) fn expire_requests(&mut self, now: Time) {
        while let Some(expired) = self.requests.expire(now) {
            match expired {
                Expired::Slow(tid) => {
                    if let Some(Asked { purpose: Purpose::Step(key), .. }) = self.requests.purpose(tid) {
                        self.searches.get_mut(key).into_iter().for_each(|search| search.walk.slowed());
                    }
                }
                Expired::Failed(pending) => match pending.purpose.purpose {
                    Purpose::Step(key) => self.step_failed(now, key, pending.to, pending.slow),
                    Purpose::Commit(key) => self.committed(key, None),
                    Purpose::Check(id) => {
                        self.checks -= 1;
                        self.table.remove(&id);
                    }
                    Purpose::Swap(id, newcomer) => {
                        self.swaps -= 1;
                        self.swap(now, &id, newcomer);
                    }
                    Purpose::Trial => self.pong(now, None),
                    Purpose::Keep(target) => self.kept(now, target, false),
                    Purpose::Token(withdrawal) | Purpose::Withdraw(withdrawal) => self.withdrawn(&withdrawal, false),
                    Purpose::Hint | Purpose::QuickTrial => {}
                },
            }
        }
    }
}

/// Attempts after the first: the reference's for a step of a walk, and for anything else.
const STEP_RETRIES: u32 = 5;
const RETRIES: u32 = 3;
/// Hints sent in each span.
const HINTS_MAX: usize = 50;
const HINT_SPAN: Duration = Duration::from_secs(5);

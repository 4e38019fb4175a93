//! Requests on their way: which transaction is whose, when to send again, when to give up.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use anypath_wire::Time;

use super::Window;
use super::pace::Pace;

/// When requests are sent again and given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestRules {
    /// How long an attempt waits for its answer.
    pub patience: Patience,
    /// Datagrams a slot of the [`Window`].
    pub window: u32,
}

/// How long an attempt waits for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Always so long.
    Fixed(Duration),
    /// As long as the node asked took lately, and each attempt longer. Source: npm adaptive-timeout 1.0.
    Adaptive,
}

/// A request that waits for its answer. `P` is what the answer is for.
#[derive(Debug)]
pub struct Pending<A, P> {
    /// Who was asked.
    pub to: A,
    /// Why.
    pub purpose: P,
    /// When it was first asked.
    pub since: Time,
    /// Whether its first attempt was not answered in time.
    pub slow: bool,
    datagram: Vec<u8>,
    attempts: u32,
    retries: u32,
    sent: Option<Time>,
    due: Option<Time>,
}

/// What happened to a request whose time was up.
#[derive(Debug)]
pub enum Expired<A, P> {
    /// It is slow: the first attempt was not answered in time, and another one goes out.
    Slow(u16),
    /// Nobody answered.
    Failed(Pending<A, P>),
}

/// The requests of one node.
#[derive(Debug)]
pub struct Requests<A, P> {
    rules: RequestRules,
    window: Window,
    pace: Pace<A>,
    pending: BTreeMap<u16, Pending<A, P>>,
    due: BTreeSet<(Time, u16)>,
    /// Those that the window does not let out yet.
    waiting: VecDeque<u16>,
    /// Datagrams to be sent now.
    ready: VecDeque<u16>,
}

impl<A: Copy + Ord, P> Requests<A, P> {
    /// Begins without requests.
    pub fn new(rules: RequestRules) -> Self {
        let (pending, due) = (BTreeMap::new(), BTreeSet::new());
        let window = Window::new(rules.window);
        Self { rules, window, pace: Pace::new(), pending, due, waiting: VecDeque::new(), ready: VecDeque::new() }
    }

    /// Returns how many wait for answers.
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// Returns whether none does.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Asks somebody, with `retries` more attempts: `encode` makes the datagram for a transaction that is not in use, found
    /// from `chance` on. Returns the purpose if too many requests wait already.
    pub fn ask(
        &mut self,
        now: Time,
        to: A,
        purpose: P,
        retries: u32,
        chance: u16,
        encode: impl FnOnce(u16) -> Vec<u8>,
    ) -> Result<u16, P> {
        if self.pending.len() >= PENDING_MAX {
            return Err(purpose);
        }
        let mut tid = chance;
        while self.pending.contains_key(&tid) {
            tid = tid.wrapping_add(1);
        }
        let datagram = encode(tid);
        self.pending.insert(
            tid,
            Pending { to, purpose, since: now, slow: false, datagram, attempts: 0, retries, sent: None, due: None },
        );
        self.attempt(now, tid);
        Ok(tid)
    }

    /// Returns the purpose of a request that still waits.
    pub fn purpose(&self, tid: u16) -> Option<&P> {
        self.pending.get(&tid).map(|pending| &pending.purpose)
    }

    /// Takes out the request that an answer belongs to: its transaction, and from whom it was asked.
    pub fn answer(&mut self, now: Time, tid: u16, from: A) -> Option<Pending<A, P>> {
        if self.pending.get(&tid)?.to != from {
            return None;
        }
        let pending = self.take(now, tid)?;
        if let (Patience::Adaptive, Some(sent)) = (self.rules.patience, pending.sent) {
            self.pace.took(now, from, now.since(sent));
        }
        Some(pending)
    }

    /// Forgets the requests whose purpose is done with.
    pub fn forget(&mut self, now: Time, done: impl Fn(&P) -> bool) {
        let tids: Vec<_> = self.pending.iter().filter(|(_, p)| done(&p.purpose)).map(|(tid, _)| *tid).collect();
        for tid in tids {
            self.take(now, tid);
        }
    }

    /// Returns the next request that failed or became slow; to be called until there is none.
    pub fn expire(&mut self, now: Time) -> Option<Expired<A, P>> {
        while let Some((at, tid)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, tid));
            let Some(pending) = self.pending.get_mut(&tid) else { continue };
            pending.due = None;
            if pending.attempts > pending.retries {
                return self.take(now, tid).map(Expired::Failed);
            }
            let first = !std::mem::replace(&mut pending.slow, true);
            self.attempt(now, tid);
            if first {
                return Some(Expired::Slow(tid));
            }
        }
        None
    }

    /// Lets out what the window held back.
    pub fn drain(&mut self, now: Time) {
        while !self.waiting.is_empty() && !self.window.is_full(now) {
            if let Some(tid) = self.waiting.pop_front().filter(|tid| self.pending.contains_key(tid)) {
                self.send(now, tid);
            }
        }
    }

    /// Returns the next datagram to send, and to whom.
    pub fn poll_transmit(&mut self) -> Option<(A, &P, Vec<u8>)> {
        while let Some(tid) = self.ready.pop_front() {
            if let Some(pending) = self.pending.get(&tid) {
                // Sent again only with retries left: the last attempt need not be kept.
                return Some((pending.to, &pending.purpose, pending.datagram.clone()));
            }
        }
        None
    }

    /// Returns when something is due next.
    pub fn deadline(&self) -> Option<Time> {
        let due = self.due.first().map(|(at, _)| *at);
        let turn = (!self.waiting.is_empty()).then(|| self.window.turns_at());
        [due, turn].into_iter().flatten().min()
    }

    fn attempt(&mut self, now: Time, tid: u16) {
        if self.window.is_full(now) {
            self.waiting.push_back(tid);
        } else {
            self.send(now, tid);
        }
    }

    fn send(&mut self, now: Time, tid: u16) {
        let Some(pending) = self.pending.get_mut(&tid) else { return };
        self.window.sent(now);
        pending.attempts += 1;
        pending.sent.get_or_insert(now);
        let timeout = match self.rules.patience {
            Patience::Fixed(timeout) => timeout,
            Patience::Adaptive => self.pace.timeout(now, &pending.to, pending.attempts, tid),
        };
        let due = now + timeout;
        pending.due = Some(due);
        self.due.insert((due, tid));
        self.ready.push_back(tid);
    }

    fn take(&mut self, now: Time, tid: u16) -> Option<Pending<A, P>> {
        let pending = self.pending.remove(&tid)?;
        if let Some(due) = pending.due {
            self.due.remove(&(due, tid));
        }
        self.window.settled(now);
        Some(pending)
    }
}

/// Requests that wait at once: a quarter of all transactions, so that a free one is found at once.
const PENDING_MAX: usize = 16_384;

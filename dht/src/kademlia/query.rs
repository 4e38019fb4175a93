//! A walk towards a target: asks the nearest known nodes for nearer ones until there are none.

use std::collections::BTreeMap;

use super::closer;

/// How a walk goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryRules {
    /// Repliers that are kept, and how near a node must be to be asked.
    pub k: usize,
    /// Requests at once. One that is slow does not count.
    pub concurrency: usize,
    /// Which of the known nodes is asked next.
    pub order: Order,
}

/// Which of the known nodes is asked next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The one heard of last, as dht-rpc does.
    Newest,
    /// The nearest to the target.
    Nearest,
}

/// A node to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate<const N: usize, A> {
    /// Its id.
    pub id: [u8; N],
    /// Where it is.
    pub address: A,
}

/// A node that answered, with the token it gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replier<const N: usize, A, T> {
    /// Its id.
    pub id: [u8; N],
    /// Where it is.
    pub address: A,
    /// What it wants back before it stores.
    pub token: Option<T>,
}

/// One walk. Its owner sends what [`Query::next`] says, and tells what came of it.
#[derive(Debug)]
pub struct Query<const N: usize, A, T> {
    rules: QueryRules,
    target: [u8; N],
    own: [u8; N],
    seen: BTreeMap<A, Seen<A>>,
    pending: Vec<Candidate<N, A>>,
    closest: Vec<Replier<N, A, T>>,
    in_flight: usize,
    slow: usize,
    answers: usize,
    errors: usize,
    asked: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum Seen<A> {
    /// Not answered yet; those who told of it.
    Waiting(Vec<A>),
    Done,
    Down,
}

impl<const N: usize, A: Copy + Ord, T> Query<N, A, T> {
    /// Begins a walk of the node `own`.
    pub fn new(rules: QueryRules, own: [u8; N], target: [u8; N]) -> Self {
        Self {
            rules,
            target,
            own,
            seen: BTreeMap::new(),
            pending: Vec::new(),
            closest: Vec::new(),
            in_flight: 0,
            slow: 0,
            answers: 0,
            errors: 0,
            asked: 0,
        }
    }

    /// Returns what is looked for.
    pub fn target(&self) -> &[u8; N] {
        &self.target
    }

    /// Returns the nodes that answered nearest to the target, nearest first.
    pub fn closest(&self) -> &[Replier<N, A, T>] {
        &self.closest
    }

    /// Returns how many nodes were asked, answered, and failed.
    pub fn counts(&self) -> (usize, usize, usize) {
        (self.asked, self.answers, self.errors)
    }

    /// Changes how many are asked at once from here on.
    pub fn set_concurrency(&mut self, concurrency: usize) {
        self.rules.concurrency = concurrency;
    }

    /// Adds nodes to ask that nobody told of, nearest first.
    pub fn add(&mut self, nodes: &[Candidate<N, A>]) {
        for node in nodes.iter().rev() {
            self.hear_of(*node, None);
        }
    }

    /// Returns the node to ask next, and counts it as asked; `None` if enough are, or none is left.
    pub fn poll_candidate(&mut self) -> Option<Candidate<N, A>> {
        while self.in_flight < self.rules.concurrency + self.slow {
            let next = self.pop()?;
            if self.is_closer(&next.id) {
                self.in_flight += 1;
                self.asked += 1;
                return Some(next);
            }
        }
        None
    }

    /// Takes note of an answer: who gave it (with an id only if the address proves it), whether it was a success, and
    /// the nodes it told of.
    pub fn answered(
        &mut self,
        address: A,
        id: Option<[u8; N]>,
        success: bool,
        token: Option<T>,
        told: impl IntoIterator<Item = Candidate<N, A>>,
        was_slow: bool,
    ) {
        self.settle(was_slow);
        self.seen.insert(address, Seen::Done);
        *(if success { &mut self.answers } else { &mut self.errors }) += 1;
        if let Some(id) = id.filter(|id| success && self.is_closer(id)) {
            self.keep(Replier { id, address, token });
        }
        for node in told.into_iter().take(TOLD_MAX).filter(|node| node.id != self.own).collect::<Vec<_>>() {
            // Whoever sorts its answer has nothing nearer behind one that is not near.
            if !self.hear_of(node, Some(address)) {
                break;
            }
        }
    }

    /// Takes note that a request is slow, which makes room for another.
    pub fn slowed(&mut self) {
        self.slow += 1;
    }

    /// Takes note that a node does not answer; returns who told of it.
    pub fn failed(&mut self, address: A, was_slow: bool) -> Vec<A> {
        self.settle(was_slow);
        self.errors += 1;
        match self.seen.insert(address, Seen::Down) {
            Some(Seen::Waiting(told_by)) => told_by,
            _ => Vec::new(),
        }
    }

    /// Takes note that a node could not be asked at all.
    pub fn not_asked(&mut self, address: A) {
        self.settle(false);
        self.errors += 1;
        self.seen.insert(address, Seen::Done);
    }

    /// Returns whether there is nobody left to ask or to wait for.
    pub fn is_at_end(&self) -> bool {
        let waits = self.in_flight > 0 && (self.slow < self.in_flight || self.closest.len() < self.rules.k);
        !waits && !self.pending.iter().any(|node| self.is_closer(&node.id))
    }

    fn pop(&mut self) -> Option<Candidate<N, A>> {
        let nearest = || {
            let by_distance =
                |a: &(usize, &Candidate<N, A>), b: &(usize, &Candidate<N, A>)| closer(&self.target, &a.1.id, &b.1.id);
            self.pending.iter().enumerate().min_by(by_distance).map(|(at, _)| at)
        };
        match self.rules.order {
            Order::Newest => self.pending.pop(),
            Order::Nearest => nearest().map(|at| self.pending.swap_remove(at)),
        }
    }

    /// Takes note of a node; returns whether it is near enough to be asked.
    fn hear_of(&mut self, node: Candidate<N, A>, from: Option<A>) -> bool {
        let near = self.is_closer(&node.id);
        match self.seen.get_mut(&node.address) {
            Some(Seen::Waiting(told_by)) => {
                told_by.extend(from.filter(|_| told_by.len() < TOLD_BY_MAX));
                return near;
            }
            Some(Seen::Done | Seen::Down) => return near,
            None => {}
        }
        if near && self.seen.len() < SEEN_MAX {
            self.seen.insert(node.address, Seen::Waiting(from.into_iter().collect()));
            self.pending.push(node);
        }
        near
    }

    fn is_closer(&self, id: &[u8; N]) -> bool {
        let last = self.closest.last().filter(|_| self.closest.len() >= self.rules.k);
        last.is_none_or(|last| closer(&self.target, id, &last.id).is_lt())
    }

    fn keep(&mut self, replier: Replier<N, A, T>) {
        let place = self.closest.binary_search_by(|known| closer(&self.target, &known.id, &replier.id));
        if let Err(at) = place {
            self.closest.insert(at, replier);
            self.closest.truncate(self.rules.k);
        }
    }

    fn settle(&mut self, was_slow: bool) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.slow = self.slow.saturating_sub(usize::from(was_slow));
    }
}

/// Nodes taken from one answer: twice what the reference tells.
const TOLD_MAX: usize = 40;
/// Those remembered who told of a node, to be told if it is down.
const TOLD_BY_MAX: usize = 8;
/// Nodes heard of in one walk; honest ones end far below.
const SEEN_MAX: usize = 4_096;

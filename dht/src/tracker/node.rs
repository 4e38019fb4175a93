//! A client of trackers: asks all of them at once, each again until it answers or is given up.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use anypath_wire::{Deadline, Hash, Time, Transmit};

use super::packet::{Id, Wish, answer, question};
use crate::chance::Chance;
use crate::discovery::{Ask, Command, Discovery, Event, Outcome, Socket};

/// What a client is told when it is made.
#[derive(Debug, Clone)]
pub struct Config {
    /// The numbers of its questions follow from this: nobody may guess them.
    pub seed: Hash,
    /// The trackers.
    pub trackers: Vec<SocketAddr>,
}

/// A client, driven through [`Discovery`]. It has one socket, the server's.
#[derive(Debug)]
pub struct Node {
    chance: Chance,
    trackers: Vec<SocketAddr>,
    errands: BTreeMap<u64, Errand>,
    /// Questions that wait for their answers, by tracker and number.
    waiting: BTreeMap<(SocketAddr, u16), Waiting>,
    /// What is announced, so that it can be taken back.
    announced: BTreeMap<Id, u16>,
    outbox: VecDeque<Transmit>,
    events: VecDeque<Event>,
}

/// What the application wishes, and how far it is.
#[derive(Debug)]
struct Errand {
    topic: Id,
    end: End,
    open: usize,
    found: BTreeSet<SocketAddr>,
    outcome: Outcome,
}

/// What a tracker is asked in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Lookup,
    Announce(u16),
    Unannounce(u16),
}

#[derive(Debug)]
struct Waiting {
    query: u64,
    /// Whether it is a token that is asked for.
    probes: bool,
    datagram: Vec<u8>,
    sent: usize,
    next: Time,
}

impl Node {
    /// Makes a client that asks nothing yet.
    pub fn new(config: Config) -> Self {
        Self {
            chance: Chance::new(&config.seed),
            trackers: config.trackers,
            errands: BTreeMap::new(),
            waiting: BTreeMap::new(),
            announced: BTreeMap::new(),
            outbox: VecDeque::new(),
            events: VecDeque::from([Event::Bootstrapped]),
        }
    }

    /// Returns how many trackers it asks.
    pub fn trackers(&self) -> usize {
        self.trackers.len()
    }

    fn begin(&mut self, now: Time, query: u64, topic: Id, end: End) {
        let (open, outcome) = (self.trackers.len(), Outcome { asked: self.trackers.len(), ..Outcome::default() });
        self.errands.insert(query, Errand { topic, end, open, found: BTreeSet::new(), outcome });
        for tracker in self.trackers.clone() {
            let wish = if end == End::Lookup { Wish::Lookup(&topic) } else { Wish::Probe };
            self.ask(now, query, tracker, wish);
        }
        self.end_if_done(query);
    }

    fn ask(&mut self, now: Time, query: u64, tracker: SocketAddr, wish: Wish<'_>) {
        let mut number = self.chance.short();
        while self.waiting.contains_key(&(tracker, number)) {
            number = number.wrapping_add(1);
        }
        let datagram = question(number, wish);
        let waiting = Waiting { query, probes: wish == Wish::Probe, datagram, sent: 0, next: now };
        self.waiting.insert((tracker, number), waiting);
        self.go_on(now, (tracker, number));
    }

    /// Sends a question again, or gives it up.
    fn go_on(&mut self, now: Time, key: (SocketAddr, u16)) {
        let Some(waiting) = self.waiting.get_mut(&key) else { return };
        if let Some(pause) = PAUSES.get(waiting.sent) {
            waiting.sent += 1;
            waiting.next = now + *pause;
            self.outbox.push_back(Transmit { to: key.0, datagram: waiting.datagram.clone() });
            return;
        }
        let query = waiting.query;
        self.waiting.remove(&key);
        if let Some(errand) = self.errands.get_mut(&query) {
            errand.open -= 1;
            errand.outcome.errors += 1;
        }
        self.end_if_done(query);
    }

    /// Takes the answer to a question: what it tells, and, if it brings a token, what that is for.
    fn answered(
        &mut self,
        now: Time,
        tracker: SocketAddr,
        waiting: &Waiting,
        token: Option<String>,
        peers: &[SocketAddr],
    ) {
        let query = waiting.query;
        let Some(errand) = self.errands.get_mut(&query) else { return };
        for peer in peers {
            if errand.found.len() < FOUND_MAX && errand.found.insert(*peer) {
                self.events.push_back(Event::Address { query, address: *peer });
            }
        }
        let (topic, end) = (errand.topic, errand.end);
        match (waiting.probes, token) {
            (true, Some(token)) => {
                let wish = match end {
                    End::Lookup => Wish::Lookup(&topic),
                    End::Announce(port) => Wish::Announce { topic: &topic, port, token: &token },
                    End::Unannounce(port) => Wish::Unannounce { topic: &topic, port, token: &token },
                };
                return self.ask(now, query, tracker, wish);
            }
            (true, None) => errand.outcome.errors += 1,
            (false, _) => {
                errand.outcome.answers += 1;
                errand.outcome.stored += usize::from(end != End::Lookup);
            }
        }
        errand.open -= 1;
        self.end_if_done(query);
    }

    fn end_if_done(&mut self, query: u64) {
        if self.errands.get(&query).is_some_and(|errand| errand.open == 0)
            && let Some(errand) = self.errands.remove(&query)
        {
            self.events.push_back(Event::Done { query, outcome: errand.outcome });
        }
    }
}

impl Discovery for Node {
    fn handle_command(&mut self, now: Time, command: Command) {
        let (query, id_of) = (command.query, |topic: &Hash| -> Id { std::array::from_fn(|at| topic[at]) });
        match command.ask {
            Ask::Lookup { topic } => self.begin(now, query, id_of(&topic), End::Lookup),
            Ask::Announce(announcement) => {
                let topic = id_of(&announcement.topic);
                // Port 0 is what a tracker replaces by the one it sees.
                let port = announcement.port.unwrap_or_default();
                self.announced.insert(topic, port);
                self.begin(now, query, topic, End::Announce(port));
            }
            Ask::Unannounce { topic, .. } if self.announced.contains_key(&id_of(&topic)) => {
                let topic = id_of(&topic);
                let port = self.announced.remove(&topic).unwrap_or_default();
                self.begin(now, query, topic, End::Unannounce(port));
            }
            _ => self.events.push_back(Event::Done { query, outcome: Outcome::default() }),
        }
    }

    fn handle_datagram(&mut self, now: Time, _: Socket, from: SocketAddr, datagram: &[u8]) {
        if !self.trackers.contains(&from) {
            return;
        }
        let Some(told) = answer(datagram) else { return };
        if let Some(waiting) = self.waiting.remove(&(from, told.id)) {
            self.answered(now, from, &waiting, told.token, &told.peers);
        }
    }

    fn handle_timeout(&mut self, now: Time) {
        let due: Vec<_> = self.waiting.iter().filter(|(_, waiting)| waiting.next <= now).map(|(key, _)| *key).collect();
        due.into_iter().for_each(|key| self.go_on(now, key));
    }

    fn poll_transmit(&mut self) -> Option<(Socket, Transmit)> {
        self.outbox.pop_front().map(|transmit| (Socket::Server, transmit))
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn poll_deadline(&self) -> Option<Deadline> {
        let next = self.waiting.values().map(|waiting| waiting.next).min();
        next.map(|at| Deadline { at, why: "to ask a tracker again" })
    }
}

/// How long an answer is waited for each time a question is sent.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];
/// Peers told of for one wish.
const FOUND_MAX: usize = 1_024;

//! A node that asks and answers on its own network.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use anypath_wire::{Deadline, Hash, Time, Transmit, keyed_hash};

use super::packet::{Heard, Id, Voice};
use crate::discovery::{Ask, Command, Discovery, Event, Outcome, Socket};

/// What a node is told when it is made.
#[derive(Debug, Clone)]
pub struct Config {
    /// What sets it apart follows from this. Must never be used twice.
    pub seed: Hash,
    /// The group everybody listens to.
    pub group: SocketAddrV4,
    /// Where this machine is, for those who look no further than an answer.
    pub host: Option<Ipv4Addr>,
}

/// A node, driven through [`Discovery`]. It has one socket, the server's, which listens to the group.
#[derive(Debug)]
pub struct Node {
    config: Config,
    voice: Voice,
    looking: BTreeMap<u64, Looking>,
    announced: BTreeMap<Id, Announced>,
    outbox: VecDeque<Transmit>,
    events: VecDeque<Event>,
}

/// A wish to know who has a topic.
#[derive(Debug)]
struct Looking {
    topic: Id,
    found: BTreeSet<SocketAddr>,
    /// How often it was asked.
    asked: usize,
    /// When it is asked again, or over.
    next: Time,
    /// Whether it is an announcement as well.
    announces: bool,
}

/// A topic that this node takes connections about.
#[derive(Debug)]
struct Announced {
    port: u16,
    /// When it was last said so.
    told: Option<Time>,
}

impl Config {
    /// Makes what everybody's is.
    pub fn new(seed: Hash) -> Self {
        Self { seed, group: GROUP, host: None }
    }
}

impl Node {
    /// Makes a node that says nothing yet.
    pub fn new(config: Config) -> Self {
        let voice = Voice::new(&keyed_hash(&config.seed, b"lan"), config.host);
        Self {
            config,
            voice,
            looking: BTreeMap::new(),
            announced: BTreeMap::new(),
            outbox: VecDeque::new(),
            events: VecDeque::from([Event::Bootstrapped]),
        }
    }

    /// Returns how many topics it announces.
    pub fn announced(&self) -> usize {
        self.announced.len()
    }

    fn look(&mut self, now: Time, query: u64, topic: Id, announces: bool) {
        let looking = Looking { topic, found: BTreeSet::new(), asked: 0, next: now, announces };
        self.looking.insert(query, looking);
        self.go_on(now, query);
    }

    /// Asks again, or ends.
    fn go_on(&mut self, now: Time, query: u64) {
        let Some(looking) = self.looking.get_mut(&query) else { return };
        if let Some(pause) = PAUSES.get(looking.asked) {
            looking.asked += 1;
            looking.next = now + *pause;
            let datagram = self.voice.question(&looking.topic);
            self.outbox.push_back(Transmit { to: self.config.group.into(), datagram });
            return;
        }
        let hosts: BTreeSet<_> = looking.found.iter().map(SocketAddr::ip).collect();
        let (answers, stored) = (hosts.len(), usize::from(looking.announces));
        self.looking.remove(&query);
        self.events.push_back(Event::Done { query, outcome: Outcome { asked: 1, answers, errors: 0, stored } });
    }

    /// Says that this node takes connections about a topic, in one manner or both, unless it did so just now.
    fn tell(&mut self, now: Time, to: SocketAddr, topic: &Id, as_dat: bool, as_service: bool) {
        let Some(announced) = self.announced.get_mut(topic) else { return };
        if announced.told.is_some_and(|told| now.since(told) < TELL_INTERVAL_MIN) {
            return;
        }
        announced.told = Some(now);
        let dat = as_dat.then(|| self.voice.answer_as_dat(topic, announced.port));
        let service = as_service.then(|| self.voice.answer_as_service(topic, announced.port, false));
        self.outbox.extend(dat.into_iter().chain(service).map(|datagram| Transmit { to, datagram }));
    }

    fn found(&mut self, topic: Id, address: SocketAddr) {
        for (query, looking) in self.looking.iter_mut().filter(|(_, looking)| looking.topic == topic) {
            if looking.found.len() < FOUND_MAX && looking.found.insert(address) {
                self.events.push_back(Event::Address { query: *query, address });
            }
        }
    }

    fn forget(&mut self, query: u64, topic: &Id) {
        let announced = self.announced.remove(topic);
        if let Some(Announced { port, .. }) = &announced {
            let datagram = self.voice.answer_as_service(topic, *port, true);
            self.outbox.push_back(Transmit { to: self.config.group.into(), datagram });
        }
        let stored = usize::from(announced.is_some());
        self.events.push_back(Event::Done { query, outcome: Outcome { stored, ..Outcome::default() } });
    }
}

impl Discovery for Node {
    fn handle_command(&mut self, now: Time, command: Command) {
        let query = command.query;
        match command.ask {
            Ask::Lookup { topic } => self.look(now, query, id_of(&topic), false),
            Ask::Announce(announcement) => {
                let topic = id_of(&announcement.topic);
                if let Some(port) = announcement.port.filter(|port| *port != 0) {
                    self.announced.insert(topic, Announced { port, told: None });
                    self.tell(now, self.config.group.into(), &topic, true, true);
                }
                self.look(now, query, topic, announcement.port.is_some());
            }
            Ask::Unannounce { topic, .. } => self.forget(query, &id_of(&topic)),
            _ => self.events.push_back(Event::Done { query, outcome: Outcome::default() }),
        }
    }

    fn handle_datagram(&mut self, now: Time, _: Socket, from: SocketAddr, datagram: &[u8]) {
        if from.port() == 0 || !from.is_ipv4() {
            return;
        }
        let heard = self.voice.hear(datagram);
        for heard in &heard {
            if let Heard::Told(topic, port) = heard {
                self.found(*topic, SocketAddr::new(from.ip(), *port));
            }
        }
        let topics = heard.iter().filter_map(|heard| match heard {
            Heard::AskedAsDat(topic) | Heard::AskedAsService(topic) => Some(*topic),
            Heard::Told(..) => None,
        });
        // To who asks by the group's port, the group is answered, so that all hear it; others ask for themselves alone.
        let to = if from.port() == self.config.group.port() { self.config.group.into() } else { from };
        for topic in topics.collect::<BTreeSet<_>>() {
            let (dat, service) = (Heard::AskedAsDat(topic), Heard::AskedAsService(topic));
            self.tell(now, to, &topic, heard.contains(&dat), heard.contains(&service));
        }
    }

    fn handle_timeout(&mut self, now: Time) {
        let due: Vec<_> =
            self.looking.iter().filter(|(_, looking)| looking.next <= now).map(|(query, _)| *query).collect();
        due.into_iter().for_each(|query| self.go_on(now, query));
    }

    fn poll_transmit(&mut self) -> Option<(Socket, Transmit)> {
        self.outbox.pop_front().map(|transmit| (Socket::Server, transmit))
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn poll_deadline(&self) -> Option<Deadline> {
        let next = self.looking.values().map(|looking| looking.next).min();
        next.map(|at| Deadline { at, why: "to ask the network again" })
    }
}

fn id_of(topic: &Hash) -> Id {
    std::array::from_fn(|at| topic[at])
}

/// Multicast DNS's own: RFC 6762.
const GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(224, 0, 0, 251), 5_353);
/// How long is waited after each time the network is asked; answers take milliseconds, if the datagrams arrive.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(1)];
/// The least time between two answers about a topic: everybody hears each of them.
const TELL_INTERVAL_MIN: Duration = Duration::from_millis(100);
/// Peers told of for one wish.
const FOUND_MAX: usize = 256;

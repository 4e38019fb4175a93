//! A network of nodes that is simulated: its own clock, latency and loss by chance from a seed, the same in every run.
//!
//! **Latency** of a datagram: both ends' last mile of 1 to 15 ms, what lies between them, and jitter. Nodes lie on a map of
//! one by one by chance; a diagonal of it takes 140 ms one way. So half of all round trips are between 100 and 200 ms, as
//! between the continents, and datagrams overtake each other. Nobody is nearer to his neighbours in the DHT than to others.
//!
//! **Firewalled** nodes: nothing reaches the server socket; the client socket is an endpoint-independent NAT's.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use anypath_wire::{Hash, Hasher, Time, Transmit};

use crate::chance::Chance;
use crate::discovery::{Command, Discovery, Event, Socket};

/// A network of simulated nodes.
#[derive(Debug)]
pub struct World<N> {
    nodes: Vec<Place<N>>,
    queue: BinaryHeap<Reverse<(Time, u64, Happening)>>,
    happenings: u64,
    chance: Chance,
    now: Time,
    loss_permille: u64,
    trace: Hasher,
    events: Vec<(usize, Event)>,
    traffic: Traffic,
}

/// What went over the network so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Datagrams sent.
    pub datagrams: u64,
    /// Their bytes, without headers of UDP and IP.
    pub bytes: u64,
    /// Of them lost, or sent to nobody.
    pub lost: u64,
}

#[derive(Debug)]
struct Place<N> {
    node: Option<N>,
    firewalled: bool,
    at: [f64; 2],
    last_mile: Duration,
    wakes: Option<Time>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Arrives { at: usize, socket: Socket, from: SocketAddrV4, datagram: Vec<u8> },
    Wakes(usize),
}

impl<N: Discovery> World<N> {
    /// Makes an empty world. Of 1,000 datagrams so many are lost.
    pub fn new(seed: &Hash, loss_permille: u64) -> Self {
        Self {
            nodes: Vec::new(),
            queue: BinaryHeap::new(),
            happenings: 0,
            chance: Chance::new(seed),
            now: Time::ZERO,
            loss_permille,
            trace: Hasher::new(),
            events: Vec::new(),
            traffic: Traffic::default(),
        }
    }

    /// Returns the time.
    pub fn now(&self) -> Time {
        self.now
    }

    /// Changes how many of 1,000 datagrams are lost from here on.
    pub fn set_loss(&mut self, loss_permille: u64) {
        self.loss_permille = loss_permille;
    }

    /// Returns the address of a node's socket, whether or not it is there yet.
    pub fn address(index: usize, socket: Socket) -> SocketAddrV4 {
        let [_, a, b, c] = (index as u32 + 1).to_be_bytes();
        let port = if socket == Socket::Server { SERVER_PORT } else { CLIENT_PORT };
        SocketAddrV4::new(Ipv4Addr::new(10, a, b, c), port)
    }

    /// Adds a node, which `make` makes from the time and a seed; returns its index, counted from 0.
    pub fn add(&mut self, firewalled: bool, make: impl FnOnce(Time, Hash) -> N) -> usize {
        let index = self.nodes.len();
        let node = Some(make(self.now, self.chance.bytes()));
        let [x, y] = [0; 2].map(|_| self.chance.below(MAP) as f64 / MAP as f64);
        let last_mile = Duration::from_micros(1_000 + self.chance.below(14_000));
        self.nodes.push(Place { node, firewalled, at: [x, y], last_mile, wakes: None });
        self.drain(index);
        index
    }

    /// Returns a node, unless it was removed.
    pub fn node(&self, index: usize) -> Option<&N> {
        self.nodes.get(index)?.node.as_ref()
    }

    /// Makes a node vanish without a word.
    pub fn remove(&mut self, index: usize) {
        self.nodes[index].node = None;
    }

    /// Hands a wish to a node.
    pub fn command(&mut self, index: usize, command: Command) {
        if let Some(node) = &mut self.nodes[index].node {
            node.handle_command(self.now, command);
            self.drain(index);
        }
    }

    /// Lets time pass.
    pub fn run(&mut self, span: Duration) {
        let until = self.now + span;
        while self.queue.peek().is_some_and(|Reverse((at, ..))| *at <= until) {
            self.happen();
        }
        self.now = until;
    }

    /// Lets time pass until an event that `wanted` accepts; returns it, or `None` after `most`.
    pub fn run_until(&mut self, most: Duration, wanted: impl Fn(usize, &Event) -> bool) -> Option<(usize, Event)> {
        let until = self.now + most;
        let mut seen = 0;
        loop {
            if let Some(found) = self.events[seen..].iter().position(|(node, event)| wanted(*node, event)) {
                return Some(self.events.swap_remove(seen + found));
            }
            seen = self.events.len();
            if self.queue.peek().is_none_or(|Reverse((at, ..))| *at > until) {
                self.now = until;
                return None;
            }
            self.happen();
        }
    }

    /// Takes the events of all nodes so far, in the order in which they happened.
    pub fn take_events(&mut self) -> Vec<(usize, Event)> {
        std::mem::take(&mut self.events)
    }

    /// Returns what went over the network so far.
    pub fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// Returns the hash of every datagram so far with its time, ends and fate.
    pub fn trace(&self) -> Hash {
        self.trace.finish()
    }

    fn happen(&mut self) {
        let Some(Reverse((at, _, happening))) = self.queue.pop() else { return };
        self.now = at;
        let index = match &happening {
            Happening::Arrives { at, .. } => *at,
            Happening::Wakes(index) => *index,
        };
        let place = &mut self.nodes[index];
        let Some(node) = &mut place.node else { return };
        match happening {
            Happening::Arrives { socket, from, datagram, .. } => {
                node.handle_datagram(at, socket, SocketAddr::V4(from), &datagram);
            }
            Happening::Wakes(_) if place.wakes != Some(at) => return,
            Happening::Wakes(_) => {
                place.wakes = None;
                node.handle_timeout(at);
            }
        }
        self.drain(index);
    }

    /// Takes everything out of a node.
    fn drain(&mut self, index: usize) {
        let Some(mut node) = self.nodes[index].node.take() else { return };
        while let Some((socket, Transmit { to, datagram })) = node.poll_transmit() {
            self.send(index, socket, to, datagram);
        }
        while let Some(event) = node.poll_event() {
            self.events.push((index, event));
        }
        let wakes = node.poll_deadline().map(|deadline| deadline.at.max(self.now));
        let place = &mut self.nodes[index];
        place.node = Some(node);
        if let Some(at) = wakes.filter(|at| place.wakes.is_none_or(|known| *at < known)) {
            place.wakes = Some(at);
            self.push(at, Happening::Wakes(index));
        }
    }

    fn send(&mut self, sender: usize, socket: Socket, to: SocketAddr, datagram: Vec<u8>) {
        let from = Self::address(sender, socket);
        self.traffic.datagrams += 1;
        self.traffic.bytes += datagram.len() as u64;
        self.trace.update(&self.now.as_micros().to_le_bytes());
        self.trace.update(format!("{from} {to} ").as_bytes());
        self.trace.update(&datagram);
        let is_lost = self.chance.below(1000) < self.loss_permille;
        let Some((at, socket)) = self.find(to).filter(|_| !is_lost) else {
            self.traffic.lost += 1;
            self.trace.update(b" lost");
            return;
        };
        let arrives = self.now + self.latency(sender, at);
        self.push(arrives, Happening::Arrives { at, socket, from, datagram });
    }

    /// Returns whose address this is, if it can be reached.
    fn find(&self, to: SocketAddr) -> Option<(usize, Socket)> {
        let SocketAddr::V4(to) = to else { return None };
        let [_, a, b, c] = to.ip().octets();
        let index = (u32::from_be_bytes([0, a, b, c]) as usize).checked_sub(1)?;
        let socket = [Socket::Server, Socket::Client].into_iter().find(|socket| Self::address(index, *socket) == to)?;
        let place = self.nodes.get(index)?;
        (socket == Socket::Client || !place.firewalled).then_some((index, socket))
    }

    fn latency(&mut self, from: usize, to: usize) -> Duration {
        let [a, b] = [&self.nodes[from], &self.nodes[to]];
        let distance = (a.at[0] - b.at[0]).hypot(a.at[1] - b.at[1]);
        let fixed = a.last_mile + b.last_mile + Duration::from_micros((distance * SIDE_MICROS) as u64);
        fixed + fixed * self.chance.below(100) as u32 / 1000
    }

    fn push(&mut self, at: Time, happening: Happening) {
        // Whatever happens at one moment happens in the order in which it was brought about.
        self.happenings += 1;
        self.queue.push(Reverse((at, self.happenings, happening)));
    }

    /// Returns the indices of all nodes that are there.
    pub fn indices(&self) -> impl Iterator<Item = usize> + '_ {
        self.nodes.iter().enumerate().filter(|(_, place)| place.node.is_some()).map(|(index, _)| index)
    }

    /// Returns how many nodes each event was told by, under a name of the caller's choice.
    pub fn count_events(&self, name: impl Fn(&Event) -> Option<&'static str>) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for name in self.events.iter().filter_map(|(_, event)| name(event)) {
            *counts.entry(name).or_default() += 1;
        }
        counts
    }
}

/// The ports of every node.
pub const SERVER_PORT: u16 = 49_737;
const CLIENT_PORT: u16 = 50_000;
/// Steps of a side of the map.
const MAP: u64 = 1 << 20;
/// What one side of the map takes, one way: its diagonal is 140 ms.
const SIDE_MICROS: f64 = 99_000.0;

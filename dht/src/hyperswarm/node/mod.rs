//! A node of Hyperswarm's DHT: asks, answers, stores, and keeps to itself who its neighbours are.
//!
//! A node begins *ephemeral*: nobody is told of it. Once it knows its address and that it can be reached there it may
//! become *persistent*: it sends its id, others route through it, and it stores for them.
//!
//! Source: npm dht-rpc 6.27.0, `index.js`, and hyperdht 6.34.0, `index.js`.

mod asking;
mod bootstrap;
mod hearing;
mod listening;
mod routing;
mod search;
mod serving;
mod storing;
mod upkeep;

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use anypath_wire::{Deadline, Hash, Time, Transmit};

use super::storage::Storage;
use super::{Id, NatSampler, Packet, node_id};
use crate::chance::Chance;
use crate::discovery::{Command, Discovery, Event, Socket};
use crate::kademlia::{Contact, QueryRules, RequestRules, Requests, Table};
use crate::secrets::Secrets;
use asking::Asked;
use bootstrap::{Bootstrap, Trial};
use listening::{Listening, Withdrawing};
use search::Search;
use serving::Delayed;

pub use self::config::Config;
mod config;

/// A node, driven through [`Discovery`].
#[derive(Debug)]
pub struct Node {
    config: Config,
    chance: Chance,
    secrets: Secrets,
    table: Table<32, SocketAddrV4>,
    nat: NatSampler,
    /// Nodes without an id that told us our address: bootstrap nodes, mostly.
    nameless_samples: Vec<SocketAddrV4>,
    requests: Requests<SocketAddrV4, Asked>,
    searches: BTreeMap<u64, Search>,
    searches_begun: u64,
    /// Peers of ours that listen, by the hash of their keys.
    listening: BTreeMap<Id, Listening>,
    /// Wishes to take something back, and how far they are.
    withdrawals: BTreeMap<u64, Withdrawing>,
    storage: Storage,
    outbox: VecDeque<(Socket, Transmit)>,
    events: VecDeque<Event>,
    delayed: BTreeMap<(Time, u64), Delayed>,
    firewalled: bool,
    ephemeral: bool,
    bootstrap: Bootstrap,
    trial: Option<Trial>,
    /// The host that was tried last, which is not tried again.
    tried: Option<Ipv4Addr>,
    checks: usize,
    swaps: usize,
    hints: (u64, usize),
    carried: Carried,
    ping_at: Time,
    refresh_at: Time,
    /// When an ephemeral node tries to become persistent.
    stable_at: Option<Time>,
}

/// Messages of others that a node carried on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Carried {
    /// Of handshakes.
    pub handshakes: u64,
    /// Of hole punching.
    pub holepunches: u64,
}

impl Node {
    /// Makes a node, which begins at once to look for its neighbours.
    pub fn new(now: Time, config: Config) -> Self {
        let mut chance = Chance::new(&config.seed);
        let mut nat = NatSampler::default();
        let own = config.public_address.map_or_else(|| chance.bytes(), |address| node_id(&address));
        if let Some(address) = config.public_address {
            nat.add(*address.ip(), address.port());
        }
        let jitter = |chance: &mut Chance, span: Duration| span / 2 + span * chance.below(1000) as u32 / 2000;
        let mut node = Self {
            secrets: Secrets::new(&config.seed, SECRET_SPAN),
            table: Table::new(own, config.query.k),
            nat,
            nameless_samples: Vec::new(),
            requests: Requests::new(config.request),
            searches: BTreeMap::new(),
            searches_begun: 0,
            listening: BTreeMap::new(),
            withdrawals: BTreeMap::new(),
            storage: Storage::new(config.entries_max),
            outbox: VecDeque::new(),
            events: VecDeque::new(),
            delayed: BTreeMap::new(),
            firewalled: config.firewalled,
            ephemeral: true,
            bootstrap: Bootstrap::default(),
            trial: None,
            tried: None,
            checks: 0,
            swaps: 0,
            hints: (0, 0),
            carried: Carried::default(),
            ping_at: now + jitter(&mut chance, PING_INTERVAL),
            refresh_at: now + jitter(&mut chance, REFRESH_INTERVAL),
            stable_at: config.ephemeral.is_none().then(|| now + STABLE),
            chance,
            config,
        };
        node.begin_bootstrap(now);
        node.settle(now);
        node
    }

    /// Returns the id others know the node by, if it is persistent.
    pub fn id(&self) -> Option<Id> {
        (!self.ephemeral).then(|| *self.table.own())
    }

    /// Returns whether it knows its neighbours, as far as there are any.
    pub fn is_bootstrapped(&self) -> bool {
        self.bootstrap.is_done
    }

    /// Returns how many records and values of others are stored.
    pub fn stored(&self) -> usize {
        self.storage.len()
    }

    /// Returns whether nobody is known to reach the server socket unasked.
    pub fn is_firewalled(&self) -> bool {
        self.firewalled
    }

    /// Returns the address most others see the node at, once they agree; port 0 if they agree on the host alone.
    pub fn seen_at(&self) -> Option<SocketAddrV4> {
        self.nat.host().map(|host| SocketAddrV4::new(host, self.nat.port()))
    }

    /// Returns the addresses in the routing table.
    pub fn neighbours(&self) -> impl Iterator<Item = SocketAddrV4> {
        self.table.iter().map(|contact| contact.address)
    }

    /// Returns how many messages were carried on for peers that want to connect.
    pub fn carried(&self) -> Carried {
        self.carried
    }

    /// Returns the socket that requests leave by, and on which others see our address.
    fn main_socket(&self) -> Socket {
        if self.firewalled { Socket::Client } else { Socket::Server }
    }

    /// Lets everything that can go on do so; the end of every `handle_*`.
    fn settle(&mut self, now: Time) {
        self.pump(now);
        self.requests.drain(now);
    }
}

impl Discovery for Node {
    fn handle_command(&mut self, now: Time, command: Command) {
        self.begin(now, command);
        self.settle(now);
    }

    fn handle_datagram(&mut self, now: Time, socket: Socket, from: SocketAddr, datagram: &[u8]) {
        let SocketAddr::V4(from) = from else { return };
        if from.port() == 0 {
            return;
        }
        match Packet::decode(datagram) {
            Ok(Packet::Request(request)) => self.serve(now, socket, from, &request),
            Ok(Packet::Reply(reply)) => self.hear_reply(now, socket, from, &reply),
            Err(_) => return,
        }
        self.settle(now);
    }

    fn handle_timeout(&mut self, now: Time) {
        self.wake_up_if_asleep(now);
        self.expire_requests(now);
        self.send_delayed(now);
        self.keep_up(now);
        self.settle(now);
    }

    fn poll_transmit(&mut self) -> Option<(Socket, Transmit)> {
        if let Some(transmit) = self.outbox.pop_front() {
            return Some(transmit);
        }
        let (to, asked, datagram) = self.requests.poll_transmit()?;
        Some((asked.socket, Transmit { to: to.into(), datagram }))
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn poll_deadline(&self) -> Option<Deadline> {
        let requests = self.requests.deadline().map(|at| Deadline { at, why: "a request is due" });
        let delayed = self.delayed.first_key_value().map(|((at, _), _)| Deadline { at: *at, why: "a delayed ping" });
        let stable = self.stable_at.map(|at| Deadline { at, why: "perhaps to become persistent" });
        let keep = self.keeps_at().map(|at| Deadline { at, why: "to ping those that forward" });
        let ping = Deadline { at: self.ping_at, why: "to ping those silent longest" };
        let refresh = Deadline { at: self.refresh_at, why: "to refresh the table" };
        [requests, delayed, stable, keep, Some(ping), Some(refresh)].into_iter().flatten().min()
    }
}

/// A token holds for one to two of these: as the reference.
const SECRET_SPAN: Duration = Duration::from_millis(7_500);
/// How often a few of the contacts that were silent longest are pinged.
const PING_INTERVAL: Duration = Duration::from_secs(40);
/// How long without a walk until one is made to refresh the table.
const REFRESH_INTERVAL: Duration = Duration::from_secs(300);
/// How long a node runs before it tries to become persistent,
const STABLE: Duration = Duration::from_secs(20 * 60);
/// and how long if it failed or slept.
const STABLE_AGAIN: Duration = Duration::from_secs(60 * 60);

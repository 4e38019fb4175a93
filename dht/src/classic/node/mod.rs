//! A node of BitTorrent's DHT: asks, answers, stores.
//!
//! It lives in one family of addresses, for IPv6 is a network of its own. Its id is by chance until others tell it its
//! address, and then one that follows from that.
//!
//! Source: BEP 5, 32, 42, 43 and 44.

mod asking;
mod config;
mod hearing;
mod search;
mod serving;
mod storing;
mod upkeep;
mod wish;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anypath_wire::{Deadline, Hash, Time, Transmit};

use super::{Body, Id, Item, Mapping, Message, id_fits, id_for};
use crate::chance::Chance;
use crate::discovery::{Command, Discovery, Event, Socket};
use crate::generations::Generations;
use crate::kademlia::{Contact, QueryRules, RequestRules, Requests, RowRules, Table};
use crate::records::Records;
use crate::secrets::Secrets;
use asking::Purpose;
pub use config::Config;
use search::Search;
use wish::Wish;

/// A node, driven through [`Discovery`]. It has one socket, the server's.
#[derive(Debug)]
pub struct Node {
    config: Config,
    chance: Chance,
    secrets: Secrets,
    table: Table<20, SocketAddr>,
    requests: Requests<SocketAddr, Purpose>,
    searches: BTreeMap<u64, Search>,
    searches_begun: u64,
    wishes: BTreeMap<u64, Wish>,
    peers: Records<20, SocketAddr>,
    items: Generations<Id, Item>,
    outbox: VecDeque<Transmit>,
    events: VecDeque<Event>,
    /// Who told us our address, and what they said.
    votes: VecDeque<(IpAddr, IpAddr)>,
    is_bootstrapped: bool,
    /// Contacts, and those that want to be, that are pinged.
    checks: usize,
    ping_at: Time,
    refresh_at: Time,
}

impl Node {
    /// Makes a node, which begins at once to look for its neighbours.
    pub fn new(now: Time, config: Config) -> Self {
        let mut chance = Chance::new(&config.seed);
        let own = id_of(&mut chance);
        let mut node = Self {
            secrets: Secrets::new(&config.seed, SECRET_SPAN),
            table: Table::new(own, config.query.k),
            requests: Requests::new(config.request),
            searches: BTreeMap::new(),
            searches_begun: 0,
            wishes: BTreeMap::new(),
            peers: Records::new(config.entries_max, PEER_AGE),
            items: Generations::new(config.entries_max / 2, ITEM_AGE),
            outbox: VecDeque::new(),
            events: VecDeque::new(),
            votes: VecDeque::new(),
            is_bootstrapped: false,
            checks: 0,
            ping_at: now + PING_INTERVAL,
            refresh_at: now + REFRESH_INTERVAL,
            chance,
            config,
        };
        node.begin_bootstrap(now);
        node.settle(now);
        node
    }

    /// Returns its id now.
    pub fn id(&self) -> &Id {
        self.table.own()
    }

    /// Returns whether it knows its neighbours, as far as there are any.
    pub fn is_bootstrapped(&self) -> bool {
        self.is_bootstrapped
    }

    /// Returns the addresses in the routing table.
    pub fn neighbours(&self) -> impl Iterator<Item = SocketAddr> {
        self.table.iter().map(|contact| contact.address)
    }

    /// Returns how many peers and items of others are stored.
    pub fn stored(&self) -> usize {
        self.peers.len() + self.items.len()
    }

    /// Lets everything that can go on do so; the end of every `handle_*`.
    fn settle(&mut self, now: Time) {
        self.pump(now);
        self.requests.drain(now);
    }

    /// Returns whether a node with this id at this address is one to keep, to tell of and to store at.
    fn accepts(&self, id: &Id, address: &SocketAddr) -> bool {
        let is_ours = address.is_ipv6() == self.config.ipv6 && address.port() != 0 && id != self.table.own();
        is_ours && (!self.config.only_fitting_ids || id_fits(&address.ip(), id))
    }
}

impl Discovery for Node {
    fn handle_command(&mut self, now: Time, command: Command) {
        self.begin(now, command);
        self.settle(now);
    }

    fn handle_datagram(&mut self, now: Time, _: Socket, from: SocketAddr, datagram: &[u8]) {
        if from.port() == 0 || from.is_ipv6() != self.config.ipv6 {
            return;
        }
        let Ok(message) = Message::decode(datagram) else { return };
        match &message.body {
            Body::Query(query) => self.serve(now, from, &message, query),
            Body::Response(response) => self.hear_response(now, from, &message, response),
            Body::Error(..) => self.hear_error(now, from, message.transaction),
        }
        self.settle(now);
    }

    fn handle_timeout(&mut self, now: Time) {
        self.expire_requests(now);
        self.keep_up(now);
        self.settle(now);
    }

    fn poll_transmit(&mut self) -> Option<(Socket, Transmit)> {
        if let Some(transmit) = self.outbox.pop_front() {
            return Some((Socket::Server, transmit));
        }
        let (to, _, datagram) = self.requests.poll_transmit()?;
        Some((Socket::Server, Transmit { to, datagram }))
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn poll_deadline(&self) -> Option<Deadline> {
        let requests = self.requests.deadline().map(|at| Deadline { at, why: "a request is due" });
        let ping = Deadline { at: self.ping_at, why: "to ping those silent longest" };
        let refresh = Deadline { at: self.refresh_at, why: "to refresh the table" };
        [requests, Some(ping), Some(refresh)].into_iter().flatten().min()
    }
}

/// Draws an id.
fn id_of(chance: &mut Chance) -> Id {
    let bytes = chance.bytes();
    std::array::from_fn(|at| bytes[at])
}

/// A token holds for one to two of these: BEP 5.
const SECRET_SPAN: Duration = Duration::from_secs(5 * 60);
/// How long a peer is told of; programs announce again every 15 minutes or so.
const PEER_AGE: Duration = Duration::from_secs(30 * 60);
/// How long an item is: BEP 44.
const ITEM_AGE: Duration = Duration::from_secs(2 * 60 * 60);
/// How often contacts that were silent are pinged.
const PING_INTERVAL: Duration = Duration::from_secs(60);
/// How long without a walk until one is made to refresh the table: BEP 5.
const REFRESH_INTERVAL: Duration = Duration::from_secs(15 * 60);

//! One source of peers: a node of a DHT, running.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use anypath_dht::{Ask, Event, Outcome, classic, hyperswarm, lan, tracker};
use anypath_transports::outward;
use anypath_wire::{Address, Hash, KeyPair, PublicKey};
use tokio::net::lookup_host;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::kind::{Place, SourceKind};
use super::record;
use crate::finder::{Answers, Finder, FinderEnded, Sockets};

/// What a source is started with.
#[derive(Debug, Clone)]
pub struct SourceConfig {
    /// Its kind.
    pub kind: SourceKind,
    /// Where its UDP socket is, or the one that others are told of.
    pub bind: SocketAddr,
    /// Nodes to begin at.
    pub bootstrap: Vec<Place>,
    /// All its randomness follows from this. Must be secret and never used twice.
    pub seed: Hash,
    /// Milliseconds since 1970 now.
    pub epoch_ms: u64,
    /// Whether it serves others.
    pub serves: Serves,
}

/// Whether a node serves others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serves {
    /// No: it asks, and nobody is told of it.
    Nobody,
    /// Once it has shown that it can be reached, and stays.
    InTime,
    /// From the start: one of the first of a network, or one that is known to be reached.
    AtOnce,
}

/// Why a source does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// No socket.
    #[error("cannot open a UDP socket at {at}: {source}")]
    Bind {
        /// Where.
        at: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// Not where multicast goes.
    #[error("{0} is no multicast group: the usual one is 224.0.0.251:5353")]
    NoGroup(SocketAddrV4),
    /// No node to begin at.
    #[error("none of the nodes to begin at has an IPv4 address: {tried}")]
    NoBootstrap {
        /// Their names, with what became of them.
        tried: String,
    },
}

/// A running source.
#[derive(Debug)]
pub struct Source {
    kind: SourceKind,
    running: Running,
    is_local: bool,
    epoch_ms: u64,
    started: Instant,
    /// When it was last said where this node takes connections.
    recorded: Mutex<Option<Instant>>,
}

#[derive(Debug)]
enum Running {
    Hyperswarm(Finder<hyperswarm::Node>),
    Classic(Finder<classic::Node>),
    Lan(Finder<lan::Node>),
    Tracker(Finder<tracker::Node>),
}

/// How a source's node stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Whether it knows its neighbours, as far as there are any.
    pub is_ready: bool,
    /// Nodes it knows.
    pub neighbours: usize,
    /// Records and values it keeps for others.
    pub stored: usize,
    /// Its id, if others may rely on it.
    pub id: Option<Vec<u8>>,
    /// The address most others see it at, if they agree; port 0 if they agree on the host alone.
    pub seen_at: Option<SocketAddrV4>,
}

impl Source {
    /// Starts a node within the runtime of the caller, once the names of those it begins at are resolved.
    ///
    /// # Errors
    /// If there is no socket, or none of the names means anything. Without any names it begins a network of its own.
    pub async fn start(config: SourceConfig) -> Result<Self, SourceError> {
        let bootstrap = resolve(&config.bootstrap).await?;
        let (kind, epoch_ms) = (config.kind, config.epoch_ms);
        let nowhere = bootstrap.is_empty() && config.bind.ip().is_loopback();
        // Nothing comes from this machine's own addresses on the same network but by this machine's own hands.
        let is_local = kind == SourceKind::Lan || nowhere || !bootstrap.is_empty() && all_local(&bootstrap);
        let running = match kind {
            SourceKind::Hyperswarm => start_hyperswarm(&config, bootstrap)?,
            SourceKind::Classic => start_classic(&config, bootstrap)?,
            SourceKind::Lan => start_lan(&config, &bootstrap)?,
            SourceKind::Tracker => start_tracker(&config, bootstrap)?,
        };
        Ok(Self { kind, running, is_local, epoch_ms, started: Instant::now(), recorded: Mutex::default() })
    }

    /// Returns its kind.
    pub fn kind(&self) -> SourceKind {
        self.kind
    }

    /// Returns the address of its socket, or of the one that others are told of.
    pub fn address(&self) -> SocketAddr {
        match &self.running {
            Running::Hyperswarm(finder) => finder.address(),
            Running::Classic(finder) => finder.address(),
            Running::Lan(finder) => finder.address(),
            Running::Tracker(finder) => finder.address(),
        }
    }

    /// Wishes for something; returns what comes of it as it comes.
    ///
    /// # Errors
    /// If the node has ended.
    pub async fn ask(&self, ask: Ask) -> Result<Answers, FinderEnded> {
        match &self.running {
            Running::Hyperswarm(finder) => finder.ask(ask).await,
            Running::Classic(finder) => finder.ask(ask).await,
            Running::Lan(finder) => finder.ask(ask).await,
            Running::Tracker(finder) => finder.ask(ask).await,
        }
    }

    /// Returns how it stands.
    ///
    /// # Errors
    /// If the node has ended.
    pub async fn standing(&self) -> Result<Standing, FinderEnded> {
        match &self.running {
            Running::Hyperswarm(finder) => finder.read(hyperswarm_standing).await,
            Running::Classic(finder) => finder.read(classic_standing).await,
            Running::Lan(finder) => finder.read(lan_standing).await,
            Running::Tracker(finder) => finder.read(tracker_standing).await,
        }
    }

    /// Waits until it knows its neighbours, as far as there are any.
    ///
    /// # Errors
    /// If the node has ended.
    pub async fn ready(&self) -> Result<(), FinderEnded> {
        let mut events = match &self.running {
            Running::Hyperswarm(finder) => finder.subscribe(),
            Running::Classic(finder) => finder.subscribe(),
            Running::Lan(finder) => finder.subscribe(),
            Running::Tracker(finder) => finder.subscribe(),
        };
        while !self.standing().await?.is_ready {
            // The event may have come before; then it is looked at again.
            drop(timeout(LOOK_AGAIN_AFTER, events.recv()).await);
        }
        Ok(())
    }

    /// Returns whether it lies on this machine alone, as far as its beginning tells.
    pub(super) fn is_local(&self) -> bool {
        self.is_local
    }

    /// Says where the owner of a key takes connections, where announcements tell of keys alone, so that whoever finds the
    /// key finds these addresses. What was said stays for a while; said again before long, it does nothing.
    ///
    /// # Errors
    /// If the node has ended.
    pub async fn record(&self, key_pair: &KeyPair, listens: &[Address]) -> Result<(), FinderEnded> {
        if self.kind != SourceKind::Hyperswarm {
            return Ok(());
        }
        let mut recorded = self.recorded.lock().await;
        if recorded.is_some_and(|at| at.elapsed() < ANNOUNCE_INTERVAL) {
            return Ok(());
        }
        self.ready().await?;
        let seen_at = self.standing().await?.seen_at.map(|seen| IpAddr::from(*seen.ip()));
        let value = record::encode(&record::dialled_from_outside(listens, seen_at));
        let ask = Ask::PutMutable { key_pair: key_pair.clone(), seq: self.now_ms(), value };
        let mut answers = self.ask(ask).await?;
        if outcome(&mut answers).await?.stored > 0 {
            *recorded = Some(Instant::now());
        }
        Ok(())
    }

    /// Returns where a peer says under its key that it takes connections; nothing if it says nothing.
    ///
    /// # Errors
    /// If the node has ended.
    pub async fn addresses(&self, key: PublicKey) -> Result<Vec<Address>, FinderEnded> {
        let mut answers = self.ask(Ask::GetMutable { key, seq: 0 }).await?;
        let mut addresses = Vec::new();
        while let Some(event) = answers.recv().await {
            match event {
                Event::Value { value, .. } => addresses = record::decode(&value),
                Event::Done { .. } => break,
                _ => {}
            }
        }
        Ok(addresses)
    }

    /// Returns milliseconds since 1970 now.
    fn now_ms(&self) -> u64 {
        self.epoch_ms + u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX / 2)
    }
}

/// Waits for the end of a wish.
///
/// # Errors
/// If the node has ended.
pub(super) async fn outcome(answers: &mut Answers) -> Result<Outcome, FinderEnded> {
    loop {
        if let Event::Done { outcome, .. } = answers.recv().await.ok_or(FinderEnded)? {
            return Ok(outcome);
        }
    }
}

fn start_hyperswarm(config: &SourceConfig, bootstrap: Vec<SocketAddrV4>) -> Result<Running, SourceError> {
    let sockets = bind(config.bind, true)?;
    let at = sockets.address();
    let serves = config.serves;
    let own = match at {
        SocketAddr::V4(at) if !at.ip().is_unspecified() => Some(at),
        _ => None,
    };
    let config = hyperswarm::Config {
        seed: config.seed,
        server_port: at.port(),
        ephemeral: match serves {
            Serves::Nobody => Some(true),
            Serves::InTime => None,
            Serves::AtOnce => Some(false),
        },
        firewalled: serves != Serves::AtOnce,
        // To the first node of a network nobody can tell its address.
        public_address: own.filter(|_| serves == Serves::AtOnce && bootstrap.is_empty()),
        bootstrap,
        epoch_ms: config.epoch_ms,
        ..hyperswarm::Config::default()
    };
    Ok(Running::Hyperswarm(Finder::start(sockets, |now| hyperswarm::Node::new(now, config))))
}

fn start_classic(config: &SourceConfig, bootstrap: Vec<SocketAddrV4>) -> Result<Running, SourceError> {
    let sockets = bind(config.bind, false)?;
    let config = classic::Config {
        seed: config.seed,
        bootstrap: bootstrap.into_iter().map(SocketAddr::V4).collect(),
        port: sockets.address().port(),
        read_only: config.serves == Serves::Nobody,
        ..classic::Config::default()
    };
    Ok(Running::Classic(Finder::start(sockets, |now| classic::Node::new(now, config))))
}

fn start_lan(config: &SourceConfig, groups: &[SocketAddrV4]) -> Result<Running, SourceError> {
    let mut lan = lan::Config::new(config.seed);
    lan.group = groups.first().copied().unwrap_or(lan.group);
    if !lan.group.ip().is_multicast() {
        return Err(SourceError::NoGroup(lan.group));
    }
    let any = Address { scheme: "udp".to_owned(), host: "0.0.0.0".to_owned(), port: 0, key: None };
    lan.host = outward(&any).host.parse().ok();
    let at = lan.group.into();
    let sockets = Sockets::multicast(lan.group).map_err(|source| SourceError::Bind { at, source })?;
    Ok(Running::Lan(Finder::start(sockets, |_| lan::Node::new(lan))))
}

fn start_tracker(config: &SourceConfig, trackers: Vec<SocketAddrV4>) -> Result<Running, SourceError> {
    let trackers = trackers.into_iter().map(SocketAddr::V4).collect();
    let (sockets, config) = (bind(config.bind, false)?, tracker::Config { seed: config.seed, trackers });
    Ok(Running::Tracker(Finder::start(sockets, |_| tracker::Node::new(config))))
}

fn bind(at: SocketAddr, two: bool) -> Result<Sockets, SourceError> {
    Sockets::bind(at, two).map_err(|source| SourceError::Bind { at, source })
}

fn hyperswarm_standing(node: &hyperswarm::Node) -> Standing {
    Standing {
        is_ready: node.is_bootstrapped(),
        neighbours: node.neighbours().count(),
        stored: node.stored(),
        id: node.id().map(|id| id.to_vec()),
        seen_at: node.seen_at(),
    }
}

fn classic_standing(node: &classic::Node) -> Standing {
    Standing {
        is_ready: node.is_bootstrapped(),
        neighbours: node.neighbours().count(),
        stored: node.stored(),
        id: Some(node.id().to_vec()),
        seen_at: None,
    }
}

fn lan_standing(node: &lan::Node) -> Standing {
    Standing { is_ready: true, neighbours: 0, stored: node.announced(), id: None, seen_at: None }
}

fn tracker_standing(node: &tracker::Node) -> Standing {
    Standing { is_ready: true, neighbours: node.trackers(), stored: 0, id: None, seen_at: None }
}

/// Returns the IPv4 addresses of all these places.
async fn resolve(places: &[Place]) -> Result<Vec<SocketAddrV4>, SourceError> {
    let (mut addresses, mut tried) = (Vec::new(), Vec::new());
    for Place { host, port } in places {
        match timeout(RESOLVE_TIME_MAX, lookup_host((host.as_str(), *port))).await {
            Ok(Ok(found)) => addresses.extend(found.filter_map(|address| match address {
                SocketAddr::V4(address) => Some(address),
                SocketAddr::V6(_) => None,
            })),
            Ok(Err(error)) => tried.push(format!("{host}: {error}")),
            Err(_) => tried.push(format!("{host}: no answer of the name service")),
        }
    }
    if addresses.is_empty() && !places.is_empty() {
        return Err(SourceError::NoBootstrap { tried: tried.join("; ") });
    }
    addresses.sort();
    addresses.dedup();
    Ok(addresses)
}

fn all_local(addresses: &[SocketAddrV4]) -> bool {
    addresses.iter().all(|address| address.ip().is_loopback())
}

/// Returns where a node's socket is unless told otherwise: any free port.
pub const BIND_DEFAULT: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));

/// How often an announcement is renewed: the nodes of Hyperswarm's DHT forget after 13 to 27 minutes, others after 15 to 30.
pub const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(10 * 60);
/// How long the name service may take for one name.
const RESOLVE_TIME_MAX: Duration = Duration::from_secs(10);
/// How long to wait before looking without having been told to.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(250);

//! What every command needs: a store, a node, its peers told about as they come and go.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use anypath_replicate::corestore::PrimaryKey;
use anypath_replicate::replicator::Event as CoreEvent;
use anypath_replicate::store::{Config as StoreConfig, DiskStore, Durability};
use anypath_swarm::{Config, Event as NodeEvent, Node};
use anypath_transports::https::Https;
use anypath_transports::{Tcp, Transport};
use anypath_wire::{Address, KeyPair, ListenAt, PublicKey};
use tokio::runtime::Runtime;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;

use super::looking::Looking;
use crate::args::Network;
use crate::conflict::{Conflicts, Frozen};
use crate::drives::{Reach, Waiter};
use crate::keys::read_identity;
use crate::networks::Networks;
use crate::{Event, Exit, Failure, Finding, Interrupt, Keys, Place, Report, Storage};

/// A running node over a store.
pub(super) struct Session {
    /// Where the store is.
    pub place: Place,
    /// What came of every way to a peer.
    pub reach: Reach,
    /// What drives of our own derive from.
    pub primary: PrimaryKey,
    /// The drives of which there are two histories.
    pub conflicts: Conflicts,
    node: Arc<Node>,
    /// What meets peers at relays, if any is named.
    https: Option<Https>,
    /// What finds peers by the key alone, if any source is named.
    looking: RefCell<Option<Looking>>,
    runtime: Runtime,
    reporter: JoinHandle<()>,
    interrupt: Interrupt,
}

impl Session {
    /// Opens the store and starts a node over it, with the transports that these addresses and others need; nothing is
    /// listened at or dialled yet.
    ///
    /// # Errors
    /// If the store is in use, damaged or cannot be made.
    pub(super) fn open<'a>(
        place: Place,
        storage: &Storage,
        network: &'a Network,
        hints: impl IntoIterator<Item = &'a Address>,
        report: &Arc<Report>,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        place.check_keys()?;
        let keys = Keys::open(&place.keys())?;
        let durability = if storage.durable { Durability::Full } else { Durability::Relaxed };
        let store = DiskStore::open(place.cores(), StoreConfig { durability, ..StoreConfig::default() })?;
        let runtime = Runtime::new().context("cannot start threads")?;
        let mut transports: Vec<Arc<dyn Transport>> = Vec::new();
        transports.extend(network.allows("tcp").then(|| Arc::new(Tcp::default()) as Arc<dyn Transport>));
        let seed = network.identity.as_deref().map_or(Ok(keys.node), read_identity)?;
        let identity = KeyPair::from_seed(&seed);
        let relays = network.relays(hints);
        let https =
            relays.map(|relays| relays.transport(identity.clone(), Networks::at(place.networks()))).transpose()?;
        transports.extend(https.iter().map(|https| Arc::new(https.clone()) as Arc<dyn Transport>));
        let node =
            Node::start(Config { identity, store: Arc::new(store), transports }).context("cannot start threads")?;
        let reach = Reach::default();
        let mut events = node.subscribe();
        let conflicts = Conflicts::new(place.clone(), report.clone(), reach.clone());
        let (told, reported, frozen) = (reach.clone(), report.clone(), conflicts.clone());
        let reporter = runtime.spawn(async move {
            loop {
                match events.recv().await {
                    Ok(event) => {
                        tell(&event, &told, &reported);
                        if let NodeEvent::Core(CoreEvent::Conflict { conflict, .. }) = &event {
                            frozen.tell(conflict);
                        }
                        told.note(&event);
                    }
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        });
        let (node, primary) = (Arc::new(node), PrimaryKey(keys.primary));
        let (looking, interrupt) = (RefCell::default(), interrupt.clone());
        Ok(Self { place, reach, primary, conflicts, node, https, looking, runtime, reporter, interrupt })
    }

    /// Returns a way to wait for the node.
    pub(super) fn waiter(&self, patience: Duration) -> Waiter {
        let runtime = self.runtime.handle().clone();
        Waiter::new(self.node.clone(), runtime, self.interrupt.clone(), self.reach.clone(), patience)
    }

    /// Listens at all these places, tells so, and returns the addresses.
    ///
    /// # Errors
    /// If one of them is taken or cannot be had.
    pub(super) fn listen(&self, places: &[ListenAt], report: &Report) -> Result<Vec<Address>> {
        let mut bound = Vec::new();
        for at in places {
            let address = self
                .runtime
                .block_on(self.node.listen(at))
                .map_err(|error| Failure::new("listen", error.to_string()))?;
            report.event(&Event::Listening { transport: &address.scheme, address: &address.to_string() });
            bound.push(address);
        }
        Ok(bound)
    }

    /// Lets peers that look for a drive at our relays find us, and us them.
    pub(super) fn meet(&self, drive: &PublicKey) {
        self.https.iter().for_each(|https| https.meet(drive.discovery_key()));
    }

    /// Lets peers find us at those of these addresses that are relays, tells so, and returns their addresses with keys.
    ///
    /// # Errors
    /// If one of them is not reached, or does not take us.
    pub(super) fn register<'a>(
        &self,
        addresses: impl IntoIterator<Item = &'a Address>,
        report: &Report,
    ) -> Result<Vec<Address>> {
        let Some(https) = &self.https else { return Ok(Vec::new()) };
        let mut places: Vec<ListenAt> = Vec::new();
        for relay in addresses.into_iter().filter(|address| https.speaks(address)) {
            https.expect(relay);
            let Address { scheme, host, port, .. } = relay.clone();
            places.push(ListenAt { scheme, host, ports: port..=port });
        }
        self.listen(&places, report)
    }

    /// Dials all these addresses from now on, each once; returns how many there are.
    pub(super) fn connect<'a>(&self, addresses: impl IntoIterator<Item = &'a Address>) -> usize {
        let addresses: BTreeSet<Address> = addresses.into_iter().cloned().collect();
        self.reach.dialling(&addresses);
        let _inside = self.runtime.enter();
        let count = addresses.len();
        addresses.into_iter().for_each(|address| self.node.connect(address));
        count
    }

    /// Looks for peers of these drives by the sources that are named, and lets them find us where we listen. A source that
    /// does not start is told of; the others go on.
    ///
    /// # Errors
    /// If the system gives no randomness.
    pub(super) fn discover(
        &self,
        finding: &Finding,
        drives: &[PublicKey],
        listens: &[Address],
        report: &Arc<Report>,
    ) -> Result<()> {
        let topics: Vec<_> = drives.iter().map(|drive| drive.discovery_key().0).collect();
        let looking = Looking::start(&self.runtime, &self.node, finding, &self.reach, report)?;
        let Some(mut looking) = looking else { return Ok(()) };
        let _inside = self.runtime.enter();
        topics.into_iter().for_each(|topic| looking.join(topic, listens));
        *self.looking.borrow_mut() = Some(looking);
        Ok(())
    }

    /// Runs a command over this session and closes it. What failed first in the store is what the person is told.
    ///
    /// # Errors
    /// The store's, or else the command's own.
    pub(super) fn run(self, command: impl FnOnce(&Self) -> Result<Exit>) -> Result<Exit> {
        let outcome = command(&self).map_err(|error| match error.downcast_ref::<Frozen>() {
            Some(frozen) => self.conflicts.failure(frozen).into(),
            None => error,
        });
        self.close()?;
        outcome
    }

    /// Ends all connections properly, without telling of each, and closes the store.
    fn close(self) -> Result<()> {
        let Self { node, runtime, reporter, looking, .. } = self;
        if let Some(looking) = looking.take() {
            runtime.block_on(looking.leave());
        }
        reporter.abort();
        let outcome = runtime.block_on(node.stop());
        runtime.shutdown_timeout(Duration::from_secs(1));
        Ok(outcome?)
    }
}

/// Opens the store named on the command line or the default one for a folder, after the folder's own path is clear.
///
/// # Errors
/// If the folder's path cannot be resolved.
pub(super) fn place_for(storage: &Storage, folder: &Path) -> Result<Place> {
    let path = folder.canonicalize().with_context(|| format!("cannot open the folder {}", folder.display()))?;
    Place::for_folder(storage.store.as_deref(), &path)
}

fn tell(event: &NodeEvent, reach: &Reach, report: &Report) {
    match event {
        NodeEvent::Connected(info) => report.event(&Event::Connected {
            peer: &info.key.to_string(),
            transport: info.transport,
            via: &info.address.to_string(),
            ms: u64::try_from(info.took.as_millis()).unwrap_or(u64::MAX),
        }),
        NodeEvent::Moved { peer, from, to } => {
            if let Some(info) = reach.peer(*peer) {
                report.event(&Event::Path { peer: &info.key.to_string(), from, to });
            }
        }
        NodeEvent::Unreachable { address, error } if reach.is_news(address, &error.to_string()) => {
            report.event(&Event::Unreachable { address: &address.to_string(), reason: &error.to_string() });
        }
        NodeEvent::Disconnected { peer, error } => {
            let reason = error.as_ref().map_or_else(|| "the connection was ended".to_owned(), ToString::to_string);
            if let Some(info) = reach.peer(*peer) {
                report.event(&Event::Disconnected { peer: &info.key.to_string(), reason: &reason });
            }
        }
        _ => {}
    }
}

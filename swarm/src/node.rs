//! One identity, one store, its listeners and connections.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anypath_replicate::mux::Protocol;
use anypath_replicate::replicator::Replicator;
use anypath_replicate::store::{Store, StoreError};
use anypath_transports::{ListenError, Transport};
use anypath_wire::{Address, KeyPair, ListenAt, PublicKey};
use tokio::sync::{Semaphore, broadcast, watch};
use tokio::task::{AbortHandle, JoinSet};

use crate::channels::{ChannelError, Channels};
use crate::engine::{Begun, EngineHandle, Job, Stopped};
use crate::event::Event;
use crate::keeper::{self, Cut, Persistence, Present};

/// What a node is made of.
pub struct Config {
    /// Its own key, by which peers know it; unrelated to the cores it shares.
    pub identity: KeyPair,
    /// Where its cores are.
    pub store: Arc<dyn Store>,
    /// How it reaches peers and is reached, best first.
    pub transports: Vec<Arc<dyn Transport>>,
}

/// A running node; its tasks end when it is dropped, its work lasts only through [`Node::stop`] or a finished call.
pub struct Node {
    shared: Arc<Shared>,
    listeners: Mutex<JoinSet<()>>,
    dialers: Mutex<JoinSet<()>>,
    engine: Mutex<Option<JoinHandle<Result<(), StoreError>>>>,
}

/// What the node's tasks share.
pub(crate) struct Shared {
    pub(crate) identity: KeyPair,
    pub(crate) transports: Vec<Arc<dyn Transport>>,
    pub(crate) engine: EngineHandle,
    /// Shared by every connection there is, so that they can be counted.
    pub(crate) running: Arc<()>,
    /// One permit for every connection that may still come.
    pub(crate) connections: Arc<Semaphore>,
    /// What ends the connections and dialers there are.
    pub(crate) cut: Mutex<Cut>,
    /// The peers that are connected.
    pub(crate) present: Present,
}

impl Node {
    /// Starts the engine; nothing is opened or contacted yet.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(config: Config) -> io::Result<Self> {
        let Config { identity, store, transports } = config;
        let (engine, thread) = EngineHandle::start(Replicator::new(store))?;
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let (running, cut, present) = (Arc::default(), Mutex::default(), Present::default());
        let shared = Arc::new(Shared { identity, transports, engine, running, connections, cut, present });
        Ok(Self { shared, listeners: Mutex::default(), dialers: Mutex::default(), engine: Mutex::new(Some(thread)) })
    }

    /// Returns the node's own key.
    pub fn key(&self) -> PublicKey {
        self.identity().public()
    }

    /// Returns the node's own key pair.
    pub(crate) fn identity(&self) -> &KeyPair {
        &self.shared.identity
    }

    /// Returns the events from now on. A subscriber that falls behind by thousands misses some and is told so.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.shared.engine.events.subscribe()
    }

    /// Accepts peers there from now on, and returns the address that was bound.
    pub async fn listen(&self, at: &ListenAt) -> Result<Address, ListenError> {
        let transport = self.shared.transports.iter().find(|transport| transport.name() == at.scheme);
        let unspoken = || ListenError::NotSpoken { transport: "no transport of this node", at: at.clone() };
        let listener = transport.ok_or_else(unspoken)?.listen(at).await?;
        let address = listener.address();
        spawn(&self.listeners, keeper::accept(self.shared.clone(), listener));
        Ok(address)
    }

    /// Dials the address from now on, and again whenever the connection is lost.
    pub fn connect(&self, to: Address) {
        self.keep_connected(to, Persistence::Always);
    }

    /// Dials an address that somebody found, until it has failed `tries` times in a row, or turns out to be this node's
    /// own or that of a peer that is connected already. What this returns tells when that is so.
    pub(crate) fn try_connect(&self, to: Address, tries: u32) -> AbortHandle {
        self.keep_connected(to, Persistence::Tries(tries))
    }

    fn keep_connected(&self, to: Address, persistence: Persistence) -> AbortHandle {
        let cut = self.shared.cut();
        spawn(&self.dialers, keeper::keep_connected(self.shared.clone(), to, persistence, cut))
    }

    /// Stops dialling and ends all connections properly; returns when they have ended. Listening goes on.
    pub async fn disconnect(&self) {
        let cut = std::mem::take(&mut *self.shared.cut.lock().unwrap_or_else(PoisonError::into_inner));
        cut.now().await;
    }

    /// Returns how many connections there are, those that still shake hands included.
    pub fn connections(&self) -> usize {
        Arc::strong_count(&self.shared.running) - 1
    }

    /// Speaks a protocol of the application's own with every peer, from now on until what this returns is dropped.
    ///
    /// # Errors
    /// If its name is spoken already, or the node has stopped.
    pub async fn speak(&self, protocol: Protocol) -> Result<Channels, ChannelError> {
        let spoken = protocol.clone();
        self.call(move |replicator| replicator.speak(&spoken)).await??;
        Ok(Channels::new(protocol, self.shared.engine.jobs.downgrade()))
    }

    /// Runs `f` with the replicator and returns what it returned, once everything it staged is committed.
    ///
    /// # Errors
    /// If the node has stopped.
    pub async fn call<R, F>(&self, f: F) -> Result<R, Stopped>
    where
        R: Send + 'static,
        F: FnOnce(&mut Replicator) -> R + Send + 'static,
    {
        self.begin(f).await?.committed().await
    }

    /// The same without waiting for the commit; whatever is begun or called later comes behind it.
    ///
    /// # Errors
    /// If the node has stopped.
    pub async fn begin<R, F>(&self, f: F) -> Result<Begun<R>, Stopped>
    where
        R: Send + 'static,
        F: FnOnce(&mut Replicator) -> R + Send + 'static,
    {
        self.shared.engine.begin(f).await
    }

    /// Runs `f`, which only looks, and returns what it returned at once; it may see what is not committed yet.
    ///
    /// # Errors
    /// If the node has stopped.
    pub async fn read<R, F>(&self, f: F) -> Result<R, Stopped>
    where
        R: Send + 'static,
        F: FnOnce(&Replicator) -> R + Send + 'static,
    {
        self.shared.engine.read(f).await
    }

    /// Commits everything, ends all connections properly and lets go of the store.
    ///
    /// # Errors
    /// If the store failed, now or earlier.
    pub async fn stop(&self) -> Result<(), StoreError> {
        drop(self.shared.engine.send(Job::Stop).await);
        let thread = self.engine.lock().unwrap_or_else(PoisonError::into_inner).take();
        let outcome = match thread.map(|thread| tokio::task::spawn_blocking(|| thread.join())) {
            Some(joined) => match joined.await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(panic)) => std::panic::resume_unwind(panic),
                Err(_) => Ok(()), // the runtime is shutting down
            },
            None => Ok(()),
        };
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
        let connections = self.shared.connections.clone();
        let ended = connections.acquire_many(CONNECTIONS_MAX as u32);
        drop(tokio::time::timeout(CLOSING_TIME_MAX, ended).await);
        self.dialers.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
        outcome
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
        self.shared.cut.lock().unwrap_or_else(PoisonError::into_inner).begin();
    }
}

impl Shared {
    /// Returns what tells a new connection or dialer to end.
    pub(crate) fn cut(&self) -> watch::Receiver<bool> {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner).subscribe()
    }
}

fn spawn(tasks: &Mutex<JoinSet<()>>, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
    let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
    while tasks.try_join_next().is_some() {}
    tasks.spawn(task)
}

/// Most connections at once, handshakes included; further peers wait in the system's queue.
const CONNECTIONS_MAX: usize = 4096;
/// How long peers are given to take in what was sent to them before the node ends.
const CLOSING_TIME_MAX: Duration = Duration::from_secs(3);

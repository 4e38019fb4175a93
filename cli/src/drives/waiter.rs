//! Waits for the node from a thread that may block: until something is so, the person stops it, or nothing moves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use anypath_replicate::replicator::{self, Replicator};
use anypath_swarm::{Begun, Event, Node};
use tokio::runtime::Handle;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::timeout;

use super::Reach;
use crate::Interrupt;

/// A node and the patience of whoever waits for it.
pub(crate) struct Waiter {
    node: Arc<Node>,
    runtime: Handle,
    events: Receiver<Event>,
    interrupt: Interrupt,
    reach: Reach,
    patience: Duration,
    /// Spent in pauses since something moved last; work of our own between them does not count.
    waited: Duration,
}

impl Waiter {
    /// Makes one that gives up after waiting for `patience` without a new block or head of any core.
    pub(crate) fn new(
        node: Arc<Node>,
        runtime: Handle,
        interrupt: Interrupt,
        reach: Reach,
        patience: Duration,
    ) -> Self {
        let events = node.subscribe();
        Self { node, runtime, events, interrupt, reach, patience, waited: Duration::ZERO }
    }

    /// Returns what `look` sees.
    ///
    /// # Errors
    /// If the node has stopped.
    pub(crate) fn read<T, F>(&self, look: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Replicator) -> T + Send + 'static,
    {
        Ok(self.runtime.block_on(self.node.read(look))?)
    }

    /// Returns what `work` did, once it is committed.
    ///
    /// # Errors
    /// If the node has stopped.
    pub(crate) fn call<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Replicator) -> T + Send + 'static,
    {
        Ok(self.runtime.block_on(self.node.call(work))?)
    }

    /// Hands in `work` without waiting for it to be committed.
    ///
    /// # Errors
    /// If the node has stopped.
    pub(crate) fn begin<T, F>(&self, work: F) -> Result<Begun<T>>
    where
        T: Send + 'static,
        F: FnOnce(&mut Replicator) -> T + Send + 'static,
    {
        Ok(self.runtime.block_on(self.node.begin(work))?)
    }

    /// Returns what work that was handed in did, once it is committed.
    ///
    /// # Errors
    /// If the node has stopped.
    pub(crate) fn committed<T>(&self, begun: Begun<T>) -> Result<T> {
        Ok(self.runtime.block_on(begun.committed())?)
    }

    /// Waits until something may have changed, at most for a moment.
    ///
    /// # Errors
    /// If the person interrupted, the node stopped, or patience ran out; the latter names every way that was tried.
    pub(crate) fn pause(&mut self) -> Result<()> {
        self.interrupt.check()?;
        let began = Instant::now();
        let moved = self.runtime.block_on(moved(&mut self.events))?;
        self.interrupt.check()?;
        self.waited = if moved { Duration::ZERO } else { self.waited.saturating_add(began.elapsed()) };
        if self.waited < self.patience { Ok(()) } else { Err(self.reach.failure(self.patience).into()) }
    }

    /// Waits as long as it takes for news of any core.
    ///
    /// # Errors
    /// If the person interrupted or the node stopped.
    pub(crate) fn pause_patiently(&mut self) -> Result<()> {
        self.waited = Duration::ZERO;
        self.pause()
    }

    /// Never gives up from now on.
    pub(crate) fn have_all_patience(&mut self) {
        self.patience = Duration::MAX;
    }
}

/// Waits a moment for an event and takes all that have come; returns whether blocks or a head were among them.
async fn moved(events: &mut Receiver<Event>) -> Result<bool> {
    let Ok(first) = timeout(LOOK_AGAIN_AFTER, events.recv()).await else { return Ok(false) };
    let mut moved = match first {
        Ok(event) => is_movement(&event),
        Err(RecvError::Lagged(_)) => true,
        Err(RecvError::Closed) => bail!("the node has stopped"),
    };
    loop {
        moved |= match events.try_recv() {
            Ok(event) => is_movement(&event),
            Err(TryRecvError::Lagged(_)) => true,
            Err(TryRecvError::Empty | TryRecvError::Closed) => return Ok(moved),
        };
    }
}

fn is_movement(event: &Event) -> bool {
    matches!(event, Event::Core(replicator::Event::Blocks { .. } | replicator::Event::Head { .. }))
}

/// How long to wait before looking without having been told to.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(250);

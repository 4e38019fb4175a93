//! Waits for the node from a thread that may block: until something is so, the person stops it, or nothing moves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use anypath_replicate::replicator::{self, Replicator};
use anypath_swarm::{Event, Node};
use tokio::runtime::Handle;
use tokio::sync::broadcast::{Receiver, error::RecvError};
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
    moved: Instant,
}

impl Waiter {
    /// Makes one that gives up after `patience` without a new block or head of any core.
    pub(crate) fn new(
        node: Arc<Node>,
        runtime: Handle,
        interrupt: Interrupt,
        reach: Reach,
        patience: Duration,
    ) -> Self {
        let events = node.subscribe();
        Self { node, runtime, events, interrupt, reach, patience, moved: Instant::now() }
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

    /// Waits until something may have changed, at most for a moment.
    ///
    /// # Errors
    /// If the person interrupted, the node stopped, or patience ran out; the latter names every way that was tried.
    pub(crate) fn pause(&mut self) -> Result<()> {
        self.interrupt.check()?;
        match self.runtime.block_on(async { timeout(LOOK_AGAIN_AFTER, self.events.recv()).await }) {
            Ok(Ok(Event::Core(replicator::Event::Blocks { .. } | replicator::Event::Head { .. }))) => self.refresh(),
            Ok(Err(RecvError::Lagged(_))) => self.refresh(),
            Ok(Err(RecvError::Closed)) => anyhow::bail!("the node has stopped"),
            Ok(Ok(_)) | Err(_) => {}
        }
        if self.moved.elapsed() < self.patience { Ok(()) } else { Err(self.reach.failure(self.patience).into()) }
    }

    /// Starts waiting with full patience; events so far are taken as seen.
    pub(crate) fn refresh(&mut self) {
        self.moved = Instant::now();
    }

    /// Waits as long as it takes for news of any core.
    ///
    /// # Errors
    /// If the person interrupted or the node stopped.
    pub(crate) fn pause_patiently(&mut self) -> Result<()> {
        self.refresh();
        self.pause()
    }
}

/// How long to wait before looking without having been told to.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(250);

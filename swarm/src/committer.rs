//! The thread that commits, so that verifying goes on while blocks are written.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::{self, JoinHandle};

use anypath_replicate::store::{Batch, Store, StoreError};
use tokio::sync::mpsc::WeakSender;

use crate::engine::Job;

/// The engine's end of the committing thread: one batch at a time.
pub(crate) struct Committer {
    /// `None` once this is dropped, which ends the thread.
    batches: Option<Sender<Batch>>,
    outcomes: Receiver<Result<(), StoreError>>,
    thread: Option<JoinHandle<()>>,
}

impl Committer {
    /// Starts the thread; dropping this waits until it has ended and let go of the store. `engine` is woken after each batch.
    pub(crate) fn start(store: Arc<dyn Store>, engine: WeakSender<Job>) -> io::Result<Self> {
        let (batches, work) = channel::<Batch>();
        let (done, outcomes) = channel();
        let thread = thread::Builder::new().name("anypath-committer".into()).spawn(move || {
            for batch in work {
                let told = done.send(store.commit(batch));
                // A full queue means that the engine is awake.
                if let Some(engine) = engine.upgrade() {
                    drop(engine.try_send(Job::Wake));
                }
                if told.is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { batches: Some(batches), outcomes, thread: Some(thread) })
    }

    /// Hands in a batch.
    pub(crate) fn begin(&self, batch: Batch) {
        // The thread ends only with this, or by a panic, which `outcome` tells.
        drop(self.batches.as_ref().map(|batches| batches.send(batch)));
    }

    /// Returns the outcome of the batch handed in: at once if it is there, or when it comes.
    pub(crate) fn outcome(&self, wait: bool) -> Option<Result<(), StoreError>> {
        let outcome =
            if wait { self.outcomes.recv().map_err(|_| TryRecvError::Disconnected) } else { self.outcomes.try_recv() };
        match outcome {
            Ok(outcome) => Some(outcome),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => panic!("the committing thread has panicked"),
        }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.batches = None;
        drop(self.thread.take().map(JoinHandle::join));
    }
}

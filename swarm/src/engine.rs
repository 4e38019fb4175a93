//! The thread that owns the replicator: takes frames and calls, commits, hands out frames.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use anypath_replicate::noise::Sealer;
use anypath_replicate::replicator::{self, PeerId, Replicator};
use anypath_replicate::store::StoreError;
use anypath_wire::Handshake;
use bytes::Bytes;
use thiserror::Error;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::Instant;

use crate::connection::ConnectionError;
use crate::event::Event;

/// The engine has ended: the node was shut down, or its store failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the node has stopped: {reason}")]
pub struct Stopped {
    reason: String,
}

/// What the engine is asked to do.
pub(crate) enum Job {
    /// Run this; it may be told the outcome after the next commit.
    Call(Box<dyn FnOnce(&mut Replicator) -> Reply + Send>),
    /// Run this, which changes nothing, and let it tell the outcome itself.
    Read(Box<dyn FnOnce(&Replicator) + Send>),
    /// A connection has shaken hands; frames for it go into `frames`, and `gone` tells if it must end.
    Connect {
        handshake: Handshake,
        frames: mpsc::UnboundedSender<Vec<u8>>,
        gone: oneshot::Sender<ConnectionError>,
        id: oneshot::Sender<PeerId>,
    },
    /// Decrypted frames have arrived.
    Frames(PeerId, Vec<Bytes>),
    /// A frame was written; its buffer comes back.
    Written(PeerId, Vec<u8>),
    /// A connection has ended.
    Disconnect(PeerId),
    /// Commit and end.
    Stop,
}

/// Runs after the commit that makes a call's work last.
pub(crate) type Reply = Box<dyn FnOnce() + Send>;

/// The way to the engine; cheap to clone.
#[derive(Clone)]
pub(crate) struct EngineHandle {
    jobs: mpsc::Sender<Job>,
    pub(crate) events: broadcast::Sender<Event>,
}

impl EngineHandle {
    /// Starts the thread.
    pub(crate) fn start(replicator: Replicator) -> std::io::Result<(Self, thread::JoinHandle<Result<(), StoreError>>)> {
        let (jobs, queue) = mpsc::channel(JOBS_MAX);
        let (events, _) = broadcast::channel(EVENTS_MAX);
        let engine = Engine {
            replicator,
            peers: BTreeMap::new(),
            replies: Vec::new(),
            staged_since: None,
            events: events.clone(),
        };
        let thread = thread::Builder::new().name("anypath-engine".into()).spawn(move || engine.run(queue))?;
        Ok((Self { jobs, events }, thread))
    }

    /// Hands in a job; waits while the engine is behind.
    pub(crate) async fn send(&self, job: Job) -> Result<(), Stopped> {
        self.jobs.send(job).await.map_err(|_| Stopped::new())
    }

    /// Runs `f` on the engine and returns what it returned.
    pub(crate) async fn read<R, F>(&self, f: F) -> Result<R, Stopped>
    where
        R: Send + 'static,
        F: FnOnce(&Replicator) -> R + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        self.send(Job::Read(Box::new(move |replicator| drop(sender.send(f(replicator)))))).await?;
        receiver.await.map_err(|_| Stopped::new())
    }

    /// Waits until the engine has ended.
    pub(crate) async fn stopped(&self) -> Stopped {
        self.jobs.closed().await;
        Stopped::new()
    }

    /// Returns whether the engine has ended.
    pub(crate) fn has_stopped(&self) -> bool {
        self.jobs.is_closed()
    }

    /// Runs `f` on the engine and returns what it returned, once it is committed.
    pub(crate) async fn call<R, F>(&self, f: F) -> Result<R, Stopped>
    where
        R: Send + 'static,
        F: FnOnce(&mut Replicator) -> R + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let call = move |replicator: &mut Replicator| -> Reply {
            let outcome = f(replicator);
            Box::new(move || drop(sender.send(outcome)))
        };
        self.send(Job::Call(Box::new(call))).await?;
        receiver.await.map_err(|_| Stopped::new())
    }
}

impl Stopped {
    fn new() -> Self {
        Self { reason: "it was shut down, or its store failed (see the log)".to_owned() }
    }
}

struct Engine {
    replicator: Replicator,
    peers: BTreeMap<PeerId, Peer>,
    replies: Vec<Reply>,
    staged_since: Option<Instant>,
    events: broadcast::Sender<Event>,
}

/// A connection as the engine sees it.
struct Peer {
    frames: mpsc::UnboundedSender<Vec<u8>>,
    gone: oneshot::Sender<ConnectionError>,
    /// Frames handed out and not yet written.
    unwritten: usize,
    /// Buffers to use again.
    spare: Vec<Vec<u8>>,
}

impl Engine {
    fn run(mut self, mut queue: mpsc::Receiver<Job>) -> Result<(), StoreError> {
        let outcome = self.work(&mut queue);
        if let Err(error) = &outcome {
            tracing::error!(%error, "the store failed; the node stops");
        }
        outcome
    }

    fn work(&mut self, queue: &mut mpsc::Receiver<Job>) -> Result<(), StoreError> {
        while let Some(job) = queue.blocking_recv() {
            let mut next = Some(job);
            let mut stop = false;
            while let Some(job) = next {
                stop |= matches!(job, Job::Stop);
                self.handle(job)?;
                self.commit_if_due()?;
                self.hand_out()?;
                next = queue.try_recv().ok();
            }
            self.commit()?;
            self.hand_out()?;
            if stop {
                break;
            }
        }
        self.commit()
    }

    fn handle(&mut self, job: Job) -> Result<(), StoreError> {
        match job {
            Job::Call(call) => {
                let reply = call(&mut self.replicator);
                self.replies.push(reply);
            }
            Job::Read(read) => read(&self.replicator),
            Job::Connect { handshake, frames, gone, id } => {
                let peer = self.replicator.connect(handshake);
                self.peers.insert(peer, Peer { frames, gone, unwritten: 0, spare: Vec::new() });
                if id.send(peer).is_err() {
                    self.disconnect(peer)?;
                }
            }
            Job::Frames(peer, frames) => {
                for frame in frames {
                    if let Err(error) = self.replicator.handle_frame(peer, frame) {
                        return self.fail(peer, error);
                    }
                }
            }
            Job::Written(peer, mut buffer) => {
                if let Some(peer) = self.peers.get_mut(&peer) {
                    peer.unwritten -= 1;
                    buffer.clear();
                    peer.spare.push(buffer);
                }
            }
            Job::Disconnect(peer) => self.disconnect(peer)?,
            Job::Stop => {}
        }
        Ok(())
    }

    /// Ends one peer for its own error; passes on an error of our store.
    fn fail(&mut self, peer: PeerId, error: replicator::FrameError) -> Result<(), StoreError> {
        let error = match error {
            replicator::FrameError::Store(error) => return Err(error),
            error => error,
        };
        if let Some(peer) = self.peers.remove(&peer) {
            drop(peer.gone.send(ConnectionError::Replication(error)));
        }
        self.replicator.disconnect(peer)
    }

    fn disconnect(&mut self, peer: PeerId) -> Result<(), StoreError> {
        self.peers.remove(&peer);
        self.replicator.disconnect(peer)
    }

    /// Hands out frames to every peer that has room for them.
    fn hand_out(&mut self) -> Result<(), StoreError> {
        let mut failed = Vec::new();
        for (id, peer) in &mut self.peers {
            while peer.unwritten < FRAMES_UNWRITTEN_MAX && self.replicator.has_frame(*id) {
                let mut frame = peer.spare.pop().unwrap_or_default();
                frame.resize(Sealer::ROOM_BYTES, 0);
                match self.replicator.poll_frame(*id, &mut frame) {
                    Ok(true) if peer.frames.send(frame).is_ok() => peer.unwritten += 1,
                    Ok(_) => break,
                    Err(error) => {
                        failed.push((*id, error));
                        break;
                    }
                }
            }
        }
        failed.into_iter().try_for_each(|(id, error)| self.fail(id, error))?;
        while let Some(event) = self.replicator.poll_event() {
            drop(self.events.send(Event::Core(event)));
        }
        Ok(())
    }

    fn commit_if_due(&mut self) -> Result<(), StoreError> {
        if !self.replicator.is_staged() {
            return Ok(());
        }
        let since = *self.staged_since.get_or_insert_with(Instant::now);
        let due = self.replicator.staged_bytes() >= STAGED_BYTES_MAX || since.elapsed() >= STAGED_TIME_MAX;
        if due { self.commit() } else { Ok(()) }
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.staged_since = None;
        if self.replicator.is_staged() {
            self.replicator.commit()?;
        }
        self.replies.drain(..).for_each(|reply| reply());
        Ok(())
    }
}

/// Jobs that may wait: with 256 KiB of frames in each, 16 MiB.
const JOBS_MAX: usize = 64;
/// Events a subscriber may be behind before it misses some and has to look for itself.
const EVENTS_MAX: usize = 4096;
/// Frames handed to a connection and not yet written: enough to keep a socket busy, few enough to stay fair.
const FRAMES_UNWRITTEN_MAX: usize = 8;
/// Staged bytes at which a commit is made though more is waiting, in bytes.
const STAGED_BYTES_MAX: usize = 8 << 20;
/// How long anything stays staged while more keeps coming.
const STAGED_TIME_MAX: Duration = Duration::from_millis(100);

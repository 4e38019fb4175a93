//! The thread that owns the replicator: takes frames and calls, commits, hands out frames.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anypath_replicate::noise::Sealer;
use anypath_replicate::replicator::{self, PeerId, Replicator};
use anypath_replicate::store::StoreError;
use anypath_wire::Handshake;
use bytes::Bytes;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc, oneshot};
use tokio::time::Instant;

use crate::committer::Committer;
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
    Frames(PeerId, Vec<Bytes>, OwnedSemaphorePermit),
    /// A frame was written; its buffer comes back.
    Written(PeerId, Vec<u8>),
    /// Some seconds have passed on a connection.
    Tick(PeerId),
    /// A connection has ended.
    Disconnect(PeerId),
    /// The store has committed.
    Wake,
    /// Commit and end.
    Stop,
}

/// Runs after the commit that makes a call's work last.
pub(crate) type Reply = Box<dyn FnOnce() + Send>;

/// The way to the engine; cheap to clone.
#[derive(Clone)]
pub(crate) struct EngineHandle {
    jobs: mpsc::Sender<Job>,
    /// Room for frames that wait, in KiB.
    room: Arc<Semaphore>,
    pub(crate) events: broadcast::Sender<Event>,
}

impl EngineHandle {
    /// Starts the thread.
    pub(crate) fn start(replicator: Replicator) -> std::io::Result<(Self, thread::JoinHandle<Result<(), StoreError>>)> {
        let (jobs, queue) = mpsc::channel(JOBS_MAX);
        let (events, _) = broadcast::channel(EVENTS_MAX);
        let committer = Committer::start(replicator.store().clone(), jobs.downgrade())?;
        let engine = Engine {
            replicator,
            peers: BTreeMap::new(),
            unblocked: BTreeSet::new(),
            committer,
            committing: None,
            replies: Vec::new(),
            staged_since: None,
            events: events.clone(),
        };
        let thread = thread::Builder::new().name("anypath-engine".into()).spawn(move || engine.run(queue))?;
        let room = Arc::new(Semaphore::new(JOBS_BYTES_MAX >> 10));
        Ok((Self { jobs, room, events }, thread))
    }

    /// Hands in a job; waits while the engine is behind.
    pub(crate) async fn send(&self, job: Job) -> Result<(), Stopped> {
        self.jobs.send(job).await.map_err(|_| Stopped::new())
    }

    /// Hands in frames that have arrived; waits while too many wait already.
    pub(crate) async fn send_frames(&self, peer: PeerId, frames: Vec<Bytes>) -> Result<(), Stopped> {
        let bytes: usize = frames.iter().map(Bytes::len).sum();
        let needed = (bytes.min(JOBS_BYTES_MAX) >> 10) as u32 + 1;
        let room = self.room.clone().acquire_many_owned(needed.min((JOBS_BYTES_MAX >> 10) as u32)).await;
        self.send(Job::Frames(peer, frames, room.map_err(|_| Stopped::new())?)).await
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

    /// Returns whether the engine has ended.
    pub(crate) fn has_stopped(&self) -> bool {
        self.jobs.is_closed()
    }

    /// Hands in `f` to run on the engine, behind all handed in before; what it returned is told once it is committed.
    pub(crate) async fn begin<R, F>(&self, f: F) -> Result<Begun<R>, Stopped>
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
        Ok(Begun(receiver))
    }
}

/// Work that was handed in and is not committed yet.
#[derive(Debug)]
pub struct Begun<R>(oneshot::Receiver<R>);

impl<R> Begun<R> {
    /// Returns what the work returned, once everything it staged is committed.
    ///
    /// # Errors
    /// If the node has stopped.
    pub async fn committed(self) -> Result<R, Stopped> {
        self.0.await.map_err(|_| Stopped::new())
    }
}

impl Stopped {
    pub(crate) fn new() -> Self {
        Self { reason: "it was shut down, or its store failed (see the log)".to_owned() }
    }
}

struct Engine {
    replicator: Replicator,
    peers: BTreeMap<PeerId, Peer>,
    /// Peers that have room for frames again.
    unblocked: BTreeSet<PeerId>,
    committer: Committer,
    /// The replies to calls whose work is being committed, if a commit is under way.
    committing: Option<Vec<Reply>>,
    /// The replies to calls since then.
    replies: Vec<Reply>,
    staged_since: Option<Instant>,
    events: broadcast::Sender<Event>,
}

/// A connection as the engine sees it.
struct Peer {
    frames: mpsc::UnboundedSender<Vec<u8>>,
    gone: oneshot::Sender<ConnectionError>,
    /// The sizes of the frames handed out and not yet written, oldest first.
    unwritten: VecDeque<usize>,
    /// Buffers to use again.
    spare: Vec<Vec<u8>>,
}

impl Peer {
    fn has_room(&self) -> bool {
        self.unwritten.len() < FRAMES_UNWRITTEN_MAX && self.unwritten.iter().sum::<usize>() < BYTES_UNWRITTEN_MAX
    }
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
        let mut stop = false;
        while let Some(job) = queue.blocking_recv() {
            let mut next = Some(job);
            while next.is_some() || (!stop && self.replicator.is_ready()) {
                if let Some(job) = next {
                    stop |= matches!(job, Job::Stop);
                    self.handle(job)?;
                }
                self.finish_commit(false)?;
                self.commit_if_due()?;
                self.hand_out()?;
                next = if stop { None } else { queue.try_recv().ok() };
            }
            self.begin_commit()?;
            if stop {
                break;
            }
        }
        self.finish_commit(true)?;
        self.begin_commit()?;
        self.finish_commit(true)?;
        self.hand_out()
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
                self.peers.insert(peer, Peer { frames, gone, unwritten: VecDeque::new(), spare: Vec::new() });
                if id.send(peer).is_err() {
                    self.disconnect(peer)?;
                }
            }
            Job::Frames(peer, frames, _room) => {
                for frame in frames {
                    if let Err(error) = self.replicator.handle_frame(peer, frame) {
                        return self.fail(peer, error);
                    }
                }
            }
            Job::Written(id, mut buffer) => {
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.unwritten.pop_front();
                    if buffer.capacity() <= SPARE_BYTES_MAX {
                        buffer.clear();
                        peer.spare.push(buffer);
                    }
                }
                self.unblocked.insert(id);
            }
            Job::Tick(peer) => self.replicator.tick(peer)?,
            Job::Disconnect(peer) => self.disconnect(peer)?,
            Job::Wake | Job::Stop => {}
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

    /// Hands out frames to the peers that have news or room, and events to whoever subscribed.
    fn hand_out(&mut self) -> Result<(), StoreError> {
        let mut ready = std::mem::take(&mut self.unblocked);
        ready.append(&mut self.replicator.take_ready());
        while let Some(id) = ready.pop_first() {
            if let Err(error) = self.hand_frames(id) {
                self.fail(id, error)?;
                // What it was asked for is asked of others.
                ready.append(&mut self.replicator.take_ready());
            }
        }
        while let Some(event) = self.replicator.poll_event() {
            drop(self.events.send(Event::Core(event)));
        }
        Ok(())
    }

    fn hand_frames(&mut self, id: PeerId) -> Result<(), replicator::FrameError> {
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        while peer.has_room() {
            let mut frame = peer.spare.pop().unwrap_or_default();
            frame.resize(Sealer::ROOM_BYTES, 0);
            if !self.replicator.poll_frame(id, &mut frame)? {
                peer.spare.push(frame);
                break;
            }
            peer.unwritten.push_back(frame.len());
            if peer.frames.send(frame).is_err() {
                break;
            }
        }
        Ok(())
    }

    fn commit_if_due(&mut self) -> Result<(), StoreError> {
        if !self.replicator.is_staged() {
            // However busy peers keep us, whoever called is told.
            return self.begin_commit();
        }
        let since = *self.staged_since.get_or_insert_with(Instant::now);
        let bytes = self.replicator.staged_bytes();
        if bytes >= STAGED_BYTES_MAX {
            self.finish_commit(true)?;
        }
        if bytes >= COMMIT_BYTES_MIN || since.elapsed() >= STAGED_TIME_MAX {
            self.begin_commit()?;
        }
        Ok(())
    }

    /// Begins to commit what is staged, unless a commit is under way; replies at once if there is nothing to commit.
    fn begin_commit(&mut self) -> Result<(), StoreError> {
        if let Some(waiting) = &mut self.committing {
            if !self.replicator.is_staged() {
                waiting.append(&mut self.replies);
            }
        } else if self.replicator.is_staged() {
            self.staged_since = None;
            self.committing = Some(std::mem::take(&mut self.replies));
            self.committer.begin(self.replicator.begin_commit()?);
        } else {
            self.replies.drain(..).for_each(|reply| reply());
        }
        Ok(())
    }

    /// Tells what a commit has made true, once it is done.
    fn finish_commit(&mut self, wait: bool) -> Result<(), StoreError> {
        if self.committing.is_none() {
            return Ok(());
        }
        let Some(outcome) = self.committer.outcome(wait) else { return Ok(()) };
        outcome?;
        self.replicator.finish_commit()?;
        self.committing.take().into_iter().flatten().for_each(|reply| reply());
        Ok(())
    }
}

/// Jobs that may wait; most bring what was read at once, up to 256 KiB.
const JOBS_MAX: usize = 64;
/// Bytes of frames that may wait, whatever their sizes; at least one frame of the largest size fits.
const JOBS_BYTES_MAX: usize = 32 << 20;
/// Events a subscriber may be behind before it misses some and has to look for itself.
const EVENTS_MAX: usize = 4096;
/// Frames handed to a connection and not yet written: enough to keep a socket busy, few enough to stay fair.
const FRAMES_UNWRITTEN_MAX: usize = 8;
/// Bytes of them at which no further one is handed out: a frame that carries one large block has up to 16 MiB.
const BYTES_UNWRITTEN_MAX: usize = 2 << 20;
/// Largest buffer kept to be used again, in bytes: a frame of blocks of 64 KiB fits.
const SPARE_BYTES_MAX: usize = 256 << 10;
/// Staged bytes at which a commit begins though more is waiting, if none is under way.
const COMMIT_BYTES_MIN: usize = 2 << 20;
/// Staged bytes at which everything waits for the commit under way.
const STAGED_BYTES_MAX: usize = 8 << 20;
/// How long anything stays staged while more keeps coming.
const STAGED_TIME_MAX: Duration = Duration::from_millis(100);

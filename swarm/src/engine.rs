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

use crate::buffers::Buffers;
use crate::committer::Committer;
use crate::connection::ConnectionError;
use crate::event::Event;
use crate::unfinished::Unfinished;
use crate::waiting::{ChannelJob, Waiting};

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
    /// Frames were written, in the order in which they were handed out, or a keep-alive; their buffers come back.
    Written(PeerId, Vec<Vec<u8>>),
    /// Decrypted frames have arrived; they take room among all that wait, and among those of their peer.
    Frames(PeerId, Vec<Bytes>, OwnedSemaphorePermit, OwnedSemaphorePermit),
    /// Something about channels of the application's own.
    Channels(ChannelJob),
    /// Some seconds have passed on a connection.
    Tick(PeerId),
    /// A connection has ended.
    Disconnect(PeerId),
    /// The store has committed.
    Wake,
    /// Commit and end.
    Stop,
}

impl Job {
    /// Adds what has arrived of the same peer meanwhile: together it is verified faster. Returns the job behind that, if
    /// it was taken from the queue as well.
    fn gather(&mut self, queue: &mut mpsc::Receiver<Job>) -> Option<Job> {
        let Job::Frames(peer, frames, room, own) = self else { return None };
        while frames.len() < GATHERED_FRAMES_MAX {
            match queue.try_recv() {
                Ok(Job::Frames(same, mut more, more_room, more_own)) if same == *peer => {
                    frames.append(&mut more);
                    room.merge(more_room);
                    own.merge(more_own);
                }
                other => return other.ok(),
            }
        }
        None
    }
}

/// Runs after the commit that makes a call's work last.
pub(crate) type Reply = Box<dyn FnOnce() + Send>;

/// The way to the engine; cheap to clone.
#[derive(Clone)]
pub(crate) struct EngineHandle {
    pub(crate) jobs: mpsc::Sender<Job>,
    /// Room for frames that wait, in KiB.
    room: Arc<Semaphore>,
    /// What connections read into.
    pub(crate) buffers: Buffers,
    pub(crate) events: broadcast::Sender<Event>,
    /// The frames of which only a part has come.
    pub(crate) unfinished: Unfinished,
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
            waiting: Waiting::default(),
            events: events.clone(),
        };
        let thread = thread::Builder::new().name("anypath-engine".into()).spawn(move || engine.run(queue))?;
        let room = Arc::new(Semaphore::new(JOBS_BYTES_MAX >> 10));
        Ok((Self { jobs, room, buffers: Buffers::default(), events, unfinished: Unfinished::default() }, thread))
    }

    /// Hands in a job; waits while the engine is behind.
    pub(crate) async fn send(&self, job: Job) -> Result<(), Stopped> {
        self.jobs.send(job).await.map_err(|_| Stopped::new())
    }

    /// Hands in frames that have arrived; waits while too many wait already, of all peers or (`own`) of this one.
    pub(crate) async fn send_frames(&self, peer: PeerId, own: &PeerRoom, frames: Vec<Bytes>) -> Result<(), Stopped> {
        let bytes: usize = frames.iter().map(Bytes::len).sum();
        let own = own.take(bytes).await?;
        let room = take_room(&self.room, bytes, JOBS_BYTES_MAX).await?;
        self.send(Job::Frames(peer, frames, room, own)).await
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

/// Room for frames of one peer that were handed in and that its mux has not read, in KiB.
#[derive(Clone)]
pub(crate) struct PeerRoom(Arc<Semaphore>);

impl PeerRoom {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(PEER_BYTES_MAX >> 10)))
    }

    /// Takes room for some bytes, or all there is for more.
    async fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Stopped> {
        take_room(&self.0, bytes, PEER_BYTES_MAX).await
    }

    /// Waits until all that was handed in has been read.
    pub(crate) async fn emptied(&self) -> Result<(), Stopped> {
        self.take(PEER_BYTES_MAX).await.map(drop)
    }
}

async fn take_room(room: &Arc<Semaphore>, bytes: usize, bytes_max: usize) -> Result<OwnedSemaphorePermit, Stopped> {
    let needed = ((bytes >> 10) + 1).min(bytes_max >> 10) as u32;
    room.clone().acquire_many_owned(needed).await.map_err(|_| Stopped::new())
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
    waiting: Waiting,
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
    /// For how many ticks it has shared nothing.
    idle_ticks: u32,
    /// Room that is not given back, so that nothing more is read, before the application has taken what is there.
    held: Vec<OwnedSemaphorePermit>,
}

impl Peer {
    fn has_room(&self) -> bool {
        self.unwritten.len() < FRAMES_UNWRITTEN_MAX && self.unwritten.iter().sum::<usize>() < BYTES_UNWRITTEN_MAX
    }

    /// Notes that a frame was written, and keeps its buffer unless it is large, or a keep-alive's.
    fn take_back(&mut self, mut buffer: Vec<u8>) {
        if buffer.len() == Sealer::OVERHEAD_BYTES {
            return;
        }
        self.unwritten.pop_front();
        if buffer.capacity() <= SPARE_BYTES_MAX {
            buffer.clear();
            self.spare.push(buffer);
        }
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
                let mut following = None;
                if let Some(mut job) = next {
                    following = job.gather(queue);
                    stop |= matches!(job, Job::Stop);
                    self.handle(job)?;
                }
                self.finish_commit(false)?;
                self.commit_if_due()?;
                self.hand_out()?;
                next = if stop { None } else { following.or_else(|| queue.try_recv().ok()) };
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
                let (unwritten, spare, held) = (VecDeque::new(), Vec::new(), Vec::new());
                self.peers.insert(peer, Peer { frames, gone, unwritten, spare, idle_ticks: 0, held });
                if id.send(peer).is_err() {
                    self.disconnect(peer)?;
                }
            }
            Job::Frames(peer, frames, _room, own) => {
                if let Err(error) = self.replicator.handle_frames(peer, frames) {
                    return self.fail(peer, error);
                }
                if self.replicator.wants_pause(peer)
                    && let Some(peer) = self.peers.get_mut(&peer)
                {
                    peer.held.push(own);
                }
            }
            Job::Channels(job) => self.unblocked.extend(self.waiting.handle(job, &mut self.replicator)),
            Job::Written(id, frames) => {
                if let Some(peer) = self.peers.get_mut(&id) {
                    frames.into_iter().for_each(|frame| peer.take_back(frame));
                }
                self.unblocked.insert(id);
            }
            Job::Tick(peer) => {
                self.replicator.tick(peer)?;
                self.end_if_idle(peer)?;
            }
            Job::Disconnect(peer) => self.disconnect(peer)?,
            Job::Wake | Job::Stop => {}
        }
        Ok(())
    }

    /// Ends a peer that has shared nothing for long, if there are so many that others may need its place.
    fn end_if_idle(&mut self, id: PeerId) -> Result<(), StoreError> {
        let (shares, crowded) = (self.replicator.shares(id), self.peers.len() > CROWD);
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        peer.idle_ticks = if shares { 0 } else { peer.idle_ticks + 1 };
        if !crowded || peer.idle_ticks < IDLE_TICKS_MAX {
            return Ok(());
        }
        if let Some(peer) = self.peers.remove(&id) {
            drop(peer.gone.send(ConnectionError::NothingShared));
        }
        self.replicator.disconnect(id)
    }

    /// Ends one peer for its own error; passes on an error of our store.
    fn fail(&mut self, peer: PeerId, error: replicator::FrameError) -> Result<(), StoreError> {
        let error = match error {
            replicator::FrameError::Store(error) => return Err(error),
            error => error,
        };
        self.waiting.forget(peer);
        if let Some(peer) = self.peers.remove(&peer) {
            drop(peer.gone.send(ConnectionError::Replication(error)));
        }
        self.replicator.disconnect(peer)
    }

    fn disconnect(&mut self, peer: PeerId) -> Result<(), StoreError> {
        self.waiting.forget(peer);
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
        self.waiting.tell(&mut self.replicator);
        while let Some(event) = self.replicator.poll_event() {
            drop(self.events.send(Event::Core(event)));
        }
        Ok(())
    }

    fn hand_frames(&mut self, id: PeerId) -> Result<(), replicator::FrameError> {
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        self.replicator.resume(id)?;
        if !self.replicator.wants_pause(id) {
            peer.held.clear();
        }
        while peer.has_room() {
            self.waiting.send(id, &mut self.replicator);
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

/// Connections above which one that shares nothing may lose its place: half of the most there may be.
const CROWD: usize = 2048;
/// Ticks for which it may share nothing: a minute.
const IDLE_TICKS_MAX: u32 = 12;
/// Jobs that may wait; most bring what was read at once, up to 512 KiB.
const JOBS_MAX: usize = 64;
/// Bytes of frames that may wait, whatever their sizes; at least one frame of the largest size fits.
const JOBS_BYTES_MAX: usize = 32 << 20;
/// Bytes of one peer's frames that may wait, for the engine or for the application to take in what came before.
const PEER_BYTES_MAX: usize = 4 << 20;
/// Frames of one peer from which on no more are gathered, so that others wait no longer than for these.
const GATHERED_FRAMES_MAX: usize = 16;
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

#[cfg(test)]
mod tests {
    use anypath_replicate::store::MemoryStore;
    use anypath_wire::{PublicKey, Role};

    use super::*;

    #[tokio::test]
    async fn who_shares_nothing_loses_its_place_in_a_crowd_only() {
        let (engine, thread) = EngineHandle::start(Replicator::new(Arc::new(MemoryStore::default()))).unwrap();
        let mut connected = Vec::new();
        for crowd in [CROWD, 1] {
            for _ in 0..crowd {
                let handshake = Handshake {
                    role: Role::Responder,
                    remote: PublicKey([7; 32]),
                    hash: [3; 64],
                    tx: [0; 32],
                    rx: [0; 32],
                };
                let ((frames, outgoing), (gone, ended)) = (mpsc::unbounded_channel(), oneshot::channel());
                let (id, peer) = oneshot::channel();
                engine.send(Job::Connect { handshake, frames, gone, id }).await.unwrap();
                connected.push((peer.await.unwrap(), outgoing, ended));
            }
            for _ in 0..IDLE_TICKS_MAX {
                engine.send(Job::Tick(connected[0].0)).await.unwrap();
            }
            engine.read(|_| ()).await.unwrap();
            let ended = connected[0].2.try_recv();
            assert_eq!(matches!(ended, Ok(ConnectionError::NothingShared)), crowd == 1, "{ended:?}");
        }
        engine.send(Job::Stop).await.unwrap();
        tokio::task::spawn_blocking(|| thread.join().unwrap().unwrap()).await.unwrap();
    }
}

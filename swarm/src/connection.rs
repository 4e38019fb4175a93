//! One connection: the handshake, then a task that reads and one that writes.

use std::io::{self, IoSlice};
use std::time::Duration;

use anypath_replicate::noise::{
    FRAME_BYTES_MAX, FrameTooLong, Frames, HANDSHAKE_BYTES_MAX, HandshakeError, OpenError, Opener, Sealer, XxHandshake,
};
use anypath_replicate::replicator::{FrameError, PeerId};
use anypath_transports::{Conn, Reader, Writer};
use anypath_wire::{Handshake, KeyPair, Role};
use bytes::{Bytes, BytesMut};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::buffers::{BUFFER_BYTES, Buffers};
use crate::engine::{EngineHandle, Job, PeerRoom, Stopped};

/// Why a connection ended, or never became one.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The bytes stopped.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// The peer hung up before the handshake was done.
    #[error("the peer hung up during the handshake")]
    HungUp,
    /// The peer said nothing for too long.
    #[error("the peer did not finish the handshake within {} s", HANDSHAKE_TIME_MAX.as_secs())]
    Silent,
    /// The peer does not speak secret-stream, or tried to cheat.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// A frame is too long.
    #[error(transparent)]
    Frame(#[from] FrameTooLong),
    /// A frame was damaged on its way.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The peer broke the protocol.
    #[error(transparent)]
    Replication(FrameError),
    /// Unfinished frames took too much memory, and this one was the oldest.
    #[error("the peer began a large frame and did not finish it while too many others did the same")]
    Unfinished,
    /// The peer shared nothing with us for too long, while there were many others.
    #[error("the peer shares nothing with this node, and its place is needed")]
    NothingShared,
    /// We dialled ourselves.
    #[error("the address leads back to this node")]
    Ourselves,
    /// The peer is connected already, by another address.
    #[error("the peer is connected already")]
    Present,
    /// The system gave no randomness.
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
    /// The node has stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// A connection after its handshake.
pub(crate) struct Shaken {
    pub(crate) handshake: Handshake,
    reader: Reader,
    writer: Writer,
    frames: Frames,
    opener: Opener,
    sealer: Sealer,
}

/// Begins a handshake.
pub(crate) fn begin(role: Role, identity: &KeyPair) -> Result<XxHandshake, ConnectionError> {
    Ok(XxHandshake::new(role, identity, random()?))
}

/// Shakes hands, within a time limit.
pub(crate) async fn shake(conn: Conn, noise: XxHandshake, identity: &KeyPair) -> Result<Shaken, ConnectionError> {
    timeout(HANDSHAKE_TIME_MAX, shake_hands(conn, noise, identity)).await.map_err(|_| ConnectionError::Silent)?
}

async fn shake_hands(conn: Conn, mut noise: XxHandshake, identity: &KeyPair) -> Result<Shaken, ConnectionError> {
    let Conn { mut reader, mut writer, .. } = conn;
    let mut frames = Frames::new(HANDSHAKE_BYTES_MAX);
    let handshake = loop {
        while let Some(frame) = noise.poll_frame() {
            writer.write_all(&frame).await?;
        }
        if let Some(handshake) = noise.finished() {
            break handshake;
        }
        let frame = next_frame(&mut reader, &mut frames).await?.ok_or(ConnectionError::HungUp)?;
        noise.handle_frame(&frame)?;
    };
    if handshake.remote == identity.public() {
        return Err(ConnectionError::Ourselves);
    }
    let (sealer, header) = Sealer::new(&handshake, random()?);
    writer.write_all(&header).await?;
    writer.flush().await?;
    // The peer's header is read later: who it is, is proven, and what we have to say need not wait half a round trip.
    let opener = Opener::new(&handshake);
    Ok(Shaken { handshake, reader, writer, frames, opener, sealer })
}

impl Shaken {
    /// Registers the connection with the engine and returns what runs it.
    pub(crate) async fn register(self, engine: &EngineHandle) -> Result<Registered, ConnectionError> {
        let (frames, outgoing) = mpsc::unbounded_channel();
        let (gone, ended) = oneshot::channel();
        let (id, peer) = oneshot::channel();
        engine.send(Job::Connect { handshake: self.handshake.clone(), frames, gone, id }).await?;
        let peer = peer.await.map_err(|_| ConnectionError::HungUp)?;
        Ok(Registered { shaken: self, engine: engine.clone(), peer, outgoing, ended })
    }
}

/// A connection that the engine knows.
pub(crate) struct Registered {
    shaken: Shaken,
    engine: EngineHandle,
    pub(crate) peer: PeerId,
    outgoing: mpsc::UnboundedReceiver<Vec<u8>>,
    ended: oneshot::Receiver<ConnectionError>,
}

impl Registered {
    /// Runs until either end is done or it is cut; an error is the reason, if there is one.
    pub(crate) async fn run(self, mut cut: watch::Receiver<bool>) -> Result<(), ConnectionError> {
        let Self { shaken, engine, peer, outgoing, ended } = self;
        let Shaken { mut reader, mut writer, frames, opener, sealer, .. } = shaken;
        let outcome = tokio::select! {
            outcome = read(&mut reader, frames, opener, &engine, peer) => outcome,
            outcome = write(&mut writer, sealer, outgoing, &engine, peer) => outcome,
            error = told_to_end(ended) => Err(error),
            error = tick(&engine, peer) => Err(error.into()),
            _ = cut.changed() => Ok(()),
        };
        drop(engine.send(Job::Disconnect(peer)).await);
        if outcome.is_ok() {
            drop(anypath_transports::close(&mut reader, &mut writer).await);
        }
        outcome
    }
}

/// Waits until the engine wants the connection to end, at once or, if it is gone itself, after what is written.
async fn told_to_end(ended: oneshot::Receiver<ConnectionError>) -> ConnectionError {
    match ended.await {
        Ok(error) => error,
        Err(_) => {
            // The writer ends by itself unless the peer takes nothing in.
            sleep(LAST_WORDS_TIME_MAX).await;
            Stopped::new().into()
        }
    }
}

/// Says now and then that time passes.
async fn tick(engine: &EngineHandle, peer: PeerId) -> Stopped {
    loop {
        sleep(TICK_INTERVAL).await;
        if let Err(stopped) = engine.send(Job::Tick(peer)).await {
            return stopped;
        }
    }
}

async fn read(
    reader: &mut Reader,
    mut frames: Frames,
    mut opener: Opener,
    engine: &EngineHandle,
    peer: PeerId,
) -> Result<(), ConnectionError> {
    let header = timeout(HANDSHAKE_TIME_MAX, next_frame(reader, &mut frames)).await;
    opener.open(header.map_err(|_| ConnectionError::Silent)??.ok_or(ConnectionError::HungUp)?)?;
    frames.set_frame_bytes_max(FRAME_BYTES_MAX);
    let (mut room, mut unfinished) = (Room::default(), engine.unfinished.part());
    let own = PeerRoom::new();
    loop {
        let mut messages: Vec<Bytes> = Vec::new();
        while let Some(frame) = frames.next_frame()? {
            let message = opener.open(frame)?;
            if !message.is_empty() {
                messages.push(message);
            }
        }
        if !messages.is_empty() {
            engine.send_frames(peer, &own, messages).await?;
        }
        unfinished.set(frames.pending_bytes());
        room.make(&mut frames, &engine.buffers);
        let read = tokio::select! {
            read = reader.read_buf(frames.buffer()) => read?,
            () = unfinished.given_up() => return Err(ConnectionError::Unfinished),
        };
        if read == 0 {
            // What it said last is not lost because the application has not come to it.
            return Ok(own.emptied().await?);
        }
        room.is_busy = read >= BUSY_READ_BYTES;
    }
}

/// What decides where a connection reads to.
#[derive(Default)]
struct Room {
    /// Whether much came at once lately.
    is_busy: bool,
    /// Whether the present buffer is one of the node's.
    is_shared: bool,
}

impl Room {
    /// Sees that there is some: much if much came lately, and in proportion to what came of a frame larger than most.
    fn make(&mut self, frames: &mut Frames, buffers: &Buffers) {
        let (held, room) = (frames.buffer().len(), frames.buffer().capacity() - frames.buffer().len());
        let is_large = held > BUFFER_BYTES / 2;
        if room
            >= if is_large {
                held
            } else if self.is_busy {
                BUSY_READ_BYTES
            } else {
                READ_BYTES_MIN
            }
        {
            return;
        }
        let is_shared = self.is_busy && !is_large;
        let next = if is_shared { buffers.take() } else { BytesMut::with_capacity(BUSY_READ_BYTES + 2 * held) };
        let old = frames.renew(next);
        if std::mem::replace(&mut self.is_shared, is_shared) {
            buffers.give(old);
        }
    }
}

async fn write(
    writer: &mut Writer,
    mut sealer: Sealer,
    mut outgoing: mpsc::UnboundedReceiver<Vec<u8>>,
    engine: &EngineHandle,
    peer: PeerId,
) -> Result<(), ConnectionError> {
    let mut idle_until = Instant::now() + KEEP_ALIVE_INTERVAL;
    let mut frames = Vec::new();
    loop {
        tokio::select! {
            // No more wait than the engine hands out.
            count = outgoing.recv_many(&mut frames, usize::MAX) => if count == 0 { return Ok(()) },
            () = sleep_until(idle_until) => frames.push(vec![0; Sealer::ROOM_BYTES]),
        };
        for frame in &mut frames {
            sealer.seal(frame).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        }
        write_all(writer, &frames).await?;
        idle_until = Instant::now() + KEEP_ALIVE_INTERVAL;
        // An engine that has ended wants no buffers back, but what it has handed out is still written.
        drop(engine.send(Job::Written(peer, std::mem::take(&mut frames))).await);
    }
}

/// Writes the frames one behind the other, in as few calls as the system allows.
async fn write_all(writer: &mut Writer, frames: &[Vec<u8>]) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = frames.iter().map(|frame| IoSlice::new(frame)).collect();
    let mut slices = &mut slices[..];
    while !slices.is_empty() {
        match writer.write_vectored(slices).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => IoSlice::advance_slices(&mut slices, written),
        }
    }
    Ok(())
}

async fn next_frame(reader: &mut Reader, frames: &mut Frames) -> Result<Option<BytesMut>, ConnectionError> {
    loop {
        if let Some(frame) = frames.next_frame()? {
            return Ok(Some(frame));
        }
        frames.buffer().reserve(HANDSHAKE_READ_BYTES);
        if reader.read_buf(frames.buffer()).await? == 0 {
            return Ok(None);
        }
    }
}

fn random<const N: usize>() -> Result<[u8; N], ConnectionError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(ConnectionError::Random)?;
    Ok(bytes)
}

/// How long a peer may take to shake hands; a few round trips of the slowest path.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// How long nothing is written before an empty message keeps the path open, as in the reference.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// How long the peer may take to read what was written for it when the node stops.
const LAST_WORDS_TIME_MAX: Duration = Duration::from_secs(2);
/// How often the engine is told that time passes; after two of these a request goes to others.
const TICK_INTERVAL: Duration = Duration::from_secs(5);
/// From how many bytes read at once on a connection is given a large buffer to read into.
const BUSY_READ_BYTES: usize = 32 << 10;
/// Fewest bytes to read at once.
const READ_BYTES_MIN: usize = 4 << 10;
/// The same before the peer has proven anything, in bytes.
const HANDSHAKE_READ_BYTES: usize = 1 << 10;

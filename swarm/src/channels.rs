//! A protocol of the application's own, beside replication and over the same connections.

use std::collections::VecDeque;

use anypath_replicate::mux::{Channel, Event, Protocol, SendError};
use anypath_replicate::replicator::{OpenChannelError, PeerId, Replicator, SpeakError};
use bytes::Bytes;
use thiserror::Error;
use tokio::sync::mpsc::WeakSender;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

use crate::engine::{Job, Reply, Stopped};
use crate::waiting::{ChannelJob, Sending};

/// Why something could not be done with a channel.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// The peer is not connected, or no longer.
    #[error("the peer is not connected")]
    Gone,
    /// The protocol cannot be spoken.
    #[error(transparent)]
    Speak(#[from] SpeakError),
    /// The channel could not be opened.
    #[error(transparent)]
    Open(#[from] OpenChannelError),
    /// The message could not be sent.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The node has stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// A protocol that a [`Node`](crate::Node) speaks: what all peers do on its channels, and the way to answer.
///
/// [`Node::speak`](crate::Node::speak) makes it, and dropping it ends all its channels. The protocol's name and aliases
/// are fixed; its channels differ by peer and id. What happens on them is told in the words of
/// [`mux::Event`](anypath_replicate::mux::Event):
///
/// ```text
/// Offered ─► open or reject     a peer has opened a channel for which we have none
/// open    ─► Opened             both ends are open; the peer's handshake
///            Message …          a number and a body, in the order in which the peer sent them
///            Closed             by the peer, refused by it, or ended with the connection
/// ```
///
/// # Back-pressure
/// *Incoming*: what is not taken by [`recv`](Self::recv) waits, at most 256 KiB of each peer and a message more. Then
/// nothing more is read from that peer, cores included, until some of it is taken; other peers go on. The same holds
/// while a peer's offers are not answered and 32 KiB of messages wait behind them. *Outgoing*: [`send`](Self::send)
/// returns when the connection has room. So an application that waits for `send` alone and takes nothing in can come to
/// a halt with one that does the same: take in while you send.
///
/// ```
/// # use std::sync::Arc;
/// # use anypath_replicate::mux::{Event, Protocol};
/// # use anypath_replicate::store::MemoryStore;
/// # use anypath_swarm::{Config, Event::Connected, Node};
/// # use anypath_transports::Memory;
/// # use anypath_wire::KeyPair;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let network = Memory::new();
/// # let node = |seed| {
/// #     let (identity, store) = (KeyPair::from_seed(&[seed; 32]), Arc::new(MemoryStore::default()));
/// #     Node::start(Config { identity, store, transports: vec![Arc::new(network.clone())] })
/// # };
/// # let (ann, bob) = (node(1)?, node(2)?);
/// let mut asking = ann.speak(Protocol::new("echo", "")).await?;
/// let mut answering = bob.speak(Protocol::new("echo", "")).await?;
/// let mut arrivals = ann.subscribe();
/// ann.connect(bob.listen(&"memory://bob:1".parse()?).await?);
/// let Connected(info) = arrivals.recv().await? else { panic!("who is there?") };
///
/// // The message need not wait for the other end to open.
/// let channel = asking.open(info.peer, "", "from Ann").await?;
/// asking.send(info.peer, channel, 0, "hello").await?;
///
/// while let Some((peer, event)) = answering.recv().await {
///     match event {
///         Event::Offered { id, .. } => drop(answering.open(peer, id, "from Bob").await?),
///         Event::Message { channel, kind, body } => {
///             answering.send(peer, channel, kind, body).await?;
///             break;
///         }
///         _ => {}
///     }
/// }
/// let opened = Event::Opened { channel, handshake: "from Bob".into() };
/// assert_eq!(asking.recv().await, Some((info.peer, opened)));
/// let answer = Event::Message { channel, kind: 0, body: "hello".into() };
/// assert_eq!(asking.recv().await, Some((info.peer, answer)));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Channels {
    protocol: Protocol,
    jobs: WeakSender<Job>,
    /// Taken from the engine and not from here.
    taken: VecDeque<(PeerId, Event)>,
    /// The question for more, if it is asked already.
    asked: Option<oneshot::Receiver<Vec<(PeerId, Event)>>>,
}

impl Channels {
    pub(crate) fn new(protocol: Protocol, jobs: WeakSender<Job>) -> Self {
        Self { protocol, jobs, taken: VecDeque::new(), asked: None }
    }

    /// Returns what a peer did next, or `None` once the node has stopped. Nothing is lost if it is given up half way.
    pub async fn recv(&mut self) -> Option<(PeerId, Event)> {
        while self.taken.is_empty() {
            let answer = match &mut self.asked {
                Some(answer) => answer,
                None => {
                    let (listener, answer) = oneshot::channel();
                    let jobs = self.jobs.upgrade()?;
                    let place = jobs.reserve().await.ok()?;
                    place.send(Job::Channels(ChannelJob::Listen(self.protocol.name.clone(), listener)));
                    self.asked.insert(answer)
                }
            };
            let taken = answer.await;
            self.asked = None;
            self.taken.extend(taken.ok()?);
        }
        self.taken.pop_front()
    }

    /// Opens our end of a channel to a peer, which answers its offer if it has made one. Messages may be sent at once.
    ///
    /// # Errors
    /// [`OpenChannelError::AlreadyOpen`] names the channel that is open to this peer under this id.
    pub async fn open(
        &self,
        peer: PeerId,
        id: impl Into<Vec<u8>>,
        handshake: impl Into<Bytes>,
    ) -> Result<Channel, ChannelError> {
        let protocol = Protocol { id: id.into(), ..self.protocol.clone() };
        let handshake = handshake.into();
        let open = move |replicator: &mut Replicator| {
            let mut channels = replicator.channels(peer).ok_or(ChannelError::Gone)?;
            Ok(channels.open(&protocol, &handshake)?)
        };
        self.call(open).await?
    }

    /// Refuses what a peer has offered; `protocol` and `id` are those of the offer.
    pub async fn reject(&self, peer: PeerId, protocol: String, id: Vec<u8>) -> Result<(), Stopped> {
        let reject = move |replicator: &mut Replicator| {
            if let Some(mut channels) = replicator.channels(peer) {
                channels.reject(&protocol, &id);
            }
        };
        self.call(reject).await
    }

    /// Sends a message, and returns when it is on its way.
    pub async fn send(
        &self,
        peer: PeerId,
        channel: Channel,
        kind: u64,
        body: impl Into<Bytes>,
    ) -> Result<(), ChannelError> {
        self.send_all(peer, channel, vec![(kind, body.into())]).await
    }

    /// Sends messages, each a number and a body, as one batch (corked, in the words of Protomux).
    ///
    /// # Errors
    /// If a message is too long, those before it are sent.
    pub async fn send_all(
        &self,
        peer: PeerId,
        channel: Channel,
        messages: Vec<(u64, Bytes)>,
    ) -> Result<(), ChannelError> {
        let (sent, outcome) = oneshot::channel();
        self.hand_in(Job::Channels(ChannelJob::Send(Sending { peer, channel, messages, sent }))).await?;
        outcome.await.unwrap_or(Err(ChannelError::Gone))
    }

    /// Ends a channel; what was sent before still arrives, and nothing more of it is told. Closing twice is harmless.
    pub async fn close(&self, peer: PeerId, channel: Channel) -> Result<(), Stopped> {
        let close = move |replicator: &mut Replicator| {
            if let Some(mut channels) = replicator.channels(peer) {
                channels.close(channel);
            }
        };
        self.call(close).await
    }

    /// Runs `f` on the engine and returns what it returned, without waiting for a commit: it stages nothing.
    async fn call<R: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Replicator) -> R + Send + 'static,
    ) -> Result<R, Stopped> {
        let (sender, receiver) = oneshot::channel();
        let call = move |replicator: &mut Replicator| -> Reply {
            drop(sender.send(f(replicator)));
            Box::new(|| ())
        };
        self.hand_in(Job::Call(Box::new(call))).await?;
        receiver.await.map_err(|_| Stopped::new())
    }

    async fn hand_in(&self, job: Job) -> Result<(), Stopped> {
        let jobs = self.jobs.upgrade().ok_or_else(Stopped::new)?;
        jobs.send(job).await.map_err(|_| Stopped::new())
    }
}

impl Drop for Channels {
    fn drop(&mut self) {
        let Some(jobs) = self.jobs.upgrade() else { return };
        let name = self.protocol.name.clone();
        let hush = Job::Channels(ChannelJob::Hush(name));
        if let Err(TrySendError::Full(hush)) = jobs.try_send(hush)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move { drop(jobs.send(hush).await) });
        }
    }
}

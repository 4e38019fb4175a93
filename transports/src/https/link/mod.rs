//! A session with one relay: its face, as circuits and the transport see it.

mod lore;
mod task;

use std::sync::Arc;

use anypath_wire::PublicKey;
use bytes::Bytes;
use thiserror::Error;
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, oneshot, watch};

pub(super) use self::lore::Lore;
pub use self::lore::Notebook;
pub(super) use self::task::Came;
use self::task::Task;
use super::posts::Posts;
use super::rungs::Rungs;
use super::session::{CircuitId, ClientConfig, Closed, Config, Granted, Style};

/// A session with a relay, as its circuits see it. Clones share it; it ends with the last of them.
#[derive(Clone)]
pub(super) struct Link {
    asks: mpsc::Sender<Ask>,
    /// What carries the session now.
    carried: watch::Receiver<&'static str>,
}

/// What a session is to be.
pub(super) struct Asked {
    pub(super) relay: PublicKey,
    pub(super) token: Vec<u8>,
    pub(super) tag: String,
    pub(super) rungs: Rungs,
    pub(super) attempts_max: u64,
}

/// A session that has just opened.
pub(super) struct Opened {
    pub(super) link: Link,
    /// The hash that registrations sign.
    pub(super) hash: [u8; 64],
    /// What the relay gave.
    pub(super) granted: Granted,
    /// Circuits that the relay offers.
    pub(super) offered: mpsc::Receiver<Offer>,
}

/// A circuit that the relay offers; it is granted by being taken.
pub(super) struct Offer {
    pub(super) target: Bytes,
    pub(super) stream: DuplexStream,
}

/// Why there is no session, or no circuit.
#[derive(Debug, Error)]
pub(super) enum LinkError {
    /// The relay's own key proves to be another one, or nobody answers.
    #[error("the relay did not open a session: {0:?}")]
    NotOpened(Closed),
    /// It opened one, and nothing that may carry it passes.
    #[error("no WebSocket passes, and nothing else may carry the session")]
    NotCarried,
    /// The session is over.
    #[error("the session with the relay is over")]
    Over,
    /// The relay, or the peer, refuses the circuit.
    #[error("refused for reason {0}")]
    Refused(u64),
}

/// Where a circuit goes once it is granted, or why it is not.
type Reply = oneshot::Sender<Result<DuplexStream, LinkError>>;

/// What the circuits ask of the task.
pub(super) enum Ask {
    /// A circuit to that target; the first bytes go along.
    Open { target: Bytes, style: Style, first: Bytes, reply: Reply },
    /// Takes bytes; the reply comes when there is room for more.
    Send { circuit: CircuitId, bytes: Bytes, reply: oneshot::Sender<()> },
    /// Bytes have gone on to the application.
    Consumed { circuit: CircuitId, bytes: u64 },
    /// The application says no more.
    End { circuit: CircuitId },
    /// The application has let go of it.
    Reset { circuit: CircuitId },
}

impl Link {
    /// Opens a session, with the first connection that `posts` has, or others.
    pub(super) async fn open(
        posts: Arc<Posts>,
        asked_for: Asked,
        seed: [u8; 32],
        lore: &Lore,
    ) -> Result<Opened, LinkError> {
        let Asked { relay, token, tag, rungs, attempts_max } = asked_for;
        let (asks, asked) = mpsc::channel(ASKS_MAX);
        let (offers, offered) = mpsc::channel(OFFERS_MAX);
        let (opened, waiting) = oneshot::channel();
        let (session, learnt, requests) = (Config::default(), lore.within(&rungs), rungs.allow_requests());
        let config = ClientConfig { relay, token, tag, seed, session, learnt, attempts_max, requests };
        let mut task = Task::new(posts, config, rungs, asks.downgrade(), offers, opened);
        task.lore = lore.clone();
        let carried = task.carried.subscribe();
        tokio::spawn(task.run(asked));
        let (hash, granted) = waiting.await.unwrap_or(Err(LinkError::NotOpened(Closed::Silent)))?;
        Ok(Opened { link: Self { asks, carried }, hash, granted, offered })
    }

    /// Opens a circuit, and returns it once it is granted. The first bytes on it go along with the question, and are lost
    /// if it is refused.
    pub(super) async fn circuit(&self, target: Bytes, style: Style, first: &[u8]) -> Result<DuplexStream, LinkError> {
        let (reply, replied) = oneshot::channel();
        let first = Bytes::copy_from_slice(first);
        self.asks.send(Ask::Open { target, style, first, reply }).await.map_err(|_| LinkError::Over)?;
        replied.await.unwrap_or(Err(LinkError::Over))
    }

    /// Tells what carries the session, as it changes.
    pub(super) fn carried(&self) -> watch::Receiver<&'static str> {
        self.carried.clone()
    }

    /// Returns whether the session is not over yet.
    pub(super) fn is_open(&self) -> bool {
        !self.asks.is_closed()
    }

    /// Waits until the session is over.
    pub(super) async fn over(&self) {
        self.asks.closed().await;
    }
}

/// How many messages may wait for the task; beyond, circuits and requests wait.
const ASKS_MAX: usize = 256;
/// How many offered circuits may wait to be taken.
const OFFERS_MAX: usize = 16;

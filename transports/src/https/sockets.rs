//! Streams both ways to a relay, WebSockets and HTTP/2: one is tried as soon as there is a session, and again as time passes.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::BodyExt;
use hyper::header::USER_AGENT;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::{Message, WebSocketConfig};
use tokio_tungstenite::{WebSocketStream, client_async_with_config, tungstenite};

use super::dialer::{Dialer, ReachError, place};
use super::duplex::Duplex;
use super::line::Line;
use super::link::Came;
use super::proxy::AGENT;
use super::rungs::Rung;
use super::session::CarrierId;

pub(super) type Socket = WebSocketStream<Line>;

/// Why there is no WebSocket.
#[derive(Debug, Error)]
pub(super) enum SocketError {
    /// The relay is not reached.
    #[error(transparent)]
    Reach(#[from] ReachError),
    /// What answers does not upgrade.
    #[error("no WebSocket passes: {0}")]
    NotUpgraded(#[source] Box<tungstenite::Error>),
    /// Nothing answers.
    #[error("no WebSocket passes: there is no answer")]
    Silent,
}

impl From<tungstenite::Error> for SocketError {
    fn from(error: tungstenite::Error) -> Self {
        Self::NotUpgraded(Box::new(error))
    }
}

/// Opens one to that path.
pub(super) async fn open(dialer: &Dialer, host: &str, port: u16, path: &str) -> Result<Socket, SocketError> {
    let line = dialer.dial(host, port).await?.line;
    let authority = if port == 443 { place(host, port).trim_end_matches(":443").to_owned() } else { place(host, port) };
    let mut request = format!("wss://{authority}{path}").into_client_request()?;
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(AGENT));
    let config =
        WebSocketConfig::default().max_message_size(Some(MESSAGE_BYTES_MAX)).max_frame_size(Some(MESSAGE_BYTES_MAX));
    let opened = timeout(UPGRADE_TIME_MAX, client_async_with_config(request, line, Some(config))).await;
    let (socket, _) = opened.map_err(|_| SocketError::Silent)??;
    Ok(socket)
}

/// A stream both ways.
pub(super) enum Both {
    Socket(Box<Socket>),
    Duplex(Box<Duplex>),
}

impl Both {
    pub(super) fn rung(&self) -> Rung {
        match self {
            Self::Socket(_) => Rung::Socket,
            Self::Duplex(_) => Rung::Duplex,
        }
    }

    /// Moves bytes both ways until one end is over, or nobody takes what comes any more.
    pub(super) async fn run(
        self,
        writes: mpsc::UnboundedReceiver<Vec<Bytes>>,
        carrier: CarrierId,
        came: &mpsc::Sender<(CarrierId, Came)>,
    ) {
        match self {
            Self::Socket(socket) => run_socket(*socket, writes, carrier, came).await,
            Self::Duplex(duplex) => run_duplex(*duplex, writes, carrier, came).await,
        }
    }
}

async fn run_duplex(
    duplex: Duplex,
    mut writes: mpsc::UnboundedReceiver<Vec<Bytes>>,
    carrier: CarrierId,
    came: &mpsc::Sender<(CarrierId, Came)>,
) {
    let Duplex { mut up, mut down } = duplex;
    let upwards = async {
        while let Some(parts) = writes.recv().await {
            for part in parts {
                if up.send_data(part).await.is_err() {
                    return;
                }
            }
        }
    };
    let downwards = async {
        while let Some(Ok(frame)) = down.frame().await {
            let Ok(bytes) = frame.into_data() else { continue };
            if came.send((carrier, Came::Bytes(bytes))).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = upwards => {}
        () = downwards => {}
    }
}

async fn run_socket(
    mut socket: Socket,
    mut writes: mpsc::UnboundedReceiver<Vec<Bytes>>,
    carrier: CarrierId,
    came: &mpsc::Sender<(CarrierId, Came)>,
) {
    loop {
        tokio::select! {
            message = socket.next() => match message {
                Some(Ok(Message::Binary(bytes))) => {
                    if came.send((carrier, Came::Bytes(bytes))).await.is_err() {
                        return;
                    }
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                _ => return,
            },
            parts = writes.recv() => {
                let Some(parts) = parts else { return drop(socket.close(None).await) };
                for part in parts {
                    if socket.feed(Message::Binary(part)).await.is_err() {
                        return;
                    }
                }
                if socket.flush().await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Which is tried next, and when.
#[derive(Debug)]
pub(super) struct Attempts {
    kinds: Vec<Rung>,
    /// How many of them have been tried since the last pause.
    tried: usize,
    failures: usize,
    began: Instant,
    /// When the next one is due; nothing while one is under way or in use.
    pub(super) due: Option<Instant>,
}

impl Attempts {
    /// Begins with none; the best is to be tried at once, or none ever if there is no kind.
    pub(super) fn new(kinds: Vec<Rung>) -> Self {
        let now = Instant::now();
        let due = (!kinds.is_empty()).then_some(now);
        Self { kinds, tried: 0, failures: 0, began: now, due }
    }

    /// Returns what is tried next.
    pub(super) fn next(&self) -> Option<Rung> {
        self.kinds.get(self.tried).copied()
    }

    /// Notes that it is tried.
    pub(super) fn begin(&mut self) {
        (self.began, self.due) = (Instant::now(), None);
        self.tried += 1;
    }

    /// Notes that it came to nothing; returns whether there is another kind, which is then tried at once.
    pub(super) fn fail(&mut self) -> bool {
        let another = self.tried < self.kinds.len();
        if another {
            self.due = Some(Instant::now());
        } else {
            self.end();
        }
        another
    }

    /// Notes that one is over; after a pause the best is tried again.
    pub(super) fn end(&mut self) {
        let now = Instant::now();
        self.tried = 0;
        if now.duration_since(self.began) >= PROVEN_AFTER {
            self.failures = 0;
        }
        let pause = PAUSES[self.failures.min(PAUSES.len() - 1)];
        self.failures += 1;
        self.due = Some(now + pause);
    }
}

/// The longest message, in bytes: a record and what belongs to it.
const MESSAGE_BYTES_MAX: usize = 128 << 10;
/// How long the upgrade may take once the relay is reached.
const UPGRADE_TIME_MAX: Duration = Duration::from_secs(10);
/// How long to wait after a failure, and after further ones: the network may have changed.
const PAUSES: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(60), Duration::from_secs(300), Duration::from_secs(1800)];
/// One that lasted this long was a good one.
const PROVEN_AFTER: Duration = Duration::from_secs(50);

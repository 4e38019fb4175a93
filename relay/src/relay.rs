//! A running relay: its socket, its connections, its hub.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anypath_transports::https::Descriptor;
use anypath_wire::{KeyPair, PublicKey};
use hyper::server::conn::http1::Builder;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::server::TlsStream;

use crate::budget::Budget;
use crate::config::{Access, Config};
use crate::crowd::{Crowd, Pace};
use crate::driver::{Input, drive};
use crate::echo::Echo;
use crate::exposition::{Figures, expose};
use crate::http::{Face, From, answer};
use crate::hub::Hub;
use crate::tls::{HTTP2, ServerTls};

/// Why a relay does not run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RelayError {
    /// Its place cannot be had.
    #[error("cannot listen at {at}: {source}")]
    Listen {
        /// The place.
        at: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// A running relay. It ends when it is dropped.
pub struct Relay {
    key: PublicKey,
    address: SocketAddr,
    metrics_address: Option<SocketAddr>,
    inputs: mpsc::Sender<Input>,
    retiring: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

impl Relay {
    /// Begins to listen: with TLS, or without if something in front of it has that.
    ///
    /// # Errors
    /// If the place is taken or cannot be had.
    pub async fn start(
        at: SocketAddr,
        identity: KeyPair,
        tls: Option<ServerTls>,
        config: Config,
    ) -> Result<Self, RelayError> {
        let (listener, address) = listen(at).await?;
        let exposed = match config.metrics {
            Some(at) => Some(listen(at).await?),
            None => None,
        };
        let hub = Hub::new(identity, config.clone());
        let (inputs, outputs) = mpsc::channel(INPUTS_MAX);
        let (key, mut tasks) = (hub.key(), JoinSet::new());
        let (retiring, is_retiring) = watch::channel(false);
        let metrics = hub.metrics().clone();
        let echo = if config.echo { echo(address, &mut tasks).await } else { None };
        let face = Arc::new(Face {
            inputs: inputs.clone(),
            identity: hub.identity().clone(),
            descriptor: Descriptor { echo, ..hub.descriptor() },
            tls: tls.clone(),
            page: page(&key, &config.contact),
            metrics: metrics.clone(),
            is_retiring,
            body_bytes_max: config.body_bytes_max,
            body_time_max: Duration::from_millis(config.request_ms_max),
            bodies: Budget::new(config.memory_bytes_max / BODIES_SHARE),
            fronts: config.fronts.clone(),
            pace: Pace::new(config.opens_per_minute_max),
            sessions: Crowd::new(config.sessions_per_address_max),
        });
        tasks.spawn(drive(hub, outputs));
        tasks.spawn(accept(listener, face, tls, config));
        let metrics_address = exposed.as_ref().map(|(_, at)| *at);
        if let Some((listener, _)) = exposed {
            tasks.spawn(expose(listener, Figures { inputs: inputs.clone(), metrics }));
        }
        Ok(Self { key, address, metrics_address, inputs, retiring, _tasks: tasks })
    }

    /// Returns its key.
    pub fn key(&self) -> PublicKey {
        self.key
    }

    /// Returns where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns where Prometheus hears figures, if it does.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// Ends the relay so that nobody is cut short or comes back with all others: it stops listening at once, lets
    /// sessions go on, and sends them away one after the other within that time.
    pub async fn retire(self, within: Duration) {
        self.retiring.send_replace(true);
        drop(self.inputs.send(Input::Retire { within }).await);
        let gone = async {
            while self.size().await[0] > 0 {
                sleep(RETIRING_POLL).await;
            }
        };
        if timeout(within + LAST_WORDS_TIME, gone).await.is_err() {
            tracing::info!("some did not say farewell");
        }
    }

    /// Lets in others from now on.
    pub async fn admit(&self, access: Access) {
        // Without a driver there is nobody to let in.
        drop(self.inputs.send(Input::Admit { access }).await);
    }

    /// Returns how many sessions, registered keys, topics and joined circuits there are.
    pub async fn size(&self) -> [usize; 4] {
        let (reply, replied) = oneshot::channel();
        let sent = self.inputs.send(Input::Size { reply }).await;
        if sent.is_ok() { replied.await.unwrap_or_default() } else { [0; 4] }
    }
}

async fn listen(at: SocketAddr) -> Result<(TcpListener, SocketAddr), RelayError> {
    let listen = |source| RelayError::Listen { at, source };
    let listener = TcpListener::bind(at).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    Ok((listener, address))
}

/// Begins to answer by UDP; returns the ports. Nothing that a relay cannot do without: the port may be another's.
async fn echo(at: SocketAddr, tasks: &mut JoinSet<()>) -> Option<[u16; 2]> {
    let bound = Echo::bind(at).await.and_then(|echo| Ok((echo.ports()?, echo)));
    let (ports, echo) =
        bound.inspect_err(|error| tracing::warn!(%at, %error, "nobody is told how UDP is seen here")).ok()?;
    tasks.spawn(echo.clone().serve(0));
    tasks.spawn(echo.serve(1));
    Some(ports)
}

/// Accepts connections as long as there is room for more, until the relay is about to end; then those go on that are.
async fn accept(listener: TcpListener, face: Arc<Face>, tls: Option<ServerTls>, config: Config) {
    let places = Arc::new(Semaphore::new(config.connections_max));
    let crowd = Crowd::new(config.connections_per_address_max);
    let head_time = Duration::from_millis(config.request_ms_max);
    // It ends its connections with itself.
    let mut connections = JoinSet::new();
    let mut is_retiring = face.is_retiring.clone();
    while !*is_retiring.borrow() {
        while connections.try_join_next().is_some() {}
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
            Ok::<_, io::Error>((listener.accept().await?, place))
        };
        let accepted = tokio::select! {
            accepted = accepted => accepted,
            // Nobody is left to end it, or it ends.
            _ = is_retiring.changed() => continue,
        };
        let ((stream, from), place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // No descriptor left, or a peer that hung up in the queue: it passes.
                tracing::debug!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // All connections of a front are those of others.
        let is_front = config.fronts.contains(&from.ip().to_canonical());
        let seat = if is_front { None } else { crowd.enter(from.ip()) };
        if seat.is_none() && !is_front {
            face.metrics.connection_refused();
            continue;
        }
        let present = face.metrics.connection();
        let (face, tls) = (Arc::clone(&face), tls.clone());
        connections.spawn(async move {
            serve((stream, from.ip()), face, tls, head_time).await;
            drop((place, seat, present));
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn serve((stream, from): (TcpStream, IpAddr), face: Arc<Face>, tls: Option<ServerTls>, head_time: Duration) {
    drop(stream.set_nodelay(true));
    match tls {
        None => speak((stream, from), face, head_time).await,
        Some(tls) => match timeout(head_time, tls.acceptor().accept(stream)).await {
            Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(HTTP2) => {
                speak_http2(stream, from, face).await
            }
            Ok(Ok(stream)) => speak((stream, from), face, head_time).await,
            _ => face.metrics.handshake_failed(),
        },
    }
}

async fn speak<S>((stream, from): (S, IpAddr), face: Arc<Face>, head_time: Duration)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let is_front = face.tls.is_none() || face.fronts.contains(&from.to_canonical());
    let first = AtomicBool::new(true);
    let service = service_fn(move |request| {
        let is_new = first.swap(false, Ordering::Relaxed);
        answer(Arc::clone(&face), From { address: from, is_new: (!is_front).then_some(is_new) }, request)
    });
    let mut builder = Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(head_time.max(IDLE_TIME_MAX)).max_buf_size(HEAD_BYTES_MAX);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).with_upgrades().await {
        tracing::trace!(%error, "a connection ended");
    }
}

fn page(key: &PublicKey, contact: &str) -> String {
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let who = if contact.is_empty() { "whoever runs this host".to_owned() } else { escape(contact) };
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>anypath relay</title></head>\n<body>\n\
         <h1>anypath relay</h1>\n\
         <p>Programs of people who share folders with each other meet here when their networks let nothing but HTTPS \
         through. What they send is encrypted from end to end; this host passes it on and cannot read it.</p>\n\
         <p>It is reached by ordinary HTTPS requests (POST) to this name, port 443, and by nothing else. Questions, and \
         wishes to allow or to block it, go to {who}.</p>\n\
         <p>The relay's key: <code>{key}</code></p>\n</body></html>\n"
    )
}

/// Speaks HTTP/2 with whoever may speak for many: proxies that look into connections do so.
async fn speak_http2(stream: TlsStream<TcpStream>, from: IpAddr, face: Arc<Face>) {
    let service = service_fn(move |request| answer(Arc::clone(&face), From { address: from, is_new: None }, request));
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .keep_alive_interval(Some(PING_INTERVAL));
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        tracing::trace!(%error, "a connection ended");
    }
}

/// How many requests one connection of HTTP/2 may have open: those of some sessions, six each.
const STREAMS_MAX: u32 = 128;
/// How much may be under way upwards on one connection, in bytes: 100 Mbit/s at 160 ms.
const WINDOW_BYTES: u32 = 2 << 20;
/// How much of an answer hyper keeps that the other end does not take, in bytes.
const SEND_BUFFER_BYTES: usize = 128 << 10;
/// How often a silent connection must show that it is alive.
const PING_INTERVAL: Duration = Duration::from_secs(60);
/// How many messages may wait for the hub; beyond, connections wait.
const INPUTS_MAX: usize = 1024;
/// The part of the memory budget that bodies of requests may have which are still coming.
const BODIES_SHARE: usize = 4;
/// The longest head of a request, in bytes; ours are 300.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// How long a connection may be open without a request: clients keep some for the next.
const IDLE_TIME_MAX: Duration = Duration::from_secs(90);
/// How long those have that are sent away last, beyond their turn.
const LAST_WORDS_TIME: Duration = Duration::from_secs(3);
/// How often it is looked whether all are gone.
const RETIRING_POLL: Duration = Duration::from_millis(20);
/// How long to wait when a connection cannot be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

//! A running relay: its socket, its connections, its hub.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anypath_wire::{KeyPair, PublicKey};
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::config::Config;
use crate::driver::{Input, drive};
use crate::http::{Face, answer};
use crate::hub::Hub;
use crate::tls::ServerTls;

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
    inputs: mpsc::Sender<Input>,
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
        let listen = |source| RelayError::Listen { at, source };
        let listener = TcpListener::bind(at).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let hub = Hub::new(identity, config.clone());
        let (inputs, outputs) = mpsc::channel(INPUTS_MAX);
        let key = hub.key();
        let face = Arc::new(Face {
            inputs: inputs.clone(),
            descriptor: hub.descriptor(),
            page: page(&key, &config.contact),
            body_bytes_max: config.body_bytes_max,
            body_time_max: Duration::from_millis(config.request_ms_max),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(drive(hub, outputs));
        tasks.spawn(accept(listener, face, tls, config));
        Ok(Self { key, address, inputs, _tasks: tasks })
    }

    /// Returns its key.
    pub fn key(&self) -> PublicKey {
        self.key
    }

    /// Returns where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns how many sessions, registered keys, topics and joined circuits there are.
    pub async fn size(&self) -> [usize; 4] {
        let (reply, replied) = oneshot::channel();
        let sent = self.inputs.send(Input::Size { reply }).await;
        if sent.is_ok() { replied.await.unwrap_or_default() } else { [0; 4] }
    }
}

/// Accepts connections as long as there is room for more.
async fn accept(listener: TcpListener, face: Arc<Face>, tls: Option<ServerTls>, config: Config) {
    let places = Arc::new(Semaphore::new(config.connections_max));
    let crowd = Arc::new(Crowd { by_address: Mutex::default(), most: config.connections_per_address_max });
    let head_time = Duration::from_millis(config.request_ms_max);
    // It ends its connections with itself.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // No descriptor left, or a peer that hung up in the queue: it passes.
                tracing::debug!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(seat) = Crowd::enter(&crowd, from.ip()) else { continue };
        let (face, tls) = (Arc::clone(&face), tls.clone());
        connections.spawn(async move {
            serve(stream, face, tls, head_time).await;
            drop((place, seat));
        });
    }
}

async fn serve(stream: TcpStream, face: Arc<Face>, tls: Option<ServerTls>, head_time: Duration) {
    drop(stream.set_nodelay(true));
    match tls {
        None => speak(stream, face, head_time).await,
        Some(tls) => {
            if let Ok(Ok(stream)) = timeout(head_time, tls.acceptor().accept(stream)).await {
                speak(stream, face, head_time).await;
            }
        }
    }
}

async fn speak<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, face: Arc<Face>, head_time: Duration) {
    let service = service_fn(move |request| answer(Arc::clone(&face), request));
    let mut builder = Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(head_time.max(IDLE_TIME_MAX)).max_buf_size(HEAD_BYTES_MAX);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).with_upgrades().await {
        tracing::trace!(%error, "a connection ended");
    }
}

/// Who is here from which address.
struct Crowd {
    by_address: Mutex<BTreeMap<IpAddr, usize>>,
    most: usize,
}

/// One connection of an address.
struct Seat {
    crowd: Arc<Crowd>,
    address: IpAddr,
}

impl Crowd {
    fn enter(crowd: &Arc<Self>, address: IpAddr) -> Option<Seat> {
        let mut by_address = crowd.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let count = by_address.entry(address).or_default();
        if *count >= crowd.most {
            return None;
        }
        *count += 1;
        Some(Seat { crowd: Arc::clone(crowd), address })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut by_address = self.crowd.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&self.address);
            }
        }
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

/// How many messages may wait for the hub; beyond, connections wait.
const INPUTS_MAX: usize = 1024;
/// The longest head of a request, in bytes; ours are 300.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// How long a connection may be open without a request: clients keep some for the next.
const IDLE_TIME_MAX: Duration = Duration::from_secs(90);
/// How long to wait when a connection cannot be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

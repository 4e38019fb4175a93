//! Requests to one relay: connections that are used again, one request at a time on each.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::task::JoinSet;

use super::descriptor::{DESCRIPTOR_BYTES_MAX, DESCRIPTOR_PATH, Descriptor};
use super::dialer::{Dialer, ReachError, place};
use super::duplex::{self, Duplex, DuplexError};
use super::proxy::AGENT;
use super::sockets::{self, Socket, SocketError};

/// Why a request came to nothing.
#[derive(Debug, Error)]
pub(super) enum PostError {
    /// The relay is not reached.
    #[error(transparent)]
    Reach(#[from] ReachError),
    /// The connection broke.
    #[error(transparent)]
    Http(#[from] hyper::Error),
    /// The request cannot be made.
    #[error(transparent)]
    Request(#[from] hyper::http::Error),
}

/// The way to one relay.
pub(super) struct Posts {
    dialer: Arc<Dialer>,
    host: String,
    port: u16,
    /// Connections on which nothing is under way.
    idle: Mutex<Vec<Sender>>,
}

type Sender = SendRequest<Content>;

/// An answer, and the connection that it comes on.
pub(super) struct Answered {
    pub(super) response: Response<Incoming>,
    sender: Sender,
}

impl Posts {
    pub(super) fn new(dialer: Arc<Dialer>, host: &str, port: u16) -> Self {
        Self { dialer, host: host.to_owned(), port, idle: Mutex::default() }
    }

    /// Sees that the relay is reached: there is a connection afterwards, for the first request. Those for the next ones are
    /// dialled beside it.
    pub(super) async fn reach(self: &Arc<Self>) -> Result<(), PostError> {
        if !self.idle().is_empty() {
            return Ok(());
        }
        let mut beside: JoinSet<()> = (0..WARM).map(|_| Arc::clone(self).warm()).collect();
        let sender = self.connect().await?;
        self.idle().push(sender);
        beside.detach_all();
        Ok(())
    }

    /// Dials a connection that is kept for a request to come.
    async fn warm(self: Arc<Self>) {
        self.dialer.may_hurry(&self.host).await;
        if let Ok(sender) = self.connect().await {
            self.idle().push(sender);
        }
    }

    /// Makes a POST request, and returns the head of its answer. A patient one leaves the last idle connection to others.
    pub(super) async fn post(&self, path: &str, content: Content, patient: bool) -> Result<Answered, PostError> {
        let spared = usize::from(patient);
        self.request(Method::POST, path, content, spared).await
    }

    /// Asks the relay what it says about itself; nothing if what is there is no relay.
    pub(super) async fn descriptor(&self) -> Result<Option<Descriptor>, PostError> {
        let mut answered = self.request(Method::GET, DESCRIPTOR_PATH, Content::default(), 0).await?;
        let body = Limited::new(answered.response.body_mut(), DESCRIPTOR_BYTES_MAX).collect().await;
        let descriptor = body.ok().and_then(|body| Descriptor::decode(&body.to_bytes()));
        self.keep(answered);
        Ok(descriptor)
    }

    /// Opens a WebSocket to that path, on a connection of its own.
    pub(super) async fn socket(&self, path: &str) -> Result<Socket, SocketError> {
        sockets::open(&self.dialer, &self.host, self.port, path).await
    }

    /// Opens a request to that path that is open both ways, on a connection of its own.
    pub(super) async fn duplex(&self, path: &str) -> Result<Duplex, DuplexError> {
        duplex::open(&self.dialer, &self.host, self.port, path).await
    }

    /// Keeps a connection, on which the answer has come whole, for the next request.
    pub(super) fn keep(&self, answered: Answered) {
        let mut idle = self.idle();
        if idle.len() < IDLE_MAX && !answered.sender.is_closed() {
            idle.push(answered.sender);
        }
    }

    /// Lets go of all kept connections: where one request was not answered, they may lead to nobody any more.
    pub(super) fn forget(&self) {
        self.idle().clear();
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        content: Content,
        spared: usize,
    ) -> Result<Answered, PostError> {
        let mut sender = match self.take(spared).await {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        let host =
            if self.port == 443 { place(&self.host, 443).replace(":443", "") } else { place(&self.host, self.port) };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, host)
            .header(USER_AGENT, AGENT)
            .header(CONTENT_TYPE, "application/octet-stream")
            .body(content)?;
        let response = sender.send_request(request).await?;
        Ok(Answered { response, sender })
    }

    /// Returns an idle connection that is still open, if more of them are idle than are to be spared.
    async fn take(&self, spared: usize) -> Option<Sender> {
        loop {
            let mut sender = {
                let mut idle = self.idle();
                if idle.len() > spared { idle.pop() } else { None }
            }?;
            if sender.ready().await.is_ok() {
                return Some(sender);
            }
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Sender>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connect(&self) -> Result<Sender, PostError> {
        let dialled = self.dialer.dial(&self.host, self.port).await?;
        let (sender, connection) = Builder::new().handshake(TokioIo::new(dialled.line)).await?;
        // It ends with the sender.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }
}

/// What a request brings.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) bytes: Bytes,
    /// Whether it goes in chunks, instead of telling its length.
    pub(super) chunked: bool,
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = std::mem::take(&mut self.bytes);
        Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if self.chunked { SizeHint::default() } else { SizeHint::with_exact(self.bytes.len() as u64) }
    }
}

/// How many connections a session needs at once beside the one that opened it: two requests are held, one brings something.
const WARM: usize = 2;
/// How many idle connections are kept: as many as are ever in use.
const IDLE_MAX: usize = 6;

//! A request over HTTP/2 whose body and answer are open both at once: a stream both ways where no upgrade passes.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::channel::{Channel, Sender};
use hyper::body::Incoming;
use hyper::client::conn::http2::Builder;
use hyper::header::{CONTENT_TYPE, USER_AGENT};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use thiserror::Error;
use tokio::time::timeout;

use super::dialer::{Dialer, ReachError, place};
use super::proxy::AGENT;

/// Both halves of one.
pub(super) struct Duplex {
    pub(super) up: Sender<Bytes>,
    pub(super) down: Incoming,
}

/// Why there is none.
#[derive(Debug, Error)]
pub(super) enum DuplexError {
    /// The relay is not reached, or speaks no HTTP/2 through what is in between.
    #[error(transparent)]
    Reach(#[from] ReachError),
    /// The connection broke.
    #[error("no request passes that is open both ways: {0}")]
    Http(#[from] hyper::Error),
    /// The request cannot be made.
    #[error(transparent)]
    Request(#[from] hyper::http::Error),
    /// What answers is no relay, or keeps the answer until the request is complete.
    #[error("no request passes that is open both ways: the answer is {0}")]
    Refused(StatusCode),
    /// Nothing answers as long as the request is open.
    #[error("no request passes that is open both ways: there is no answer to one that is not complete")]
    Silent,
}

/// Opens one to that path.
pub(super) async fn open(dialer: &Dialer, host: &str, port: u16, path: &str) -> Result<Duplex, DuplexError> {
    let line = dialer.dial_http2(host, port).await?.line;
    let opening = async {
        let mut builder = Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(WINDOW_BYTES).initial_connection_window_size(WINDOW_BYTES);
        let (mut sender, connection) = builder.handshake(TokioIo::new(line)).await?;
        // It ends with the request.
        tokio::spawn(async move { drop(connection.await) });
        let authority = place(host, port);
        let (up, body) = Channel::new(PARTS_MAX);
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("https://{authority}{path}"))
            .header(USER_AGENT, AGENT)
            .header(CONTENT_TYPE, "application/octet-stream")
            .body(body)?;
        let response = sender.send_request(request).await?;
        match response.status() {
            StatusCode::OK => Ok(Duplex { up, down: response.into_body() }),
            other => Err(DuplexError::Refused(other)),
        }
    };
    timeout(ANSWER_TIME_MAX, opening).await.unwrap_or(Err(DuplexError::Silent))
}

/// How long the head of the answer may take once the relay is reached.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// How much may be under way downwards, in bytes: 100 Mbit/s at 160 ms.
const WINDOW_BYTES: u32 = 2 << 20;
/// How many parts may wait to be written.
const PARTS_MAX: usize = 8;

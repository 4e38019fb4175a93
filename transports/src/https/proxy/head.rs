//! A proxy's answer to CONNECT: its head, and the page that may follow a refusal.

use std::io;

use hyper::StatusCode;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::line::Line;

/// Why there is no proper answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HeadError {
    /// It hung up before the answer was complete.
    #[error("it hung up in the middle")]
    HungUp,
    /// The answer is not HTTP, or has more headers than anything needs.
    #[error("what it says is not HTTP: {0}")]
    NotHttp(#[from] httparse::Error),
    /// The answer's head does not end.
    #[error("its answer does not end")]
    TooLong,
    /// The connection broke.
    #[error(transparent)]
    Broken(#[from] io::Error),
}

/// A connection to a proxy, with what came on it and was not used yet.
pub(super) struct Asking {
    line: Line,
    came: Vec<u8>,
}

/// The head of an answer.
pub(super) struct Head {
    pub(super) status: StatusCode,
    /// The connection ends with this answer.
    closes: bool,
    body: Body,
    challenges: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    Bytes(usize),
    Chunks,
    UntilTheEnd,
}

impl Head {
    /// Returns the values of `Proxy-Authenticate`.
    pub(super) fn challenges(&self) -> impl Iterator<Item = &str> {
        self.challenges.iter().map(String::as_str)
    }
}

impl Asking {
    pub(super) fn new(line: Line) -> Self {
        Self { line, came: Vec::new() }
    }

    /// Sends a request without a body, and returns the head of the answer; interim ones (1xx) are passed over.
    pub(super) async fn ask(&mut self, request: &str) -> Result<Head, HeadError> {
        self.line.write_all(request.as_bytes()).await?;
        self.line.flush().await?;
        loop {
            let Some((head, bytes)) = parse(&self.came)? else {
                if self.came.len() > HEAD_BYTES_MAX {
                    return Err(HeadError::TooLong);
                }
                self.read().await?;
                continue;
            };
            self.came.drain(..bytes);
            if !head.status.is_informational() {
                return Ok(head);
            }
        }
    }

    /// Passes over the page behind a refusal; returns whether the connection can be used again.
    pub(super) async fn skip_page(&mut self, head: &Head) -> bool {
        let skipped = match head.body {
            _ if head.closes => false,
            Body::UntilTheEnd => false,
            Body::Bytes(bytes) => bytes <= PAGE_BYTES_MAX && self.skip(bytes).await.is_ok(),
            Body::Chunks => self.skip_chunks().await.unwrap_or(false),
        };
        // What more it says was not asked for.
        skipped && self.came.is_empty()
    }

    /// Returns the connection as a stream that begins with what came already.
    pub(super) fn into_line(self) -> Line {
        if self.came.is_empty() {
            return self.line;
        }
        let (reader, writer) = tokio::io::split(self.line);
        Box::new(tokio::io::join(io::Cursor::new(self.came).chain(reader), writer))
    }

    async fn skip_chunks(&mut self) -> Result<bool, HeadError> {
        let mut left = PAGE_BYTES_MAX;
        loop {
            let parsed = httparse::parse_chunk_size(&self.came);
            let Ok(httparse::Status::Complete((head, chunk))) = parsed else {
                if parsed.is_err() || self.came.len() > HEAD_BYTES_MAX {
                    return Ok(false);
                }
                self.read().await?;
                continue;
            };
            // A trailer would come here; no proxy sends one, and one that does is called again.
            let Some(bytes) = usize::try_from(chunk).ok().filter(|bytes| *bytes <= left) else { return Ok(false) };
            left -= bytes;
            self.skip(head + bytes + CRLF_BYTES).await?;
            if bytes == 0 {
                return Ok(true);
            }
        }
    }

    async fn skip(&mut self, mut bytes: usize) -> Result<(), HeadError> {
        loop {
            let now = bytes.min(self.came.len());
            self.came.drain(..now);
            bytes -= now;
            if bytes == 0 {
                return Ok(());
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> Result<(), HeadError> {
        self.came.reserve(READ_BYTES);
        if self.line.read_buf(&mut self.came).await? == 0 { Err(HeadError::HungUp) } else { Ok(()) }
    }
}

/// Reads a head; nothing if it is not complete.
fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, HeadError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = response.parse(bytes)? else { return Ok(None) };
    let code = response.code.and_then(|code| StatusCode::from_u16(code).ok());
    let values = |name: &'static str| {
        let named = response.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
        named.filter_map(|header| std::str::from_utf8(header.value).ok())
    };
    let says =
        |name, word: &str| values(name).any(|value| value.split(',').any(|it| it.trim().eq_ignore_ascii_case(word)));
    let stays = says("connection", "keep-alive") || says("proxy-connection", "keep-alive");
    let closes =
        says("connection", "close") || says("proxy-connection", "close") || (response.version == Some(0) && !stays);
    let bytes = values("content-length").next().and_then(|value| value.trim().parse().ok());
    let body =
        if says("transfer-encoding", "chunked") { Body::Chunks } else { bytes.map_or(Body::UntilTheEnd, Body::Bytes) };
    let challenges = values("proxy-authenticate").map(str::to_owned).collect();
    let status = code.ok_or(httparse::Error::Status)?;
    Ok(Some((Head { status, closes, body, challenges }, length)))
}

/// The longest head of an answer, in bytes: twice what proxies allow themselves.
const HEAD_BYTES_MAX: usize = 32 << 10;
/// How many headers it may have: proxies send a dozen.
const HEADERS_MAX: usize = 128;
/// The longest page behind a refusal that is passed over, in bytes; behind a longer one a new connection is made.
const PAGE_BYTES_MAX: usize = 256 << 10;
/// How much is read at once, in bytes: little of what follows the head is kept apart from the tunnel.
const READ_BYTES: usize = 4 << 10;
/// What ends a chunk.
const CRLF_BYTES: usize = 2;

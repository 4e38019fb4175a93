//! What the network lets through on the way to a relay, asked one by one.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anypath_wire::{Address, PublicKey};
use hyper::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};

use super::descriptor::Descriptor;
use super::dialer::{Dialer, Dialled, ReachError};
use super::echo::{self, Echoes};
use super::link::{Asked, Link, Lore, Opened};
use super::posts::{Content, Posts};
use super::proxy::AGENT;
use super::rungs::{Rung, Rungs};
use super::sockets;
use super::transport::{RelayError, broken};
use crate::{DialError, Tcp, Transport};

/// Asks what passes to a relay and what does not.
pub struct Surveyor {
    dialer: Arc<Dialer>,
    posts: Arc<Posts>,
    host: String,
    port: u16,
}

impl Surveyor {
    /// Prepares it; nothing is contacted yet.
    pub fn new(dialer: Dialer, host: &str, port: u16) -> Self {
        let dialer = Arc::new(dialer);
        let posts = Arc::new(Posts::new(Arc::clone(&dialer), host, port));
        Self { dialer, posts, host: host.to_owned(), port }
    }

    /// Opens a TCP connection to a port of the relay's host, past every proxy; returns how many were refused before.
    ///
    /// # Errors
    /// If none opens.
    pub async fn knock(&self, port: u16) -> Result<u32, DialError> {
        let to = Address { scheme: "tcp".to_owned(), host: self.host.clone(), port, key: None };
        let tcp = Tcp::default();
        for refused in 0.. {
            let dialled = timeout(KNOCK_TIME_MAX, tcp.dial(&to)).await;
            let limit_ms = u64::try_from(KNOCK_TIME_MAX.as_millis()).unwrap_or(u64::MAX);
            match dialled.unwrap_or(Err(DialError::TimedOut { to: to.clone(), limit_ms })) {
                Ok(_) => return Ok(refused),
                Err(DialError::Refused { .. }) if refused < KNOCKS_MAX => sleep(KNOCK_PAUSE).await,
                Err(error) => return Err(error),
            }
        }
        unreachable!("knocks end")
    }

    /// Whether TCP gets through to a port of the relay's host, be it to a refusal.
    pub async fn is_let_through(&self, port: u16) -> bool {
        matches!(self.knock(port).await, Ok(_) | Err(DialError::Refused { .. }))
    }

    /// Asks by UDP how the relay sees us; nothing if no answer comes.
    ///
    /// # Errors
    /// If its name is not known here, or nothing can be sent at all.
    pub async fn echoes(&self, ports: [u16; 2]) -> io::Result<Option<Echoes>> {
        echo::ask(&self.host, ports).await
    }

    /// Opens a secure line, as the program would.
    ///
    /// # Errors
    /// If none opens.
    pub async fn line(&self) -> Result<Dialled, ReachError> {
        self.dialer.dial(&self.host, self.port).await
    }

    /// Returns by which scheme the proxy has asked who we are: `basic` or `digest`.
    pub fn scheme(&self) -> Option<&'static str> {
        self.dialer.scheme()
    }

    /// Asks the relay what it says about itself.
    ///
    /// # Errors
    /// If requests come to nothing, no relay answers, or one with another key than `expected`.
    pub async fn descriptor(&self, expected: Option<PublicKey>) -> Result<Descriptor, RelayError> {
        let descriptor = self.posts.descriptor().await.map_err(broken)?.ok_or(RelayError::NoRelay)?;
        match expected {
            Some(key) if key != descriptor.key => Err(RelayError::AnotherKey { found: descriptor.key }),
            _ => Ok(descriptor),
        }
    }

    /// Opens a session by requests alone; returns how long that took.
    ///
    /// # Errors
    /// If none opens.
    pub async fn requests(&self, relay: PublicKey, token: Vec<u8>) -> Result<Duration, RelayError> {
        let began = Instant::now();
        self.open(relay, token, vec![Rung::Poll]).await?;
        Ok(began.elapsed())
    }

    /// Opens a session by requests alone; returns whether answers to them come in pieces, as far as can be seen in 8 s.
    ///
    /// # Errors
    /// If none opens.
    pub async fn pieces(&self, relay: PublicKey, token: Vec<u8>) -> Result<bool, RelayError> {
        let opened = self.open(relay, token, vec![Rung::Stream, Rung::Poll]).await?;
        let mut carried = opened.link.carried();
        let streams = carried.wait_for(|carried| *carried == Rung::Stream.name());
        Ok(timeout(CLIMBING_TIME_MAX, streams).await.is_ok_and(|seen| seen.is_ok()))
    }

    /// Returns whether a request over HTTP/2 that is open both ways carries a session, as far as can be seen in 8 s.
    pub async fn duplex(&self, relay: PublicKey, token: Vec<u8>) -> bool {
        let opened = timeout(CLIMBING_TIME_MAX, self.open(relay, token, vec![Rung::Duplex])).await;
        opened.is_ok_and(|opened| opened.is_ok())
    }

    async fn open(&self, relay: PublicKey, token: Vec<u8>, rungs: Vec<Rung>) -> Result<Opened, RelayError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| RelayError::Session(error.to_string()))?;
        let rungs = Rungs::new(rungs).unwrap_or_default();
        let asked = Asked { relay, token, tag: "a".to_owned(), rungs, attempts_max: u64::MAX };
        Ok(Link::open(Arc::clone(&self.posts), asked, seed, &Lore::default()).await?)
    }

    /// Opens a WebSocket.
    ///
    /// # Errors
    /// Why there is none, in a sentence.
    pub async fn socket(&self) -> Result<(), String> {
        let opened = sockets::open(&self.dialer, &self.host, self.port, "/v1/w/survey").await;
        opened.map(drop).map_err(|error| error.to_string())
    }

    /// Returns the longest body of a request that is not refused for its length, of a few lengths, in bytes.
    ///
    /// # Errors
    /// If requests come to nothing.
    pub async fn body(&self) -> Result<usize, RelayError> {
        for length in BODIES {
            // It opens no session, but is read to its end.
            let content = Content { bytes: vec![0; length].into(), chunked: false };
            let answered = self.posts.post("/v1/o/a", content, false).await;
            // One that breaks off in the middle may have been found too long as well.
            let passes = answered.is_ok_and(|answered| answered.response.status() != StatusCode::PAYLOAD_TOO_LARGE);
            if passes {
                return Ok(length);
            }
        }
        Err(RelayError::Broken("not even short ones pass".to_owned()))
    }

    /// Keeps a line open without a word on it; returns after how long it was ended, if it was within the limit. Relays
    /// themselves end one after 90 s, so the limit is at most 75 s.
    ///
    /// # Errors
    /// If none opens.
    pub async fn silence(&self, limit: Duration) -> Result<Option<Duration>, ReachError> {
        let mut line = self.line().await?.line;
        let began = Instant::now();
        let ended = timeout(limit.min(RELAY_SILENCE_MAX), line.read(&mut [0])).await.is_ok();
        Ok(ended.then(|| began.elapsed()))
    }

    /// Keeps one line busy with small requests; returns after how long it was ended, if it was within the limit.
    ///
    /// # Errors
    /// If none opens.
    pub async fn age(&self, limit: Duration) -> Result<Option<Duration>, ReachError> {
        let mut line = self.line().await?.line;
        let request = format!("GET /robots.txt HTTP/1.1\r\nHost: {}\r\nUser-Agent: {AGENT}\r\n\r\n", self.host);
        let began = Instant::now();
        while began.elapsed() < limit {
            let asked = async {
                line.write_all(request.as_bytes()).await?;
                line.flush().await?;
                // Of the answer it matters only that there is one.
                line.read(&mut [0; 4096]).await
            };
            if !timeout(ANSWER_TIME_MAX, asked).await.is_ok_and(|read| read.is_ok_and(|length| length > 0)) {
                return Ok(Some(began.elapsed()));
            }
            sleep(REQUEST_PAUSE).await;
        }
        Ok(None)
    }
}

/// The lengths that are tried: what the program sends at most, what nginx takes unless told otherwise, and less.
const BODIES: [usize; 4] = [1020 << 10, 512 << 10, 128 << 10, 32 << 10];
/// Whether answers come in pieces a session looks at after 2 s, for 2 s; a request both ways has 5 s to be answered.
const CLIMBING_TIME_MAX: Duration = Duration::from_secs(8);
/// How long relays leave a connection without a word at least.
const RELAY_SILENCE_MAX: Duration = Duration::from_secs(75);
/// How long a connection may take to open, how many refusals are not believed, and the pause after each.
const KNOCK_TIME_MAX: Duration = Duration::from_secs(2);
const KNOCKS_MAX: u32 = 5;
const KNOCK_PAUSE: Duration = Duration::from_millis(50);
/// How long a small request may take, and the pause before the next.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
const REQUEST_PAUSE: Duration = Duration::from_secs(1);

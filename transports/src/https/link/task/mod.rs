//! The task that moves a session: what circuits ask, what comes of requests, and time.

mod circuits;
mod climbing;
mod request;

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;

use anypath_wire::Time;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use self::circuits::Circuit;
use self::request::{Post, joined, request};
use super::{ASKS_MAX, Ask, LinkError, Lore, Offer};
use crate::https::posts::{Content, Posts};
use crate::https::rungs::{Rung, Rungs};
use crate::https::session::{CarrierId, CircuitId, Client, ClientConfig, Closed, Command, Failure, Granted, Transmit};
use crate::https::sockets::{Attempts, Both};

/// What comes of requests.
pub(in crate::https) enum Came {
    Bytes(Bytes),
    End,
    Failure(Failure),
    /// A stream both ways is there, or none.
    Both(Option<Both>),
}

/// The hash that registrations sign and what the relay gave, or why there is no session.
type OpenedOrNot = Result<([u8; 64], Granted), LinkError>;

/// A session as it is moved.
pub(super) struct Task {
    posts: Arc<Posts>,
    client: Client,
    began: Instant,
    asks: mpsc::WeakSender<Ask>,
    offers: mpsc::Sender<Offer>,
    opened: Option<oneshot::Sender<OpenedOrNot>>,
    /// The session, as long as nothing carries it yet.
    opening: Option<([u8; 64], Granted)>,
    circuits: BTreeMap<CircuitId, Circuit>,
    requests: BTreeMap<CarrierId, AbortHandle>,
    /// Ends all requests with the session.
    running: JoinSet<()>,
    rungs: Rungs,
    attempts: Attempts,
    /// The stream both ways in use, of what kind it is, and what is to be written on it.
    both: Option<(CarrierId, Rung, mpsc::UnboundedSender<Vec<Bytes>>)>,
    pub(super) carried: watch::Sender<&'static str>,
    pub(super) lore: Lore,
    came: mpsc::Sender<(CarrierId, Came)>,
    comes: mpsc::Receiver<(CarrierId, Came)>,
    over: bool,
}

impl Task {
    pub(super) fn new(
        posts: Arc<Posts>,
        config: ClientConfig,
        rungs: Rungs,
        asks: mpsc::WeakSender<Ask>,
        offers: mpsc::Sender<Offer>,
        opened: oneshot::Sender<OpenedOrNot>,
    ) -> Self {
        let (came, comes) = mpsc::channel(ASKS_MAX);
        Self {
            posts,
            client: Client::new(Time::ZERO, config),
            began: Instant::now(),
            asks,
            offers,
            opened: Some(opened),
            opening: None,
            circuits: BTreeMap::new(),
            requests: BTreeMap::new(),
            running: JoinSet::new(),
            attempts: Attempts::new(rungs.both_ways()),
            rungs,
            both: None,
            carried: watch::Sender::new(Rung::Poll.name()),
            lore: Lore::default(),
            came,
            comes,
            over: false,
        }
    }

    pub(super) async fn run(mut self, mut asked: mpsc::Receiver<Ask>) {
        self.settle();
        while !self.over {
            let due = self.client.poll_deadline().map(|deadline| self.began + deadline.at.since(Time::ZERO));
            let due = due.into_iter().chain(self.both_due()).min();
            let timer = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                ask = asked.recv() => match ask {
                    Some(ask) => self.take(ask),
                    None => self.leave(),
                },
                Some((carrier, came)) = self.comes.recv() => self.note(carrier, came),
                Some(_) = self.running.join_next() => {}
                () = timer => {
                    let now = self.now();
                    self.client.handle_timeout(now);
                }
            }
            self.settle();
        }
        if let Some(opened) = self.opened.take() {
            opened.send(Err(LinkError::NotOpened(Closed::Silent))).ok();
        }
        // Farewells are given a moment.
        tokio::time::timeout(FAREWELL_TIME, async { while self.running.join_next().await.is_some() {} }).await.ok();
    }

    fn now(&self) -> Time {
        Time::from_micros(u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    fn command(&mut self, command: Command) {
        let now = self.now();
        self.client.handle_command(now, command);
    }

    fn leave(&mut self) {
        self.command(Command::Close { reason: 0 });
        self.over = true;
    }

    fn note(&mut self, carrier: CarrierId, came: Came) {
        let now = self.now();
        if !matches!(came, Came::Bytes(_)) {
            self.requests.remove(&carrier);
            self.end_both(carrier);
        }
        match came {
            Came::Both(None) => {
                if !self.attempts.fail() && !self.rungs.allow_requests() {
                    self.give_up();
                }
            }
            Came::Both(Some(both)) => self.use_both(both),
            Came::Bytes(bytes) => self.client.handle_bytes(now, carrier, &bytes),
            Came::End => self.client.handle_end(now, carrier),
            Came::Failure(failure) => self.client.handle_failure(now, carrier, failure),
        }
    }

    /// Does everything that the session wants done, and tells the circuits what it tells.
    fn settle(&mut self) {
        self.try_both();
        self.note_carrier();
        self.lore.note(self.client.learnt());
        while let Some(event) = self.client.poll_event() {
            self.tell(event);
        }
        while let Some(transmit) = self.client.poll_transmit() {
            match transmit {
                Transmit::Post { carrier, route, body, chunked, patient } => {
                    let content = Content { bytes: joined(&body), chunked };
                    let post = Post { carrier, path: route.path(), content, patient };
                    let request = request(Arc::clone(&self.posts), post, self.came.clone());
                    self.requests.insert(carrier, self.running.spawn(request));
                }
                Transmit::Drop { carrier } => {
                    self.posts.forget();
                    self.end_both(carrier);
                    if let Some(request) = self.requests.remove(&carrier) {
                        request.abort();
                    }
                }
                Transmit::Write { carrier, bytes, .. } => {
                    // It may have ended since; then the session hears of that next.
                    if let Some((_, _, writes)) = self.both.as_ref().filter(|(used, ..)| *used == carrier) {
                        drop(writes.send(bytes));
                    }
                }
            }
        }
    }
}

/// How long requests that say farewell are given.
const FAREWELL_TIME: std::time::Duration = std::time::Duration::from_secs(2);

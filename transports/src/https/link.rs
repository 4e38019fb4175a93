//! A session with one relay: the task that moves it, and the circuits on it as byte streams.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};

use anypath_wire::{PublicKey, Time};
use bytes::Bytes;
use http_body_util::BodyExt;
use thiserror::Error;
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::pipe::{self, Outward};
use super::posts::{PostError, Posts};
use super::rungs::{Rung, Rungs};
use super::session::{
    CarrierId, CircuitId, Client, ClientConfig, Closed, Command, Config, Event, Failure, Granted, Learnt, Style,
    Transmit,
};
use super::sockets::{Attempts, Both};

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
        let task = Task { lore: lore.clone(), ..Task::new(posts, config, rungs, asks.downgrade(), offers, opened) };
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

/// What comes of requests.
pub(super) enum Came {
    Bytes(Bytes),
    End,
    Failure(Failure),
    /// A stream both ways is there, or none.
    Both(Option<Both>),
}

struct Circuit {
    /// Bytes to the application.
    inward: mpsc::UnboundedSender<Bytes>,
    /// What the relay has no room for yet, and who waits for it.
    waiting: Option<(Bytes, oneshot::Sender<()>)>,
    ending: bool,
    /// Nothing more goes out, and nothing more comes.
    over: [bool; 2],
    /// Who waits for it to be granted, and the application's end of it.
    asked: Option<(Reply, DuplexStream)>,
}

/// The hash that registrations sign and what the relay gave, or why there is no session.
type OpenedOrNot = Result<([u8; 64], Granted), LinkError>;

struct Task {
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
    carried: watch::Sender<&'static str>,
    lore: Lore,
    came: mpsc::Sender<(CarrierId, Came)>,
    comes: mpsc::Receiver<(CarrierId, Came)>,
    over: bool,
}

impl Task {
    fn new(
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

    async fn run(mut self, mut asked: mpsc::Receiver<Ask>) {
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

    fn take(&mut self, ask: Ask) {
        match ask {
            Ask::Open { target, style, first, reply } => self.open(target, style, first, reply),
            Ask::Send { circuit, bytes, reply } => {
                if let Some(it) = self.circuits.get_mut(&circuit) {
                    it.waiting = Some((bytes, reply));
                    self.push(circuit);
                }
            }
            Ask::Consumed { circuit, bytes } => self.command(Command::Consumed { circuit, bytes }),
            Ask::End { circuit } => {
                if let Some(it) = self.circuits.get_mut(&circuit) {
                    it.ending = true;
                    self.push(circuit);
                }
            }
            Ask::Reset { circuit } => {
                if self.circuits.remove(&circuit).is_some() {
                    self.command(Command::Reset { circuit, reason: super::target::reason::GONE });
                }
            }
        }
    }

    fn open(&mut self, target: Bytes, style: Style, first: Bytes, reply: Reply) {
        let Some(circuit) = self.client.next_circuit() else {
            drop(reply.send(Err(LinkError::Refused(super::target::reason::FULL))));
            return;
        };
        self.command(Command::Open { circuit, style, target, first });
        let stream = self.pipe(circuit);
        if let Some(it) = self.circuits.get_mut(&circuit) {
            it.asked = stream.map(|stream| (reply, stream));
        }
    }

    /// Makes a circuit's stream; nothing if nobody is left who could ask for anything.
    fn pipe(&mut self, circuit: CircuitId) -> Option<DuplexStream> {
        let (inward, bytes) = mpsc::unbounded_channel();
        let stream = pipe::pipe(Outward { circuit, asks: self.asks.upgrade()? }, bytes);
        self.circuits.insert(circuit, Circuit { inward, waiting: None, ending: false, over: [false; 2], asked: None });
        Some(stream)
    }

    /// Hands on what waits on a circuit, as far as there is room.
    fn push(&mut self, circuit: CircuitId) {
        let now = self.now();
        let Some(it) = self.circuits.get_mut(&circuit) else { return };
        while let Some((bytes, _)) = &mut it.waiting {
            let room = self.client.send_room(circuit);
            if room == 0 {
                return;
            }
            let part = bytes.split_to(room.min(bytes.len()));
            let all = bytes.is_empty();
            self.client.handle_command(now, Command::Send { circuit, bytes: part });
            if all && let Some((_, reply)) = it.waiting.take() {
                reply.send(()).ok();
            }
        }
        if std::mem::take(&mut it.ending) {
            it.over[0] = true;
            self.client.handle_command(now, Command::End { circuit });
        }
        if it.over == [true; 2] {
            self.circuits.remove(&circuit);
        }
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
                Transmit::Post { carrier, route, body, patient } => {
                    let post = Post { carrier, path: route.path(), body: joined(&body), patient };
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

    /// Notes what carries the session now; only once something does, it is there.
    fn note_carrier(&mut self) {
        let rung = self.rung();
        self.carried.send_if_modified(|carried| std::mem::replace(carried, rung.name()) != rung.name());
        let is_carried = self.rungs.allow_requests() || self.client.is_on_stream();
        if let Some(opening) = self.opening.take_if(|_| is_carried)
            && let Some(opened) = self.opened.take()
        {
            opened.send(Ok(opening)).ok();
        }
    }

    fn rung(&self) -> Rung {
        let streams = self.client.learnt().streams_down == Some(true);
        match &self.both {
            Some((_, rung, _)) if self.client.is_on_stream() => *rung,
            _ if streams => Rung::Stream,
            _ => Rung::Poll,
        }
    }

    /// Lets go of the stream both ways if it is that carrier: whether it carried anything decides what is tried next.
    fn end_both(&mut self, carrier: CarrierId) {
        if self.both.take_if(|(used, ..)| *used == carrier).is_some() {
            let was_proven = self.client.is_on_stream();
            if was_proven {
                self.attempts.end();
            } else if !self.attempts.fail() && !self.rungs.allow_requests() {
                self.give_up();
            }
        }
    }

    /// Ends the session, which nothing that may carry it carries.
    fn give_up(&mut self) {
        if let Some(opened) = self.opened.take() {
            opened.send(Err(LinkError::NotCarried)).ok();
        }
        self.leave();
    }

    /// Returns when a stream both ways is tried next, unless what is better carries the session, or may yet be found to do so.
    fn both_due(&self) -> Option<Instant> {
        let next = self.attempts.next()?;
        self.client.stream_path()?;
        let is_open = self.client.learnt().streams_down.is_none();
        let better = if is_open && self.rungs.prefer(Rung::Stream, Rung::Poll) { Rung::Stream } else { self.rung() };
        self.attempts.due.filter(|_| self.rungs.prefer(next, better))
    }

    fn try_both(&mut self) {
        let Some(path) = self.client.stream_path() else { return };
        if self.both_due().is_none_or(|due| Instant::now() < due) {
            return;
        }
        let Some(kind) = self.attempts.next() else { return };
        self.attempts.begin();
        let (posts, came) = (Arc::clone(&self.posts), self.came.clone());
        self.running.spawn(async move {
            let both = match kind {
                Rung::Duplex => {
                    posts.duplex(&path).await.map(|it| Both::Duplex(Box::new(it))).map_err(|it| it.to_string())
                }
                _ => posts.socket(&path).await.map(|it| Both::Socket(Box::new(it))).map_err(|it| it.to_string()),
            };
            let both = both.inspect_err(|error| tracing::debug!(error, "the session stays on requests")).ok();
            drop(came.send((NO_CARRIER, Came::Both(both))).await);
        });
    }

    fn use_both(&mut self, both: Both) {
        let now = self.now();
        let (writes, written) = mpsc::unbounded_channel();
        let Some(carrier) = self.client.handle_stream(now) else { return };
        self.both = Some((carrier, both.rung(), writes));
        let came = self.came.clone();
        let run = async move {
            both.run(written, carrier, &came).await;
            drop(came.send((carrier, Came::Failure(Failure::Broken))).await);
        };
        self.requests.insert(carrier, self.running.spawn(run));
    }

    fn tell(&mut self, event: Event) {
        match event {
            Event::Opened { hash, granted } => {
                self.opening = Some((hash, granted));
                self.note_carrier();
            }
            Event::Offered { circuit, target, .. } => {
                let offer = self.pipe(circuit).map(|stream| Offer { target, stream });
                let taken = offer.is_some_and(|offer| self.offers.try_send(offer).is_ok());
                if taken {
                    self.command(Command::Accept { circuit });
                } else {
                    self.circuits.remove(&circuit);
                    self.command(Command::Reset { circuit, reason: super::target::reason::FULL });
                }
            }
            Event::Accepted { circuit } => {
                let asked = self.circuits.get_mut(&circuit).and_then(|it| it.asked.take());
                if let Some((reply, stream)) = asked {
                    drop(reply.send(Ok(stream)));
                }
            }
            Event::Data { circuit, bytes } => {
                if let Some(it) = self.circuits.get(&circuit) {
                    // Bounded by the circuit's credit, which grows only as the other end takes.
                    drop(it.inward.send(bytes));
                }
            }
            Event::Writable { circuit } => self.push(circuit),
            Event::Ended { circuit } => {
                if let Some(it) = self.circuits.get_mut(&circuit) {
                    it.over[1] = true;
                    drop(it.inward.send(Bytes::new()));
                }
                self.push(circuit);
            }
            Event::Reset { circuit, reason } => {
                let gone = self.circuits.remove(&circuit);
                if let Some((reply, _)) = gone.and_then(|it| it.asked) {
                    drop(reply.send(Err(LinkError::Refused(reason))));
                }
            }
            Event::Foreign { excerpt } => {
                tracing::debug!(page = %String::from_utf8_lossy(&excerpt), "something answered in the relay's place");
            }
            Event::GoAway { after_ms } => tracing::info!(after_ms, "the relay restarts"),
            Event::Closed(why) => {
                tracing::debug!(?why, "the session with the relay is over");
                if let Some(opened) = self.opened.take() {
                    opened.send(Err(LinkError::NotOpened(why))).ok();
                }
                self.over = true;
            }
        }
    }
}

/// What sessions have found out about the way to one relay; clones share it, and the next session begins with it.
#[derive(Clone, Default)]
pub(super) struct Lore(Arc<Mutex<Learnt>>);

impl Lore {
    fn note(&self, learnt: &Learnt) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *known != *learnt {
            known.clone_from(learnt);
        }
    }

    /// Returns it, but for what is said already: what is forbidden does not pass, and what stands in the place of everything
    /// else does.
    fn within(&self, rungs: &Rungs) -> Learnt {
        let learnt = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let streams_down = match (rungs.allow(Rung::Stream), rungs.allow(Rung::Poll)) {
            (false, _) => Some(false),
            (true, false) => Some(true),
            (true, true) => learnt.streams_down,
        };
        Learnt { streams_down, ..learnt }
    }
}

/// A request to be made.
struct Post {
    carrier: CarrierId,
    path: String,
    body: Bytes,
    patient: bool,
}

/// Joins parts, without copying if there is one.
fn joined(parts: &[Bytes]) -> Bytes {
    if let [one] = parts { one.clone() } else { parts.concat().into() }
}

/// Makes one request, and tells what comes of it.
async fn request(posts: Arc<Posts>, post: Post, came: mpsc::Sender<(CarrierId, Came)>) {
    let carrier = post.carrier;
    let outcome = exchange(&posts, post, &came).await;
    let last = outcome.unwrap_or_else(|error| {
        tracing::debug!(%error, "a request failed");
        Came::Failure(Failure::Broken)
    });
    // If nobody hears it, the session is over.
    drop(came.send((carrier, last)).await);
}

async fn exchange(posts: &Posts, post: Post, came: &mpsc::Sender<(CarrierId, Came)>) -> Result<Came, PostError> {
    let Post { carrier, path, body, patient } = post;
    let mut answered = posts.post(&path, body, patient).await?;
    let status = answered.response.status();
    if status != hyper::StatusCode::OK {
        return Ok(Came::Failure(Failure::Status(status.as_u16())));
    }
    while let Some(frame) = answered.response.body_mut().frame().await {
        if let Ok(bytes) = frame?.into_data() {
            drop(came.send((carrier, Came::Bytes(bytes))).await);
        }
    }
    posts.keep(answered);
    Ok(Came::End)
}

/// Stands where no carrier is meant; the session never counts so far.
const NO_CARRIER: CarrierId = CarrierId(u64::MAX);
/// How many messages may wait for the task; beyond, circuits and requests wait.
const ASKS_MAX: usize = 256;
/// How many offered circuits may wait to be taken.
const OFFERS_MAX: usize = 16;
/// How long requests that say farewell are given.
const FAREWELL_TIME: std::time::Duration = std::time::Duration::from_secs(2);

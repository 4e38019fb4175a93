//! A client, a relay, and what lies between them, in simulated time.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use anypath_transports::https::session::{
    self, CarrierId, Client, ClientConfig, Config, Failure, Granted, Learnt, Route, Server, SessionId, Transmit,
};
use anypath_wire::{KeyPair, Time};

use crate::app::App;
use crate::chance::Chance;

/// What may happen to requests, in thousandths, and how the line is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Line {
    pub(crate) delay: Duration,
    pub(crate) jitter: Duration,
    /// Bytes a second each way; 0 is no limit.
    pub(crate) rate: u64,
    /// Answers are kept until they are complete, and then sent on over a second line of the same rate.
    pub(crate) buffers: bool,
    /// A request or answer vanishes; whoever waits learns of it, or does not.
    pub(crate) drop: u64,
    pub(crate) silent_drop: u64,
    pub(crate) truncate: u64,
    pub(crate) duplicate: u64,
    pub(crate) delayed: u64,
    pub(crate) page: u64,
    pub(crate) tamper: u64,
    pub(crate) replay: u64,
    /// Held requests are cut at that age.
    pub(crate) cut: Option<Duration>,
    /// Longer bodies are refused.
    pub(crate) body_bytes_max: Option<usize>,
    /// Streams both ways live about so long; `None` if there are none.
    pub(crate) streams: Option<Duration>,
    /// When a stream dies, what lies between keeps its other half open, and the relay learns nothing.
    pub(crate) half_open: bool,
    /// Requests are led to a relay that knows no session; streams stay where they are.
    pub(crate) elsewhere: bool,
}

/// What happens at a moment.
#[derive(Debug)]
enum What {
    Request { to: u64, bytes: Vec<u8>, route: Route, whole: bool },
    RelayGone { http: u64 },
    Answer { carrier: CarrierId, bytes: Vec<u8> },
    AnswerEnd { carrier: CarrierId },
    Fails { carrier: CarrierId, failure: Failure },
    StreamUp { http: u64, bytes: Vec<u8> },
    StreamDies { carrier: CarrierId, http: u64 },
    StreamOpens,
    Apps,
}

/// The world.
pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) line: Line,
    pub(crate) chance: Chance,
    pub(crate) client: Client,
    pub(crate) client_app: App,
    pub(crate) relay: BTreeMap<SessionId, (Server, App)>,
    identity: KeyPair,
    queue: BTreeMap<(Time, u64), What>,
    sequence: u64,
    /// The relay's requests: which session, which carrier of the client, and whether its answer goes anywhere.
    https: BTreeMap<u64, (SessionId, CarrierId, bool)>,
    next_http: u64,
    streams: BTreeMap<CarrierId, u64>,
    /// When the last bytes of a stream arrive, by request and way: what follows does not overtake them.
    ordered: BTreeMap<(u64, usize), Time>,
    busy_until: [Time; 4],
    last_answers: VecDeque<Vec<u8>>,
    /// What is kept of answers until they are complete.
    kept_back: BTreeMap<u64, Vec<u8>>,
    pub(crate) steps: u64,
    pub(crate) posts: u64,
    pub(crate) kept_max: [u64; 4],
}

impl World {
    pub(crate) fn new(seed: u64, line: Line, config: Config, learnt: Learnt) -> Self {
        let identity = KeyPair::from_seed(&[9; 32]);
        let mut entropy = [0; 32];
        entropy[..8].copy_from_slice(&seed.to_le_bytes());
        let client = ClientConfig {
            relay: identity.public(),
            token: Vec::new(),
            tag: "a".to_owned(),
            seed: entropy,
            session: config,
            learnt,
            attempts_max: u64::MAX,
            requests: true,
        };
        let mut world = Self {
            now: Time::ZERO,
            chance: Chance::new(seed),
            client: Client::new(Time::ZERO, client),
            client_app: App::default(),
            relay: BTreeMap::new(),
            identity,
            queue: BTreeMap::new(),
            sequence: 0,
            https: BTreeMap::new(),
            next_http: 0,
            streams: BTreeMap::new(),
            ordered: BTreeMap::new(),
            busy_until: [Time::ZERO; 4],
            last_answers: VecDeque::new(),
            kept_back: BTreeMap::new(),
            steps: 0,
            posts: 0,
            kept_max: [0; 4],
            line,
        };
        world.at(Duration::ZERO, What::Apps);
        if world.line.streams.is_some() {
            world.at(Duration::from_millis(300), What::StreamOpens);
        }
        world
    }

    /// Goes on until `done` says so or the time is over; returns whether it did.
    pub(crate) fn run(&mut self, until: Time, mut done: impl FnMut(&Self) -> bool) -> bool {
        while self.now < until && !done(self) {
            self.step();
        }
        done(self)
    }

    fn step(&mut self) {
        self.steps += 1;
        let queued = self.queue.keys().next().map(|(at, _)| *at);
        let client = self.client.poll_deadline().map(|deadline| deadline.at);
        let relay = self.relay.values().filter_map(|(server, _)| server.poll_deadline()).map(|it| it.at).min();
        let next = [queued, client, relay].into_iter().flatten().min().expect("something is always due");
        assert!(next >= self.now, "a deadline in the past");
        self.now = next;
        if queued == Some(next) {
            let (_, what) = self.queue.pop_first().expect("it was there");
            self.happen(what);
        } else if client == Some(next) {
            self.client.handle_timeout(next);
        } else {
            self.relay.values_mut().for_each(|(server, _)| server.handle_timeout(next));
        }
        self.pump();
    }

    fn at(&mut self, after: Duration, what: What) {
        self.sequence += 1;
        self.queue.insert((self.now + after, self.sequence), what);
    }

    pub(crate) fn pump(&mut self) {
        self.client_app.act(self.now, &mut self.client, &mut self.chance);
        let sessions: Vec<_> = self.relay.keys().copied().collect();
        for session in sessions {
            let (server, app) = self.relay.get_mut(&session).expect("it is there");
            app.act(self.now, server, &mut self.chance);
            while let Some(transmit) = self.relay.get_mut(&session).and_then(|(server, _)| server.poll_transmit()) {
                self.relay_sends(transmit);
            }
        }
        while let Some(transmit) = self.client.poll_transmit() {
            self.client_sends(transmit);
        }
        let (a, b) = self.client.kept_bytes();
        let theirs = self.relay.values().map(|(server, _)| server.kept_bytes());
        let (c, d) = theirs.fold((0, 0), |sum, kept| (sum.0.max(kept.0), sum.1.max(kept.1)));
        for (max, kept) in self.kept_max.iter_mut().zip([a, b, c, d]) {
            *max = (*max).max(kept);
        }
    }

    fn client_sends(&mut self, transmit: Transmit) {
        match transmit {
            Transmit::Post { carrier, route, body, .. } => {
                self.posts += 1;
                self.request(carrier, route, body.concat());
            }
            Transmit::Write { carrier, bytes, .. } => {
                if let Some(&http) = self.streams.get(&carrier) {
                    let after = self.passage(0, bytes.iter().map(|part| part.len()).sum());
                    let after = self.in_order(http, 0, after);
                    self.at(after, What::StreamUp { http, bytes: bytes.concat() });
                }
            }
            Transmit::Drop { carrier } => {
                self.streams.remove(&carrier);
                let https = self.https.iter().filter(|(_, (_, of, _))| *of == carrier).map(|(http, _)| *http);
                let https: Vec<_> = https.collect();
                if self.chance.below(2) == 0 {
                    https.into_iter().for_each(|http| self.at(Duration::from_millis(20), What::RelayGone { http }));
                }
            }
        }
    }

    /// Sends a request through whatever lies between.
    fn request(&mut self, carrier: CarrierId, route: Route, mut bytes: Vec<u8>) {
        let line = self.line.clone();
        let after = self.passage(0, bytes.len() + REQUEST_HEAD_BYTES);
        if line.body_bytes_max.is_some_and(|max| bytes.len() > max) {
            self.at(after, What::Fails { carrier, failure: Failure::Status(413) });
            return;
        }
        if let Some(cut) = line.cut {
            self.at(cut, What::Fails { carrier, failure: Failure::Broken });
        }
        if self.chance.permille(line.silent_drop) {
            return;
        }
        if self.chance.permille(line.drop) {
            self.at(after, What::Fails { carrier, failure: Failure::Broken });
            return;
        }
        if self.chance.permille(line.page) {
            self.page(carrier, after);
            // Such a thing may pass the request on all the same.
            if self.chance.below(2) == 0 {
                return;
            }
        }
        if !bytes.is_empty() && self.chance.permille(line.tamper) {
            let at = self.chance.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << self.chance.below(8);
        }
        if self.chance.permille(line.duplicate) {
            let later = after + Duration::from_millis(self.chance.below(400));
            let to = self.http(carrier, self.chance.clone().below(2) == 0);
            self.at(later, What::Request { to, bytes: bytes.clone(), route: route.clone(), whole: true });
        }
        let whole = !self.chance.permille(line.truncate);
        if !whole {
            bytes.truncate(self.chance.below(bytes.len() as u64) as usize);
            self.at(after * 2, What::Fails { carrier, failure: Failure::Broken });
        }
        let to = self.http(carrier, true);
        self.at(after, What::Request { to, bytes, route, whole });
    }

    fn page(&mut self, carrier: CarrierId, after: Duration) {
        let bytes = b"<!DOCTYPE html><title>Blocked</title>".to_vec();
        self.at(after * 2, What::Answer { carrier, bytes });
        self.at(after * 2, What::AnswerEnd { carrier });
    }

    fn http(&mut self, carrier: CarrierId, answers: bool) -> u64 {
        self.next_http += 1;
        self.https.insert(self.next_http, (SessionId([0; 16]), carrier, answers));
        self.next_http
    }

    fn happen(&mut self, what: What) {
        let now = self.now;
        match what {
            What::Request { to, bytes, route, whole } => self.relay_request(to, &bytes, &route, whole),
            What::RelayGone { http } => {
                if let Some((session, _, _)) = self.https.remove(&http)
                    && let Some((server, _)) = self.relay.get_mut(&session)
                {
                    server.handle_failure(now, CarrierId(http));
                }
            }
            What::Answer { carrier, bytes } => self.client.handle_bytes(now, carrier, &bytes),
            What::AnswerEnd { carrier } => self.client.handle_end(now, carrier),
            What::Fails { carrier, failure } => self.client.handle_failure(now, carrier, failure),
            What::StreamUp { http, bytes } => self.stream_up(http, &bytes),
            What::StreamDies { carrier, http } => {
                self.streams.remove(&carrier);
                self.client.handle_failure(now, carrier, Failure::Broken);
                if !self.line.half_open {
                    self.at(Duration::from_millis(30), What::RelayGone { http });
                }
            }
            What::StreamOpens => self.stream_opens(),
            What::Apps => self.at(Duration::from_millis(15), What::Apps),
        }
    }

    fn relay_request(&mut self, http: u64, bytes: &[u8], route: &Route, whole: bool) {
        let now = self.now;
        if matches!(route, Route::Open { .. }) {
            self.open_session(http, bytes);
            return;
        }
        let Some((session, rest)) = session::split_session_id(bytes) else { return };
        self.https.entry(http).and_modify(|it| it.0 = session);
        let elsewhere = self.line.elsewhere;
        let Some((server, _)) = self.relay.get_mut(&session).filter(|_| !elsewhere) else {
            self.answer(http, session::forgotten(&forgotten_token(session)).to_vec(), true);
            return;
        };
        server.handle_open(now, CarrierId(http));
        server.handle_bytes(now, CarrierId(http), rest);
        if whole {
            server.handle_end(now, CarrierId(http));
        } else {
            server.handle_failure(now, CarrierId(http));
        }
    }

    fn open_session(&mut self, http: u64, bytes: &[u8]) {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.chance.next().to_le_bytes());
        let session = SessionId(id);
        let granted =
            Granted { session, forgotten: forgotten_token(session), tag: "a1".to_owned(), tags: 1, proof: false };
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.chance.next().to_le_bytes());
        let Ok(asked) = session::ask(&self.identity, seed, bytes) else {
            let carrier = self.https[&http].1;
            self.at(self.line.delay, What::Fails { carrier, failure: Failure::Status(404) });
            return;
        };
        let (answer, server, _) = asked.grant(self.now, &granted, Config::default()).unwrap();
        let app = App { lazy: self.client_app.lazy, checks: self.client_app.checks, ..App::default() };
        self.relay.insert(granted.session, (server, app));
        self.answer(http, answer.to_vec(), true);
    }

    fn relay_sends(&mut self, transmit: Transmit) {
        match transmit {
            Transmit::Write { carrier, bytes, ends } => self.answer(carrier.0, bytes.concat(), ends),
            Transmit::Drop { carrier } => {
                if let Some((_, of, true)) = self.https.remove(&carrier.0) {
                    self.at(self.line.delay, What::Fails { carrier: of, failure: Failure::Status(404) });
                }
            }
            Transmit::Post { .. } => panic!("a relay makes no requests"),
        }
    }

    /// Sends an answer back through whatever lies between.
    fn answer(&mut self, http: u64, mut bytes: Vec<u8>, ends: bool) {
        let Some(&(_, carrier, answers)) = self.https.get(&http) else { return };
        let line = self.line.clone();
        if line.buffers && self.streams.get(&carrier) != Some(&http) {
            let kept = self.kept_back.entry(http).or_default();
            kept.append(&mut bytes);
            if !ends {
                return;
            }
            bytes = self.kept_back.remove(&http).unwrap_or_default();
        }
        let after = self.passage(1, bytes.len() + if ends { ANSWER_HEAD_BYTES } else { 0 });
        let after = self.in_order(http, 1, after);
        let breaks = self.chance.permille(line.drop);
        if self.streams.get(&carrier) == Some(&http) || !(ends || breaks) {
            self.at(after, What::Answer { carrier, bytes });
            return;
        }
        self.https.remove(&http);
        if !answers || self.chance.permille(line.silent_drop) {
            return;
        }
        if breaks {
            self.at(after, What::Fails { carrier, failure: Failure::Broken });
            return;
        }
        if self.chance.permille(line.page) {
            return self.page(carrier, after);
        }
        if self.chance.permille(line.replay) && !self.last_answers.is_empty() {
            bytes = self.last_answers[self.chance.below(self.last_answers.len() as u64) as usize].clone();
        } else {
            self.last_answers.push_back(bytes.clone());
            self.last_answers.truncate(8);
        }
        if !bytes.is_empty() && self.chance.permille(line.tamper) {
            let at = self.chance.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << self.chance.below(8);
        }
        if self.chance.permille(line.truncate) {
            bytes.truncate(self.chance.below(bytes.len() as u64) as usize);
            let clean = self.chance.below(2) == 0;
            self.at(after, What::Answer { carrier, bytes });
            let end = What::Fails { carrier, failure: Failure::Broken };
            self.at(after, if clean { What::AnswerEnd { carrier } } else { end });
            return;
        }
        let cut = if line.jitter.is_zero() { bytes.len() } else { self.chance.below(bytes.len() as u64) as usize };
        let rest = bytes.split_off(cut);
        self.at(after, What::Answer { carrier, bytes });
        self.at(after, What::Answer { carrier, bytes: rest });
        self.at(after, What::AnswerEnd { carrier });
    }

    fn stream_opens(&mut self) {
        let Some(lives) = self.line.streams else { return };
        let session = self.relay.iter().find(|(_, (_, app))| !app.streams.is_empty()).map(|(session, _)| *session);
        if let Some(session) = session
            && let Some(carrier) = self.client.handle_stream(self.now)
        {
            self.next_http += 1;
            let http = self.next_http;
            self.https.insert(http, (session, carrier, true));
            self.streams.insert(carrier, http);
            let (server, _) = self.relay.get_mut(&session).expect("it is there");
            server.handle_open(self.now, CarrierId(http));
            let lives = Duration::from_micros(self.chance.below(2 * lives.as_micros() as u64));
            self.at(lives, What::StreamDies { carrier, http });
        }
        let next = Duration::from_millis(200 + self.chance.below(3000));
        self.at(next, What::StreamOpens);
    }

    fn stream_up(&mut self, http: u64, bytes: &[u8]) {
        let Some(&(session, carrier, _)) = self.https.get(&http) else { return };
        if self.streams.get(&carrier) != Some(&http) {
            return;
        }
        let Some((server, _)) = self.relay.get_mut(&session) else { return };
        // The first message begins with the session's number.
        let rest = bytes.strip_prefix(&session.0).unwrap_or(bytes);
        server.handle_bytes(self.now, CarrierId(http), rest);
    }

    /// Returns when what follows on a stream arrives.
    fn in_order(&mut self, http: u64, way: usize, after: Duration) -> Duration {
        let now = self.now;
        let last = self.ordered.entry((http, way)).or_default();
        *last = (*last).max(now + after);
        last.since(now)
    }

    /// Returns how long so many bytes take one way (0 up, 1 down).
    fn passage(&mut self, way: usize, bytes: usize) -> Duration {
        let line = self.line.clone();
        let mut arrives = self.queued(way, self.now, bytes);
        if line.buffers {
            arrives = self.queued(way + 2, arrives, bytes);
        }
        let jitter = Duration::from_micros(self.chance.below(line.jitter.as_micros() as u64 + 1));
        let late = if self.chance.permille(line.delayed) { self.chance.below(3000) } else { 0 };
        arrives.since(self.now) + line.delay + jitter + Duration::from_millis(late)
    }

    /// Returns when so many bytes have passed a line that sends one after the other.
    fn queued(&mut self, line: usize, from: Time, bytes: usize) -> Time {
        if self.line.rate == 0 {
            return from;
        }
        let takes = Duration::from_micros(bytes as u64 * 1_000_000 / self.line.rate);
        self.busy_until[line] = self.busy_until[line].max(from) + takes;
        self.busy_until[line]
    }
}

/// Stands for a keyed hash: of another number it is another one.
fn forgotten_token(session: SessionId) -> [u8; 16] {
    session.0.map(|byte| byte ^ 0x55)
}

/// What HTTP and TLS add to a request, in bytes.
const REQUEST_HEAD_BYTES: usize = 250;
/// And to an answer.
const ANSWER_HEAD_BYTES: usize = 200;

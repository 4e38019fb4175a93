//! The client's end: opens the session, and makes requests as they are needed.

use std::collections::VecDeque;
use std::time::Duration;

use anypath_wire::noise::{HANDSHAKE_BYTES_MAX, NoiseHandshake};
use anypath_wire::{Deadline, PublicKey, Role, Time, keyed_hash};
use bytes::Bytes;

use super::carriers::{CarrierId, Failure, Route, Transmit};
use super::cipher::Cipher;
use super::core::Core;
use super::lanes::{Lane, LaneKind, Lanes};
use super::opening::{self, Granted, PROLOGUE};
use super::record::{Kind, Record};
use super::{CircuitId, Closed, Command, Config, EXCERPT_BYTES_MAX, Event, Learnt};

/// What a client is told when it is made.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// The relay's key; whoever has another one is foreign.
    pub relay: PublicKey,
    /// What the relay asks for to let somebody in; empty if nothing.
    pub token: Vec<u8>,
    /// By which tag a balancer is to choose among relays, in letters and digits.
    pub tag: String,
    /// Fresh randomness; the ephemeral keys of all attempts derive from it.
    pub seed: [u8; 32],
    /// What bounds the session.
    pub session: Config,
    /// What was learnt in this network before.
    pub learnt: Learnt,
    /// How often opening is tried, as long as it is not answered; at least once.
    pub attempts_max: u64,
    /// Whether requests may carry the session, and not only open it.
    pub requests: bool,
}

/// A session at the client, as a sans-IO machine. See the [module's page](super) for how a driver moves it.
pub struct Client {
    pub(super) config: ClientConfig,
    stage: Stage,
    pub(super) lanes: Lanes,
    attempts: u64,
    began: Time,
    /// Events of the time before there is a session.
    events: VecDeque<Event>,
}

pub(super) enum Stage {
    Opening,
    Open(Box<Opened>),
    Over,
}

pub(super) struct Opened {
    pub(super) core: Core,
    pub(super) granted: Granted,
}

impl Client {
    /// Makes the client and its first request.
    pub fn new(now: Time, config: ClientConfig) -> Self {
        let lanes = Lanes::new(config.learnt.clone(), config.requests);
        let (stage, events) = (Stage::Opening, VecDeque::new());
        let mut client = Self { config, stage, lanes, attempts: 0, began: now, events };
        client.settle(now);
        client
    }

    /// Returns a number for a new circuit, to be opened now, or nothing if there is no session or the relay allows no more.
    pub fn next_circuit(&mut self) -> Option<CircuitId> {
        self.core().and_then(Core::next_circuit)
    }

    /// Returns how many bytes may be sent on a circuit now; [`Event::Writable`] tells when there are more.
    pub fn send_room(&mut self, circuit: CircuitId) -> usize {
        self.core().map_or(0, |core| core.send_room(circuit))
    }

    /// Returns the path at which the relay takes streams of this session, once there is one.
    pub fn stream_path(&self) -> Option<String> {
        if let Stage::Open(opened) = &self.stage { Some(format!("/v1/w/{}", opened.granted.tag)) } else { None }
    }

    /// Returns whether a stream has proven itself, and carries everything.
    pub fn is_on_stream(&self) -> bool {
        self.lanes.has_stream()
    }

    /// Returns what was learnt about the network so far.
    pub fn learnt(&self) -> &Learnt {
        &self.lanes.learnt
    }

    /// Returns the bytes kept here: those to be sent or not acknowledged, and those that came and were not consumed.
    pub fn kept_bytes(&self) -> (u64, u64) {
        if let Stage::Open(opened) = &self.stage { opened.core.kept_bytes() } else { (0, 0) }
    }

    /// Returns how many segments were sent more than once.
    pub fn sent_again(&self) -> u64 {
        if let Stage::Open(opened) = &self.stage { opened.core.sent.again() } else { 0 }
    }

    /// Takes a wish of the application.
    pub fn handle_command(&mut self, now: Time, command: Command) {
        match (&mut self.stage, command) {
            (Stage::Open(opened), command) => opened.core.handle_command(now, command),
            (Stage::Opening, Command::Close { .. }) => self.end(Closed::ByUs),
            _ => {}
        }
        self.settle(now);
    }

    /// Takes over a stream both ways that the driver has opened to the relay; it is used once it has proven itself.
    pub fn handle_stream(&mut self, now: Time) -> Option<CarrierId> {
        let Stage::Open(opened) = &mut self.stage else { return None };
        let carrier = self.lanes.join(now, opened);
        self.settle(now);
        Some(carrier)
    }

    /// Takes bytes of an answer or stream; those of a carrier that is over are dropped.
    pub fn handle_bytes(&mut self, now: Time, carrier: CarrierId, bytes: &[u8]) {
        let Some(lane) = self.lanes.hear(now, carrier) else { return };
        lane.records.push(bytes);
        if lane.kind == LaneKind::Open {
            if lane.records.unfinished().len() > HANDSHAKE_BYTES_MAX {
                let excerpt = lane.records.excerpt(EXCERPT_BYTES_MAX);
                self.foreign(now, carrier, excerpt);
                self.settle(now);
            }
            return;
        }
        while let Some(lane) = self.lanes.lane(carrier) {
            let before = lane.records.excerpt(EXCERPT_BYTES_MAX);
            match lane.records.next_record() {
                Ok(None) => break,
                Ok(Some(record)) if self.take(now, carrier, &record) => {}
                _ => {
                    self.foreign(now, carrier, before);
                    break;
                }
            }
        }
        self.settle(now);
    }

    /// Notes that an answer is complete, or that a stream has ended.
    pub fn handle_end(&mut self, now: Time, carrier: CarrierId) {
        let Some(lane) = self.lanes.lane(carrier) else { return };
        match lane.kind {
            LaneKind::Open => self.finish_opening(now, carrier),
            _ if !lane.records.unfinished().is_empty() || !lane.is_heard() => {
                self.fail(now, carrier, Failure::Broken);
            }
            _ => self.lanes.finish(now, carrier, opened(&mut self.stage)),
        }
        self.settle(now);
    }

    /// Notes that a request or stream has failed.
    pub fn handle_failure(&mut self, now: Time, carrier: CarrierId, failure: Failure) {
        self.fail(now, carrier, failure);
        self.settle(now);
    }

    /// Is called when the deadline has come.
    pub fn handle_timeout(&mut self, now: Time) {
        self.settle(now);
    }

    /// Returns what the driver is to do next.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.lanes.transmits.pop_front()
    }

    /// Returns the next thing to tell the application.
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        event.or_else(|| if let Stage::Open(opened) = &mut self.stage { opened.core.poll_event() } else { None })
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) wants to be called next.
    pub fn poll_deadline(&self) -> Option<Deadline> {
        let deadline = |at, why| Deadline { at, why };
        match &self.stage {
            Stage::Opening => {
                let attempt = self.lanes.next_deadline(None);
                attempt.into_iter().chain([deadline(self.opening_ends_at(), "opening takes too long")]).min()
            }
            Stage::Open(opened) => self.lanes.next_deadline(Some(&opened.core)),
            Stage::Over => None,
        }
    }

    /// Takes a record; returns whether the relay made it.
    fn take(&mut self, now: Time, carrier: CarrierId, record: &Record) -> bool {
        let Stage::Open(opened) = &mut self.stage else { return false };
        if record.kind == Kind::Forgotten {
            let proven = record.sealed() == opened.granted.forgotten;
            if proven {
                opened.core.close(Closed::Forgotten);
            }
            return proven;
        }
        let Ok(control) = opened.core.handle_record(now, record) else { return false };
        self.lanes.note_record(now, carrier, record.kind, control.as_ref(), &mut opened.core)
    }

    fn foreign(&mut self, now: Time, carrier: CarrierId, excerpt: Bytes) {
        self.events.push_back(Event::Foreign { excerpt });
        self.lanes.transmits.push_back(Transmit::Drop { carrier });
        self.fail(now, carrier, Failure::Broken);
    }

    fn fail(&mut self, now: Time, carrier: CarrierId, failure: Failure) {
        self.lanes.fail(now, carrier, failure, opened(&mut self.stage));
    }

    /// Makes all requests and writes that are due.
    fn settle(&mut self, now: Time) {
        for carrier in self.lanes.overdue(now) {
            self.lanes.transmits.push_back(Transmit::Drop { carrier });
            self.fail(now, carrier, Failure::Broken);
        }
        let too_late = now >= self.opening_ends_at();
        match &mut self.stage {
            Stage::Opening if too_late => self.end(Closed::Silent),
            Stage::Opening => self.attempt(now),
            Stage::Open(opened) => {
                opened.core.expire(now);
                self.lanes.settle(now, opened);
            }
            Stage::Over => {}
        }
    }

    fn attempt(&mut self, now: Time) {
        if !self.lanes.may_open(now) || !self.lanes.is_empty() {
            return;
        }
        if self.attempts >= self.config.attempts_max.max(1) {
            return self.end(Closed::Silent);
        }
        self.attempts += 1;
        let seed = keyed_hash(&self.config.seed, &self.attempts.to_le_bytes());
        let mut handshake = NoiseHandshake::nk_initiator(self.config.relay, PROLOGUE, seed);
        match opening::asking(&mut handshake, &self.config.token, &self.config.session) {
            Ok(body) => {
                let bytes = body.len() as u64;
                let mut lane = Lane::new(now, LaneKind::Open, bytes);
                lane.handshake = Some(handshake);
                let carrier = self.lanes.add(lane);
                let route = Route::Open { tag: self.config.tag.clone() };
                self.lanes.transmits.push_back(Transmit::Post {
                    carrier,
                    route,
                    body: vec![body],
                    chunked: false,
                    patient: false,
                });
            }
            // Only a relay key that is no key, or a token of 64 KiB, come here.
            Err(_) => self.end(Closed::Refused { reason: 0 }),
        }
    }

    fn finish_opening(&mut self, now: Time, carrier: CarrierId) {
        let Some(lane) = self.lanes.lane(carrier) else { return };
        let excerpt = lane.records.excerpt(EXCERPT_BYTES_MAX);
        let handshake = lane.handshake.take();
        let read = handshake.and_then(|mut handshake| {
            let payload = handshake.read(lane.records.unfinished()).ok()?;
            Some((handshake.split()?, opening::answered(&payload).ok()?))
        });
        match read {
            None => self.foreign(now, carrier, excerpt),
            Some((_, Err(reason))) => self.end(Closed::Refused { reason }),
            Some((split, Ok((granted, circuits)))) => {
                self.lanes.finish(now, carrier, None);
                let opened = Event::Opened { hash: split.hash, granted: granted.clone() };
                let config = self.config.session.clone();
                let core = Core::new(now, Role::Initiator, Cipher::new(&split), config, circuits);
                self.stage = Stage::Open(Box::new(Opened { core, granted }));
                self.events.push_back(opened);
            }
        }
    }

    fn end(&mut self, why: Closed) {
        self.stage = Stage::Over;
        self.events.push_back(Event::Closed(why));
    }

    fn opening_ends_at(&self) -> Time {
        self.began + Duration::from_millis(self.config.session.quiet_ms_max)
    }

    fn core(&mut self) -> Option<&mut Core> {
        opened(&mut self.stage).map(|opened| &mut opened.core)
    }
}

fn opened(stage: &mut Stage) -> Option<&mut Opened> {
    if let Stage::Open(opened) = stage { Some(opened) } else { None }
}

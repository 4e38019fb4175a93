//! The session proper, the same at both ends: circuits above, numbered records below, whatever carries them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use anypath_wire::{Role, Time};
use bytes::Bytes;
use thiserror::Error;

use super::cipher::{Cipher, Forged};
use super::circuit::{Circuit, QUEUE_BYTES_MAX};
use super::control::Control;
use super::frame::{CircuitId, Frame, Style, TARGET_BYTES_MAX};
use super::received::{Arrival, Received};
use super::record::{Kind, Record};
use super::sent::Sent;
use super::{Closed, Command, Config, Event};

/// How the other end broke the protocol, in a record that it did make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Misbehaviour {
    /// What a segment or control record says cannot be read.
    #[error("it sent a record that cannot be read")]
    Unreadable,
    /// More bytes than it had credit for.
    #[error("it sent more than it was allowed to")]
    Credit,
    /// A frame at a place that is taken or out of reach, or not the one that belongs there.
    #[error("it sent a circuit's frames out of order")]
    Place,
    /// More circuits than were agreed on.
    #[error("it opened more circuits than agreed")]
    Circuits,
}

/// One end of a session.
pub(super) struct Core {
    role: Role,
    cipher: Cipher,
    pub(super) config: Config,
    /// How many circuits the other end lets us open.
    circuits_granted: u64,
    pub(super) received: Received,
    pub(super) sent: Sent,
    pub(super) circuits: BTreeMap<CircuitId, Circuit>,
    /// Which of the other end's circuits there have been, counted as it counts them.
    seen: Received,
    circuits_opened: u64,
    pub(super) resets: VecDeque<Frame>,
    /// The other end reset a circuit since this was looked at.
    pub(super) was_reset: bool,
    pub(super) credits_due: BTreeSet<CircuitId>,
    /// The circuit whose turn it is to send.
    pub(super) turn: CircuitId,
    control_number: u64,
    control_seen: Option<u64>,
    /// When the other end said something new for the last time.
    pub(super) heard_at: Time,
    /// Segments that came since the last acknowledgement left, and when the first did.
    pub(super) ack_due: Option<Time>,
    go_away_ms: Option<u64>,
    /// The application was told that the relay restarts.
    went_away: bool,
    /// The other end has not been told yet that we end.
    pub(super) farewell_due: bool,
    events: VecDeque<Event>,
    /// Why it is over, and whether the other end was told.
    over: Option<Closed>,
    close_due: Option<u64>,
    /// At the relay: each request comes on a connection of its own, and the client is told how long it may be.
    cold: Option<u64>,
}

impl Core {
    pub(super) fn new(now: Time, role: Role, cipher: Cipher, config: Config, circuits_granted: u64) -> Self {
        let sent = Sent::new(config.window_bytes_max);
        Self {
            role,
            cipher,
            config,
            circuits_granted,
            received: Received::default(),
            sent,
            circuits: BTreeMap::new(),
            seen: Received::default(),
            circuits_opened: 0,
            resets: VecDeque::new(),
            was_reset: false,
            credits_due: BTreeSet::new(),
            turn: CircuitId(0),
            control_number: 0,
            control_seen: None,
            heard_at: now,
            ack_due: None,
            go_away_ms: None,
            went_away: false,
            farewell_due: false,
            events: VecDeque::new(),
            over: None,
            close_due: None,
            cold: None,
        }
    }

    /// Returns the number for a circuit of ours, to be opened now, or nothing if there are as many as the other end
    /// allows.
    pub(super) fn next_circuit(&mut self) -> Option<CircuitId> {
        let ours = self.circuits.keys().filter(|id| self.is_ours(**id)).count() as u64;
        if ours >= self.circuits_granted {
            return None;
        }
        self.circuits_opened += 1;
        Some(CircuitId(2 * (self.circuits_opened - 1) + u64::from(self.role == Role::Responder)))
    }

    /// Does what the application asks for; what is about a circuit that is gone is nothing.
    pub(super) fn handle_command(&mut self, now: Time, command: Command) {
        if self.over.is_some() {
            return;
        }
        match command {
            Command::Open { circuit, style, target, first } => {
                assert!(self.is_ours(circuit) && target.len() <= TARGET_BYTES_MAX, "no circuit that we may open");
                let greeting = Frame::Open { circuit, style, target };
                let mut opened = Circuit::new(style, Some(greeting));
                opened.outward.push(first);
                self.circuits.insert(circuit, opened);
            }
            Command::Accept { circuit } => self.with(circuit, |it| {
                if it.inward.is_greeted() && it.outward.ready_bytes() == 0 && it.outward.greeting.is_none() {
                    it.outward.greeting = Some(Frame::Accept { circuit });
                }
            }),
            Command::Send { circuit, bytes } => self.with(circuit, |it| it.outward.push(bytes)),
            Command::Consumed { circuit, bytes } => self.consume(now, circuit, bytes),
            Command::End { circuit } => self.with(circuit, |it| it.outward.end()),
            Command::Reset { circuit, reason } => self.reset(circuit, reason),
            Command::GoAway { after_ms } => {
                self.go_away_ms = Some(after_ms);
                self.farewell_due = true;
            }
            Command::Close { reason } => {
                self.close_due = Some(reason);
                self.farewell_due = true;
                self.close(Closed::ByUs);
            }
        }
    }

    /// Takes a record; what a control record says about carriers is handed back.
    ///
    /// # Errors
    /// If the other end did not make it.
    pub(super) fn handle_record(&mut self, now: Time, record: &Record) -> Result<Option<Control>, Forged> {
        match record.kind {
            Kind::Data => self.handle_segment(now, record).map(|()| None),
            Kind::Control => {
                let text = self.cipher.open(record)?;
                if self.control_seen.is_none_or(|seen| seen < record.number) {
                    self.control_seen = Some(record.number);
                    self.heard_at = now;
                }
                let Ok(control) = Control::decode(&text) else {
                    self.close(Closed::Misbehaved(Misbehaviour::Unreadable));
                    return Ok(None);
                };
                self.handle_control(now, &control);
                Ok(Some(control))
            }
            Kind::Forgotten => Err(Forged),
        }
    }

    /// Seals a record of ours.
    pub(super) fn seal_segment(&self, number: u64, clear: &[u8], text: &[u8]) -> Bytes {
        self.cipher.seal(Kind::Data, number, clear, text)
    }

    /// Makes a control record that acknowledges everything that has come.
    pub(super) fn control(&mut self, mut control: Control) -> Bytes {
        control.acked = self.received.acked();
        control.go_away_ms = self.go_away_ms;
        control.close = self.close_due;
        control.cold = self.cold;
        self.ack_due = None;
        self.farewell_due = false;
        let mut text = Vec::new();
        control.encode(&mut text);
        self.control_number += 1;
        self.cipher.seal(Kind::Control, self.control_number - 1, b"", &text)
    }

    /// Notes, at the relay, whether each request comes on a connection of its own.
    pub(super) fn note_cold(&mut self, is_cold: bool) {
        self.cold = is_cold.then_some(self.config.cold_bytes_max);
        self.sent.pace.note_cold(is_cold);
    }

    /// Returns how much may be queued on a circuit.
    pub(super) fn send_room(&mut self, circuit: CircuitId) -> usize {
        let queue_bytes_max = self.queue_bytes_max();
        self.circuits.get_mut(&circuit).map_or(0, |it| it.outward.room_bytes(queue_bytes_max))
    }

    /// Returns how much a circuit may queue: what half the window takes; little, if all circuits together have enough.
    pub(super) fn queue_bytes_max(&self) -> usize {
        let queued: usize = self.circuits.values().map(|it| it.outward.queued_bytes()).sum();
        if queued as u64 >= self.config.window_bytes_max {
            return QUEUE_BYTES_MIN;
        }
        let half = usize::try_from(self.sent.pace.window_bytes() / 2).unwrap_or(QUEUE_BYTES_MAX);
        half.clamp(QUEUE_BYTES_MIN, QUEUE_BYTES_MAX)
    }

    /// Returns why the session is over.
    pub(super) fn over(&self) -> Option<Closed> {
        self.over
    }

    /// Ends the session at this end; the application is told.
    pub(super) fn close(&mut self, why: Closed) {
        if self.over.is_none() {
            self.over = Some(why);
            if let Closed::Misbehaved(_) = why {
                self.close_due = Some(REASON_MISBEHAVED);
                self.farewell_due = true;
            }
            self.circuits.clear();
            self.events.push_back(Event::Closed(why));
        }
    }

    /// Ends the session if the other end has been silent for too long.
    pub(super) fn expire(&mut self, now: Time) {
        if now >= self.quiet_at() {
            self.close(Closed::Silent);
        }
    }

    /// Returns when silence ends the session.
    pub(super) fn quiet_at(&self) -> Time {
        self.heard_at + Duration::from_millis(self.config.quiet_ms_max)
    }

    pub(super) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub(super) fn tell(&mut self, event: Event) {
        self.events.push_back(event);
    }

    /// Returns the bytes that this end keeps: to be sent or not acknowledged, and those that came and are not consumed.
    pub(super) fn kept_bytes(&self) -> (u64, u64) {
        let queued: usize = self.circuits.values().map(|it| it.outward.queued_bytes()).sum();
        let held = self.circuits.values().map(|it| it.inward.held_bytes()).sum();
        (self.sent.kept_bytes() + queued as u64, held)
    }

    fn handle_control(&mut self, now: Time, control: &Control) {
        self.sent.acknowledge(now, &control.acked);
        if self.role == Role::Initiator {
            self.sent.pace.note_cold(control.cold.is_some());
        }
        if let Some(exchange) = &control.exchange {
            self.sent.lose_over(exchange, &control.acked);
        }
        if let Some(after_ms) = control.go_away_ms
            && !std::mem::replace(&mut self.went_away, true)
        {
            self.events.push_back(Event::GoAway { after_ms });
        }
        if let Some(reason) = control.close {
            self.close(Closed::ByPeer { reason });
        }
    }

    fn handle_segment(&mut self, now: Time, record: &Record) -> Result<(), Forged> {
        let arrival = self.received.look(record.number);
        if arrival == Arrival::New {
            let text = self.cipher.open(record)?;
            self.received.note(record.number);
            self.heard_at = now;
            let frames = Frame::decode_all(&text, &record.clear()).map_err(|_| Misbehaviour::Unreadable);
            let handled = frames.and_then(|frames| frames.into_iter().try_for_each(|frame| self.handle_frame(frame)));
            handled.unwrap_or_else(|how| self.close(Closed::Misbehaved(how)));
        }
        // One that came before is acknowledged again: the other end may not know.
        if arrival != Arrival::TooFar {
            self.ack_due = self.ack_due.or(Some(now));
        }
        Ok(())
    }

    fn handle_frame(&mut self, frame: Frame) -> Result<(), Misbehaviour> {
        let id = frame.circuit();
        if !self.circuits.contains_key(&id) && !self.is_new(id, &frame)? {
            return Ok(());
        }
        let Some(circuit) = self.circuits.get_mut(&id) else { return Ok(()) };
        match (frame.place(), &frame) {
            (Some(place), _) => circuit.inward.push(place, frame)?,
            (None, Frame::Credit { limit, .. }) => circuit.outward.credit(*limit),
            (None, _) => {}
        }
        while let Some(frame) = self.circuits.get_mut(&id).and_then(|circuit| circuit.inward.next_frame()) {
            self.take_in_turn(id, frame)?;
        }
        Ok(())
    }

    /// Makes room for a circuit of the other end that is heard of for the first time, be it by a later frame.
    fn is_new(&mut self, id: CircuitId, frame: &Frame) -> Result<bool, Misbehaviour> {
        if self.is_ours(id) || frame.place().is_none() {
            return Ok(false);
        }
        match self.seen.note(id.0 / 2) {
            Arrival::Again => return Ok(false),
            Arrival::TooFar => return Err(Misbehaviour::Circuits),
            Arrival::New => {}
        }
        if self.resets.len() as u64 > 4 * self.config.circuits_max {
            return Err(Misbehaviour::Circuits);
        }
        // Some that it has done with may still be here, when what ends them came late.
        let theirs = self.circuits.keys().filter(|id| !self.is_ours(**id)).count() as u64;
        if theirs >= 2 * self.config.circuits_max {
            self.resets.push_back(Frame::Reset { circuit: id, place: 0, reason: REASON_CROWDED });
            return Ok(false);
        }
        self.circuits.insert(id, Circuit::new(Style::default(), None));
        Ok(true)
    }

    fn take_in_turn(&mut self, circuit: CircuitId, frame: Frame) -> Result<(), Misbehaviour> {
        let ours = self.is_ours(circuit);
        let Some(it) = self.circuits.get_mut(&circuit) else { return Ok(()) };
        let first = frame.place() == Some(0);
        let event = match frame {
            Frame::Open { style, target, .. } if first && !ours => {
                it.style = style;
                Event::Offered { circuit, style, target }
            }
            Frame::Accept { .. } if first && ours => Event::Accepted { circuit },
            Frame::Reset { .. } if first && !ours => {
                self.forget(circuit);
                return Ok(());
            }
            Frame::Reset { reason, .. } => {
                self.forget(circuit);
                self.was_reset = true;
                Event::Reset { circuit, reason }
            }
            Frame::Data { bytes, .. } if !first => Event::Data { circuit, bytes },
            Frame::End { .. } if !first => {
                it.inward.over = true;
                Event::Ended { circuit }
            }
            _ => return Err(Misbehaviour::Place),
        };
        self.events.push_back(event);
        self.forget_if_over(circuit);
        Ok(())
    }

    fn consume(&mut self, now: Time, circuit: CircuitId, bytes: u64) {
        let round = self.sent.pace.round();
        let pooled: u64 = self.circuits.values().map(|it| it.inward.pooled_bytes()).sum();
        let left = self.config.pool_bytes.saturating_sub(pooled);
        let Some(it) = self.circuits.get_mut(&circuit) else { return };
        if it.inward.consume(now, bytes, round, left) {
            self.credits_due.insert(circuit);
        }
    }

    fn reset(&mut self, circuit: CircuitId, reason: u64) {
        if let Some(it) = self.circuits.get_mut(&circuit) {
            // Also if the other end has not heard of it: it counts our circuits without gaps.
            let place = it.outward.next_place();
            self.forget(circuit);
            self.resets.push_back(Frame::Reset { circuit, place, reason });
        }
    }

    /// Drops a circuit of which both streams are complete.
    pub(super) fn forget_if_over(&mut self, circuit: CircuitId) {
        if self.circuits.get(&circuit).is_some_and(Circuit::is_over) {
            self.forget(circuit);
        }
    }

    fn forget(&mut self, circuit: CircuitId) {
        self.circuits.remove(&circuit);
        self.credits_due.remove(&circuit);
    }

    fn with(&mut self, circuit: CircuitId, act: impl FnOnce(&mut Circuit)) {
        if let Some(it) = self.circuits.get_mut(&circuit) {
            act(it);
        }
    }

    fn is_ours(&self, circuit: CircuitId) -> bool {
        (circuit.0 % 2 == 1) == (self.role == Role::Responder)
    }
}

/// Why a session is closed that the other end broke; those of the relay's room begin at 16.
const REASON_MISBEHAVED: u64 = 1;
/// Why a circuit is refused for which there is no room.
const REASON_CROWDED: u64 = 2;
/// What a circuit may queue at least, in bytes: a few segments.
const QUEUE_BYTES_MIN: usize = 64 << 10;

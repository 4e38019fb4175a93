//! When the next request or write is made, and what it is for.

use std::time::Duration;

use anypath_wire::{Deadline, Time};
use bytes::Bytes;

use super::{HEARTBEAT, Lane, LaneKind, Lanes, PONG_TIME_MAX, PROOFS};
use crate::https::session::bodies::BODY_BYTES_MIN;
use crate::https::session::carriers::{CarrierId, Route, Transmit};
use crate::https::session::client::Opened;
use crate::https::session::control::{Control, Exchange, OTHERS_MAX, Ping};
use crate::https::session::core::Core;
use crate::https::session::look::{PROBE_HOLD, Pieces};

impl Lanes {
    /// Makes all requests and writes that are due.
    pub(in crate::https::session) fn settle(&mut self, now: Time, opened: &mut Opened) {
        self.probes.begin(now);
        let silent = |lanes: &Self| {
            let streams: Vec<_> = lanes.streams().map(|(carrier, _)| carrier.0).collect();
            move |via: u64| !streams.contains(&via)
        };
        opened.core.sent.lose_late(now, silent(self));
        self.settle_streams(now, opened);
        let doubts = std::mem::take(&mut opened.core.was_reset);
        if doubts {
            self.look.doubt(now);
        }
        if self.has_stream() {
            self.settle_look(now, opened);
        } else if self.requests {
            self.settle_sends(now, opened);
            self.settle_polls(now, opened);
            self.settle_probe(now, opened);
        }
    }

    fn settle_streams(&mut self, now: Time, opened: &mut Opened) {
        let streams: Vec<_> = self.streams().map(|(carrier, lane)| (carrier, lane.kind)).collect();
        for (carrier, kind) in streams {
            let LaneKind::Stream { pongs, ping_at } = kind else { continue };
            let proven = pongs >= PROOFS.len() as u32;
            let mut bytes = Vec::new();
            if now >= ping_at {
                let ping = Some(Ping { id: 0, padding_bytes: 0 });
                bytes.push(opened.core.control(Control { ping, ..Control::default() }));
                self.note_ping(now, carrier);
            }
            let ready = opened.core.ready();
            let something = ready.urgent || ready.bulk_bytes > 0 || opened.core.ack_due.is_some();
            if proven && something {
                let exchange = Some(self.exchange(carrier, 0, true));
                bytes.extend(opened.core.fill(now, carrier.0, exchange, STREAM_BYTES_MAX));
            }
            if !bytes.is_empty() {
                self.transmits.push_back(Transmit::Write { carrier, bytes, ends: false });
            }
        }
    }

    fn settle_probe(&mut self, now: Time, opened: &mut Opened) {
        let is_wanted = self.learnt.streams_down.is_none() && self.probes.is_due(now);
        if is_wanted && self.count(|kind| matches!(kind, LaneKind::Probe { .. })) == 0 && self.may_open(now) {
            match self.probes.make(now) {
                true => self.post(now, opened, LaneKind::Probe { pieces: Pieces::default() }, 0),
                false => self.learnt.streams_down = Some(false),
            }
        }
    }

    fn settle_look(&mut self, now: Time, opened: &mut Opened) {
        if now >= self.look.due_at && self.count(|kind| kind == LaneKind::Look) == 0 && self.may_open(now) {
            self.look.make(now);
            self.post(now, opened, LaneKind::Look, 0);
        }
    }

    fn note_ping(&mut self, now: Time, carrier: CarrierId) {
        if let Some(lane) = self.lanes.get_mut(&carrier)
            && let LaneKind::Stream { ping_at, .. } = &mut lane.kind
        {
            *ping_at = now + HEARTBEAT;
            lane.patience_at = now + PONG_TIME_MAX;
        }
    }

    fn settle_sends(&mut self, now: Time, opened: &mut Opened) {
        loop {
            let ready = opened.core.ready();
            self.bulk_since = if ready.bulk_bytes > 0 { self.bulk_since.or(Some(now)) } else { None };
            let sends = self.count(|kind| kind == LaneKind::Send);
            let body_bytes = self.body_bytes(&opened.core);
            let bulk_due = ready.bulk_bytes >= body_bytes.min(BATCH_BYTES)
                || self.bulk_since.is_some_and(|at| now >= at + BATCH_TIME);
            let bulk = ready.bulk_bytes > 0 && (sends == 0 || bulk_due) && sends < self.sends_max();
            let ack = opened.core.ack_due.is_some_and(|at| now >= at + ACK_DELAY) && sends <= self.sends_max();
            if !(bulk || ack || ready.urgent) || !self.may_open(now) {
                return;
            }
            self.post(now, opened, LaneKind::Send, body_bytes);
            self.bulk_since = None;
        }
    }

    fn settle_polls(&mut self, now: Time, opened: &mut Opened) {
        if opened.core.over().is_some() {
            return;
        }
        let rtt = opened.core.sent.pace.rtt();
        while self.pushes.front().is_some_and(|at| now.since(*at) > rtt * 2) {
            self.pushes.pop_front();
        }
        let busy = now.since(self.pushed_at) < IDLE_TIME || self.pushed_at == Time::ZERO;
        let wanted = if busy { (self.pushes.len() + 1).clamp(2, POLLS_MAX) } else { 1 };
        // One lane is for what must not wait.
        let wanted = wanted.min(self.learnt.lanes_max - 1).max(1);
        while self.count(|kind| matches!(kind, LaneKind::Poll { .. })) < wanted && self.may_open(now) {
            self.post(now, opened, LaneKind::Poll { hold_ms: self.learnt.hold_ms }, 0);
        }
    }

    /// Makes a request; one that brings something brings as much as its body may hold.
    fn post(&mut self, now: Time, opened: &mut Opened, kind: LaneKind, body_bytes_max: u64) {
        let hold_ms = match kind {
            LaneKind::Poll { hold_ms } => hold_ms,
            LaneKind::Probe { .. } => PROBE_HOLD.as_millis() as u64,
            _ => 0,
        };
        let patient = hold_ms > 0 && self.count(|kind| matches!(kind, LaneKind::Poll { .. })) > 0;
        let carrier = self.add(Lane::new(now, kind, 0));
        let probes = matches!(kind, LaneKind::Probe { .. });
        let streams = probes || (hold_ms > 0 && self.learnt.streams_down == Some(true));
        let mut exchange = self.exchange(carrier, hold_ms, streams);
        if probes || kind == LaneKind::Look {
            // What goes with it may come late; and beside a stream nothing is to.
            exchange.room_bytes = 0;
        }
        let (exchange, ping) = (Some(exchange), probes.then_some(Ping { id: 0, padding_bytes: 0 }));
        let mut body = vec![Bytes::copy_from_slice(&opened.granted.session.0)];
        if kind != LaneKind::Send {
            body.push(opened.core.control(Control { exchange, ping, ..Control::default() }));
        } else {
            let room = usize::try_from(body_bytes_max).unwrap_or(usize::MAX) - body[0].len();
            body.extend(opened.core.fill(now, carrier.0, exchange, room));
        }
        let body_bytes = body.iter().map(|part| part.len() as u64).sum();
        let chunked = self.learnt.bodies.goes_in_chunks(body_bytes);
        self.lanes.insert(carrier, Lane::new(now, kind, body_bytes));
        let route = Route::Exchange { tag: opened.granted.tag.clone(), number: carrier.0 };
        self.transmits.push_back(Transmit::Post { carrier, route, body, chunked, patient });
    }

    pub(super) fn exchange(&self, carrier: CarrierId, hold_ms: u64, streams: bool) -> Exchange {
        let others = self.lanes.range(..carrier).map(|(carrier, _)| carrier.0).take(OTHERS_MAX).collect();
        Exchange { number: carrier.0, hold_ms, room_bytes: ANSWER_BYTES_MAX, streams, others }
    }

    /// How long a body is made: a share of what may be under way, so that all lanes have something to do.
    fn body_bytes(&self, core: &Core) -> u64 {
        let share = core.sent.pace.window_bytes() / self.sends_max() as u64;
        share.max(SHARE_BYTES_MIN).min(self.learnt.bodies.bytes).max(BODY_BYTES_MIN)
    }

    /// How many lanes bulk may take: the others are for polls, and for what must not wait.
    fn sends_max(&self) -> usize {
        self.learnt.lanes_max.saturating_sub(2).clamp(1, SENDS_MAX)
    }

    /// Returns when something is due; without a session, only the attempts to open one are.
    pub(in crate::https::session) fn next_deadline(&self, core: Option<&Core>) -> Option<Deadline> {
        let deadline = |at, why| Deadline { at, why };
        let mut due: Vec<_> =
            self.lanes.values().map(|lane| deadline(lane.patience_at, "an answer takes too long")).collect();
        due.push(deadline(self.retry_at, "it is time to try again"));
        if let Some(core) = core {
            let streams: Vec<_> = self.streams().map(|(carrier, _)| carrier.0).collect();
            let late = core.sent.late_at(|via| !streams.contains(&via));
            due.extend(late.map(|at| deadline(at, "a segment is not acknowledged")));
            due.push(deadline(core.quiet_at(), "the relay is silent"));
            due.extend(self.bulk_since.map(|at| deadline(at + BATCH_TIME, "bulk has waited for more")));
            due.extend(core.ack_due.map(|at| deadline(at + ACK_DELAY, "an acknowledgement is due")));
            due.extend(self.probes.due_at.map(|at| deadline(at, "whether answers come in pieces is looked at")));
            due.extend(self.has_stream().then(|| deadline(self.look.due_at, "the way to the relay is looked at")));
            for (_, lane) in self.streams() {
                if let LaneKind::Stream { ping_at, .. } = lane.kind {
                    due.push(deadline(ping_at, "a heartbeat is due"));
                }
            }
        }
        // What is due since before then waits for something else.
        due.into_iter().filter(|deadline| deadline.at > self.settled_at).min()
    }
}

/// How many lanes bulk may take at most: four of 1 MiB are 500 Mbit/s at 50 ms.
const SENDS_MAX: usize = 4;
/// How many requests are held at most: at 50 ms, a push each 13 ms finds one.
const POLLS_MAX: usize = 5;
/// The longest answer, in bytes: as much as four lanes need at 500 Mbit/s and 50 ms, if each is a connection of its own.
const ANSWER_BYTES_MAX: u64 = 4 << 20;
/// The least share of a lane, in bytes: below it, what HTTP adds would tell.
const SHARE_BYTES_MIN: u64 = 32 << 10;
/// Bulk waits for so many bytes, or that long, while another request is under way.
const BATCH_BYTES: u64 = 64 << 10;
const BATCH_TIME: Duration = Duration::from_millis(2);
/// How long an acknowledgement waits for a request that goes anyway.
const ACK_DELAY: Duration = Duration::from_millis(10);
/// After so long without a push one held request is enough.
const IDLE_TIME: Duration = Duration::from_secs(10);
/// How much is handed to a stream at once, in bytes.
const STREAM_BYTES_MAX: usize = 256 << 10;

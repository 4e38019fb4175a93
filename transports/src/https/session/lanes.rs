//! The client's carriers: which requests are under way, when the next one is made, and what it is for.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use anypath_wire::noise::NoiseHandshake;
use anypath_wire::{Deadline, Time};
use bytes::Bytes;

use super::carriers::{CarrierId, Failure, Route, Transmit};
use super::client::Opened;
use super::control::{Control, Exchange, OTHERS_MAX, Ping};
use super::core::Core;
use super::learnt::{BODY_BYTES_MIN, Learnt};
use super::look::{Look, PROBE_HOLD, Pieces, Probes};
use super::record::{Kind, Records};

/// All carriers of a client.
pub(super) struct Lanes {
    pub(super) learnt: Learnt,
    /// Whether requests may carry anything.
    requests: bool,
    pub(super) transmits: VecDeque<Transmit>,
    lanes: BTreeMap<CarrierId, Lane>,
    next: u64,
    /// Failures in a row; before `retry_at` nothing new is tried.
    failures: u32,
    failed_at: Time,
    retry_at: Time,
    /// When held requests were answered with something, in the last round trips.
    pushes: VecDeque<Time>,
    pushed_at: Time,
    /// When anything was heard, on whichever carrier.
    heard_at: Time,
    /// Since when bulk waits for more of it.
    bulk_since: Option<Time>,
    /// When everything that was due was done.
    settled_at: Time,
    look: Look,
    probes: Probes,
}

/// One carrier.
pub(super) struct Lane {
    pub(super) kind: LaneKind,
    pub(super) records: Records,
    pub(super) handshake: Option<NoiseHandshake>,
    /// When the relay said something on it for the first time.
    heard_at: Option<Time>,
    began: Time,
    /// When it is given up, if nothing more is heard.
    patience_at: Time,
    body_bytes: u64,
    /// It brought segments.
    pushed: bool,
}

/// What a carrier is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LaneKind {
    /// The request that opens the session.
    Open,
    /// A request that brings something, and is answered at once.
    Send,
    /// A request that is held until the relay has something to say.
    Poll { hold_ms: u64 },
    /// A request that brings nothing, beside a stream.
    Look,
    /// A request whose answer comes in pieces, some time apart, if nothing keeps them.
    Probe { pieces: Pieces },
    /// A stream both ways; segments go on it once both pings came back.
    Stream { pongs: u32, ping_at: Time },
}

impl Lane {
    pub(super) fn new(now: Time, kind: LaneKind, body_bytes: u64) -> Self {
        let held = if let LaneKind::Poll { hold_ms } = kind { Duration::from_millis(hold_ms) } else { Duration::ZERO };
        let sending = Duration::from_millis(body_bytes / SLOWEST_BYTES_PER_MS);
        let patience_at = now + held + sending + ANSWER_TIME_MAX;
        let (records, handshake) = (Records::default(), None);
        Self { kind, records, handshake, heard_at: None, began: now, patience_at, body_bytes, pushed: false }
    }

    /// Returns whether the relay said something on it.
    pub(super) fn is_heard(&self) -> bool {
        self.heard_at.is_some()
    }

    /// Returns whether an answer that should have come in pieces came all at once, after a long time.
    fn came_whole(&self, now: Time) -> bool {
        let heard_late = self.heard_at.is_some_and(|at| now.since(at) < AT_ONCE);
        self.pushed && heard_late && now.since(self.began) >= LONG_KEPT
    }
}

impl Lanes {
    pub(super) fn new(learnt: Learnt, requests: bool) -> Self {
        Self {
            learnt,
            requests,
            transmits: VecDeque::new(),
            lanes: BTreeMap::new(),
            next: 0,
            failures: 0,
            failed_at: Time::ZERO,
            retry_at: Time::ZERO,
            pushes: VecDeque::new(),
            pushed_at: Time::ZERO,
            heard_at: Time::ZERO,
            bulk_since: None,
            settled_at: Time::ZERO,
            look: Look::begin(Time::ZERO),
            probes: Probes::default(),
        }
    }

    pub(super) fn lane(&mut self, carrier: CarrierId) -> Option<&mut Lane> {
        self.lanes.get_mut(&carrier)
    }

    /// Returns the carrier on which bytes came, which is given more time.
    pub(super) fn hear(&mut self, now: Time, carrier: CarrierId) -> Option<&mut Lane> {
        let lane = self.lanes.get_mut(&carrier)?;
        self.heard_at = now;
        // A stream may be silent until it is asked for a sign of life.
        let is_stream = matches!(lane.kind, LaneKind::Stream { .. });
        let patience = if is_stream { HEARTBEAT + PONG_TIME_MAX } else { ANSWER_TIME_MAX };
        lane.patience_at = lane.patience_at.max(now + patience);
        Some(lane)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    pub(super) fn add(&mut self, lane: Lane) -> CarrierId {
        let carrier = CarrierId(self.next);
        self.next += 1;
        self.lanes.insert(carrier, lane);
        carrier
    }

    /// Begins to use a stream: names the session, and asks for two echoes.
    pub(super) fn join(&mut self, now: Time, opened: &mut Opened) -> CarrierId {
        self.look = Look::begin(now);
        let carrier = self.add(Lane::new(now, LaneKind::Stream { pongs: 0, ping_at: now + HEARTBEAT }, 0));
        let exchange = Some(self.exchange(carrier, 0, false));
        let mut bytes = vec![Bytes::copy_from_slice(&opened.granted.session.0)];
        for (id, padding_bytes) in PROOFS {
            let ping = Some(Ping { id, padding_bytes });
            bytes.push(opened.core.control(Control { exchange: exchange.clone(), ping, ..Control::default() }));
        }
        // The first message of a WebSocket names the session and says who speaks.
        let first = [bytes.remove(0), bytes.remove(0)].concat().into();
        bytes.insert(0, first);
        self.transmits.push_back(Transmit::Write { carrier, bytes, ends: false });
        carrier
    }

    /// Notes a record of the relay; returns whether it may come there.
    pub(super) fn note_record(
        &mut self,
        now: Time,
        carrier: CarrierId,
        kind: Kind,
        control: Option<&Control>,
        core: &mut Core,
    ) -> bool {
        let Some(lane) = self.lanes.get_mut(&carrier) else { return false };
        // Segments behind no control record are a replay.
        if kind == Kind::Control {
            lane.heard_at.get_or_insert(now);
        }
        lane.pushed |= kind == Kind::Data;
        self.failures = 0;
        if let LaneKind::Probe { pieces } = &mut lane.kind {
            pieces.note(now);
        }
        if let (LaneKind::Stream { pongs, ping_at }, Some(control)) = (&mut lane.kind, control) {
            *ping_at = (*ping_at).max(now + HEARTBEAT);
            if let Some(pong) = control.pong
                && PROOFS.contains(&(pong.id, pong.padding_bytes))
            {
                *pongs += 1;
            }
            if let Some(ping) = control.ping {
                let control = Control { pong: Some(ping), exchange: None, ..Control::default() };
                let bytes = vec![core.control(control)];
                self.transmits.push_back(Transmit::Write { carrier, bytes, ends: false });
            }
        }
        lane.is_heard()
    }

    /// Takes a carrier away that ended well: what it carried and is not acknowledged by now is lost.
    pub(super) fn finish(&mut self, now: Time, carrier: CarrierId, opened: Option<&mut Opened>) {
        let Some(lane) = self.lanes.remove(&carrier) else { return };
        self.failures = 0;
        if let LaneKind::Probe { pieces } = lane.kind {
            self.learnt.streams_down = Some(pieces.came_apart(now));
        } else if let LaneKind::Poll { hold_ms } = lane.kind {
            if self.learnt.streams_down == Some(true) && lane.came_whole(now) {
                // The network is another one, or has changed its mind.
                self.learnt.streams_down = None;
                self.probes.hurry(now);
            }
            if lane.pushed {
                self.pushed_at = now;
                self.pushes.push_back(now);
            } else if now.since(lane.began).as_millis() >= u128::from(hold_ms) {
                self.learnt.note_hold();
            }
        } else {
            self.learnt.note_body(lane.body_bytes);
        }
        if let Some(opened) = opened {
            opened.core.sent.lose(carrier.0);
        }
    }

    /// Takes a carrier away that failed, and learns from it.
    pub(super) fn fail(&mut self, now: Time, carrier: CarrierId, failure: Failure, opened: Option<&mut Opened>) {
        let Some(lane) = self.lanes.remove(&carrier) else { return };
        let age = now.since(lane.began);
        match lane.kind {
            LaneKind::Poll { .. } if !lane.is_heard() && age >= CUT_AGE_MIN => self.learnt.note_cut(age),
            LaneKind::Send => {
                let too_long = failure == Failure::Status(413);
                self.learnt.note_body_lost(lane.body_bytes, too_long);
            }
            _ => {}
        }
        if let Some(opened) = opened {
            opened.core.sent.lose(carrier.0);
            if matches!(lane.kind, LaneKind::Stream { .. }) {
                opened.core.sent.pace.forget();
            }
            // The relay may not have noticed, and learns it from what is said next.
            opened.core.ack_due = opened.core.ack_due.or(Some(now));
        }
        // Those that fail together are one failure.
        if lane.began >= self.failed_at {
            self.failures += 1;
            self.failed_at = now;
            let doublings = self.failures.saturating_sub(2).min(RETRY_DOUBLINGS_MAX);
            let pause = if self.failures < 2 { Duration::ZERO } else { RETRY_MIN * (1 << doublings) };
            self.retry_at = now + pause;
        }
    }

    /// Returns the carriers that have kept us waiting for too long: all, if one has and nothing comes on any, since then
    /// they lead where nobody is any more.
    pub(super) fn overdue(&mut self, now: Time) -> Vec<CarrierId> {
        self.settled_at = now;
        let late = |lane: &Lane| now >= lane.patience_at;
        let all = now.since(self.heard_at) >= ANSWER_TIME_MAX && self.lanes.values().any(late);
        self.lanes.iter().filter(|(_, lane)| all || late(lane)).map(|(carrier, _)| *carrier).collect()
    }

    /// Returns whether another request may be made; while all fail, one at a time is. Those from before the failures do
    /// not count for that: they may be held for long, by a relay that waits for what was lost.
    pub(super) fn may_open(&self, now: Time) -> bool {
        let requests = || self.lanes.values().filter(|lane| !matches!(lane.kind, LaneKind::Stream { .. }));
        let is_tried = self.failures >= 2 && requests().any(|lane| lane.began >= self.failed_at);
        now >= self.retry_at && requests().count() < self.learnt.lanes_max && !is_tried
    }

    /// Makes all requests and writes that are due.
    pub(super) fn settle(&mut self, now: Time, opened: &mut Opened) {
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
        self.lanes.insert(carrier, Lane::new(now, kind, body_bytes));
        let route = Route::Exchange { tag: opened.granted.tag.clone(), number: carrier.0 };
        self.transmits.push_back(Transmit::Post { carrier, route, body, patient });
    }

    fn exchange(&self, carrier: CarrierId, hold_ms: u64, streams: bool) -> Exchange {
        let others = self.lanes.range(..carrier).map(|(carrier, _)| carrier.0).take(OTHERS_MAX).collect();
        let room_bytes = self.learnt.body_bytes_max;
        Exchange { number: carrier.0, hold_ms, room_bytes, streams, others }
    }

    /// How long a body is made: a share of what may be under way, so that all lanes have something to do.
    fn body_bytes(&self, core: &Core) -> u64 {
        let share = core.sent.pace.window_bytes() / self.sends_max() as u64;
        share.max(SHARE_BYTES_MIN).min(self.learnt.body_bytes).max(BODY_BYTES_MIN)
    }

    /// How many lanes bulk may take: the others are for polls, and for what must not wait.
    fn sends_max(&self) -> usize {
        self.learnt.lanes_max.saturating_sub(2).clamp(1, SENDS_MAX)
    }

    fn count(&self, is: impl Fn(LaneKind) -> bool) -> usize {
        self.lanes.values().filter(|lane| is(lane.kind)).count()
    }

    fn streams(&self) -> impl Iterator<Item = (CarrierId, &Lane)> {
        let streams = self.lanes.iter().filter(|(_, lane)| matches!(lane.kind, LaneKind::Stream { .. }));
        streams.map(|(carrier, lane)| (*carrier, lane))
    }

    /// Returns whether a stream has proven itself.
    pub(super) fn has_stream(&self) -> bool {
        let proven = |lane: &Lane| matches!(lane.kind, LaneKind::Stream { pongs, .. } if pongs >= PROOFS.len() as u32);
        self.lanes.values().any(proven)
    }

    /// Returns when something is due; without a session, only the attempts to open one are.
    pub(super) fn next_deadline(&self, core: Option<&Core>) -> Option<Deadline> {
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
/// The least share of a lane, in bytes: below it, what HTTP adds would tell.
const SHARE_BYTES_MIN: u64 = 32 << 10;
/// Bulk waits for so many bytes, or that long, while another request is under way.
const BATCH_BYTES: u64 = 64 << 10;
const BATCH_TIME: Duration = Duration::from_millis(2);
/// How long an acknowledgement waits for a request that goes anyway.
const ACK_DELAY: Duration = Duration::from_millis(10);
/// After so long without a push one held request is enough.
const IDLE_TIME: Duration = Duration::from_secs(10);
/// How long an answer may take beside its hold and its bytes, and how long it may pause.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(15);
/// The slowest line that is waited for, in bytes a millisecond: 64 kbit/s.
const SLOWEST_BYTES_PER_MS: u64 = 8;
/// A held request that dies younger than this was not cut for its age.
const CUT_AGE_MIN: Duration = Duration::from_secs(4);
/// An answer in pieces that took so long and then came within so short a time was kept back.
const LONG_KEPT: Duration = Duration::from_secs(3);
const AT_ONCE: Duration = Duration::from_millis(100);
/// The pause after the second failure in a row, doubled with each further one up to 4 s.
const RETRY_MIN: Duration = Duration::from_millis(250);
const RETRY_DOUBLINGS_MAX: u32 = 4;
/// After so long in silence a stream is asked for a sign of life; proxies cut at 50 s and more.
const HEARTBEAT: Duration = Duration::from_secs(20);
/// And given up when none comes.
const PONG_TIME_MAX: Duration = Duration::from_secs(10);
/// The pings that a stream must answer, by id and padding in bytes: a small one, and more than any buffer on the way.
const PROOFS: [(u64, usize); 2] = [(1, 1 << 10), (2, 60 << 10)];
/// How much is handed to a stream at once, in bytes.
const STREAM_BYTES_MAX: usize = 256 << 10;

//! The client's carriers: which requests and streams there are, and what becomes of each.

mod lane;
mod settling;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use anypath_wire::Time;
use bytes::Bytes;

pub(super) use self::lane::{Lane, LaneKind};
use super::carriers::{CarrierId, Failure, Transmit};
use super::client::Opened;
use super::control::{Control, Ping};
use super::core::Core;
use super::learnt::Learnt;
use super::look::{Look, Probes};
use super::record::Kind;

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
        if let Some(bytes) = control.and_then(|control| control.cold) {
            self.learnt.bodies.note_cold(bytes);
        }
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
            self.learnt.bodies.note(lane.body_bytes);
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
            LaneKind::Send => self.learnt.bodies.note_lost(lane.body_bytes, failure),
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
}

/// How long an answer may take beside its hold and its bytes, and how long it may pause.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(15);
/// A held request that dies younger than this was not cut for its age.
const CUT_AGE_MIN: Duration = Duration::from_secs(4);
/// The pause after the second failure in a row, doubled with each further one up to 4 s.
const RETRY_MIN: Duration = Duration::from_millis(250);
const RETRY_DOUBLINGS_MAX: u32 = 4;
/// After so long in silence a stream is asked for a sign of life; proxies cut at 50 s and more.
const HEARTBEAT: Duration = Duration::from_secs(20);
/// And given up when none comes.
const PONG_TIME_MAX: Duration = Duration::from_secs(10);
/// The pings that a stream must answer, by id and padding in bytes: a small one, and more than any buffer on the way.
const PROOFS: [(u64, usize); 2] = [(1, 1 << 10), (2, 60 << 10)];

//! What is looked at now and then: whether a stream is still at the relay to which the session's tag leads, and whether
//! answers come in pieces.
//!
//! A stream stays where it was opened. Where several relays stand behind one name, that may become the wrong one: a dead
//! relay comes back, and whoever comes with the same tag from then on is led there. Two who look for each other would
//! wait at different relays. So now and then a request goes the balancer's way; who does not know the session says so,
//! which ends it, and the next is opened at the right place.
//!
//! Where no stream carries the session, one request is made whose answer is an echo at once, another word in the middle of
//! [`PROBE_HOLD`], and then its end. If they come that far apart, nothing on the way keeps answers until they are complete,
//! nor what comes behind their heads.

use std::time::Duration;

use anypath_wire::Time;

/// When the next look is due.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) due_at: Time,
    made_at: Time,
    pause: Duration,
}

impl Look {
    /// Begins with a stream.
    pub(super) fn begin(now: Time) -> Self {
        Self { due_at: now + PAUSE_MIN, made_at: now, pause: PAUSE_MIN }
    }

    /// Notes that one is made.
    pub(super) fn make(&mut self, now: Time) {
        self.made_at = now;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        self.due_at = now + self.pause;
    }

    /// Brings the next one forward: what was asked for is not there, or has gone.
    pub(super) fn doubt(&mut self, now: Time) {
        self.pause = PAUSE_MIN;
        self.due_at = self.due_at.min((self.made_at + PAUSE_MIN).max(now));
    }
}

/// When it is looked at whether answers come in pieces.
#[derive(Debug, Default)]
pub(super) struct Probes {
    pub(super) due_at: Option<Time>,
    made: u32,
}

impl Probes {
    /// Begins with the session.
    pub(super) fn begin(&mut self, now: Time) {
        self.due_at.get_or_insert(now + PROBE_AFTER);
    }

    /// Makes one due now.
    pub(super) fn hurry(&mut self, now: Time) {
        (self.due_at, self.made) = (Some(now), 0);
    }

    pub(super) fn is_due(&self, now: Time) -> bool {
        self.due_at.is_some_and(|at| now >= at)
    }

    /// Notes that one is made; returns whether it may be.
    pub(super) fn make(&mut self, now: Time) -> bool {
        self.made += 1;
        self.due_at = Some(now + PROBE_PAUSE);
        self.made <= PROBES_MAX
    }
}

/// When the pieces of a probe's answer came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Pieces {
    first_at: Option<Time>,
    last_at: Option<Time>,
}

impl Pieces {
    pub(super) fn note(&mut self, now: Time) {
        self.first_at.get_or_insert(now);
        self.last_at = Some(now);
    }

    /// Returns whether first, last and end came apart.
    pub(super) fn came_apart(&self, ended_at: Time) -> bool {
        let (Some(first), Some(last)) = (self.first_at, self.last_at) else { return false };
        last.since(first).min(ended_at.since(last)) >= PROBE_HOLD / 4
    }
}

/// How long the end of a probe's answer waits.
pub(super) const PROBE_HOLD: Duration = Duration::from_secs(2);
/// After so long without a stream; most sessions have one by then.
const PROBE_AFTER: Duration = Duration::from_secs(2);
/// The pause before the next one where one was lost, and how many may be.
const PROBE_PAUSE: Duration = Duration::from_secs(20);
const PROBES_MAX: u32 = 3;

/// The pause before the first look, and after a doubt; doubled with each up to the longest. Ten thousand idle sessions
/// then make 170 requests a second.
const PAUSE_MIN: Duration = Duration::from_secs(2);
const PAUSE_MAX: Duration = Duration::from_secs(60);

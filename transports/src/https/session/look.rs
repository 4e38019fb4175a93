//! Whether a session on a stream is still at the relay to which its tag leads.
//!
//! A stream stays where it was opened. Where several relays stand behind one name, that may become the wrong one: a dead
//! relay comes back, and whoever comes with the same tag from then on is led there. Two who look for each other would
//! wait at different relays. So now and then a request goes the balancer's way; who does not know the session says so,
//! which ends it, and the next is opened at the right place.

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

/// The pause before the first look, and after a doubt; doubled with each up to the longest. Ten thousand idle sessions
/// then make 170 requests a second.
const PAUSE_MIN: Duration = Duration::from_secs(2);
const PAUSE_MAX: Duration = Duration::from_secs(60);

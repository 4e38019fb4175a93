//! What a session keeps in memory, and since when its client takes nothing of it.

use anypath_wire::Time;

/// What a session keeps in memory here, and since when its client takes nothing of it.
#[derive(Default)]
pub(super) struct Weight {
    pub(super) bytes: u64,
    /// What was handed to the session for its client.
    pub(super) given_bytes: u64,
    /// How much of that has reached the client, at most.
    taken_bytes: u64,
    pub(super) stuck_since: Time,
}

impl Weight {
    /// Takes what is kept now: not yet acknowledged by the client, and not yet passed on to others.
    pub(super) fn note(&mut self, now: Time, (sent, came): (u64, u64)) {
        let taken = self.given_bytes.saturating_sub(sent);
        if taken > self.taken_bytes || sent == 0 {
            self.stuck_since = now;
        }
        self.taken_bytes = self.taken_bytes.max(taken);
        self.bytes = sent + came;
    }
}

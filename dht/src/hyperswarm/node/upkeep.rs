//! What a node does unasked: pings, refreshes, and notices that it slept.

use super::hearing::{RECENT, TICK};
use super::search::Kind;
use super::*;

impl Node {
    /// Does what is due.
    pub(super) fn keep_up(&mut self, now: Time) {
        if now >= self.ping_at {
            self.ping_at = now + PING_INTERVAL;
            if self.bootstrap.is_done {
                self.ping_some(now);
            }
        }
        self.keep_listening(now);
        if now >= self.refresh_at {
            self.refresh(now);
        }
        if self.stable_at.is_some_and(|at| now >= at) {
            self.stable_at = Some(now + STABLE_AGAIN);
            if self.ephemeral && self.bootstrap.is_done && self.tried != self.nat.host() {
                self.begin_trial(now, false);
            }
        }
    }

    /// Walks towards a contact of chance, or ourselves.
    pub(super) fn refresh(&mut self, now: Time) {
        let at = self.chance.below(self.table.len() as u64) as usize;
        let target = self.table.iter().nth(at).map_or(*self.table.own(), |contact| contact.id);
        self.begin_search(now, None, Kind::Background, target);
    }

    fn ping_some(&mut self, now: Time) {
        let silent = self.table.by_silence();
        let Some(oldest) = silent.first() else {
            self.refresh(now);
            return;
        };
        let most = match () {
            () if now.since(oldest.pinged) < RECENT => 2,
            () if self.requests.len() > 2 => 3,
            () => 5,
        };
        let idle = silent.iter().take(most).filter(|contact| now.since(contact.pinged) >= TICK);
        for id in idle.map(|contact| contact.id).collect::<Vec<_>>() {
            self.check(now, id);
        }
    }

    /// A node that was woken much later than it wanted to be has slept: it may be elsewhere now, and so may all others.
    pub(super) fn wake_up_if_asleep(&mut self, now: Time) {
        let Some(deadline) = self.poll_deadline().filter(|deadline| now.since(deadline.at) > ASLEEP) else { return };
        (self.ping_at, self.refresh_at) = (now + TICK, now + TICK);
        self.tried = None;
        if self.config.ephemeral.is_none() {
            self.stable_at = Some(deadline.at.max(now) + STABLE_AGAIN);
            if !self.ephemeral {
                self.ephemeral = true;
                self.events.push_back(Event::Ephemeral);
            }
        }
    }
}

/// Woken later than this, a node has slept.
const ASLEEP: Duration = Duration::from_secs(15);

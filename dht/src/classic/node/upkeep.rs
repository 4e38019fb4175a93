//! What a node does unasked: finds its neighbours, pings those that are silent, refreshes its table.

use super::search::Kind;
use super::*;

impl Node {
    /// Begins with a walk towards ourselves.
    pub(super) fn begin_bootstrap(&mut self, now: Time) {
        self.begin_search(now, None, Kind::Bootstrap, *self.table.own());
    }

    /// Does what is due.
    pub(super) fn keep_up(&mut self, now: Time) {
        if now >= self.ping_at {
            self.ping_at = now + PING_INTERVAL;
            self.ping_silent(now);
        }
        if now >= self.refresh_at {
            self.refresh(now);
        }
    }

    /// Walks towards ourselves, and towards a place of chance.
    pub(super) fn refresh(&mut self, now: Time) {
        let anywhere = id_of(&mut self.chance);
        self.begin_search(now, None, Kind::Background, anywhere);
        self.begin_search(now, None, Kind::Background, *self.table.own());
    }

    fn ping_silent(&mut self, now: Time) {
        if self.table.is_empty() {
            return self.refresh(now);
        }
        let is_silent = |contact: &&&Contact<20, SocketAddr>| now.since(contact.seen) >= self.config.row.recent;
        let silent = self.table.by_silence();
        let silent: Vec<_> = silent.iter().take_while(is_silent).take(PINGS).map(|c| (c.id, c.address)).collect();
        for (id, address) in silent {
            self.check(now, id, address);
        }
    }
}

/// Silent contacts that are pinged at once.
const PINGS: usize = 8;

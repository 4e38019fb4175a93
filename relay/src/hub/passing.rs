//! Bytes on their way from one circuit into another.

use std::collections::{BTreeSet, VecDeque};

use anypath_transports::https::session::{Command, SessionId};
use anypath_wire::Time;
use bytes::Bytes;

use super::Hub;
use crate::directory::End;

/// The way from one circuit into another.
pub(super) struct Join {
    pub(super) to: End,
    /// What found no room there yet; it counts against the sender's credit.
    pub(super) waiting: VecDeque<Bytes>,
    pub(super) ending: bool,
    /// The end has been passed on.
    ended: bool,
}

impl Hub {
    pub(super) fn join(&mut self, one: End, other: End) {
        let fresh = |to| Join { to, waiting: VecDeque::new(), ending: false, ended: false };
        self.joined.insert(one, fresh(other));
        self.joined.insert(other, fresh(one));
    }

    /// Passes on what came on a circuit, as far as there is room.
    pub(super) fn pass(&mut self, now: Time, from: End, touched: &mut BTreeSet<SessionId>) {
        while let Some(join) = self.joined.get_mut(&from) {
            let (to, circuit) = join.to;
            let Some(first) = join.waiting.front_mut() else {
                if join.ending {
                    self.finish(now, from, touched);
                }
                return;
            };
            let Some(member) = self.sessions.get_mut(&to) else { return };
            let room = member.server.send_room(circuit);
            if room == 0 {
                return;
            }
            let bytes = first.split_to(room.min(first.len()));
            member.weight.given_bytes += bytes.len() as u64;
            if first.is_empty() {
                join.waiting.pop_front();
            }
            self.metrics.passed(bytes.len());
            let consumed = Command::Consumed { circuit: from.1, bytes: bytes.len() as u64 };
            self.command(now, to, Command::Send { circuit, bytes }, touched);
            self.command(now, from.0, consumed, touched);
        }
    }

    /// Hands on the end of one direction; with the second one the two circuits are parted.
    pub(super) fn finish(&mut self, now: Time, from: End, touched: &mut BTreeSet<SessionId>) {
        let Some(join) = self.joined.get_mut(&from).filter(|join| !join.ended) else { return };
        join.ended = true;
        let (to, circuit) = join.to;
        self.command(now, to, Command::End { circuit }, touched);
        if self.joined.get(&(to, circuit)).is_none_or(|back| back.ended) {
            self.joined.remove(&from);
            self.joined.remove(&(to, circuit));
        }
    }

    /// Ends both of two circuits, of which one was reset or is gone.
    pub(super) fn part(&mut self, now: Time, end: End, reason: u64, touched: &mut BTreeSet<SessionId>) {
        let Some((to, circuit)) = self.joined.remove(&end).map(|join| join.to) else { return };
        self.joined.remove(&(to, circuit));
        self.command(now, to, Command::Reset { circuit, reason }, touched);
    }
}

//! One carrier of a client.

use std::time::Duration;

use anypath_wire::Time;
use anypath_wire::noise::NoiseHandshake;

use super::ANSWER_TIME_MAX;
use crate::https::session::look::Pieces;
use crate::https::session::record::Records;

/// One carrier.
pub(in crate::https::session) struct Lane {
    pub(in crate::https::session) kind: LaneKind,
    pub(in crate::https::session) records: Records,
    pub(in crate::https::session) handshake: Option<NoiseHandshake>,
    /// When the relay said something on it for the first time.
    pub(super) heard_at: Option<Time>,
    pub(super) began: Time,
    /// When it is given up, if nothing more is heard.
    pub(super) patience_at: Time,
    pub(super) body_bytes: u64,
    /// It brought segments.
    pub(super) pushed: bool,
}

/// What a carrier is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::https::session) enum LaneKind {
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
    pub(in crate::https::session) fn new(now: Time, kind: LaneKind, body_bytes: u64) -> Self {
        let held = if let LaneKind::Poll { hold_ms } = kind { Duration::from_millis(hold_ms) } else { Duration::ZERO };
        let sending = Duration::from_millis(body_bytes / SLOWEST_BYTES_PER_MS);
        let patience_at = now + held + sending + ANSWER_TIME_MAX;
        let (records, handshake) = (Records::default(), None);
        Self { kind, records, handshake, heard_at: None, began: now, patience_at, body_bytes, pushed: false }
    }

    /// Returns whether the relay said something on it.
    pub(in crate::https::session) fn is_heard(&self) -> bool {
        self.heard_at.is_some()
    }

    /// Returns whether an answer that should have come in pieces came all at once, after a long time.
    pub(super) fn came_whole(&self, now: Time) -> bool {
        let heard_late = self.heard_at.is_some_and(|at| now.since(at) < AT_ONCE);
        self.pushed && heard_late && now.since(self.began) >= LONG_KEPT
    }
}

/// The slowest line that is waited for, in bytes a millisecond: 64 kbit/s.
const SLOWEST_BYTES_PER_MS: u64 = 8;
/// An answer in pieces that took so long and then came within so short a time was kept back.
const LONG_KEPT: Duration = Duration::from_secs(3);
const AT_ONCE: Duration = Duration::from_millis(100);

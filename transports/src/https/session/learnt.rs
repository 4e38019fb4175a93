//! What was learnt about a network, and is worth keeping for the next time.

use std::time::Duration;

/// What this network bears. Plain numbers: whoever keeps it decides how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Learnt {
    /// How long a request may be held, in milliseconds.
    pub hold_ms: u64,
    /// Held requests in a row that were answered by the relay only when their time was over.
    pub holds_clean: u32,
    /// How long a request's body may be, in bytes.
    pub body_bytes: u64,
    /// What a body was refused at, in bytes; it grows no further than below that.
    pub body_bytes_max: u64,
    /// Bodies of full length in a row that were answered.
    pub bodies_clean: u32,
    /// How many requests may be under way at once.
    pub lanes_max: usize,
    /// Whether answers pass in pieces; unknown until probed.
    pub streams_down: Option<bool>,
}

impl Default for Learnt {
    fn default() -> Self {
        Self {
            hold_ms: HOLD_MS_FIRST,
            holds_clean: 0,
            body_bytes: BODY_BYTES_FIRST,
            body_bytes_max: BODY_BYTES_MAX,
            bodies_clean: 0,
            lanes_max: LANES_MAX,
            streams_down: None,
        }
    }
}

impl Learnt {
    /// Notes that a held request was cut at that age.
    pub(super) fn note_cut(&mut self, age: Duration) {
        let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        self.hold_ms = self.hold_ms.min(age_ms / 5 * 4).max(HOLD_MS_MIN);
        self.holds_clean = 0;
    }

    /// Notes that a held request was held for as long as was asked.
    pub(super) fn note_hold(&mut self) {
        self.holds_clean += 1;
        if self.holds_clean >= HOLDS_CLEAN {
            self.hold_ms = (self.hold_ms / 4 * 5).min(HOLD_MS_MAX);
            self.holds_clean = 0;
        }
    }

    /// Notes that a body of that length was answered.
    pub(super) fn note_body(&mut self, bytes: u64) {
        if bytes + BODY_BYTES_MIN >= self.body_bytes {
            self.bodies_clean += 1;
        }
        if self.bodies_clean >= BODIES_CLEAN {
            self.body_bytes = (self.body_bytes * 2).min(self.body_bytes_max);
            self.bodies_clean = 0;
        }
    }

    /// Notes that a body of that length was not; `too_long` if for its length.
    pub(super) fn note_body_lost(&mut self, bytes: u64, too_long: bool) {
        self.bodies_clean = 0;
        if too_long {
            self.body_bytes_max = self.body_bytes_max.min(bytes * 3 / 4).max(BODY_BYTES_MIN);
        }
        if too_long || bytes > BODY_BYTES_MIN {
            self.body_bytes = (self.body_bytes / 2).clamp(BODY_BYTES_MIN, self.body_bytes_max);
        }
    }
}

/// Half a minute is called safe by RFC 6202, section 5.5; a few proxies cut earlier, and are learnt.
const HOLD_MS_FIRST: u64 = 25_000;
/// Below this, polling costs more than it brings.
const HOLD_MS_MIN: u64 = 5_000;
/// The samples of haproxy cut at 50 s, the defaults of nginx and Apache at 60 s.
const HOLD_MS_MAX: u64 = 50_000;
/// How many clean holds allow a longer one.
const HOLDS_CLEAN: u32 = 5;
/// The first bodies, in bytes; the answer to four of them shows whether more passes.
const BODY_BYTES_FIRST: u64 = 256 << 10;
/// nginx refuses 1 MiB by default; room is left for what a proxy adds.
const BODY_BYTES_MAX: u64 = (1 << 20) - (4 << 10);
/// A body must hold one segment.
pub(super) const BODY_BYTES_MIN: u64 = 20 << 10;
/// How many clean bodies allow a longer one.
const BODIES_CLEAN: u32 = 4;
/// As many connections as browsers make to one host: more is conspicuous, and brings nothing below 500 Mbit/s.
const LANES_MAX: usize = 6;

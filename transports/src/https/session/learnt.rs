//! What was learnt about a network, and is worth keeping for the next time.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::bodies::{Bodies, Framing};

/// What this network bears, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Learnt {
    /// How long a request may be held, in milliseconds.
    pub hold_ms: u64,
    /// Held requests in a row that were answered by the relay only when their time was over.
    pub holds_clean: u32,
    /// How long a request's body may be.
    pub bodies: Bodies,
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
            bodies: Bodies::default(),
            lanes_max: LANES_MAX,
            streams_down: None,
        }
    }
}

/// What of it is worth keeping from one run to the next: hints, which are unlearnt where they are wrong by then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lesson {
    /// How long a request may be held, in milliseconds.
    pub hold_ms: u64,
    /// How long a request's body may be, in bytes.
    pub body_bytes: u64,
    /// How long it may become, in bytes.
    pub body_bytes_max: u64,
    /// How it is framed.
    pub framing: Framing,
    /// Whether answers pass in pieces, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streams_down: Option<bool>,
}

impl Learnt {
    /// Begins with what was kept; what nobody could have learnt becomes the nearest that could be.
    pub fn recall(lesson: &Lesson) -> Self {
        let bodies = Bodies::recall(lesson.body_bytes, lesson.body_bytes_max, lesson.framing);
        let hold_ms = lesson.hold_ms.clamp(HOLD_MS_MIN, HOLD_MS_MAX);
        Self { hold_ms, bodies, streams_down: lesson.streams_down, ..Self::default() }
    }

    /// Returns what is worth keeping.
    pub fn lesson(&self) -> Lesson {
        Lesson {
            hold_ms: self.hold_ms,
            body_bytes: self.bodies.bytes,
            body_bytes_max: self.bodies.bytes_max,
            framing: self.bodies.framing,
            streams_down: self.streams_down,
        }
    }

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
}

/// Half a minute is called safe by RFC 6202, section 5.5; a few proxies cut earlier, and are learnt.
const HOLD_MS_FIRST: u64 = 25_000;
/// Below this, polling costs more than it brings.
const HOLD_MS_MIN: u64 = 5_000;
/// The samples of haproxy cut at 50 s, the defaults of nginx and Apache at 60 s.
const HOLD_MS_MAX: u64 = 50_000;
/// How many clean holds allow a longer one.
const HOLDS_CLEAN: u32 = 5;
/// As many connections as browsers make to one host: more is conspicuous, and brings nothing below 500 Mbit/s.
const LANES_MAX: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lesson_is_recalled_as_far_as_it_could_have_been_learnt() {
        let mut learnt = Learnt::default();
        learnt.note_cut(Duration::from_secs(10));
        learnt.streams_down = Some(false);
        assert_eq!(Learnt::recall(&learnt.lesson()), learnt);
        let (hold_ms, body_bytes, body_bytes_max) = (0, u64::MAX, 0);
        let wrong = Lesson { hold_ms, body_bytes, body_bytes_max, ..learnt.lesson() };
        let Learnt { hold_ms, bodies, .. } = Learnt::recall(&wrong);
        assert_eq!((hold_ms, bodies.bytes), (HOLD_MS_MIN, bodies.bytes_max));
        assert!(bodies.bytes > 0);
    }
}

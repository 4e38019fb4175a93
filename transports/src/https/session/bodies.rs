//! How long the bodies of requests may be, and whether they tell their length.

use serde::{Deserialize, Serialize};

use super::carriers::Failure;

/// What this network bears of bodies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bodies {
    /// How long one may be, in bytes.
    pub bytes: u64,
    /// How long it may become, in bytes: less than what was refused, or broke again and again.
    pub bytes_max: u64,
    /// How they are framed.
    pub framing: Framing,
    /// How many of full length were answered in a row.
    clean: u32,
    /// The length of the last that broke, in bytes, as long as none so long was answered since; otherwise 0.
    broken_bytes: u64,
    /// How often one so long has broken, each time after shorter ones had been answered.
    breaks: u32,
    /// Since the last of them, so many shorter ones were answered that longer ones are tried.
    recovered: bool,
}

/// How a body goes (RFC 9112, section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Framing {
    /// With `Content-Length`, since nothing speaks against it.
    Length,
    /// In chunks, to see whether longer ones pass so.
    Trial,
    /// In chunks.
    Chunks,
    /// With `Content-Length`, since chunks do not pass either.
    LengthOnly,
}

impl Default for Bodies {
    fn default() -> Self {
        let (bytes, bytes_max, framing) = (BYTES_FIRST, BYTES_MAX, Framing::Length);
        Self { bytes, bytes_max, framing, clean: 0, broken_bytes: 0, breaks: 0, recovered: false }
    }
}

impl Bodies {
    /// Begins with what was kept, as far as it could have been learnt.
    pub(super) fn recall(bytes: u64, bytes_max: u64, framing: Framing) -> Self {
        let bytes_max = bytes_max.clamp(BODY_BYTES_MIN, BYTES_COLD);
        Self { bytes: bytes.clamp(BODY_BYTES_MIN, bytes_max), bytes_max, framing, ..Self::default() }
    }

    /// Returns whether a body of that length goes in chunks: one that passes in any case does not.
    pub(super) fn goes_in_chunks(&self, bytes: u64) -> bool {
        matches!(self.framing, Framing::Trial | Framing::Chunks) && bytes > BODY_BYTES_MIN
    }

    /// Notes that the relay would take bodies of that length, and that they are worth it.
    pub(super) fn note_cold(&mut self, bytes: u64) {
        if self.bytes_max == BYTES_MAX {
            self.bytes_max = bytes.saturating_sub(MARGIN_BYTES).clamp(BYTES_MAX, BYTES_COLD);
        }
    }

    /// Notes that a body of that length was answered.
    pub(super) fn note(&mut self, bytes: u64) {
        if bytes + BODY_BYTES_MIN >= self.bytes {
            self.clean += 1;
        }
        if bytes >= self.broken_bytes {
            (self.broken_bytes, self.breaks) = (0, 0);
        }
        if self.framing == Framing::Trial && bytes > BODY_BYTES_MIN {
            self.framing = Framing::Chunks;
        }
        if self.clean >= CLEAN {
            self.bytes = (self.bytes * 2).min(self.bytes_max);
            self.recovered = true;
            self.clean = 0;
        }
    }

    /// Notes that a body of that length was not answered. A connection breaks for any reason; if shorter bodies pass and
    /// longer ones do not, [`BREAKS`] times in a row, it is for the length. squid, where it looks into TLS, drops
    /// requests that tell more than 512 KiB, and lets longer ones pass in chunks.
    pub(super) fn note_lost(&mut self, bytes: u64, failure: Failure) {
        if bytes <= BODY_BYTES_MIN {
            return;
        }
        self.clean = 0;
        if bytes < self.broken_bytes / 4 * 3 {
            self.breaks = 0;
        } else if self.recovered {
            self.breaks += 1;
        }
        let is_long = self.breaks >= BREAKS;
        if failure == Failure::Status(413) {
            self.bound(bytes);
        } else if self.framing == Framing::Trial {
            self.framing = Framing::LengthOnly;
            self.bound(self.broken_bytes.max(bytes));
        } else if is_long && self.framing == Framing::Length {
            self.framing = Framing::Trial;
        } else if is_long {
            self.bound(bytes);
        }
        // Those that break together are halved once.
        self.bytes = self.bytes.min((self.bytes / 2).max(bytes / 2)).clamp(BODY_BYTES_MIN, self.bytes_max);
        self.breaks = if is_long { 0 } else { self.breaks };
        (self.broken_bytes, self.recovered) = (bytes, false);
    }

    fn bound(&mut self, bytes: u64) {
        self.bytes_max = self.bytes_max.min(bytes / 4 * 3).max(BODY_BYTES_MIN);
    }
}

/// The first bodies, in bytes; the answer to four of them shows whether more passes.
const BYTES_FIRST: u64 = 256 << 10;
/// nginx refuses 1 MiB by default; room is left for what a proxy adds.
const BYTES_MAX: u64 = (1 << 20) - MARGIN_BYTES;
/// Where each has a connection of its own, longer ones make up for that; beyond, they gain little.
const BYTES_COLD: u64 = 2 << 20;
/// What a proxy may add, in bytes.
const MARGIN_BYTES: u64 = 4 << 10;
/// A body must hold one segment.
pub(super) const BODY_BYTES_MIN: u64 = 20 << 10;
/// How many clean bodies allow a longer one.
const CLEAN: u32 = 4;
/// How often a length must break to be found too long; where a tenth of all requests is lost, that happens once in a thousand
/// times by chance.
const BREAKS: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends bodies until what is learnt does not change any more; they break or are answered as is said.
    fn settle(bodies: &mut Bodies, passes: impl Fn(u64, bool) -> Result<(), Failure>) {
        for _ in 0..100 {
            let bytes = bodies.bytes;
            match passes(bytes, bodies.goes_in_chunks(bytes)) {
                Ok(()) => bodies.note(bytes),
                Err(failure) => bodies.note_lost(bytes, failure),
            }
        }
    }

    #[test]
    fn bodies_that_tell_too_long_a_length_go_in_chunks() {
        let mut bodies = Bodies::default();
        bodies.note_cold(2 << 20);
        settle(&mut bodies, |bytes, chunks| if chunks || bytes <= 512 << 10 { Ok(()) } else { Err(Failure::Broken) });
        assert_eq!((bodies.framing, bodies.bytes), (Framing::Chunks, (2 << 20) - MARGIN_BYTES));
    }

    #[test]
    fn where_chunks_do_not_pass_bodies_stay_as_short_as_they_must() {
        for refusal in [Failure::Broken, Failure::Status(411)] {
            let mut bodies = Bodies::default();
            let passes = |bytes, chunks| match (bytes, chunks) {
                (_, true) => Err(refusal),
                (0..=500_000, false) => Ok(()),
                (_, false) => Err(Failure::Broken),
            };
            settle(&mut bodies, passes);
            assert_eq!(bodies.framing, Framing::LengthOnly);
            assert!((250_000..=500_000).contains(&bodies.bytes), "{bodies:?}");
            let settled = bodies.clone();
            settle(&mut bodies, passes);
            assert_eq!(bodies.bytes_max, settled.bytes_max, "none is tried that is too long");
        }
    }

    #[test]
    fn what_breaks_together_and_once_is_no_lesson() {
        let mut bodies = Bodies::default();
        settle(&mut bodies, |_, _| Ok(()));
        let full = bodies.bytes;
        for _ in 0..10 {
            (0..4).for_each(|_| bodies.note_lost(full, Failure::Broken));
            assert_eq!(bodies.bytes, full / 2, "halved once");
            settle(&mut bodies, |_, _| Ok(()));
        }
        assert_eq!((bodies.bytes, bodies.framing), (full, Framing::Length));
    }

    #[test]
    fn a_body_refused_for_its_length_bounds_all_that_follow() {
        let mut bodies = Bodies::default();
        settle(&mut bodies, |bytes, _| if bytes <= 300_000 { Ok(()) } else { Err(Failure::Status(413)) });
        assert!((150_000..=300_000).contains(&bodies.bytes), "{bodies:?}");
        assert_eq!(bodies.framing, Framing::Length);
    }
}

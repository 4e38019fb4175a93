//! How much may be under way: twice what the path delivers in its shortest round trip, as acknowledgements tell.
//!
//! In the manner of BBR (draft-ietf-ccwg-bbr, section 4.1): a segment remembers how much had been delivered when it left;
//! when it is acknowledged, what was delivered since, over the time since, is a sample of the rate. Growth needs no rule
//! of its own: twice the rate of a window that the path did not fill is twice that window.
//!
//! A proxy that makes a connection of its own for each request (squid does, where it looks into TLS) has every body wait
//! for two handshakes and a slow start, which are no property of the line: on such a path there is more under way, so that
//! bodies are long enough for their beginning not to matter.

use std::collections::VecDeque;
use std::time::Duration;

use anypath_wire::Time;

/// What acknowledgements tell of the path in one direction.
#[derive(Debug)]
pub(super) struct Pace {
    delivered: u64,
    delivered_at: Time,
    /// What had been sent when there was nothing more to send: samples below it say little.
    starved_to: u64,
    /// Samples that no later one exceeds, in bytes a second: the first is the highest of the last rounds.
    rates: VecDeque<(Time, u64)>,
    rtt_min: Option<Duration>,
    srtt: Duration,
    rtt_var: Duration,
    window_bytes_max: u64,
    /// Whether each request goes on a connection of its own.
    is_cold: bool,
}

/// What a segment remembers of the moment it left.
#[derive(Debug, Clone, Copy)]
pub(super) struct Departure {
    /// When that was.
    pub(super) at: Time,
    delivered: u64,
    delivered_at: Time,
    starved: bool,
}

impl Pace {
    /// Begins to learn; at most so many bytes will be under way.
    pub(super) fn new(window_bytes_max: u64) -> Self {
        Self {
            delivered: 0,
            delivered_at: Time::ZERO,
            starved_to: 0,
            rates: VecDeque::new(),
            rtt_min: None,
            srtt: RTT_GUESS,
            rtt_var: RTT_GUESS / 2,
            window_bytes_max,
            is_cold: false,
        }
    }

    /// Returns how many bytes may be under way.
    pub(super) fn window_bytes(&self) -> u64 {
        let Some((_, rate)) = self.rates.front().filter(|_| self.rtt_min.is_some()) else {
            return WINDOW_BYTES_FIRST.min(self.window_bytes_max);
        };
        let bytes = u128::from(*rate) * self.round().as_micros() * 2 / 1_000_000 + LUMP_BYTES;
        u64::try_from(bytes).unwrap_or(u64::MAX).max(WINDOW_BYTES_MIN).min(self.window_bytes_max)
    }

    /// Notes whether each request goes on a connection of its own, somewhere on the way.
    pub(super) fn note_cold(&mut self, is_cold: bool) {
        self.is_cold = is_cold;
    }

    /// Returns how long bulk takes there and back, at the least.
    pub(super) fn round(&self) -> Duration {
        self.rtt().max(PAUSES) * if self.is_cold { ROUNDS_COLD } else { 1 }
    }

    /// Returns the shortest round trip seen, or a guess.
    pub(super) fn rtt(&self) -> Duration {
        self.rtt_min.unwrap_or(RTT_GUESS)
    }

    /// Returns after how long a segment that was not acknowledged is sent again elsewhere.
    pub(super) fn patience(&self) -> Duration {
        (self.srtt + 4 * self.rtt_var).max(PATIENCE_MIN)
    }

    /// Notes that a segment leaves; `flying_bytes` are under way already.
    pub(super) fn depart(&mut self, now: Time, flying_bytes: u64) -> Departure {
        if flying_bytes == 0 {
            self.delivered_at = now;
        }
        let starved = self.delivered < self.starved_to;
        Departure { at: now, delivered: self.delivered, delivered_at: self.delivered_at, starved }
    }

    /// Notes that nothing more is there to be sent, with so much under way.
    pub(super) fn starve(&mut self, flying_bytes: u64) {
        self.starved_to = self.delivered + flying_bytes.max(1);
    }

    /// Notes an acknowledgement of so many bytes, the latest of which left then; `first` if it left only once.
    pub(super) fn arrive(&mut self, now: Time, bytes: u64, latest: Departure, first: bool) {
        self.delivered += bytes;
        if first {
            self.note_rtt(now.since(latest.at));
        }
        let interval = now.since(latest.delivered_at).max(Duration::from_millis(1));
        let rate = u128::from(self.delivered - latest.delivered) * 1_000_000 / interval.as_micros();
        let rate = u64::try_from(rate).unwrap_or(u64::MAX);
        self.delivered_at = now;
        if !latest.starved || self.rates.front().is_none_or(|(_, highest)| rate >= *highest) {
            self.note_rate(now, rate);
        }
    }

    /// Forgets what was learnt of the path, because it is another one now.
    pub(super) fn forget(&mut self) {
        self.rates.clear();
        self.rtt_min = None;
    }

    fn note_rtt(&mut self, rtt: Duration) {
        if self.rtt_min.is_none() {
            (self.srtt, self.rtt_var) = (rtt, rtt / 2);
        }
        self.rtt_min = Some(self.rtt_min.map_or(rtt, |min| min.min(rtt)).max(Duration::from_micros(100)));
        // RFC 6298, section 2.
        self.rtt_var = (3 * self.rtt_var + self.srtt.abs_diff(rtt)) / 4;
        self.srtt = (7 * self.srtt + rtt) / 8;
    }

    fn note_rate(&mut self, now: Time, rate: u64) {
        let lasts = (ROUNDS * self.srtt).max(RATE_LASTS_MIN);
        while self.rates.back().is_some_and(|(_, lower)| *lower <= rate) {
            self.rates.pop_back();
        }
        self.rates.push_back((now, rate));
        while self.rates.len() > SAMPLES_MAX || self.rates.front().is_some_and(|(at, _)| now.since(*at) > lasts) {
            self.rates.pop_front();
        }
    }
}

/// What a round takes besides the line: batches, acknowledgements that wait for company, busy machines. On a shorter line
/// this is what must be covered, or a window that was small once stays small.
const PAUSES: Duration = Duration::from_millis(20);
/// What may be under way beside, in bytes: the least share of a lane. What is acknowledged in lumps must overlap, or each
/// round measures less than the last; at 10 Mbit/s through a proxy that buffers, half of the line was lost without it.
const LUMP_BYTES: u128 = 32 << 10;
/// How many times a round trip bulk takes where each request waits for a connection of its own: the shortest one has the
/// two of its handshakes in it, and six more are over until a slow start has reached 1 MiB.
const ROUNDS_COLD: u32 = 4;
/// What may be under way before anything is known, in bytes: a round trip of 100 ms at 20 Mbit/s.
const WINDOW_BYTES_FIRST: u64 = 256 << 10;
/// What may always be under way, in bytes: two segments, so that there is a next one while the last is acknowledged.
const WINDOW_BYTES_MIN: u64 = 32 << 10;
/// The round trip supposed before one is measured: that of a continent.
const RTT_GUESS: Duration = Duration::from_millis(100);
/// The least patience: less would send again what a busy proxy only delays.
const PATIENCE_MIN: Duration = Duration::from_secs(1);
/// For how many round trips the highest rate is believed, as BBR does.
const ROUNDS: u32 = 10;
/// And for how long at least.
const RATE_LASTS_MIN: Duration = Duration::from_secs(1);
/// How many samples are kept: more never differ in a round.
const SAMPLES_MAX: usize = 32;

//! How much may be on its way at once, so that a busy node does not flood its own line.

use std::time::Duration;

use anypath_wire::Time;

/// A window of four slots: what was sent in each and is not answered counts, until its slot is the oldest.
///
/// Sending pauses when the current slot holds `most`, or all four twice that. Source: npm dht-rpc 6.27.0, `lib/io.js`,
/// `CongestionWindow`; there a timer turns the slots, here they turn when somebody looks.
#[derive(Debug, Clone)]
pub struct Window {
    most: u32,
    slots: [u32; SLOTS],
    turn: u64,
}

impl Window {
    /// Makes an empty window with that many a slot.
    pub fn new(most: u32) -> Self {
        Self { most, slots: [0; SLOTS], turn: 0 }
    }

    /// Returns whether sending must pause.
    pub fn is_full(&mut self, now: Time) -> bool {
        let current = *self.current(now);
        current >= self.most || self.slots.iter().sum::<u32>() >= 2 * self.most
    }

    /// Counts a datagram that is sent.
    pub fn sent(&mut self, now: Time) {
        *self.current(now) += 1;
    }

    /// Counts one that is answered or given up.
    pub fn settled(&mut self, now: Time) {
        let current = self.current(now);
        *current = current.saturating_sub(1);
    }

    /// Returns when the slots turn next.
    pub fn turns_at(&self) -> Time {
        Time::ZERO + SLOT * u32::try_from(self.turn + 1).unwrap_or(u32::MAX)
    }

    fn current(&mut self, now: Time) -> &mut u32 {
        let turn = now.as_micros() / SLOT.as_micros() as u64;
        for passed in self.turn + 1..=turn.min(self.turn + SLOTS as u64) {
            self.slots[(passed % SLOTS as u64) as usize] = 0;
        }
        self.turn = self.turn.max(turn);
        &mut self.slots[(self.turn % SLOTS as u64) as usize]
    }
}

const SLOTS: usize = 4;
/// How long a slot is the current one.
const SLOT: Duration = Duration::from_millis(750);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_fills_and_drains_as_time_passes() {
        let mut window = Window::new(2);
        let at = |slot: u64| Time::from_micros(slot * 750_000 + 1);
        window.sent(at(0));
        assert!(!window.is_full(at(0)));
        window.sent(at(0));
        assert!(window.is_full(at(0)) && !window.is_full(at(1)));
        window.sent(at(1));
        window.sent(at(1));
        assert!(window.is_full(at(2)), "four are on their way");
        window.sent(at(2));
        window.settled(at(2));
        assert!(window.is_full(at(3)));
        assert!(!window.is_full(at(4)), "the first slot is forgotten");
        assert!(!window.is_full(at(1_000_000)));
    }
}

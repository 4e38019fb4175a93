//! Segments on their way: kept until they are acknowledged, sent again when what carried them is over.

use std::collections::{BTreeMap, BTreeSet};

use anypath_wire::Time;
use bytes::Bytes;

use super::control::{Acked, Exchange};
use super::pace::{Departure, Pace};
use super::received::WINDOW;

/// What was sent and is not acknowledged.
#[derive(Debug)]
pub(super) struct Sent {
    next: u64,
    /// The lowest number that the other end lacks, as far as we know.
    lacking: u64,
    flights: BTreeMap<u64, Flight>,
    /// Those that are to be sent again.
    lost: BTreeSet<u64>,
    /// Bytes under way, without the lost ones.
    flying_bytes: u64,
    /// How many segments were sent more than once, for the log and the tests.
    again: u64,
    /// What the path bears.
    pub(super) pace: Pace,
}

#[derive(Debug)]
struct Flight {
    record: Bytes,
    departure: Departure,
    /// The exchange that carries it.
    via: u64,
    times: u32,
}

impl Sent {
    /// Begins with nothing sent.
    pub(super) fn new(window_bytes_max: u64) -> Self {
        let (flights, lost) = (BTreeMap::new(), BTreeSet::new());
        Self { next: 0, lacking: 0, flights, lost, flying_bytes: 0, again: 0, pace: Pace::new(window_bytes_max) }
    }

    /// Returns the number of the next new segment, unless too many are not acknowledged yet.
    pub(super) fn next_number(&self) -> Option<u64> {
        (self.next < self.lacking + WINDOW).then_some(self.next)
    }

    /// Returns how many more bytes may be under way.
    pub(super) fn room_bytes(&self) -> u64 {
        self.pace.window_bytes().saturating_sub(self.flying_bytes)
    }

    /// Returns whether something must be sent again.
    pub(super) fn has_lost(&self) -> bool {
        !self.lost.is_empty()
    }

    /// Returns the bytes that must be sent again.
    pub(super) fn lost_bytes(&self) -> u64 {
        self.lost.iter().filter_map(|number| self.flights.get(number)).map(|flight| flight.record.len() as u64).sum()
    }

    /// Returns the bytes that are kept, those to be sent again included.
    pub(super) fn kept_bytes(&self) -> u64 {
        self.flying_bytes + self.lost_bytes()
    }

    /// Notes that nothing is there to be sent, though there would be room.
    pub(super) fn starve(&mut self) {
        if self.room_bytes() > 0 {
            self.pace.starve(self.flying_bytes);
        }
    }

    /// Returns how many segments were sent again so far.
    pub(super) fn again(&self) -> u64 {
        self.again
    }

    /// Keeps a new segment, which has the number [`next_number`](Self::next_number) told.
    pub(super) fn depart(&mut self, now: Time, record: Bytes, via: u64) {
        let departure = self.pace.depart(now, self.flying_bytes);
        self.flying_bytes += record.len() as u64;
        self.flights.insert(self.next, Flight { record, departure, via, times: 1 });
        self.next += 1;
    }

    /// Returns the lowest segment that must be sent again, if it fits, and counts it as under way.
    pub(super) fn depart_again(&mut self, now: Time, via: u64, room_bytes: usize) -> Option<Bytes> {
        let number = *self.lost.first()?;
        let flight = self.flights.get_mut(&number)?;
        if flight.record.len() > room_bytes {
            return None;
        }
        self.lost.remove(&number);
        flight.departure = self.pace.depart(now, self.flying_bytes);
        flight.via = via;
        flight.times += 1;
        self.again += 1;
        self.flying_bytes += flight.record.len() as u64;
        Some(flight.record.clone())
    }

    /// Forgets what has come.
    pub(super) fn acknowledge(&mut self, now: Time, acked: &Acked) {
        let mut ranges = vec![(0, acked.next.min(self.next))];
        ranges.extend(acked.ranges.iter().map(|(begin, end)| (*begin, (*end).min(self.next))));
        let (mut bytes, mut latest) = (0, None);
        for (begin, end) in ranges.into_iter().filter(|(begin, end)| begin < end) {
            while let Some((&number, _)) = self.flights.range(begin..end).next() {
                let Some(flight) = self.flights.remove(&number) else { break };
                if !self.lost.remove(&number) {
                    self.flying_bytes -= flight.record.len() as u64;
                }
                bytes += flight.record.len() as u64;
                let newer = |(departure, _): &(Departure, bool)| departure.at <= flight.departure.at;
                if latest.as_ref().is_none_or(newer) {
                    latest = Some((flight.departure, flight.times == 1));
                }
            }
        }
        if let Some((departure, first)) = latest {
            self.pace.arrive(now, bytes, departure, first);
        }
        self.lacking = self.flights.keys().next().map_or(self.next, |lowest| *lowest);
    }

    /// Gives up an exchange: what it carried and is not acknowledged is to be sent again.
    pub(super) fn lose(&mut self, via: u64) {
        self.lose_if(|_, flight| flight.via == via);
    }

    /// Gives up the exchanges that the other end has done with, as its control record tells; of segments above what the
    /// record could tell of, nothing follows.
    pub(super) fn lose_over(&mut self, exchange: &Exchange, acked: &Acked) {
        let told_all = acked.ranges.len() < super::control::RANGES_MAX;
        let told_to = if told_all { u64::MAX } else { acked.known_to() };
        self.lose_if(|number, flight| number < told_to && exchange.is_over(flight.via));
    }

    /// Gives up what has been under way for too long in an exchange that may lose things silently.
    pub(super) fn lose_late(&mut self, now: Time, is_silent: impl Fn(u64) -> bool) {
        let patience = self.pace.patience();
        let late = |flight: &Flight| now.since(flight.departure.at) >= patience * (1 << flight.times.min(4)) / 2;
        self.lose_if(|_, flight| late(flight) && is_silent(flight.via));
    }

    /// Returns when [`lose_late`](Self::lose_late) has something to do at the earliest.
    pub(super) fn late_at(&self, is_silent: impl Fn(u64) -> bool) -> Option<Time> {
        let patience = self.pace.patience();
        let flying =
            self.flights.iter().filter(|(number, flight)| !self.lost.contains(number) && is_silent(flight.via));
        flying.map(|(_, flight)| flight.departure.at + patience * (1 << flight.times.min(4)) / 2).min()
    }

    fn lose_if(&mut self, is_lost: impl Fn(u64, &Flight) -> bool) {
        for (number, flight) in &self.flights {
            if is_lost(*number, flight) && self.lost.insert(*number) {
                self.flying_bytes -= flight.record.len() as u64;
            }
        }
    }
}

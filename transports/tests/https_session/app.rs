//! The application at one end: circuits that carry streams of which every byte is known.

use std::collections::BTreeMap;

use anypath_transports::https::session::{CircuitId, Client, Closed, Command, Event, Server, Style};
use anypath_wire::Time;
use bytes::Bytes;

use crate::chance::Chance;

/// What an application needs of either end.
pub(crate) trait End {
    fn circuit(&mut self) -> Option<CircuitId>;
    fn room(&mut self, circuit: CircuitId) -> usize;
    fn command(&mut self, now: Time, command: Command);
    fn event(&mut self) -> Option<Event>;
}

macro_rules! end {
    ($($end:ty)*) => {$(
        impl End for $end {
            fn circuit(&mut self) -> Option<CircuitId> {
                self.next_circuit()
            }
            fn room(&mut self, circuit: CircuitId) -> usize {
                self.send_room(circuit)
            }
            fn command(&mut self, now: Time, command: Command) {
                self.handle_command(now, command);
            }
            fn event(&mut self) -> Option<Event> {
                self.poll_event()
            }
        }
    )*};
}

end!(Client Server);

/// One circuit's two streams, at one end.
#[derive(Debug, Clone)]
pub(crate) struct Streams {
    seed: u64,
    /// Which of the two directions is sent.
    outward: u64,
    pub(crate) to_send: u64,
    pub(crate) sent: u64,
    pub(crate) to_come: u64,
    pub(crate) came: u64,
    ended_out: bool,
    ended_in: bool,
    unconsumed: u64,
}

/// The application at one end.
#[derive(Debug, Default)]
pub(crate) struct App {
    pub(crate) streams: BTreeMap<CircuitId, Streams>,
    /// When bytes came, with how many, for measurements.
    pub(crate) arrivals: Vec<(Time, u64)>,
    /// The same of circuits without known content.
    pub(crate) small: Vec<(Time, u64)>,
    pub(crate) foreign: u64,
    pub(crate) resets: u64,
    pub(crate) closed: Option<Closed>,
    pub(crate) opened: bool,
    /// Consumes late, now and then.
    pub(crate) lazy: bool,
    /// Checks every byte; measurements need not.
    pub(crate) checks: bool,
}

impl App {
    /// Opens a circuit: so many bytes go out, and so many come back.
    pub(crate) fn open(&mut self, now: Time, end: &mut impl End, seed: u64, bytes: [u64; 2], style: Style) -> bool {
        let Some(circuit) = end.circuit() else { return false };
        let target: Vec<u8> = [seed, bytes[0], bytes[1]].iter().flat_map(|number| number.to_le_bytes()).collect();
        end.command(now, Command::Open { circuit, style, target: target.into(), first: Bytes::new() });
        self.streams.insert(circuit, Streams::new(seed, 0, bytes[0], bytes[1]));
        true
    }

    /// Takes all events, then sends whatever finds room.
    pub(crate) fn act(&mut self, now: Time, end: &mut impl End, chance: &mut Chance) {
        while let Some(event) = end.event() {
            self.note(now, end, event);
        }
        let circuits: Vec<_> = self.streams.keys().copied().collect();
        for circuit in circuits {
            self.send(now, end, circuit, chance);
            let Some(streams) = self.streams.get_mut(&circuit) else { continue };
            if streams.unconsumed > 0 && !(self.lazy && chance.below(3) > 0) {
                let bytes = std::mem::take(&mut streams.unconsumed);
                end.command(now, Command::Consumed { circuit, bytes });
            }
        }
    }

    fn send(&mut self, now: Time, end: &mut impl End, circuit: CircuitId, chance: &mut Chance) {
        let Some(streams) = self.streams.get_mut(&circuit) else { return };
        loop {
            let left = streams.to_send - streams.sent;
            let room = (end.room(circuit) as u64).min(left);
            if room == 0 {
                break;
            }
            let bytes = if self.lazy { room.min(1 + chance.below(40_000)) } else { room };
            let content = streams.content(streams.outward, streams.sent, bytes);
            streams.sent += bytes;
            end.command(now, Command::Send { circuit, bytes: content });
        }
        if streams.sent == streams.to_send && !std::mem::replace(&mut streams.ended_out, true) {
            end.command(now, Command::End { circuit });
        }
    }

    fn note(&mut self, now: Time, end: &mut impl End, event: Event) {
        match event {
            Event::Opened { .. } => self.opened = true,
            Event::Offered { circuit, target, .. } => {
                end.command(now, Command::Accept { circuit });
                if target.iter().all(|byte| *byte == 0) {
                    return;
                }
                let number = |at: usize| u64::from_le_bytes(target[at..at + 8].try_into().unwrap());
                let streams = Streams::new(number(0), 1, number(16), number(8));
                assert!(self.streams.insert(circuit, streams).is_none(), "{circuit:?} was offered twice");
            }
            Event::Data { circuit, bytes } => {
                let Some(streams) = self.streams.get_mut(&circuit) else {
                    self.small.push((now, bytes.len() as u64));
                    return end.command(now, Command::Consumed { circuit, bytes: bytes.len() as u64 });
                };
                self.arrivals.push((now, bytes.len() as u64));
                assert!(!streams.ended_in, "{circuit:?} goes on after its end");
                if self.checks {
                    let expected = streams.content(1 - streams.outward, streams.came, bytes.len() as u64);
                    assert_eq!(bytes, expected, "{circuit:?} at {}", streams.came);
                }
                streams.came += bytes.len() as u64;
                streams.unconsumed += bytes.len() as u64;
            }
            Event::Ended { circuit } => {
                let streams = self.streams.get_mut(&circuit).expect("a circuit that was opened");
                assert!(!std::mem::replace(&mut streams.ended_in, true), "{circuit:?} ended twice");
                assert_eq!(streams.came, streams.to_come, "{circuit:?} ended early");
            }
            Event::Foreign { .. } => self.foreign += 1,
            Event::Reset { .. } => self.resets += 1,
            Event::Closed(why) => self.closed = Some(why),
            _ => {}
        }
    }

    /// Returns whether all that was to come has come.
    pub(crate) fn is_done(&self) -> bool {
        self.streams.values().all(|streams| streams.ended_in && streams.ended_out)
    }
}

impl Streams {
    fn new(seed: u64, outward: u64, to_send: u64, to_come: u64) -> Self {
        let (sent, came, ended_out, ended_in, unconsumed) = (0, 0, false, false, 0);
        Self { seed, outward, to_send, sent, to_come, came, ended_out, ended_in, unconsumed }
    }

    fn content(&self, direction: u64, from: u64, bytes: u64) -> Bytes {
        let seed = self.seed.wrapping_mul(2).wrapping_add(direction);
        (from..from + bytes).map(|at| ((at ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8).collect()
    }
}

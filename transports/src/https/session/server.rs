//! The relay's end: takes requests in, and decides when each is answered and with what.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use anypath_wire::{Deadline, Time};

use super::carriers::{CarrierId, Transmit};
use super::control::{Control, Exchange};
use super::core::Core;
use super::received::{Arrival, Received};
use super::record::Records;
use super::{CircuitId, Command, Event};

/// A session at the relay, as a sans-IO machine. See the [module's page](super) for how a driver moves it.
pub struct Server {
    core: Core,
    carriers: BTreeMap<CarrierId, Carrier>,
    /// Which exchanges there have been: a request that comes twice is answered once with segments.
    exchanges: Received,
    transmits: VecDeque<Transmit>,
    /// Since when bulk waits for more of it, or for a request to answer.
    bulk_since: Option<Time>,
    settled_at: Time,
    /// Which of the last requests came on a connection of their own, a bit each.
    connections: u16,
}

/// A request with its answer, or a stream.
struct Carrier {
    records: Records,
    /// What the client says it is; until then it is nobody's.
    exchange: Option<Exchange>,
    /// Until when the answer may wait.
    hold_until: Time,
    /// The request has come whole.
    complete: bool,
    /// It came before, or the client has done with it: it is answered, without segments.
    again: bool,
    /// What is to be echoed; no more than came.
    pongs: Vec<super::Ping>,
    /// When a probe is told a second time that we are here.
    again_at: Option<Time>,
    /// Bytes written on a streaming answer.
    written_bytes: u64,
    /// When it was heard of.
    began: Time,
}

impl Server {
    pub(super) fn new(core: Core) -> Self {
        Self {
            core,
            carriers: BTreeMap::new(),
            exchanges: Received::default(),
            transmits: VecDeque::new(),
            bulk_since: None,
            settled_at: Time::ZERO,
            connections: 0,
        }
    }

    /// Returns a number for a new circuit, to be opened now, or nothing if the client allows no more.
    pub fn next_circuit(&mut self) -> Option<CircuitId> {
        self.core.next_circuit()
    }

    /// Returns how many bytes may be sent on a circuit now; [`Event::Writable`] tells when there are more.
    pub fn send_room(&mut self, circuit: CircuitId) -> usize {
        self.core.send_room(circuit)
    }

    /// Returns the bytes kept here: those to be sent or not acknowledged, and those that came and were not consumed.
    pub fn kept_bytes(&self) -> (u64, u64) {
        self.core.kept_bytes()
    }

    /// Returns how many segments were sent more than once.
    pub fn sent_again(&self) -> u64 {
        self.core.sent.again()
    }

    /// Returns how many requests and streams are open: with none of them, a session is idle.
    pub fn carriers(&self) -> usize {
        self.carriers.len()
    }

    /// Returns the requests and streams that are open.
    pub fn carrier_ids(&self) -> impl Iterator<Item = CarrierId> {
        self.carriers.keys().copied()
    }

    /// Takes a wish of the application.
    pub fn handle_command(&mut self, now: Time, command: Command) {
        self.core.handle_command(now, command);
        self.settle(now);
    }

    /// Notes whether a request that comes is the first on its connection, where the driver knows: if almost all are, there
    /// is something on the way that makes a connection for each.
    pub fn note_connection(&mut self, is_new: bool) {
        self.connections = self.connections << 1 | u16::from(is_new);
        self.core.note_cold(self.connections.count_ones() >= NEW_MIN);
    }

    /// Notes that a request has begun to come, or that a stream was opened. The bytes that follow are those behind the
    /// session's number.
    pub fn handle_open(&mut self, now: Time, carrier: CarrierId) {
        if self.carriers.len() >= CARRIERS_MAX {
            // One of which nothing is known after so many others may have died on its way here.
            let nameless = self.carriers.iter().filter(|(_, it)| it.exchange.is_none());
            let Some(oldest) = nameless.min_by_key(|(_, it)| it.began).map(|(carrier, _)| *carrier) else {
                self.transmits.push_back(Transmit::Drop { carrier });
                return;
            };
            self.drop_carrier(oldest);
        }
        let fresh = Carrier {
            records: Records::default(),
            exchange: None,
            hold_until: now,
            complete: false,
            again: false,
            pongs: Vec::new(),
            again_at: None,
            written_bytes: 0,
            began: now,
        };
        self.carriers.insert(carrier, fresh);
    }

    /// Takes bytes of a request or stream. One that is not of this session's client is dropped.
    pub fn handle_bytes(&mut self, now: Time, carrier: CarrierId, bytes: &[u8]) {
        if let Some(it) = self.carriers.get_mut(&carrier) {
            it.records.push(bytes);
        }
        while let Some(it) = self.carriers.get_mut(&carrier) {
            let Ok(record) = it.records.next_record() else {
                self.drop_carrier(carrier);
                break;
            };
            let Some(record) = record else { break };
            match self.core.handle_record(now, &record) {
                Ok(Some(control)) => self.note_control(now, carrier, control),
                // Segments come behind a control record, so that who only repeats them learns nothing.
                Ok(None) if self.carriers.get(&carrier).is_some_and(|it| it.exchange.is_some()) => {}
                _ => self.drop_carrier(carrier),
            }
        }
        self.settle(now);
    }

    /// Notes that a request has come whole, or that the client has ended a stream.
    pub fn handle_end(&mut self, now: Time, carrier: CarrierId) {
        match self.carriers.get_mut(&carrier) {
            Some(it) if it.exchange.is_none() => self.drop_carrier(carrier),
            Some(it) => it.complete = true,
            None => {}
        }
        self.settle(now);
    }

    /// Notes that a request or stream is gone before it was answered.
    pub fn handle_failure(&mut self, now: Time, carrier: CarrierId) {
        if let Some(exchange) = self.carriers.remove(&carrier).and_then(|it| it.exchange) {
            self.core.sent.lose(exchange.number);
        }
        self.settle(now);
    }

    /// Is called when the deadline has come.
    pub fn handle_timeout(&mut self, now: Time) {
        self.settle(now);
    }

    /// Returns what the driver is to do next.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// Returns the next thing to tell the application.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.core.poll_event()
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) wants to be called next.
    pub fn poll_deadline(&self) -> Option<Deadline> {
        let deadline = |at, why| Deadline { at, why };
        let mut due = vec![deadline(self.core.quiet_at(), "the client is silent")];
        due.extend(self.carriers.values().map(|it| deadline(it.hold_until, "a request was held for long enough")));
        let again = self.carriers.values().filter_map(|it| it.again_at);
        due.extend(again.map(|at| deadline(at, "a probe is answered once more")));
        for patience in [BATCH_TIME, LAST_TIME] {
            due.extend(self.bulk_since.map(|at| deadline(at + patience, "bulk has waited for more")));
        }
        let sure = self.sure();
        due.extend(self.core.sent.late_at(|via| !sure.contains(&via)).map(|at| deadline(at, "a segment is late")));
        due.into_iter().filter(|deadline| deadline.at > self.settled_at).min()
    }

    fn note_control(&mut self, now: Time, carrier: CarrierId, control: Control) {
        let Some(it) = self.carriers.get_mut(&carrier) else { return };
        it.pongs.extend(control.ping);
        let Some(exchange) = control.exchange else { return };
        if it.exchange.is_none() {
            it.again = self.exchanges.note(exchange.number) != Arrival::New;
            let hold = Duration::from_millis(exchange.hold_ms.min(HOLD_MS_MAX));
            it.hold_until = now + hold;
            it.again_at = exchange.probes().then_some(now + hold / 2);
        }
        // Those below all that are open may never have come; they must not hold up the window.
        self.exchanges.advance(exchange.others.first().copied().unwrap_or(exchange.number));
        for other in self.carriers.values_mut() {
            other.again |= other.exchange.as_ref().is_some_and(|held| exchange.is_over(held.number));
        }
        // What still comes, or goes both ways, may have died at the client only, and would take what is sent again with it.
        let is_over = |it: &Carrier| it.exchange.as_ref().is_some_and(|held| exchange.is_over(held.number));
        for dead in self.ids(|it| !it.complete && is_over(it)) {
            self.drop_carrier(dead);
        }
        // What is the client's first word about a carrier holds, but for whether it may stream by now.
        if let Some(it) = self.carriers.get_mut(&carrier) {
            let streams = exchange.streams;
            let known = it.exchange.get_or_insert(exchange);
            known.streams |= streams;
        }
    }

    fn drop_carrier(&mut self, carrier: CarrierId) {
        if let Some(exchange) = self.carriers.remove(&carrier).and_then(|it| it.exchange) {
            self.core.sent.lose(exchange.number);
        }
        self.transmits.push_back(Transmit::Drop { carrier });
    }

    /// Answers what is due to be answered.
    fn settle(&mut self, now: Time) {
        self.settled_at = now;
        self.core.expire(now);
        let sure = self.sure();
        self.core.sent.lose_late(now, |via| !sure.contains(&via));
        self.settle_streams(now);
        self.settle_due(now);
        self.settle_held(now);
    }

    /// Writes on streams and streaming answers whatever is ready.
    fn settle_streams(&mut self, now: Time) {
        for carrier in self.ids(|it| !it.complete || it.streams()) {
            let Some(it) = self.carriers.get_mut(&carrier) else { continue };
            let (Some(exchange), complete) = (it.exchange.clone(), it.complete) else { continue };
            // Who has done with an answer reads nothing more of it, and a probe is to bring nothing.
            let takes = it.streams() && !it.again && !exchange.probes();
            let mut bytes = Vec::new();
            if it.again_at.take_if(|at| now >= *at).is_some() {
                bytes.push(self.core.control(Control::default()));
            }
            for pong in std::mem::take(&mut it.pongs) {
                bytes.push(self.core.control(Control { pong: Some(pong), ..Control::default() }));
            }
            let ready = self.core.ready();
            let something = ready.urgent || ready.bulk_bytes > 0 || (self.core.ack_due.is_some() && !complete);
            if takes && something {
                bytes.extend(self.core.fill(now, exchange.number, None, STREAM_BYTES_MAX));
            }
            let Some(it) = self.carriers.get_mut(&carrier) else { continue };
            let ends = complete && it.has_streamed_enough(now);
            if ends && bytes.is_empty() && it.written_bytes == 0 {
                // An answer without a word could be anybody's.
                bytes.push(self.core.control(Control::default()));
            }
            it.written_bytes += bytes.iter().map(|part| part.len() as u64).sum::<u64>();
            if ends {
                self.carriers.remove(&carrier);
            }
            if ends || !bytes.is_empty() {
                self.transmits.push_back(Transmit::Write { carrier, bytes, ends });
            }
        }
    }

    /// Answers requests that bring something, those held for long enough, and those that nobody waits for any more.
    fn settle_due(&mut self, now: Time) {
        let is_over = self.core.over().is_some();
        let due = |it: &Carrier| it.complete && !it.streams() && (it.again || is_over || now >= it.hold_until);
        for carrier in self.ids(due) {
            self.answer(now, carrier);
        }
    }

    /// Answers held requests, the longest held first, as there is something to say.
    fn settle_held(&mut self, now: Time) {
        loop {
            let ready = self.core.ready();
            self.bulk_since = if ready.bulk_bytes > 0 { self.bulk_since.or(Some(now)) } else { None };
            let held = self.ids(|it| it.complete && !it.streams());
            // The last one is kept for what must not wait, and for little, unless bulk has waited for long.
            let may_wait = held.len() == 1 && ready.bulk_bytes > LITTLE_BYTES;
            let patience = if may_wait { LAST_TIME } else { BATCH_TIME };
            let waited = self.bulk_since.is_some_and(|at| now >= at + patience);
            let bulk_due = waited || (held.len() > 1 && ready.bulk_bytes >= BATCH_BYTES);
            let Some(carrier) = held.first().filter(|_| ready.urgent || bulk_due) else { return };
            self.answer(now, *carrier);
            self.bulk_since = None;
        }
    }

    fn answer(&mut self, now: Time, carrier: CarrierId) {
        let Some(Carrier { exchange: Some(exchange), again, .. }) = self.carriers.remove(&carrier) else { return };
        let bytes = if again {
            vec![self.core.control(Control::default())]
        } else {
            let lanes = exchange.others.len() as u64 + 1;
            let share = (self.core.sent.pace.window_bytes() / lanes).max(SHARE_BYTES_MIN);
            let room = share.min(exchange.room_bytes).min(ANSWER_BYTES_MAX);
            self.core.fill(now, exchange.number, None, usize::try_from(room).unwrap_or(0))
        };
        self.transmits.push_back(Transmit::Write { carrier, bytes, ends: true });
    }

    fn ids(&self, is: impl Fn(&Carrier) -> bool) -> Vec<CarrierId> {
        let known = self.carriers.iter().filter(|(_, it)| it.exchange.is_some() && is(it));
        let mut ids: Vec<_> = known.map(|(carrier, it)| (it.began, *carrier)).collect();
        ids.sort();
        ids.into_iter().map(|(_, carrier)| carrier).collect()
    }

    /// Returns the exchanges that lose nothing unnoticed: streams both ways.
    fn sure(&self) -> Vec<u64> {
        let streams = self.carriers.values().filter(|it| it.is_stream());
        streams.filter_map(|it| it.exchange.as_ref()).map(|exchange| exchange.number).collect()
    }
}

impl Carrier {
    fn streams(&self) -> bool {
        self.exchange.as_ref().is_some_and(|exchange| exchange.streams)
    }

    /// Goes both ways, and loses nothing unnoticed.
    fn is_stream(&self) -> bool {
        !self.complete && self.streams()
    }

    fn has_streamed_enough(&self, now: Time) -> bool {
        self.again || self.written_bytes >= STREAMED_BYTES_MAX || now >= self.hold_until
    }
}

/// How many requests and streams a session may have open: twice what a client has, for those that it has given up.
const CARRIERS_MAX: usize = 16;
/// The longest that an answer is held, in milliseconds, whatever the client asks for: the ceiling of what it learns.
const HOLD_MS_MAX: u64 = 55_000;
/// The longest answer, in bytes: a proxy may keep it whole.
const ANSWER_BYTES_MAX: u64 = 4 << 20;
/// Bulk waits for so many bytes, or that long, before it takes a held request.
const BATCH_BYTES: u64 = 64 << 10;
const BATCH_TIME: Duration = Duration::from_millis(2);
/// Who says so little, in bytes, waits for an answer to it.
const LITTLE_BYTES: u64 = 4 << 10;
/// For the last held request it waits so long: about as long as the next one is under way.
const LAST_TIME: Duration = Duration::from_millis(20);
/// The least share of an answer, in bytes: below it, what HTTP adds would tell.
const SHARE_BYTES_MIN: u64 = 32 << 10;
/// How many of the last 16 requests must have come on new connections: a client begins with up to six.
const NEW_MIN: u32 = 12;
/// How much is handed to a stream at once, in bytes.
const STREAM_BYTES_MAX: usize = 256 << 10;
/// A streaming answer ends by itself after so many bytes, before something on the way ends it.
const STREAMED_BYTES_MAX: u64 = 8 << 20;

//! One circuit: a byte stream each way, in order, with credit.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use anypath_wire::Time;
use bytes::Bytes;

use super::core::Misbehaviour;
use super::frame::{CircuitId, Frame, Style};

/// A circuit at one end.
#[derive(Debug)]
pub(super) struct Circuit {
    pub(super) style: Style,
    pub(super) outward: Outward,
    pub(super) inward: Inward,
}

impl Circuit {
    /// Makes one; its greeting, `Open` or `Accept`, is the first frame to go out.
    pub(super) fn new(style: Style, greeting: Option<Frame>) -> Self {
        Self { style, outward: Outward::new(greeting), inward: Inward::new() }
    }

    /// Returns whether both streams are complete.
    pub(super) fn is_over(&self) -> bool {
        self.outward.over && self.inward.over
    }
}

/// What is to be sent.
#[derive(Debug)]
pub(super) struct Outward {
    /// The frame at place 0, until it is sent.
    pub(super) greeting: Option<Frame>,
    queue: VecDeque<Bytes>,
    queued_bytes: usize,
    place: u64,
    sent_bytes: u64,
    limit: u64,
    ending: bool,
    /// The application was told that there is no room.
    full: bool,
    over: bool,
}

impl Outward {
    fn new(greeting: Option<Frame>) -> Self {
        let (queue, limit) = (VecDeque::new(), CREDIT_BYTES_FIRST);
        let (queued_bytes, place, sent_bytes, ending, full, over) = (0, 0, 0, false, false, false);
        Self { greeting, queue, queued_bytes, place, sent_bytes, limit, ending, full, over }
    }

    /// Returns how many bytes may be queued now, if the queue may have so many in all.
    pub(super) fn room_bytes(&mut self, queue_bytes_max: usize) -> usize {
        let room = if self.ending { 0 } else { queue_bytes_max.saturating_sub(self.queued_bytes) };
        self.full |= room < queue_bytes_max / 2;
        room
    }

    /// Returns how many bytes are queued.
    pub(super) fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Queues bytes of the stream.
    ///
    /// # Panics
    /// If they are more than any [`room_bytes`](Self::room_bytes) could have been.
    pub(super) fn push(&mut self, bytes: Bytes) {
        assert!(self.queued_bytes + bytes.len() <= QUEUE_BYTES_MAX, "more bytes than a circuit has room for");
        if !bytes.is_empty() {
            self.queued_bytes += bytes.len();
            self.queue.push_back(bytes);
        }
    }

    /// Says that nothing more will be queued.
    pub(super) fn end(&mut self) {
        self.ending = true;
    }

    /// Takes the other end's credit; a lower one than before says nothing.
    pub(super) fn credit(&mut self, limit: u64) {
        self.limit = self.limit.max(limit);
    }

    /// Returns how many queued bytes may be sent.
    pub(super) fn ready_bytes(&self) -> u64 {
        if self.is_unanswered() { 0 } else { (self.queued_bytes as u64).min(self.limit - self.sent_bytes) }
    }

    /// Returns whether the end of the stream is what comes next.
    pub(super) fn ends_now(&self) -> bool {
        self.ending && !self.over && self.queue.is_empty() && !self.is_unanswered()
    }

    /// Returns the place of the next frame, and counts it.
    pub(super) fn next_place(&mut self) -> u64 {
        self.place += 1;
        self.place - 1
    }

    /// Returns the end of the stream as a frame, if that comes next.
    pub(super) fn take_end(&mut self, circuit: CircuitId) -> Option<Frame> {
        if !self.ends_now() {
            return None;
        }
        self.over = true;
        Some(Frame::End { circuit, place: self.next_place() })
    }

    /// Takes up to so many bytes of what may be sent.
    pub(super) fn take(&mut self, bytes_max: usize) -> Bytes {
        let bytes_max = usize::try_from(self.ready_bytes()).map_or(bytes_max, |ready| ready.min(bytes_max));
        let taken = match self.queue.front_mut() {
            Some(first) if first.len() >= bytes_max => first.split_to(bytes_max),
            _ => self.gather(bytes_max),
        };
        if self.queue.front().is_some_and(Bytes::is_empty) {
            self.queue.pop_front();
        }
        self.queued_bytes -= taken.len();
        self.sent_bytes += taken.len() as u64;
        taken
    }

    /// Returns whether the application is to be told that there is room again, once.
    pub(super) fn take_writable(&mut self, queue_bytes_max: usize) -> bool {
        let writable = self.full && self.queued_bytes <= queue_bytes_max / 2;
        self.full &= !writable;
        writable
    }

    fn gather(&mut self, bytes_max: usize) -> Bytes {
        let mut gathered = Vec::with_capacity(bytes_max.min(self.queued_bytes));
        while let Some(mut first) = self.queue.pop_front() {
            let part = first.split_to(first.len().min(bytes_max - gathered.len()));
            gathered.extend_from_slice(&part);
            if !first.is_empty() {
                self.queue.push_front(first);
                break;
            }
        }
        gathered.into()
    }

    /// An offered circuit says nothing before it is accepted.
    fn is_unanswered(&self) -> bool {
        self.place == 0
    }
}

/// What comes.
#[derive(Debug)]
pub(super) struct Inward {
    place: u64,
    /// Frames that came before their turn.
    early: BTreeMap<u64, Frame>,
    came_bytes: u64,
    consumed_bytes: u64,
    limit: u64,
    window_bytes: u64,
    round_at: Time,
    round_consumed_bytes: u64,
    pub(super) over: bool,
}

impl Inward {
    fn new() -> Self {
        Self {
            place: 0,
            early: BTreeMap::new(),
            came_bytes: 0,
            consumed_bytes: 0,
            limit: CREDIT_BYTES_FIRST,
            window_bytes: CREDIT_BYTES_FIRST,
            round_at: Time::ZERO,
            round_consumed_bytes: 0,
            over: false,
        }
    }

    /// Takes a frame, in turn or not.
    ///
    /// # Errors
    /// A place that was taken, or more than credit allows.
    pub(super) fn push(&mut self, place: u64, frame: Frame) -> Result<(), Misbehaviour> {
        if let Frame::Data { bytes, .. } = &frame {
            self.came_bytes += bytes.len() as u64;
        }
        if self.came_bytes > self.limit {
            return Err(Misbehaviour::Credit);
        }
        if self.over || place < self.place || place >= self.place + PLACES_MAX {
            return Err(Misbehaviour::Place);
        }
        self.early.insert(place, frame).map_or(Ok(()), |_| Err(Misbehaviour::Place))
    }

    /// Returns the next frame in turn.
    pub(super) fn next_frame(&mut self) -> Option<Frame> {
        let frame = self.early.remove(&self.place)?;
        self.place += 1;
        Some(frame)
    }

    /// Returns whether the frame at place 0 has been taken.
    pub(super) fn is_greeted(&self) -> bool {
        self.place > 0
    }

    /// Returns the bytes that wait here or at the application.
    pub(super) fn held_bytes(&self) -> u64 {
        self.came_bytes - self.consumed_bytes
    }

    /// Returns how much of the session's pool this circuit has.
    pub(super) fn pooled_bytes(&self) -> u64 {
        self.window_bytes - CREDIT_BYTES_FIRST
    }

    /// Notes that the application has done with bytes; the window doubles if it was used up within two round trips
    /// and the pool, of which so much is left, allows. Returns whether new credit is to be told.
    pub(super) fn consume(&mut self, now: Time, bytes: u64, round: Duration, pool_bytes: u64) -> bool {
        self.consumed_bytes = (self.consumed_bytes + bytes).min(self.came_bytes);
        if self.consumed_bytes - self.round_consumed_bytes >= self.window_bytes / 2 {
            if now.since(self.round_at) < 2 * round {
                self.window_bytes += self.window_bytes.min(pool_bytes);
            }
            (self.round_at, self.round_consumed_bytes) = (now, self.consumed_bytes);
        }
        !self.over && self.limit - self.consumed_bytes <= self.window_bytes / 4 * 3
    }

    /// Returns the limit to tell, and allows it from now on.
    pub(super) fn grant(&mut self) -> u64 {
        self.limit = self.limit.max(self.consumed_bytes + self.window_bytes);
        self.limit
    }
}

/// What either end may send on a circuit before it is told more, in bytes; part of the protocol. A handshake and the
/// first requests fit; circuits that stay small cost no more.
pub(super) const CREDIT_BYTES_FIRST: u64 = 128 << 10;
/// What may ever be queued for sending on one circuit, in bytes: the longest body.
pub(super) const QUEUE_BYTES_MAX: usize = 2 << 20;
/// How far places may run ahead: four times the segments that can be under way.
const PLACES_MAX: u64 = 4096;

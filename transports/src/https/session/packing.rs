//! What goes into the next body: control first, then what was lost, then urgent circuits, then the others in turn.

use anypath_wire::Time;
use bytes::Bytes;

use super::Event;
use super::control::{Control, Exchange};
use super::core::Core;
use super::frame::{CircuitId, Frame};
use super::record::{HEADER_BYTES, TAG_BYTES};

/// What waits to be sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Ready {
    /// Something that must not wait: a circuit's beginning or end, credit, urgent bytes, a farewell.
    pub(super) urgent: bool,
    /// Bytes of other circuits, and those to be sent again, as far as the window allows.
    pub(super) bulk_bytes: u64,
}

impl Core {
    /// Returns what waits to be sent.
    pub(super) fn ready(&self) -> Ready {
        let waits = |it: &super::circuit::Circuit| {
            it.outward.greeting.is_some() || it.outward.ends_now() || (it.style.urgent && it.outward.ready_bytes() > 0)
        };
        let control = !self.resets.is_empty() || !self.credits_due.is_empty();
        let room = self.sent.room_bytes();
        let bulk_bytes = self.circuits.values().map(|it| it.outward.ready_bytes()).sum::<u64>();
        let bulk_bytes = if self.sent.next_number().is_some() { bulk_bytes } else { 0 } + self.sent.lost_bytes();
        Ready {
            urgent: control || self.farewell_due || self.circuits.values().any(waits),
            bulk_bytes: bulk_bytes.min(room),
        }
    }

    /// Makes the records of one body: a control record, then as many segments as are ready and fit.
    pub(super) fn fill(&mut self, now: Time, via: u64, exchange: Option<Exchange>, room_bytes: usize) -> Vec<Bytes> {
        let mut records = vec![self.control(Control { exchange, ..Control::default() })];
        let mut room_bytes = room_bytes.saturating_sub(records[0].len());
        while let Some(record) = self.next_segment(now, via, room_bytes) {
            room_bytes -= record.len();
            records.push(record);
        }
        records
    }

    fn next_segment(&mut self, now: Time, via: u64, room_bytes: usize) -> Option<Bytes> {
        if self.sent.room_bytes() > 0
            && let Some(record) = self.sent.depart_again(now, via, room_bytes)
        {
            return Some(record);
        }
        let text_max = room_bytes.min(SEGMENT_BYTES_MAX).checked_sub(HEADER_BYTES + TAG_BYTES)?;
        let number = self.sent.next_number().filter(|_| self.over().is_none())?;
        let (text, clear) = self.pack(text_max);
        if text.is_empty() {
            self.sent.starve();
            return None;
        }
        let record = self.seal_segment(number, &clear, &text);
        self.sent.depart(now, record.clone(), via);
        Some(record)
    }

    /// Returns the text and the clear part of a segment.
    fn pack(&mut self, text_max: usize) -> (Vec<u8>, Bytes) {
        let mut text = Vec::new();
        self.pack_control(&mut text, text_max);
        for urgent in [true, false] {
            let bulk_waits = !urgent && (self.sent.has_lost() || self.sent.room_bytes() == 0);
            if bulk_waits {
                continue;
            }
            for circuit in self.in_turn() {
                if self.circuits.get(&circuit).is_some_and(|it| it.style.urgent == urgent) {
                    let clear = self.pack_data(circuit, &mut text, text_max);
                    if !clear.is_empty() || text.len() + FRAME_BYTES_MAX >= text_max {
                        return (text, clear);
                    }
                }
            }
        }
        (text, Bytes::new())
    }

    /// Resets, greetings, credits and ends: small, and waited for.
    fn pack_control(&mut self, text: &mut Vec<u8>, text_max: usize) {
        let fits = |text: &Vec<u8>, bytes: usize| text.len() + bytes <= text_max;
        while fits(text, FRAME_BYTES_MAX)
            && let Some(reset) = self.resets.pop_front()
        {
            reset.encode(text);
        }
        let mut over = Vec::new();
        for (id, circuit) in &mut self.circuits {
            let target_bytes = match &circuit.outward.greeting {
                Some(Frame::Open { target, .. }) => target.len(),
                _ => 0,
            };
            if fits(text, FRAME_BYTES_MAX + target_bytes)
                && let Some(greeting) = circuit.outward.greeting.take()
            {
                circuit.outward.next_place();
                greeting.encode(text);
            }
            if fits(text, FRAME_BYTES_MAX)
                && let Some(end) = circuit.outward.take_end(*id)
            {
                end.encode(text);
                over.push(*id);
            }
        }
        while fits(text, FRAME_BYTES_MAX)
            && let Some(circuit) = self.credits_due.pop_first()
        {
            if let Some(it) = self.circuits.get_mut(&circuit) {
                Frame::Credit { circuit, limit: it.inward.grant() }.encode(text);
            }
        }
        over.into_iter().for_each(|circuit| self.forget_if_over(circuit));
    }

    /// Packs bytes of one circuit; those that travel clear are returned.
    fn pack_data(&mut self, circuit: CircuitId, text: &mut Vec<u8>, text_max: usize) -> Bytes {
        let room = text_max.saturating_sub(text.len() + FRAME_BYTES_MAX);
        let Some(it) = self.circuits.get_mut(&circuit).filter(|it| it.outward.ready_bytes() > 0 && room > 0) else {
            return Bytes::new();
        };
        let (bytes, clear) = (it.outward.take(room), it.style.ciphertext);
        let place = it.outward.next_place();
        if it.outward.take_writable() {
            self.tell(Event::Writable { circuit });
        }
        self.turn = CircuitId(circuit.0 + 1);
        let data = Frame::Data { circuit, place, bytes, clear };
        data.encode(text);
        match data {
            Frame::Data { bytes, clear: true, .. } => bytes,
            _ => Bytes::new(),
        }
    }

    fn in_turn(&self) -> Vec<CircuitId> {
        let (after, before) = (self.circuits.range(self.turn..), self.circuits.range(..self.turn));
        after.chain(before).map(|(id, _)| *id).collect()
    }
}

/// The longest segment we make, in bytes: small enough for the smallest limit on bodies, 20 KiB, since it can never be
/// cut again; its overhead is a third of a percent.
pub(super) const SEGMENT_BYTES_MAX: usize = 16 << 10;
/// The most that a frame takes beside its bytes, in bytes: kind and three integers.
const FRAME_BYTES_MAX: usize = 1 + 3 * 9;

//! Control records: acknowledgements and what the two ends tell each other about carriers.
//!
//! | bytes | what |
//! |---|---|
//! | uint | the lowest segment not yet received |
//! | uint | how many ranges of received segments follow, at most [`RANGES_MAX`] |
//! | 2 uints each | segments left out before the range, segments in it |
//! | items | a byte that says which, then a buffer; unknown ones are skipped |
//!
//! | item | fields |
//! |---|---|
//! | 1 exchange | number, hold in ms, room in bytes, flags (1: the answer may stream), count and numbers of others open |
//! | 2 ping | id, padding |
//! | 3 pong | id, padding |
//! | 4 go away | milliseconds until the relay may be asked again |
//! | 5 close | reason |
//! | 6 cold | each request of this session reaches the relay on a connection of its own, and may have so many bytes |
//!
//! Every statement stays true: what was received stays received, an exchange that is over stays over. So a control
//! record may come late, twice or never, and no memory of those that came is needed.

use anypath_wire::{DecodeError, Decoder, Encode};

/// What one end tells the other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Control {
    /// Which segments have come.
    pub acked: Acked,
    /// By the client: which of its exchanges this one is, and which others are still open.
    pub exchange: Option<Exchange>,
    /// Asks for a pong of the same id and as many bytes.
    pub ping: Option<Ping>,
    /// Answers a ping.
    pub pong: Option<Ping>,
    /// The relay is about to restart: come back after so many milliseconds.
    pub go_away_ms: Option<u64>,
    /// The session is over, with the reason.
    pub close: Option<u64>,
    /// By the relay: each request reaches it on a connection of its own, and may have so many bytes.
    pub cold: Option<u64>,
}

/// Segments that have come: all below `next`, and those in the ranges.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Acked {
    /// The lowest segment that has not come.
    pub next: u64,
    /// Beginning and end (exclusive) of what came beyond it, ascending.
    pub ranges: Vec<(u64, u64)>,
}

/// One exchange: a request and its answer, or a stream both ways.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Exchange {
    /// Its number; the client counts up.
    pub number: u64,
    /// How long the relay may keep the answer until there is something to say, in milliseconds.
    pub hold_ms: u64,
    /// How long the answer may become, in bytes.
    pub room_bytes: u64,
    /// Whether the answer may come in pieces.
    pub streams: bool,
    /// The lower numbers that are still open, ascending, at most [`OTHERS_MAX`]. Those not named are over, and what
    /// came in their answers is acknowledged here.
    pub others: Vec<u64>,
}

/// A ping or a pong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ping {
    /// Which one.
    pub id: u64,
    /// Zero bytes that go with it, to prove that so many pass; at most [`PADDING_BYTES_MAX`].
    pub padding_bytes: usize,
}

impl Exchange {
    /// Returns whether it only looks whether its answer comes in pieces: one at once, one when half of the hold is over,
    /// and its end.
    pub(super) fn probes(&self) -> bool {
        self.streams && self.room_bytes == 0
    }

    /// Returns whether the client has done with an exchange, as far as this one tells.
    pub fn is_over(&self, number: u64) -> bool {
        number < self.number && self.others.binary_search(&number).is_err()
    }
}

impl Control {
    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.uint(self.acked.next);
        out.uint(self.acked.ranges.len() as u64);
        let mut at = self.acked.next;
        for (from, to) in &self.acked.ranges {
            out.uint(from - at);
            out.uint(to - from);
            at = *to;
        }
        let mut item = |kind: u8, fields: &[u64], padding_bytes: usize| {
            let mut body = Vec::with_capacity(9 * fields.len() + padding_bytes);
            fields.iter().for_each(|field| body.uint(*field));
            body.resize(body.len() + padding_bytes, 0);
            out.push(kind);
            out.buffer(&body);
        };
        if let Some(Exchange { number, hold_ms, room_bytes, streams, others }) = &self.exchange {
            let head = [*number, *hold_ms, *room_bytes, u64::from(*streams), others.len() as u64];
            item(1, &[&head[..], others].concat(), 0);
        }
        self.ping.iter().for_each(|ping| item(2, &[ping.id], ping.padding_bytes));
        self.pong.iter().for_each(|pong| item(3, &[pong.id], pong.padding_bytes));
        self.go_away_ms.iter().for_each(|after| item(4, &[*after], 0));
        self.close.iter().for_each(|reason| item(5, &[*reason], 0));
        self.cold.iter().for_each(|bytes| item(6, &[*bytes], 0));
    }

    /// Reads it.
    ///
    /// # Errors
    /// Whatever [`encode`](Self::encode) does not write, but for unknown items.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Decoder::new(bytes);
        let mut control = Self { acked: Acked::decode(&mut from)?, ..Self::default() };
        while !from.is_empty() {
            let kind = from.byte()?;
            let mut body = Decoder::new(from.buffer()?);
            match kind {
                1 => control.exchange = Some(Exchange::decode(&mut body)?),
                2 => control.ping = Some(Ping::decode(&mut body)?),
                3 => control.pong = Some(Ping::decode(&mut body)?),
                4 => control.go_away_ms = Some(body.uint()?),
                5 => control.close = Some(body.uint()?),
                6 => control.cold = Some(body.uint()?),
                _ => {}
            }
        }
        Ok(control)
    }
}

impl Acked {
    /// Returns the number after the highest that came; of those from here on nothing is known.
    pub fn known_to(&self) -> u64 {
        self.ranges.last().map_or(self.next, |(_, to)| *to)
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let next = from.uint()?;
        let count = from.count(2)?;
        if count > RANGES_MAX {
            return Err(DecodeError::Count);
        }
        let (mut ranges, mut at) = (Vec::with_capacity(count), next);
        for _ in 0..count {
            let (gap, length) = (from.uint()?, from.uint()?);
            if gap == 0 || length == 0 {
                return Err(DecodeError::Unknown("a range of segments"));
            }
            let begin = at.checked_add(gap).ok_or(DecodeError::Integer)?;
            at = begin.checked_add(length).ok_or(DecodeError::Integer)?;
            ranges.push((begin, at));
        }
        Ok(Self { next, ranges })
    }
}

impl Exchange {
    fn decode(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let (number, hold_ms, room_bytes) = (from.uint()?, from.uint()?, from.uint()?);
        let streams = from.uint()? & 1 != 0;
        let count = from.count(1)?;
        if count > OTHERS_MAX {
            return Err(DecodeError::Count);
        }
        let mut others = Vec::with_capacity(count);
        for _ in 0..count {
            let other = from.uint()?;
            if other >= number || others.last().is_some_and(|last| *last >= other) {
                return Err(DecodeError::Unknown("the exchanges that are open"));
            }
            others.push(other);
        }
        Ok(Self { number, hold_ms, room_bytes, streams, others })
    }
}

impl Ping {
    fn decode(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let id = from.uint()?;
        let padding_bytes = from.take_rest().len();
        if padding_bytes > PADDING_BYTES_MAX { Err(DecodeError::Count) } else { Ok(Self { id, padding_bytes }) }
    }
}

/// The most ranges told at once, in ranges: a loss leaves one or two; those above them are told when these are closed.
pub const RANGES_MAX: usize = 64;
/// The most exchanges open beside one: twice what a client ever has.
pub const OTHERS_MAX: usize = 32;
/// The most that a ping carries beside its id, in bytes: a record holds no more.
pub const PADDING_BYTES_MAX: usize = 60 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_survives_being_written_and_read() {
        let exchange = Exchange { number: 9, hold_ms: 25_000, room_bytes: 1 << 20, streams: true, others: vec![3, 8] };
        let control = Control {
            acked: Acked { next: 5, ranges: vec![(6, 8), (300, 301)] },
            exchange: Some(exchange),
            ping: Some(Ping { id: 1, padding_bytes: 1000 }),
            pong: Some(Ping { id: 2, padding_bytes: 0 }),
            go_away_ms: Some(3),
            close: Some(4),
            cold: Some(5),
        };
        let mut bytes = Vec::new();
        control.encode(&mut bytes);
        assert_eq!(Control::decode(&bytes), Ok(control.clone()));
        bytes.extend([99, 2, 1, 1]);
        assert_eq!(Control::decode(&bytes), Ok(control), "an unknown item is skipped");
        bytes.push(1);
        assert!(Control::decode(&bytes).is_err());
    }

    #[test]
    fn an_exchange_is_over_when_a_later_one_does_not_name_it() {
        let exchange = Exchange { number: 9, others: vec![3, 8], ..Exchange::default() };
        let over: Vec<_> = (0..12).filter(|number| exchange.is_over(*number)).collect();
        assert_eq!(over, [0, 1, 2, 4, 5, 6, 7]);
    }

    #[test]
    fn ranges_that_touch_or_are_empty_are_refused() {
        for bytes in [[0, 1, 0, 1], [0, 1, 1, 0]] {
            assert!(Control::decode(&bytes).is_err());
        }
        assert!(Control::decode(&[0, 1, 1, 1]).is_ok());
    }
}

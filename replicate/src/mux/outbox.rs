//! Messages on their way out, packed into frames only when one is asked for.

use std::collections::VecDeque;

use anypath_wire::Encode;
use bytes::Bytes;

use crate::mux::{BATCH, CONTROL, SendError};

/// Messages in the order in which they were sent, over all channels.
///
/// Their bytes lie one behind the other in `bytes`, from `read` on, but for large values, which are
/// referred to until the frame is written.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    messages: VecDeque<Queued>,
    bytes: Vec<u8>,
    read: usize,
    queued: usize,
    control_bytes: usize,
}

#[derive(Debug)]
struct Queued {
    channel: u64,
    /// Bytes of its own in `bytes`: kind and body, without the value.
    length: usize,
    /// How many of these come before the value.
    split: usize,
    value: Bytes,
}

impl Queued {
    fn bytes(&self) -> usize {
        self.length + self.value.len()
    }

    fn control_bytes(&self) -> usize {
        if self.channel == CONTROL { size_of::<Self>() + self.length } else { 0 }
    }
}

impl Outbox {
    /// Returns how many bytes wait.
    pub(super) fn bytes(&self) -> usize {
        self.queued
    }

    /// Returns how much memory the control messages take that wait.
    pub(super) fn control_bytes(&self) -> usize {
        self.control_bytes
    }

    /// Queues a control message.
    ///
    /// # Panics
    /// If no frame could carry it.
    pub(super) fn push_control(&mut self, kind: u64, body: impl FnOnce(&mut Vec<u8>)) {
        let pushed = self.push(CONTROL, kind, Bytes::new(), body, |_| ());
        assert!(pushed.is_ok(), "a control message that no frame can carry");
    }

    /// Queues a message whose body is `before`, `value`, `after`.
    pub(super) fn push(
        &mut self,
        channel: u64,
        kind: u64,
        value: Bytes,
        before: impl FnOnce(&mut Vec<u8>),
        after: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), SendError> {
        self.compact();
        let start = self.bytes.len();
        self.bytes.uint(kind);
        before(&mut self.bytes);
        let split = self.bytes.len() - start;
        after(&mut self.bytes);
        let message = Queued { channel, length: self.bytes.len() - start, split, value };
        if message.bytes() > MESSAGE_BYTES_MAX {
            self.bytes.truncate(start);
            return Err(SendError::TooLong { bytes: message.bytes(), bytes_max: MESSAGE_BYTES_MAX });
        }
        self.queued += message.bytes();
        self.control_bytes += message.control_bytes();
        self.messages.push_back(message);
        Ok(())
    }

    /// Appends the next frame: a lone message plainly, several as a batch.
    pub(super) fn poll_frame(&mut self, out: &mut Vec<u8>) -> bool {
        let Some(first) = self.messages.pop_front() else { return false };
        let start = out.len();
        if !self.next_fits(first.bytes()) {
            out.uint(first.channel);
            self.write(first, out);
            return true;
        }
        out.uint(CONTROL);
        out.uint(BATCH);
        out.uint(first.channel);
        let mut channel = first.channel;
        self.write_item(first, out);
        while self.next_fits(out.len() - start) {
            let Some(message) = self.messages.pop_front() else { break };
            if message.channel != channel {
                channel = message.channel;
                out.uint(0);
                out.uint(channel);
            }
            self.write_item(message, out);
        }
        true
    }

    fn next_fits(&self, used: usize) -> bool {
        self.messages.front().is_some_and(|next| used + next.bytes() + ITEM_OVERHEAD_BYTES <= FRAME_BYTES_TARGET)
    }

    fn write_item(&mut self, message: Queued, out: &mut Vec<u8>) {
        out.uint(message.bytes() as u64);
        self.write(message, out);
    }

    fn write(&mut self, message: Queued, out: &mut Vec<u8>) {
        let own = &self.bytes[self.read..self.read + message.length];
        let (before, after) = own.split_at(message.split);
        out.raw(before);
        out.raw(&message.value);
        out.raw(after);
        self.read += message.length;
        self.queued -= message.bytes();
        self.control_bytes -= message.control_bytes();
    }

    /// Forgets what was read, once that is at least as much as what is left to move.
    fn compact(&mut self) {
        if self.read > 0 && self.read >= self.bytes.len() - self.read {
            self.bytes.drain(..self.read);
            self.read = 0;
        }
    }
}

/// Largest plaintext frame: what a 3-byte length, less tag and MAC, leaves of a secret-stream message.
const FRAME_BYTES_MAX: usize = (1 << 24) - 1 - 17;
/// A frame is filled up to here: large enough to make headers and encryption calls cheap, small
/// enough that the first message in it need not wait long.
const FRAME_BYTES_TARGET: usize = 64 * 1024;
/// A channel id of 32 bits, encoded.
const CHANNEL_BYTES_MAX: usize = 5;
/// Largest kind and body together.
pub(crate) const MESSAGE_BYTES_MAX: usize = FRAME_BYTES_MAX - CHANNEL_BYTES_MAX;
/// At most: item length, switch of channel, channel, and the batch's own head.
const ITEM_OVERHEAD_BYTES: usize = 5 + 1 + CHANNEL_BYTES_MAX + 2 + CHANNEL_BYTES_MAX;

//! Cuts received frames into messages, one at a time, so that no frame can unfold into a long list.
//!
//! | frame | bytes |
//! |---|---|
//! | message | `uint` channel, `uint` kind, body |
//! | batch | `0`, `0`, `uint` channel, then items |
//! | item | `uint` length, `uint` kind, body |
//! | item | `0`, `uint` channel of the items that follow |

use std::collections::VecDeque;

use anypath_wire::{DecodeError, Decoder};
use bytes::{Buf, Bytes};

use crate::mux::{BATCH, CONTROL, Misbehaviour};

/// A message as it came; `channel` is the peer's id.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) channel: u64,
    pub(super) kind: u64,
    pub(super) body: Bytes,
}

/// Frames that were received and not read yet.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    frames: VecDeque<Bytes>,
    batch: Bytes,
    channel: u64,
}

impl Inbox {
    pub(super) fn push(&mut self, frame: Bytes) {
        if !frame.is_empty() {
            self.frames.push_back(frame);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batch.is_empty() && self.frames.is_empty()
    }

    /// Returns the next message, batches dissolved.
    pub(super) fn next(&mut self) -> Result<Option<Item>, Misbehaviour> {
        loop {
            if let Some(item) = self.next_of_batch()? {
                return Ok(Some(item));
            }
            let Some(mut frame) = self.frames.pop_front() else { return Ok(None) };
            let channel = take_uint(&mut frame)?;
            let kind = take_uint(&mut frame)?;
            if (channel, kind) != (CONTROL, BATCH) {
                return Ok(Some(Item { channel, kind, body: frame }));
            }
            self.channel = take_uint(&mut frame)?;
            self.batch = frame;
        }
    }

    fn next_of_batch(&mut self) -> Result<Option<Item>, Misbehaviour> {
        while !self.batch.is_empty() {
            let length = take_uint(&mut self.batch)?;
            if length == 0 {
                self.channel = take_uint(&mut self.batch)?;
                continue;
            }
            let length = usize::try_from(length).ok().filter(|length| *length <= self.batch.len());
            let mut body = self.batch.split_to(length.ok_or(DecodeError::Short)?);
            let kind = take_uint(&mut body)?;
            if (self.channel, kind) == (CONTROL, BATCH) {
                return Err(Misbehaviour::NestedBatch);
            }
            return Ok(Some(Item { channel: self.channel, kind, body }));
        }
        Ok(None)
    }
}

fn take_uint(bytes: &mut Bytes) -> Result<u64, DecodeError> {
    let mut decoder = Decoder::new(bytes);
    let value = decoder.uint()?;
    let read = bytes.len() - decoder.rest().len();
    bytes.advance(read);
    Ok(value)
}

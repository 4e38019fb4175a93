//! The request message.

use anypath_wire::{DecodeError, Decoder, Encode};

use crate::messages::bits;
use crate::proof::{BlockRequest, HashRequest, Request, SeekRequest, UpgradeRequest};

/// A request with the number by which its answer will name it.
///
/// | bytes | if flag |
/// |---|---|
/// | `uint` flags, `uint` id, `uint` fork | |
/// | block: `uint` index, `uint` nodes | 1 |
/// | hash: `uint` index, `uint` nodes | 2 |
/// | seek: `uint` bytes, `uint` padding | 4 |
/// | upgrade: `uint` start, `uint` length | 8 |
/// | manifest: nothing | 16 |
/// | `uint` priority | 32 |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RequestMessage {
    /// The asker's number for it, from 1; 0 stands for data nobody asked for.
    pub id: u64,
    /// The fork the asker is on.
    pub fork: u64,
    /// The higher the sooner; 0 by default.
    pub priority: u64,
    /// What is asked for.
    pub request: Request,
}

impl RequestMessage {
    pub(super) fn decode(decoder: &mut Decoder, seek_padding: bool) -> Result<Self, DecodeError> {
        let flags = decoder.uint()?;
        let (id, fork) = (decoder.uint()?, decoder.uint()?);
        let mut part = |flag, second| pair(decoder, flags & flag != 0, second);
        let request = Request {
            block: part(1, true)?.map(|(index, nodes)| BlockRequest { index, nodes }),
            hash: part(2, true)?.map(|(index, nodes)| HashRequest { index, nodes }),
            seek: part(4, seek_padding)?.map(|(bytes, padding)| SeekRequest { bytes, padding }),
            upgrade: part(8, true)?.map(|(start, length)| UpgradeRequest { start, length }),
            manifest: flags & 16 != 0,
        };
        let priority = if flags & 32 != 0 { decoder.uint()? } else { 0 };
        Ok(Self { id, fork, priority, request })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let Request { block, hash, seek, upgrade, manifest } = self.request;
        let parts = [
            block.map(|block| (block.index, block.nodes)),
            hash.map(|hash| (hash.index, hash.nodes)),
            seek.map(|seek| (seek.bytes, seek.padding)),
            upgrade.map(|upgrade| (upgrade.start, upgrade.length)),
        ];
        let [block, hash, seek, upgrade] = parts.map(|part| part.is_some());
        out.uint(bits(&[block, hash, seek, upgrade, manifest, self.priority != 0]));
        out.uint(self.id);
        out.uint(self.fork);
        for (first, second) in parts.into_iter().flatten() {
            out.uint(first);
            out.uint(second);
        }
        if self.priority != 0 {
            out.uint(self.priority);
        }
    }
}

/// Reads a part of two integers if it is there; the second is 0 in the form that has only one.
fn pair(decoder: &mut Decoder, present: bool, second: bool) -> Result<Option<(u64, u64)>, DecodeError> {
    if !present {
        return Ok(None);
    }
    Ok(Some((decoder.uint()?, if second { decoder.uint()? } else { 0 })))
}

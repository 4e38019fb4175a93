//! The data message: a proof on its way.

use anypath_wire::{DecodeError, Decoder, Encode};
use bytes::Bytes;

use crate::core::Manifest;
use crate::messages::{DATA, bits};
use crate::mux::{Channel, Mux, SendError};
use crate::node::{decode_nodes, encode_nodes};
use crate::proof::{BlockProof, HashProof, Proof, SeekProof, UpgradeProof};

/// A proof with the number of the request that it answers.
///
/// | bytes | if flag |
/// |---|---|
/// | `uint` flags, `uint` request, `uint` fork | |
/// | block: `uint` index, `buffer` value, nodes | 1 |
/// | hash: `uint` index, nodes | 2 |
/// | seek: `uint` bytes, nodes | 4 |
/// | upgrade: `uint` start, `uint` length, nodes, additional nodes, `buffer` signature (empty: none) | 8 |
/// | manifest | 16 |
///
/// Nodes: `uint` count, then `uint` index, `uint` size, 32 bytes of hash each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DataMessage {
    /// The request's id, or 0 if nobody asked.
    pub request: u64,
    /// What was asked for.
    pub proof: Proof,
}

impl DataMessage {
    pub(super) fn decode(decoder: &mut Decoder, body: &Bytes) -> Result<Self, DecodeError> {
        let flags = decoder.uint()?;
        let request = decoder.uint()?;
        let mut proof = Proof { fork: decoder.uint()?, ..Proof::default() };
        if flags & 1 != 0 {
            proof.block = Some(BlockProof {
                index: decoder.uint()?,
                value: body.slice_ref(decoder.buffer()?),
                nodes: decode_nodes(decoder)?,
            });
        }
        if flags & 2 != 0 {
            proof.hash = Some(HashProof { index: decoder.uint()?, nodes: decode_nodes(decoder)? });
        }
        if flags & 4 != 0 {
            proof.seek = Some(SeekProof { bytes: decoder.uint()?, nodes: decode_nodes(decoder)? });
        }
        if flags & 8 != 0 {
            proof.upgrade = Some(decode_upgrade(decoder)?);
        }
        if flags & 16 != 0 {
            proof.manifest = Some(Manifest::decode(decoder)?);
        }
        Ok(Self { request, proof })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        self.encode_before_value(out);
        if let Some(block) = &self.proof.block {
            out.raw(&block.value);
        }
        self.encode_after_value(out);
    }

    pub(super) fn send(&self, mux: &mut Mux, channel: Channel) -> Result<(), SendError> {
        let value = self.proof.block.as_ref().map(|block| block.value.clone()).unwrap_or_default();
        let (before, after) = (|out: &mut _| self.encode_before_value(out), |out: &mut _| self.encode_after_value(out));
        mux.send_around(channel, DATA, value, before, after)
    }

    /// Appends everything up to the block's value, the length of which comes last.
    fn encode_before_value(&self, out: &mut Vec<u8>) {
        let Proof { fork, block, hash, seek, upgrade, manifest } = &self.proof;
        out.uint(bits(&[block.is_some(), hash.is_some(), seek.is_some(), upgrade.is_some(), manifest.is_some()]));
        out.uint(self.request);
        out.uint(*fork);
        if let Some(block) = block {
            out.uint(block.index);
            out.uint(block.value.len() as u64);
        }
    }

    fn encode_after_value(&self, out: &mut Vec<u8>) {
        let Proof { fork: _, block, hash, seek, upgrade, manifest } = &self.proof;
        if let Some(block) = block {
            encode_nodes(&block.nodes, out);
        }
        if let Some(hash) = hash {
            out.uint(hash.index);
            encode_nodes(&hash.nodes, out);
        }
        if let Some(seek) = seek {
            out.uint(seek.bytes);
            encode_nodes(&seek.nodes, out);
        }
        if let Some(upgrade) = upgrade {
            encode_upgrade(upgrade, out);
        }
        if let Some(manifest) = manifest {
            manifest.encode(out);
        }
    }
}

fn decode_upgrade(decoder: &mut Decoder) -> Result<UpgradeProof, DecodeError> {
    Ok(UpgradeProof {
        start: decoder.uint()?,
        length: decoder.uint()?,
        nodes: decode_nodes(decoder)?,
        additional_nodes: decode_nodes(decoder)?,
        signature: decoder.buffer()?.to_vec(),
    })
}

fn encode_upgrade(upgrade: &UpgradeProof, out: &mut Vec<u8>) {
    out.uint(upgrade.start);
    out.uint(upgrade.length);
    encode_nodes(&upgrade.nodes, out);
    encode_nodes(&upgrade.additional_nodes, out);
    out.buffer(&upgrade.signature);
}

//! One hypercore: its Merkle tree, proofs, manifest and bitfield.

use anypath_wire::{DecodeError, Decoder};

/// Who may sign a core, hashed into its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest;

impl Manifest {
    pub(crate) fn encode(&self, _out: &mut Vec<u8>) {}

    pub(crate) fn decode(_decoder: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self)
    }
}

//! One hypercore: its Merkle tree, proofs, manifest and bitfield.

use anypath_wire::{DecodeError, Decoder, Encode};

/// Who may sign a core, hashed into its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest(Vec<u8>);

impl Manifest {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.raw(&self.0);
    }

    pub(crate) fn decode(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(Self(from.take_rest().to_vec()))
    }
}

//! One hypercore: its Merkle tree, proofs, manifest and bitfield.

/// Who may sign a core, hashed into its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest;

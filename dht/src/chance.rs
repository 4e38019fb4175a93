//! Chance as an argument: numbers that follow from a seed, for choices that need not be secret.

use anypath_wire::{Hash, keyed_hash};

/// SplitMix64, begun from a seed of 32 bytes.
#[derive(Debug, Clone)]
pub(crate) struct Chance(u64);

impl Chance {
    /// Begins; the seed cannot be found out from the numbers.
    pub(crate) fn new(seed: &Hash) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = keyed_hash(seed, b"chance");
        Self(u64::from_le_bytes([a, b, c, d, e, f, g, h]))
    }

    /// Returns the next number.
    pub(crate) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// Returns a number below `end`, or 0 if that is 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.number().checked_rem(end).unwrap_or_default()
    }

    /// Returns 16 bits.
    pub(crate) fn short(&mut self) -> u16 {
        (self.number() >> 48) as u16
    }

    /// Returns 32 bytes.
    pub(crate) fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes.chunks_exact_mut(8).for_each(|piece| piece.copy_from_slice(&self.number().to_le_bytes()));
        bytes
    }
}

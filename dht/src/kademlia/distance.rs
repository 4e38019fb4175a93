//! Distances between ids: the exclusive or, read as a number.

use std::cmp::Ordering;

/// Compares two ids by their distance to a target: `Less` if the first is nearer.
pub fn closer<const N: usize>(target: &[u8; N], a: &[u8; N], b: &[u8; N]) -> Ordering {
    match a.iter().zip(b).position(|(a, b)| a != b) {
        None => Ordering::Equal,
        Some(at) => (a[at] ^ target[at]).cmp(&(b[at] ^ target[at])),
    }
}

/// Returns how many first bits two ids have in common.
pub fn shared_bits<const N: usize>(a: &[u8; N], b: &[u8; N]) -> usize {
    match a.iter().zip(b).position(|(a, b)| a != b) {
        None => 8 * N,
        Some(at) => 8 * at + (a[at] ^ b[at]).leading_zeros() as usize,
    }
}

//! Poly1305 that is fast for short messages too.
//!
//! The crate `poly1305` 0.9 needs 1.3 µs to set up its AVX2 form, as much as sealing a whole message of 1 KiB
//! takes otherwise, and has no way to choose its plain form at run time. So long messages go to the crate and
//! short ones through the few lines below, which tests hold against the crate.

use poly1305::universal_hash::{KeyInit, UniversalHash};
use poly1305::{Block, Poly1305};

/// An authenticator.
pub(super) type Mac = [u8; MAC_BYTES];

/// Length of an authenticator.
pub(super) const MAC_BYTES: usize = 16;

/// Returns the authenticator of `blocks`, each of them whole 16-byte blocks, and `end`, of any length.
pub(super) fn authenticate(key: &[u8; 32], blocks: [&[u8]; 2], end: &[u8]) -> Mac {
    if blocks[1].len() < LONG_BYTES_MIN {
        let mut short = Short::new(key);
        blocks.into_iter().chain([end]).for_each(|bytes| short.update(bytes));
        return short.finish();
    }
    let mut long = Poly1305::new(key.into());
    blocks.into_iter().for_each(|bytes| long.update(Block::slice_as_chunks(bytes).0));
    long.compute_unpadded(end).into()
}

/// Poly1305 in 64-bit words, with 128-bit products: no table, no branch on data.
struct Short {
    /// The clamped multiplier: its upper word is divisible by 4, so that 2^130 = 5 reduces without shifting.
    r: [u64; 2],
    /// The sum so far, below 2^131; least word first.
    h: [u64; 3],
    /// What is added at the end.
    pad: u128,
}

impl Short {
    fn new(key: &[u8; 32]) -> Self {
        let (r, pad) = (word(&key[..16]), word(&key[16..]));
        let [low, high] = split(r & 0x0fff_fffc_0fff_fffc_0fff_fffc_0fff_ffff);
        Self { r: [low, high], h: [0; 3], pad }
    }

    /// Adds bytes; only the last may be no multiple of 16.
    fn update(&mut self, bytes: &[u8]) {
        let (blocks, rest) = bytes.as_chunks::<16>();
        blocks.iter().for_each(|block| self.block(u128::from_le_bytes(*block), 1));
        if !rest.is_empty() {
            self.block(word(rest) | 1 << (8 * rest.len()), 0);
        }
    }

    /// Computes `h = (h + block + 2^128 top) r`, partly reduced modulo 2^130 - 5.
    #[inline(always)]
    fn block(&mut self, block: u128, top: u64) {
        let [r0, r1] = self.r;
        let (low, carry) = join(self.h).overflowing_add(block);
        let ([h0, h1], h2) = (split(low), self.h[2] + top + u64::from(carry));
        let r1_reduced = r1 + (r1 >> 2);
        let d0 = product(h0, r0) + product(h1, r1_reduced);
        let d1 = product(h0, r1) + product(h1, r0) + product(h2, r1_reduced) + (d0 >> 64);
        let d2 = h2 * r0 + (d1 >> 64) as u64;
        let above = (d2 >> 2) + (d2 & !3);
        let (low, carry) = join([d0 as u64, d1 as u64, 0]).overflowing_add(u128::from(above));
        let [h0, h1] = split(low);
        self.h = [h0, h1, (d2 & 3) + u64::from(carry)];
    }

    /// Returns `h` modulo 2^130 - 5, plus the pad, modulo 2^128.
    fn finish(self) -> Mac {
        let low = join(self.h);
        let (reduced, carry) = low.overflowing_add(5);
        let beyond = (self.h[2] + u64::from(carry)) >> 2 != 0;
        let mask = u128::from(beyond).wrapping_neg();
        ((reduced & mask) | (low & !mask)).wrapping_add(self.pad).to_le_bytes()
    }
}

/// Reads up to 16 bytes, little endian.
fn word(bytes: &[u8]) -> u128 {
    let mut word = [0; 16];
    word[..bytes.len()].copy_from_slice(bytes);
    u128::from_le_bytes(word)
}

fn split(word: u128) -> [u64; 2] {
    [word as u64, (word >> 64) as u64]
}

/// Joins the two lower words.
fn join(words: [u64; 3]) -> u128 {
    u128::from(words[0]) | u128::from(words[1]) << 64
}

fn product(a: u64, b: u64) -> u128 {
    u128::from(a) * u128::from(b)
}

/// From this length in bytes on, the crate is faster: 3.3 against 4.9 GB/s, less 1.3 µs.
const LONG_BYTES_MIN: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn both(key: &[u8; 32], bytes: &[u8]) -> [Mac; 2] {
        let mut short = Short::new(key);
        short.update(bytes);
        [short.finish(), Poly1305::new(key.into()).compute_unpadded(bytes).into()]
    }

    /// Bytes of 0xff and 0 drive every carry; the counting ones tell positions apart.
    #[test]
    fn short_and_long_agree() {
        let patterns: [fn(usize) -> u8; 5] =
            [|_| 0xff, |_| 0, |at| at as u8, |at| (at * at / 8) as u8, |at| [0xff, 0xfb, 0xfe, 0][at / 5 % 4]];
        for (key_of, bytes_of) in patterns.iter().flat_map(|key| patterns.iter().map(move |bytes| (key, bytes))) {
            let key = std::array::from_fn(key_of);
            let bytes: Vec<u8> = (0..700).map(bytes_of).collect();
            for length in 0..bytes.len() {
                let [short, long] = both(&key, &bytes[..length]);
                assert_eq!(short, long, "{length} {key:?}");
            }
        }
    }

    /// RFC 8439, appendix A.3, vectors 7 to 11: sums at and about the modulus.
    #[test]
    fn sums_about_the_modulus_are_reduced() {
        let ff = [0xff; 16];
        let fb = |first: u8| std::array::from_fn::<u8, 16, _>(|at| if at == 0 { first } else { 0xff });
        let number = |first: u8| std::array::from_fn::<u8, 16, _>(|at| if at == 0 { first } else { 0 });
        let ones = [1u8; 16];
        let fe: [u8; 16] = std::array::from_fn(|at| if at == 0 { 0xfb } else { 0xfe });
        let cases = [
            (
                number(1),
                [ff, std::array::from_fn(|at| if at == 0 { 0xf0 } else { 0xff }), number(0x11)].concat(),
                number(5),
            ),
            (number(1), [ff, fe, ones].concat(), number(0)),
            (number(2), fb(0xfd).to_vec(), fb(0xfa)),
        ];
        for (r, bytes, expected) in cases {
            let mut key = [0; 32];
            key[..16].copy_from_slice(&r);
            assert_eq!(both(&key, &bytes), [expected; 2]);
        }
    }

    #[test]
    fn the_crate_takes_over_without_a_seam() {
        let (lead, key) = ([5; 64], [9; 32]);
        for bytes in [LONG_BYTES_MIN - 16, LONG_BYTES_MIN] {
            let text: Vec<u8> = (0..bytes).map(|at| at as u8).collect();
            let whole = [&lead[..], &text, b"end"].concat();
            assert_eq!(both(&key, &whole), [authenticate(&key, [&lead, &text], b"end"); 2]);
        }
    }
}

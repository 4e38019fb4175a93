//! A page of a bitfield: 32,768 bits in 512 words, and how bits are set and found in it.

use std::ops::Range;

/// A page: its bits in words, LSB first.
pub(crate) type Words = [u64; PAGE_WORDS];

/// Returns the page a bit is in, and its place there.
pub(crate) fn place(index: u64) -> (u64, usize) {
    (index / PAGE_BITS, (index % PAGE_BITS) as usize)
}

/// Cuts a range into pages and the bits within them.
pub(crate) fn pages(range: Range<u64>) -> impl Iterator<Item = (u64, Range<usize>)> {
    let mut start = range.start;
    std::iter::from_fn(move || {
        let (page, bit) = place(start);
        let end = range.end.min((page + 1) * PAGE_BITS);
        (start < end).then(|| {
            let bits = bit..bit + (end - start) as usize;
            start = end;
            (page, bits)
        })
    })
}

/// Calls `change` with every word of the page that has bits of the range, and a mask of those.
pub(crate) fn each_word(bits: Range<usize>, words: &mut Words, mut change: impl FnMut(&mut u64, u64)) {
    let mut bit = bits.start;
    while bit < bits.end {
        let count = (64 - bit % 64).min(bits.end - bit);
        change(&mut words[bit / 64], u64::MAX >> (64 - count) << (bit % 64));
        bit += count;
    }
}

/// Returns the bits of a range that lie in a page it touches.
pub(crate) fn within(page: u64, range: &Range<u64>) -> Range<usize> {
    let first = page * PAGE_BITS;
    let [start, end] = [range.start, range.end].map(|at| at.saturating_sub(first).min(PAGE_BITS) as usize);
    start..end
}

/// Returns the first bit at or after `from` that differs from those of `flip`.
pub(crate) fn find(words: &Words, from: usize, flip: u64) -> Option<u64> {
    let mut word = (words[from / 64] ^ flip) & (u64::MAX << (from % 64));
    for at in from / 64.. {
        if word != 0 {
            return Some((at * 64) as u64 + u64::from(word.trailing_zeros()));
        }
        word = words.get(at + 1)? ^ flip;
    }
    None
}

/// Reads a stored page.
pub(crate) fn to_words(bytes: &[u8; PAGE_BYTES]) -> Box<Words> {
    let mut words = Box::new([0; PAGE_WORDS]);
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words
}

/// Returns a page as it is stored.
pub(crate) fn to_bytes(words: &Words) -> Box<[u8; PAGE_BYTES]> {
    let mut bytes = Box::new([0; PAGE_BYTES]);
    for (bytes, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *bytes = word.to_le_bytes();
    }
    bytes
}

/// Bits of a page, as the protocol and the reference's storage count them.
pub(crate) const PAGE_BITS: u64 = 32_768;
/// Bytes of a stored page.
pub(crate) const PAGE_BYTES: usize = PAGE_BITS as usize / 8;
/// Words of a page.
pub(crate) const PAGE_WORDS: usize = PAGE_BYTES / 8;

//! Which blocks are held: one bit a block, in pages of 32,768 that exist only where a bit was ever set.
//!
//! Source: npm hypercore 11.37, `lib/bitfield.js`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::page::{
    PAGE_BITS, PAGE_BYTES, PAGE_WORDS, Words, each_word, find, pages, place, to_bytes, to_words, within,
};

/// A sparse row of bits.
///
/// Its memory grows with the bits that are set, never with an index that is merely asked for.
#[derive(Debug, Clone, Default)]
pub struct Bitfield {
    pages: BTreeMap<u64, Box<Words>>,
    dirty: BTreeSet<u64>,
    handed: BTreeSet<u64>,
    contiguous: u64,
}

impl Bitfield {
    /// Restores a bitfield from stored pages (bits LSB first).
    pub fn from_pages(pages: impl IntoIterator<Item = (u64, Box<[u8; PAGE_BYTES]>)>) -> Self {
        let pages = pages.into_iter().map(|(number, bytes)| (number, to_words(&bytes))).collect();
        let mut bitfield = Self { pages, ..Self::default() };
        bitfield.contiguous = bitfield.next_unset(0);
        bitfield
    }

    /// Returns whether a bit is set.
    pub fn has(&self, index: u64) -> bool {
        let (page, bit) = place(index);
        self.pages.get(&page).is_some_and(|words| words[bit / 64] >> (bit % 64) & 1 == 1)
    }

    /// Returns how many bits are set from the first on without a gap.
    pub fn contiguous(&self) -> u64 {
        self.contiguous
    }

    /// Sets a bit and returns whether it was unset.
    pub fn set(&mut self, index: u64) -> bool {
        let (page, bit) = place(index);
        let word = &mut self.page_mut(page)[bit / 64];
        let fresh = *word >> (bit % 64) & 1 == 0;
        *word |= 1 << (bit % 64);
        if fresh {
            self.dirty.insert(page);
            self.advance(index..index + 1);
        }
        fresh
    }

    /// Sets all bits of a range.
    pub fn set_range(&mut self, range: Range<u64>) {
        for (page, bits) in pages(range.clone()) {
            each_word(bits, self.page_mut(page), |word, mask| *word |= mask);
            self.dirty.insert(page);
        }
        self.advance(range);
    }

    /// Clears all bits of a range.
    pub fn clear_range(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let (first, last) = (place(range.start).0, place(range.end - 1).0);
        for (number, words) in self.pages.range_mut(first..=last) {
            each_word(within(*number, &range), words, |word, mask| *word &= !mask);
            self.dirty.insert(*number);
        }
        if self.contiguous > range.start {
            self.contiguous = range.start;
        }
    }

    /// Clears all bits from `index` on.
    pub fn truncate(&mut self, index: u64) {
        self.clear_range(index..u64::MAX / PAGE_BITS * PAGE_BITS);
    }

    /// Returns the first unset bit at or after `from`; there always is one.
    pub fn next_unset(&self, from: u64) -> u64 {
        let mut index = if from < self.contiguous { self.contiguous } else { from };
        loop {
            let (page, bit) = place(index);
            let Some(words) = self.pages.get(&page) else { return index };
            match find(words, bit, u64::MAX) {
                Some(bit) => return page * PAGE_BITS + bit,
                None => index = (page + 1) * PAGE_BITS,
            }
        }
    }

    /// Returns the first set bit at or after `from`.
    pub fn next_set(&self, from: u64) -> Option<u64> {
        let (first, bit) = place(from);
        self.pages.range(first..).find_map(|(number, words)| {
            let bit = if *number == first { bit } else { 0 };
            find(words, bit, 0).map(|bit| number * PAGE_BITS + bit)
        })
    }

    /// Returns the 32 bits from `32 * number` on, LSB first, as they stand in a message.
    pub fn word(&self, number: u64) -> u32 {
        let (page, bit) = place(number * 32);
        self.pages.get(&page).map_or(0, |words| (words[bit / 64] >> (bit % 64)) as u32)
    }

    /// Returns the pages changed since the last [`committed`](Self::committed), as they are stored: bits LSB first.
    pub(super) fn hand_out(&mut self) -> Vec<(u64, Box<[u8; PAGE_BYTES]>)> {
        self.handed.append(&mut self.dirty);
        self.handed.iter().filter_map(|number| Some((*number, to_bytes(self.pages.get(number)?)))).collect()
    }

    /// Forgets that the pages handed out had changed.
    pub(super) fn committed(&mut self) {
        self.handed.clear();
    }

    fn page_mut(&mut self, number: u64) -> &mut Words {
        self.pages.entry(number).or_insert_with(|| Box::new([0; PAGE_WORDS]))
    }

    fn advance(&mut self, set: Range<u64>) {
        if set.contains(&self.contiguous) {
            self.contiguous = set.end;
            self.contiguous = self.next_unset(set.end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cross_words_and_pages() {
        let mut bits = Bitfield::default();
        bits.set_range(60..70_000);
        assert!(!bits.has(59) && bits.has(60) && bits.has(69_999) && !bits.has(70_000));
        assert_eq!((bits.contiguous(), bits.next_set(0), bits.next_unset(60)), (0, Some(60), 70_000));
        bits.set_range(0..60);
        assert_eq!(bits.contiguous(), 70_000);
        bits.clear_range(32_768..32_769);
        assert_eq!((bits.contiguous(), bits.next_set(32_768)), (32_768, Some(32_769)));
        bits.truncate(100);
        assert_eq!((bits.contiguous(), bits.next_set(100)), (100, None));
    }

    #[test]
    fn single_bits_close_the_gap() {
        let mut bits = Bitfield::default();
        assert!(bits.set(1) && bits.set(2) && !bits.set(2));
        assert_eq!(bits.contiguous(), 0);
        assert!(bits.set(0));
        assert_eq!(bits.contiguous(), 3);
    }

    #[test]
    fn far_indices_cost_one_page() {
        let mut bits = Bitfield::default();
        bits.set(1 << 53);
        assert_eq!((bits.pages.len(), bits.next_set(5), bits.next_unset(1 << 53)), (1, Some(1 << 53), (1 << 53) + 1));
        assert_eq!(bits.next_unset(1 << 60), 1 << 60);
    }

    #[test]
    fn pages_come_back_from_their_bytes() {
        let mut bits = Bitfield::default();
        bits.set_range(0..40_000);
        let pages = bits.hand_out();
        assert_eq!((pages.len(), pages[1].1[0], bits.hand_out().len()), (2, 0xff, 2));
        bits.committed();
        assert_eq!(bits.hand_out().len(), 0);
        assert_eq!(Bitfield::from_pages(pages).contiguous(), 40_000);
    }
}

//! Which blocks a peer says it holds: memory follows what it sent, never a number it claims.

use std::collections::BTreeMap;
use std::ops::Range;

use super::ranges::Ranges;
use crate::core::page::{PAGE_BITS, PAGE_WORDS, Words, each_word, find, pages, place, within};

/// A peer's blocks: a contiguous head, long runs, and pages of single bits.
#[derive(Debug, Default)]
pub(super) struct RemoteBlocks {
    contiguous: u64,
    /// Runs longer than a page.
    runs: Ranges,
    pages: BTreeMap<u64, Box<Words>>,
}

impl RemoteBlocks {
    /// Returns the length of the head the peer holds whole.
    pub(super) fn contiguous(&self) -> u64 {
        self.contiguous
    }

    /// Returns the first block at or after `from` that the peer holds.
    pub(super) fn next(&self, from: u64) -> Option<u64> {
        if from < self.contiguous {
            return Some(from);
        }
        let run = self.runs.next_run(from).map(|run| run.start);
        let bit = self.next_bit(from, run.unwrap_or(u64::MAX));
        [run, bit].into_iter().flatten().min()
    }

    /// Returns whether the peer holds every block of `start..end`.
    pub(super) fn has_all(&self, start: u64, end: u64) -> bool {
        let mut at = start.max(self.contiguous);
        while at < end {
            match self.runs.run_at(at) {
                Some(run) => at = run.end,
                None if self.bit(at) => at += 1,
                None => return false,
            }
        }
        true
    }

    /// Returns whether the peer holds a block.
    pub(super) fn has(&self, index: u64) -> bool {
        self.has_all(index, index + 1)
    }

    /// Takes a `range` message: blocks `start..end` were gained or dropped.
    pub(super) fn set(&mut self, start: u64, end: u64, held: bool) {
        match held {
            true if start <= self.contiguous => self.contiguous = self.contiguous.max(end),
            true if end - start <= PAGE_BITS => self.set_bits(start..end),
            true if self.runs.runs() < RUNS_MAX => self.runs.add(start..end),
            true => {}
            false => self.drop_range(start, end),
        }
    }

    /// Takes a `bitfield` message: the truth about `length` blocks from `start`, a multiple of 32, on; lowest bit first.
    pub(super) fn set_words(&mut self, start: u64, length: u64, words: impl Iterator<Item = u32>) {
        self.drop_range(start, start + length);
        for (i, word) in words.enumerate().filter(|(_, word)| *word != 0) {
            let (number, bit) = place(start + i as u64 * 32);
            if let Some(page) = self.page(number) {
                page[bit / 64] |= u64::from(word) << (bit % 64);
            }
        }
    }

    fn drop_range(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        if start < self.contiguous {
            let tail = self.contiguous;
            self.contiguous = start;
            if tail > end {
                self.set(end, tail, true);
            }
        }
        self.runs.remove(start..end);
        while self.runs.runs() > RUNS_MAX {
            self.runs.pop_last();
        }
        let (first, last) = (start / PAGE_BITS, (end - 1) / PAGE_BITS);
        self.clear_bits(first, &(start..end));
        self.clear_bits(last, &(start..end));
        // What lies between was dropped whole, so each page is visited once in its life.
        while let Some(number) = self.pages.range(first..=last).map(|page| *page.0).find(|n| *n != first && *n != last)
        {
            self.pages.remove(&number);
        }
    }

    fn clear_bits(&mut self, number: u64, run: &Range<u64>) {
        let Some(page) = self.pages.get_mut(&number) else { return };
        each_word(within(number, run), page, |word, mask| *word &= !mask);
        if page.iter().all(|word| *word == 0) {
            self.pages.remove(&number);
        }
    }

    fn set_bits(&mut self, run: Range<u64>) {
        for (number, bits) in pages(run) {
            if let Some(page) = self.page(number) {
                each_word(bits, page, |word, mask| *word |= mask);
            }
        }
    }

    fn page(&mut self, number: u64) -> Option<&mut Words> {
        if self.pages.len() >= PAGES_MAX && !self.pages.contains_key(&number) {
            return None;
        }
        Some(self.pages.entry(number).or_insert_with(|| Box::new([0; PAGE_WORDS])))
    }

    fn bit(&self, index: u64) -> bool {
        let (number, bit) = place(index);
        self.pages.get(&number).is_some_and(|page| page[bit / 64] >> (bit % 64) & 1 == 1)
    }

    fn next_bit(&self, from: u64, before: u64) -> Option<u64> {
        let last = before.saturating_sub(1) / PAGE_BITS;
        if from / PAGE_BITS > last {
            return None;
        }
        self.pages.range(from / PAGE_BITS..=last).find_map(|(number, page)| {
            let base = number * PAGE_BITS;
            find(page, from.saturating_sub(base) as usize, 0).map(|bit| base + bit)
        })
    }
}

/// Most pages kept for one peer and core (4 MiB): 33 million blocks in holes; a peer beyond that is
/// asked only for what it holds contiguously or in long runs.
const PAGES_MAX: usize = 1024;
/// Most long runs kept for one peer and core; further ones are not believed.
const RUNS_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_claim_near_two_to_the_fifty_costs_nothing() {
        let mut blocks = RemoteBlocks::default();
        blocks.set(1 << 50, (1 << 50) + (1 << 49), true);
        blocks.set(10, 1 << 52, false);
        blocks.set(0, 1 << 52, true);
        assert!(blocks.next((1 << 52) - 1).is_some());
        blocks.set(5, 6, false);
        assert_eq!((blocks.contiguous(), blocks.next(5), blocks.next(6)), (5, Some(6), Some(6)));
        assert!(blocks.pages.is_empty());
    }

    #[test]
    fn nothing_is_dropped_at_the_edge_of_a_page() {
        let mut blocks = RemoteBlocks::default();
        blocks.set(PAGE_BITS, PAGE_BITS + 1, true);
        blocks.set(PAGE_BITS, PAGE_BITS, false);
        blocks.set_words(PAGE_BITS, 0, std::iter::empty());
        assert_eq!(blocks.next(0), Some(PAGE_BITS));
    }

    #[test]
    fn a_run_cut_into_many_is_kept_in_bounds() {
        let mut blocks = RemoteBlocks::default();
        blocks.set(1, 1 << 40, true);
        (1..10_000).for_each(|i| blocks.set(i * 2 * PAGE_BITS, i * 2 * PAGE_BITS + 1, false));
        assert_eq!(
            (blocks.runs.runs(), blocks.next(1), blocks.next(2 * PAGE_BITS)),
            (RUNS_MAX, Some(1), Some(2 * PAGE_BITS + 1))
        );
    }

    #[test]
    fn equals_a_plain_set_under_random_messages() {
        let mut seed = 1u64;
        let mut random = move |n: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % n
        };
        let (mut blocks, mut model) = (RemoteBlocks::default(), BTreeSet::new());
        for _ in 0..400 {
            let start = random(4) * 32_000 + random(40);
            let longest = if random(3) == 0 { 40_000 } else { 70 };
            let end = start + 1 + random(longest);
            match random(3) {
                0 => {
                    let words: Vec<u32> = (0..(end - start).div_ceil(32)).map(|_| random(1 << 32) as u32).collect();
                    let start = start / 32 * 32;
                    blocks.set_words(start, words.len() as u64 * 32, words.iter().copied());
                    for (i, index) in (start..start + words.len() as u64 * 32).enumerate() {
                        if words[i / 32] >> (i % 32) & 1 == 1 {
                            model.insert(index)
                        } else {
                            model.remove(&index)
                        };
                    }
                }
                held => {
                    blocks.set(start, end, held == 1);
                    for i in start..end {
                        if held == 1 {
                            model.insert(i)
                        } else {
                            model.remove(&i)
                        };
                    }
                }
            }
            let from = random(140_000);
            assert_eq!(blocks.next(from), model.range(from..).next().copied());
            let gap = (from..).find(|i| !model.contains(i)).unwrap_or(from);
            assert!(blocks.has_all(from, gap) && !blocks.has_all(from, gap + 1));
        }
    }
}

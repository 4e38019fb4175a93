//! A set of block indices kept as runs.

use std::collections::BTreeMap;
use std::ops::Range;

/// Runs of block indices that neither touch nor overlap; work and memory follow the number of runs, not their length.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// Returns how many runs there are.
    pub(super) fn runs(&self) -> usize {
        self.0.len()
    }

    /// Returns whether the set has no index at all.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the run that holds `index`.
    pub(super) fn run_at(&self, index: u64) -> Option<Range<u64>> {
        self.0.range(..=index).next_back().filter(|run| *run.1 > index).map(|(start, end)| *start..*end)
    }

    /// Returns the part at or after `from` of the first run that reaches there.
    pub(super) fn next_run(&self, from: u64) -> Option<Range<u64>> {
        let inside = self.run_at(from).map(|run| from..run.end);
        inside.or_else(|| self.0.range(from..).next().map(|(start, end)| *start..*end))
    }

    /// Adds a run, merging it with those it touches.
    pub(super) fn add(&mut self, run: Range<u64>) {
        let Range { mut start, mut end } = run;
        if start >= end {
            return;
        }
        while let Some((&s, &e)) = self.0.range(..=end).next_back().filter(|run| *run.1 >= start) {
            self.0.remove(&s);
            start = start.min(s);
            end = end.max(e);
        }
        self.0.insert(start, end);
    }

    /// Removes a run.
    pub(super) fn remove(&mut self, run: Range<u64>) {
        if run.is_empty() {
            return;
        }
        while let Some((&s, &e)) = self.0.range(..run.end).next_back().filter(|held| *held.1 > run.start) {
            self.0.remove(&s);
            if e > run.end {
                self.0.insert(run.end, e);
            }
            if s < run.start {
                self.0.insert(s, run.start);
            }
        }
    }

    /// Removes the lowest run and returns it.
    pub(super) fn pop_first(&mut self) -> Option<Range<u64>> {
        self.0.pop_first().map(|(start, end)| start..end)
    }

    /// Removes the highest run.
    pub(super) fn pop_last(&mut self) {
        self.0.pop_last();
    }

    /// Returns the runs in ascending order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Range<u64>> {
        self.0.iter().map(|(start, end)| *start..*end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_merge_and_split() {
        let mut ranges = Ranges::default();
        ranges.add(10..20);
        ranges.add(30..40);
        ranges.add(20..30);
        ranges.add(7..7);
        assert_eq!(ranges.iter().collect::<Vec<_>>(), vec![10..40]);
        ranges.remove(12..15);
        ranges.remove(0..11);
        ranges.remove(Range { start: 30, end: 20 });
        assert_eq!(ranges.iter().collect::<Vec<_>>(), vec![11..12, 15..40]);
        assert_eq!(
            (ranges.next_run(0), ranges.next_run(13), ranges.next_run(39), ranges.next_run(40)),
            (Some(11..12), Some(15..40), Some(39..40), None)
        );
        ranges.remove(0..u64::MAX);
        assert!(ranges.is_empty() && ranges.runs() == 0);
    }
}

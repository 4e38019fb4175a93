//! Contents that are read before they are asked for: for a small file, the way to the engine costs more than the reading.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::folder::drive::BlobId;

/// What will be asked for, and what of it is read already.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// In the order in which it will be asked for.
    expected: VecDeque<BlobId>,
    /// The contents of the first of these.
    read: VecDeque<Vec<Bytes>>,
}

impl Ahead {
    /// Takes note of what will be asked for next, and of nothing else any more.
    pub(super) fn expect(&mut self, blobs: &[BlobId]) {
        self.read.clear();
        self.expected = blobs.iter().copied().collect();
    }

    /// Returns the contents of a blob if they are here; what was expected before it is passed over.
    pub(super) fn take(&mut self, blob: &BlobId) -> Option<Vec<Bytes>> {
        let place = self.expected.iter().position(|expected| expected == blob)?;
        self.expected.drain(..=place);
        self.read.drain(..place.min(self.read.len()));
        self.read.pop_front()
    }

    /// Returns what to read next; nothing while there is something left to take.
    pub(super) fn wanted(&self) -> Vec<BlobId> {
        if self.read.is_empty() { self.expected.iter().copied().collect() } else { Vec::new() }
    }

    /// Keeps the contents of the first of what was [`wanted`](Self::wanted).
    pub(super) fn keep(&mut self, contents: Vec<Vec<Bytes>>) {
        self.read.extend(contents);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_come_in_order_and_those_passed_over_are_dropped() {
        let blob = |block_offset| BlobId { block_offset, ..BlobId::default() };
        let content = |byte: u8| vec![Bytes::from(vec![byte])];
        let mut ahead = Ahead::default();
        ahead.expect(&[1, 2, 3, 4, 5].map(blob));
        assert_eq!((ahead.take(&blob(1)), ahead.wanted()), (None, [2, 3, 4, 5].map(blob).to_vec()));
        ahead.keep([2, 3, 4].map(content).to_vec());
        assert_eq!((ahead.take(&blob(9)), ahead.wanted()), (None, Vec::new()));
        assert_eq!(ahead.take(&blob(3)), Some(content(3)));
        assert_eq!(ahead.take(&blob(2)), None);
        assert_eq!((ahead.take(&blob(5)), ahead.wanted()), (None, Vec::new()));
    }
}

//! A core in memory for tests, from which blocks can be taken away.

use std::convert::Infallible;

use bytes::Bytes;

use super::Need;
use crate::{AppendBlocks, Blocks};

/// A core in memory; blocks can be taken away from it.
#[derive(Debug, Default, Clone)]
pub(crate) struct Held(pub(crate) Vec<Option<Bytes>>);

impl Blocks for Held {
    type Error = Infallible;

    fn length(&self) -> u64 {
        self.0.len() as u64
    }

    fn block(&self, index: u64) -> Result<Option<Bytes>, Infallible> {
        Ok(self.0.get(index as usize).cloned().flatten())
    }
}

impl AppendBlocks for Held {
    fn byte_length(&self) -> u64 {
        self.0.iter().flatten().map(|block| block.len() as u64).sum()
    }

    fn append(&mut self, blocks: &[Bytes]) -> Result<u64, Infallible> {
        self.0.extend(blocks.iter().cloned().map(Some));
        Ok(self.length())
    }
}

impl Held {
    pub(crate) fn emptied(&self) -> Self {
        Self(vec![None; self.0.len()])
    }

    /// Takes over blocks, as if a peer had sent them, and returns how many were new.
    pub(crate) fn fetch(&mut self, from: &Self, seqs: &[u64]) -> usize {
        let new = seqs.iter().filter(|seq| self.0[**seq as usize].is_none()).count();
        seqs.iter().for_each(|seq| self.0[*seq as usize] = from.0[*seq as usize].clone());
        new
    }
}

pub(crate) fn ready<T>(need: Need<T>) -> T {
    match need {
        Need::Ready(value) => value,
        Need::Missing(seqs) => panic!("blocks {seqs:?} are missing"),
    }
}

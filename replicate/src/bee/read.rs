//! Reading a bee's blocks: what is held, what is missing, and what may not be believed.

#![expect(
    clippy::disallowed_types,
    reason = "looked up by index for every block, and never iterated where order shows"
)]

use std::collections::HashMap;

use bytes::Bytes;

use super::block::{Block, Level, Place};
use super::{BeeError, Entry, Need};
use crate::Blocks;

/// Why an operation does not go on: blocks are missing, or it failed.
pub(super) enum Stop {
    Missing(Vec<u64>),
    Failed(BeeError),
}

impl From<BeeError> for Stop {
    fn from(error: BeeError) -> Self {
        Self::Failed(error)
    }
}

/// Turns a missing block from a reason to stop into an answer.
pub(super) fn answer<T>(result: Result<T, Stop>) -> Result<Need<T>, BeeError> {
    match result {
        Ok(value) => Ok(Need::Ready(value)),
        Err(Stop::Missing(seqs)) => Ok(Need::Missing(seqs)),
        Err(Stop::Failed(error)) => Err(error),
    }
}

/// Blocks split into their fields, the recently used ones: a young and an old generation.
#[derive(Debug, Default)]
pub(super) struct Cache {
    young: HashMap<u64, Block>,
    old: HashMap<u64, Block>,
}

impl Cache {
    fn block(&mut self, seq: u64) -> Option<Block> {
        if let Some(block) = self.young.get(&seq) {
            return Some(block.clone());
        }
        let block = self.old.remove(&seq)?;
        self.insert(seq, block.clone());
        Some(block)
    }

    fn insert(&mut self, seq: u64, block: Block) {
        if self.young.len() == GENERATION_BLOCKS_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(seq, block);
    }
}

/// Where blocks come from: the core, through a cache.
pub(super) struct Source<'a, B> {
    pub(super) blocks: &'a B,
    pub(super) cache: &'a mut Cache,
}

impl<B: Blocks> Source<'_, B> {
    pub(super) fn held(&mut self, seq: u64) -> Result<Option<Block>, BeeError> {
        if let Some(block) = self.cache.block(seq) {
            return Ok(Some(block));
        }
        let block = read_block(self.blocks, seq)?;
        if let Some(block) = &block {
            self.cache.insert(seq, block.clone());
        }
        Ok(block)
    }

    pub(super) fn block(&mut self, seq: u64) -> Result<Block, Stop> {
        self.held(seq)?.ok_or_else(|| Stop::Missing(vec![seq]))
    }

    pub(super) fn key(&mut self, seq: u64) -> Result<Bytes, Stop> {
        Ok(self.block(seq)?.key)
    }

    pub(super) fn entry(&mut self, seq: u64) -> Result<Entry, Stop> {
        let Block { key, value, .. } = self.block(seq)?;
        Ok(Entry { seq, key, value })
    }

    pub(super) fn level(&mut self, place: Place, is_root: bool) -> Result<Level, Stop> {
        Ok(read_level(&self.block(place.seq)?, place, is_root)?)
    }

    /// Finds a key in a node: its position, or the position of the child it would be under.
    ///
    /// If keys are missing, all blocks the node mentions are named, for the next step needs one of them.
    pub(super) fn find(&mut self, level: &Level, key: &[u8]) -> Result<Result<usize, usize>, Stop> {
        let (mut from, mut to) = (0, level.keys.len());
        while from < to {
            let middle = (from + to) / 2;
            let Some(block) = self.held(level.keys[middle])? else { return Err(self.lacking(level)) };
            match key.cmp(&block.key) {
                std::cmp::Ordering::Equal => return Ok(Ok(middle)),
                std::cmp::Ordering::Less => to = middle,
                std::cmp::Ordering::Greater => from = middle + 1,
            }
        }
        Ok(Err(from))
    }

    /// Names the blocks a node mentions that are not held.
    pub(super) fn lacking(&mut self, level: &Level) -> Stop {
        let mut missing = Vec::new();
        for seq in level.mentions() {
            match self.held(seq) {
                Ok(Some(_)) => {}
                Ok(None) => missing.push(seq),
                Err(error) => return error.into(),
            }
        }
        missing.sort_unstable();
        missing.dedup();
        Stop::Missing(missing)
    }
}

/// Reads a block; `None` if it is not held.
pub(super) fn read_block<B: Blocks>(blocks: &B, seq: u64) -> Result<Option<Block>, BeeError> {
    let bytes = blocks.block(seq).map_err(|error| BeeError::Blocks(Box::new(error)))?;
    bytes.map(|bytes| Block::decode(&bytes).ok_or(BeeError::Malformed { seq })).transpose()
}

/// Reads a node of a block and checks all that can be checked without other blocks; only a root may be empty.
pub(super) fn read_level(block: &Block, place: Place, is_root: bool) -> Result<Level, BeeError> {
    let Place { seq, offset } = place;
    let level = block.level(offset).ok_or(BeeError::Node { seq, offset })?;
    let children_fit = level.children.is_empty() || level.children.len() == level.keys.len() + 1;
    let empty = level.keys.is_empty() && !(is_root && level.children.is_empty());
    if !children_fit || empty {
        return Err(BeeError::Node { seq, offset });
    }
    let stranger = level.mentions().find(|mentioned| *mentioned == 0 || *mentioned > seq);
    stranger.map_or(Ok(level), |mentioned| Err(BeeError::Reference { seq, mentioned }))
}

impl Level {
    pub(super) fn mentions(&self) -> impl Iterator<Item = u64> + '_ {
        self.keys.iter().copied().chain(self.children.iter().map(|child| child.seq))
    }
}

/// Most blocks of a generation; two generations of small blocks stay below some 8 MiB.
const GENERATION_BLOCKS_MAX: usize = 8192;

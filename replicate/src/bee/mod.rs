//! Hyperbee: an ordered map kept in the blocks of a core.
//!
//! Each put or deletion is one block: the key, the value, and the nodes of a B-tree that changed by it.
//! The last block has the root, so every length the core ever had is a version that can still be read.
//!
//! A bee may be read while most of its blocks are elsewhere: what is missing is an answer, [`Need::Missing`],
//! that names as many blocks as are known to be needed, so that they can be fetched side by side.
//!
//! Source: npm hyperbee 2.27, `index.js`.

mod block;
mod diff;
#[cfg(test)]
pub(crate) mod held;
mod read;
#[cfg(test)]
mod tests;
mod tree;
mod walk;

use std::error::Error;

use bytes::Bytes;
use thiserror::Error;

use self::block::{Block, Place};
use self::read::{Cache, Source, Stop, answer};
use self::tree::Tree;
use crate::{AppendBlocks, Blocks};

pub use self::block::{Header, Metadata};
pub use self::diff::{Diff, Difference};
pub use self::walk::{Range, Walk};

/// An answer, or what is lacking for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need<T> {
    /// The answer.
    Ready(T),
    /// Blocks that are not held: at least those without which there is no progress, and those likely needed next.
    Missing(Vec<u64>),
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The block it is in.
    pub seq: u64,
    /// The key.
    pub key: Bytes,
    /// The value; absent in a deletion, and in a put without one.
    pub value: Option<Bytes>,
}

/// One operation on a bee.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Sets a key, whether or not it was there.
    Put {
        /// The key.
        key: Bytes,
        /// Its value.
        value: Bytes,
    },
    /// Takes a key away; writes nothing if it is not there.
    Delete {
        /// The key.
        key: Bytes,
    },
}

/// A past change, as its block tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Whether the key was taken away rather than set.
    pub deletion: bool,
    /// The key, and the value it was set to.
    pub entry: Entry,
}

/// Why a bee could not be read or written; never that a block is missing.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BeeError {
    /// The core below could not be read or written.
    #[error("cannot read or append blocks of the bee")]
    Blocks(#[source] Box<dyn Error + Send + Sync>),
    /// The first block is no header, or one of something else.
    #[error("block 0 is not the header of a hyperbee")]
    Header,
    /// A block that is not an operation.
    #[error("block {seq} is not a block of a hyperbee")]
    Malformed {
        /// The block.
        seq: u64,
    },
    /// A tree node that is not there, too large, or with a wrong number of children.
    #[error("block {seq} has no usable tree node {offset}")]
    Node {
        /// The block.
        seq: u64,
        /// The level in it.
        offset: u64,
    },
    /// A tree node that mentions the header or a block written after it.
    #[error("a tree node in block {seq} refers to block {mentioned}")]
    Reference {
        /// The block.
        seq: u64,
        /// The block it may not mention.
        mentioned: u64,
    },
    /// A tree higher than any honest one.
    #[error("the tree of version {version} is too high")]
    Depth {
        /// The version.
        version: u64,
    },
    /// A tree with leaves on different storeys.
    #[error("the tree of version {version} is not equally high everywhere")]
    Uneven {
        /// The version.
        version: u64,
    },
    /// A key that is not where the order of keys wants it.
    #[error("the key of block {seq} is out of order")]
    Order {
        /// The block.
        seq: u64,
    },
}

/// The reading and writing of one core as a bee, with its caches.
///
/// It does not hold the core: each call is handed the blocks, always of the same core. After that core was
/// truncated, make a new one.
#[derive(Debug)]
pub struct Bee {
    header: Header,
    cache: Cache,
    tree: Tree,
}

impl Default for Bee {
    fn default() -> Self {
        Self::new(Header::plain())
    }
}

impl Bee {
    /// Returns a bee with nothing cached; `header` is what the first change writes if the core is empty.
    pub fn new(header: Header) -> Self {
        Self { header, cache: Cache::default(), tree: Tree::default() }
    }

    /// Returns the entry of a key at a version (a length of the core), or `None` if it has none.
    pub fn get<B: Blocks>(&mut self, blocks: &B, version: u64, key: &[u8]) -> Result<Need<Option<Entry>>, BeeError> {
        answer(self.find(blocks, version, key))
    }

    /// Returns the entries in a range at a version, in order; all or none, for a bee or a range that is small.
    pub fn range<B: Blocks>(&mut self, blocks: &B, version: u64, range: Range) -> Result<Need<Vec<Entry>>, BeeError> {
        let mut walk = Walk::new(version, range);
        let mut entries = Vec::new();
        loop {
            match walk.next(blocks)? {
                Need::Ready(Some(entry)) => entries.push(entry),
                Need::Ready(None) => return Ok(Need::Ready(entries)),
                Need::Missing(seqs) => return Ok(Need::Missing(seqs)),
            }
        }
    }

    /// Makes an empty core an empty bee: version 1.
    pub fn create<B: AppendBlocks>(&mut self, core: &mut B) -> Result<(), BeeError> {
        if core.length() == 0 {
            core.append(&[self.header.encode()]).map_err(|error| BeeError::Blocks(Box::new(error)))?;
        }
        Ok(())
    }

    /// Makes changes, in order and all or none, with one append; returns the new version.
    ///
    /// The blocks are those the reference writes for a put or deletion alone or for a batch of them.
    pub fn apply<B: AppendBlocks>(&mut self, core: &mut B, changes: &[Change]) -> Result<Need<u64>, BeeError> {
        let first = core.length();
        let header = (first == 0 && !changes.is_empty()).then(|| self.header.encode());
        let mut source = Source { blocks: &*core, cache: &mut self.cache };
        let operations = match answer(self.tree.apply(&mut source, first.max(1), changes))? {
            Need::Ready(operations) => operations,
            Need::Missing(seqs) => return Ok(Need::Missing(seqs)),
        };
        let blocks: Vec<Bytes> = header.into_iter().chain(operations).collect();
        if blocks.is_empty() {
            return Ok(Need::Ready(first));
        }
        core.append(&blocks).map(Need::Ready).map_err(|error| {
            self.tree = Tree::default();
            BeeError::Blocks(Box::new(error))
        })
    }

    fn find<B: Blocks>(&mut self, blocks: &B, version: u64, key: &[u8]) -> Result<Option<Entry>, Stop> {
        let Some(mut place) = root(version) else { return Ok(None) };
        let mut source = Source { blocks, cache: &mut self.cache };
        for depth in 0..DEPTH_MAX {
            let block = source.block(place.seq)?;
            if block.key == key {
                return Ok(found(place.seq, block));
            }
            let level = read::read_level(&block, place, depth == 0)?;
            match source.find(&level, key)? {
                Ok(at) => return source.entry(level.keys[at]).map(Some),
                Err(at) => match level.children.get(at) {
                    Some(child) => place = *child,
                    None => return Ok(None),
                },
            }
        }
        Err(BeeError::Depth { version }.into())
    }
}

/// Returns the header in block 0, once it has been seen to be that of a bee.
pub fn header<B: Blocks>(blocks: &B) -> Result<Need<Header>, BeeError> {
    let Some(block) = blocks.block(0).map_err(|error| BeeError::Blocks(Box::new(error)))? else {
        return Ok(Need::Missing(vec![0]));
    };
    Header::decode(&block).filter(Header::is_bee).map(Need::Ready).ok_or(BeeError::Header)
}

/// Returns what the operation in block `seq` was, for reading a history block by block.
pub fn operation<B: Blocks>(blocks: &B, seq: u64) -> Result<Need<Operation>, BeeError> {
    let Some(block) = read::read_block(blocks, seq)? else { return Ok(Need::Missing(vec![seq])) };
    let deletion = block.is_deletion(seq);
    Ok(Need::Ready(Operation { deletion, entry: Entry { seq, key: block.key, value: block.value } }))
}

/// Returns where the root of a version is; an empty tree has none.
fn root(version: u64) -> Option<Place> {
    (version >= 2).then(|| Place { seq: version - 1, offset: 0 })
}

/// A block with the key looked for on the way to it is the newest about it.
fn found(seq: u64, block: Block) -> Option<Entry> {
    let deleted = block.is_deletion(seq);
    (!deleted).then_some(Entry { seq, key: block.key, value: block.value })
}

/// Most storeys of a tree that is read; 2^53 entries in nodes of five children make 23.
const DEPTH_MAX: usize = 32;

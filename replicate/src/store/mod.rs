//! Where cores are kept: the `Store` trait, and its two kinds, memory and disk.
//!
//! A store is asked by core and index, and changed by whole batches: all of a [`Batch`] is there or none of it.
//! It neither verifies nor interprets anything; what a head or an info row means is the core's affair.

use std::ops::Range;

use bytes::Bytes;

use anypath_wire::DiscoveryKey;

use crate::Node;

mod disk;
mod error;
mod memory;

pub use disk::{Config, Disk, DiskFile, DiskStore, Durability};
pub use error::{Damage, StoreError};
pub use memory::MemoryStore;

/// One page of a core's bitfield: bit `i % 8` of byte `i / 8` stands for the `i`th block of the page.
pub type Page = Box<[u8; PAGE_BYTES]>;

/// A place that keeps cores and small rows of its owner.
pub trait Store: Send + Sync {
    /// Returns a row of the store's owner: the primary key, an alias.
    fn record(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;
    /// Returns every core that was ever in a batch, in the order of the keys.
    fn cores(&self) -> Result<Vec<DiscoveryKey>, StoreError>;
    /// Returns what was last committed as the core's info.
    fn info(&self, core: &DiscoveryKey) -> Result<Option<Vec<u8>>, StoreError>;
    /// Returns what was last committed as the core's head.
    fn head(&self, core: &DiscoveryKey) -> Result<Option<Vec<u8>>, StoreError>;
    /// Returns the tree node at a flat-tree index.
    fn node(&self, core: &DiscoveryKey, index: u64) -> Result<Option<Node>, StoreError>;
    /// Returns the bytes of a block.
    fn block(&self, core: &DiscoveryKey, index: u64) -> Result<Option<Bytes>, StoreError>;
    /// Returns all pages of the core's bitfield in which a bit is set, with their numbers, in order.
    fn bitfield(&self, core: &DiscoveryKey) -> Result<Vec<(u64, Page)>, StoreError>;
    /// Applies all of the batch or, if it fails, nothing; once it returns, a killed process has lost nothing of it.
    fn commit(&self, batch: Batch) -> Result<(), StoreError>;
}

/// Changes that become visible and lasting together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Rows of the store's owner: a new value, or `None` to remove it.
    pub records: Vec<(String, Option<Vec<u8>>)>,
    /// Changes of cores, applied in order.
    pub cores: Vec<CoreChanges>,
}

/// The changes of one core. Of two values for one index the later one counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoreChanges {
    /// Which core; one not seen before is created, even by a change that is otherwise empty.
    pub core: DiscoveryKey,
    /// The new info row.
    pub info: Option<Vec<u8>>,
    /// The new head row.
    pub head: Option<Vec<u8>>,
    /// Whether the head was signed here. Once the commit has returned it outlives a power cut, however relaxed the store
    /// is: were it forgotten after a peer saw it, the next one would contradict it.
    pub lasting: bool,
    /// Before all else: drop the blocks from this one on, and every node that is not wholly below its leaf.
    /// The bitfield is left alone: its pages come with the batch.
    pub truncate: Option<u64>,
    /// After a truncation and before the rest: forget these blocks. Nodes and bitfield are left alone.
    pub clear: Vec<Range<u64>>,
    /// Tree nodes.
    pub nodes: Vec<Node>,
    /// Blocks by index, each of at most 4 GiB - 1.
    pub blocks: Vec<(u64, Bytes)>,
    /// Whole bitfield pages by number.
    pub bitfield: Vec<(u64, Page)>,
}

impl Batch {
    /// Returns whether any of it must outlive a power cut.
    fn is_lasting(&self) -> bool {
        self.cores.iter().any(|changes| changes.lasting)
    }
}

impl CoreChanges {
    /// Returns no change of that core.
    pub fn new(core: DiscoveryKey) -> Self {
        Self {
            core,
            info: None,
            head: None,
            lasting: false,
            truncate: None,
            clear: Vec::new(),
            nodes: Vec::new(),
            blocks: Vec::new(),
            bitfield: Vec::new(),
        }
    }
}

/// Returns whether a page says nothing, so that it need not be kept.
fn is_blank(page: &[u8; PAGE_BYTES]) -> bool {
    page.iter().all(|byte| *byte == 0)
}

/// Bytes of a bitfield page: 32,768 blocks, as the protocol counts them.
const PAGE_BYTES: usize = 4096;

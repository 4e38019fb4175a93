//! A store in memory: for tests, and for cores nobody wants to keep.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;

use anypath_wire::DiscoveryKey;

use super::{Batch, CoreChanges, Page, Store, StoreError, is_blank};
use crate::Node;
use crate::core::flat_tree;

/// Keeps everything in maps, blocks as the very slices it was given; forgets it when dropped.
#[derive(Debug, Default)]
pub struct MemoryStore(RwLock<State>);

#[derive(Debug, Default)]
struct State {
    records: BTreeMap<String, Vec<u8>>,
    cores: BTreeMap<DiscoveryKey, Core>,
}

#[derive(Debug, Default)]
struct Core {
    info: Option<Vec<u8>>,
    head: Option<Vec<u8>>,
    nodes: BTreeMap<u64, Node>,
    blocks: BTreeMap<u64, Bytes>,
    bitfield: BTreeMap<u64, Page>,
}

impl MemoryStore {
    /// Returns an empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn of<T>(&self, core: &DiscoveryKey, read: impl FnOnce(&Core) -> Option<T>) -> Result<Option<T>, StoreError> {
        Ok(self.read().cores.get(core).and_then(read))
    }
}

impl Store for MemoryStore {
    fn record(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.read().records.get(name).cloned())
    }

    fn cores(&self) -> Result<Vec<DiscoveryKey>, StoreError> {
        Ok(self.read().cores.keys().copied().collect())
    }

    fn info(&self, core: &DiscoveryKey) -> Result<Option<Vec<u8>>, StoreError> {
        self.of(core, |core| core.info.clone())
    }

    fn head(&self, core: &DiscoveryKey) -> Result<Option<Vec<u8>>, StoreError> {
        self.of(core, |core| core.head.clone())
    }

    fn node(&self, core: &DiscoveryKey, index: u64) -> Result<Option<Node>, StoreError> {
        self.of(core, |core| core.nodes.get(&index).copied())
    }

    fn block(&self, core: &DiscoveryKey, index: u64) -> Result<Option<Bytes>, StoreError> {
        self.of(core, |core| core.blocks.get(&index).cloned())
    }

    fn bitfield(&self, core: &DiscoveryKey) -> Result<Vec<(u64, Page)>, StoreError> {
        let pages = self.of(core, |core| Some(core.bitfield.iter().map(|(n, page)| (*n, page.clone())).collect()))?;
        Ok(pages.unwrap_or_default())
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for (name, value) in batch.records {
            match value {
                Some(value) => state.records.insert(name, value),
                None => state.records.remove(&name),
            };
        }
        for changes in batch.cores {
            state.cores.entry(changes.core).or_default().apply(changes);
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

impl Core {
    fn apply(&mut self, changes: CoreChanges) {
        if let Some(length) = changes.truncate {
            self.truncate(length);
        }
        for blocks in changes.clear {
            self.blocks.extract_if(blocks, |_, _| true).for_each(drop);
        }
        self.info = changes.info.or(self.info.take());
        self.head = changes.head.or(self.head.take());
        self.nodes.extend(changes.nodes.into_iter().map(|node| (node.index, node)));
        self.blocks.extend(changes.blocks);
        self.bitfield.extend(changes.bitfield);
        self.bitfield.retain(|_, page| !is_blank(page));
    }

    fn truncate(&mut self, length: u64) {
        self.blocks.split_off(&length);
        self.nodes.retain(|index, _| flat_tree::last_leaf(*index) / 2 < length);
    }
}

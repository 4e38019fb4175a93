//! Walking the entries of a bee in order, naming all missing blocks of the frontier at once.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::{Bound, RangeBounds};

use bytes::Bytes;

use super::block::{Level, Place};
use super::read::{read_block, read_level};
use super::{BeeError, DEPTH_MAX, Entry, Need, root};
use crate::Blocks;

/// A range of keys, and the direction to walk it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// Where the keys begin.
    pub from: Bound<Bytes>,
    /// Where the keys end.
    pub to: Bound<Bytes>,
    /// Whether the largest key comes first.
    pub reverse: bool,
}

impl Range {
    /// Returns the range of all keys, smallest first.
    pub fn all() -> Self {
        Self { from: Bound::Unbounded, to: Bound::Unbounded, reverse: false }
    }

    /// Returns the range between two bounds, smallest first.
    pub fn between(from: Bound<Bytes>, to: Bound<Bytes>) -> Self {
        Self { from, to, reverse: false }
    }

    /// Returns whether a key lies in the range.
    pub fn contains(&self, key: &Bytes) -> bool {
        RangeBounds::<Bytes>::contains(&(self.from.as_ref(), self.to.as_ref()), key)
    }

    fn bounds(&self) -> (Option<&Bytes>, Option<&Bytes>) {
        (bound_key(&self.from), bound_key(&self.to))
    }
}

fn bound_key(bound: &Bound<Bytes>) -> Option<&Bytes> {
    match bound {
        Bound::Included(key) | Bound::Excluded(key) => Some(key),
        Bound::Unbounded => None,
    }
}

/// A walk over the entries of one version: strictly in order, never reading a block twice without need.
///
/// What lies ahead of a missing block is explored as far as the held blocks (and a bound on memory) allow, so
/// that [`Need::Missing`] names whole storeys of the tree: fetching a bee of any size takes as many round trips
/// as the tree is high.
#[derive(Debug)]
pub struct Walk {
    version: u64,
    range: Range,
    /// What is still to come, as a linked list in walking order; freed slots are used again.
    slots: Vec<Slot>,
    free: Vec<usize>,
    head: Option<usize>,
    /// Slots to be tried, those nearest to the head last.
    ready: Vec<usize>,
    /// Missing blocks and the slots to be tried when they are there.
    waiting: BTreeMap<u64, Vec<usize>>,
    last: Option<Bytes>,
}

#[derive(Debug)]
struct Slot {
    item: Item,
    waits: bool,
    next: Option<usize>,
}

#[derive(Debug)]
enum Item {
    Nothing,
    Node(Subtree),
    Key(u64),
    Entry(Entry),
}

/// A tree node not looked at yet, and whether its keys may lie outside the range on either side.
#[derive(Debug, Clone, Copy)]
struct Subtree {
    place: Place,
    depth: usize,
    below: bool,
    above: bool,
}

impl Walk {
    /// Starts a walk over the keys of `range` at a version (a length of the core).
    pub fn new(version: u64, range: Range) -> Self {
        let (below, above) = (range.from != Bound::Unbounded, range.to != Bound::Unbounded);
        let mut walk = Self {
            version,
            range,
            slots: Vec::new(),
            free: Vec::new(),
            head: None,
            ready: Vec::new(),
            waiting: BTreeMap::new(),
            last: None,
        };
        if let Some(place) = root(version) {
            walk.head = Some(walk.add(Item::Node(Subtree { place, depth: 0, below, above })));
        }
        walk
    }

    /// Returns the next entry, or `None` at the end, or all blocks known to be missing.
    ///
    /// After [`Need::Missing`] call it again once some have come. It looks for all of them then, unless
    /// [`arrived`](Self::arrived) said which.
    pub fn next<B: Blocks>(&mut self, blocks: &B) -> Result<Need<Option<Entry>>, BeeError> {
        if let Some(found) = self.take_entry()? {
            return Ok(Need::Ready(found));
        }
        if self.ready.is_empty() {
            self.recheck();
        }
        while let Some(slot) = self.pick() {
            self.try_slot(blocks, slot)?;
            if let Some(found) = self.take_entry()? {
                return Ok(Need::Ready(found));
            }
        }
        Ok(Need::Missing(self.waiting.keys().copied().collect()))
    }

    /// Notes that a missing block is there now, so that the next call need not look for the others.
    pub fn arrived(&mut self, seq: u64) {
        for slot in self.waiting.remove(&seq).into_iter().flatten() {
            self.slots[slot].waits = false;
            self.ready.push(slot);
        }
    }

    fn recheck(&mut self) {
        for slot in std::mem::take(&mut self.waiting).into_values().rev().flatten() {
            self.slots[slot].waits = false;
            self.ready.push(slot);
        }
    }

    /// Chooses what to look at next: always the head if it is open, and else what is open while there is room.
    fn pick(&mut self) -> Option<usize> {
        let open = |slot: &Slot| !slot.waits && matches!(slot.item, Item::Node(_) | Item::Key(_));
        if let Some(head) = self.head.filter(|head| open(&self.slots[*head])) {
            self.ready.pop_if(|top| *top == head);
            return Some(head);
        }
        while self.slots.len() - self.free.len() < SLOTS_MAX {
            let slot = self.ready.pop()?;
            if open(&self.slots[slot]) {
                return Some(slot);
            }
        }
        None
    }

    fn try_slot<B: Blocks>(&mut self, blocks: &B, slot: usize) -> Result<(), BeeError> {
        match self.slots[slot].item {
            Item::Key(seq) => match read_block(blocks, seq)? {
                Some(block) => {
                    self.slots[slot].item = Item::Entry(Entry { seq, key: block.key, value: block.value });
                }
                None => self.wait(slot, &[seq]),
            },
            Item::Node(subtree) => self.try_node(blocks, slot, subtree)?,
            Item::Nothing | Item::Entry(_) => {}
        }
        Ok(())
    }

    fn try_node<B: Blocks>(&mut self, blocks: &B, slot: usize, subtree: Subtree) -> Result<(), BeeError> {
        let Some(block) = read_block(blocks, subtree.place.seq)? else {
            self.wait(slot, &[subtree.place.seq]);
            return Ok(());
        };
        if subtree.depth == DEPTH_MAX {
            return Err(BeeError::Depth { version: self.version });
        }
        let level = read_level(&block, subtree.place, subtree.depth == 0)?;
        if !subtree.below && !subtree.above {
            self.replace(slot, inner_items(&level, subtree));
            return Ok(());
        }
        let mut keys = Vec::with_capacity(level.keys.len());
        for seq in &level.keys {
            match read_block(blocks, *seq)? {
                Some(block) => keys.push(block.key),
                None => return self.wait_for_all(blocks, slot, &level),
            }
        }
        self.replace(slot, border_items(&level, subtree, &keys, &self.range));
        Ok(())
    }

    /// Waits for a node's keys, and asks for its children with them: one will be needed next.
    fn wait_for_all<B: Blocks>(&mut self, blocks: &B, slot: usize, level: &Level) -> Result<(), BeeError> {
        let mut missing = Vec::new();
        for seq in level.mentions() {
            if read_block(blocks, seq)?.is_none() {
                missing.push(seq);
            }
        }
        self.wait(slot, &missing);
        Ok(())
    }

    fn wait(&mut self, slot: usize, seqs: &[u64]) {
        self.slots[slot].waits = true;
        for seq in seqs {
            self.waiting.entry(*seq).or_default().push(slot);
        }
    }

    /// Puts what a node consists of in its place.
    fn replace(&mut self, slot: usize, mut items: Vec<Item>) {
        if !self.range.reverse {
            items.reverse();
        }
        let mut next = self.slots[slot].next;
        let mut items = items.into_iter().peekable();
        while let Some(item) = items.next() {
            if items.peek().is_none() {
                self.slots[slot].item = item;
                self.slots[slot].next = next;
                self.ready.push(slot);
                return;
            }
            let added = self.add(item);
            self.slots[added].next = next;
            next = Some(added);
        }
        self.slots[slot].item = Item::Nothing;
    }

    /// Takes the entry at the head: `Some(None)` at the end of the walk, `None` if the head is not known yet.
    fn take_entry(&mut self) -> Result<Option<Option<Entry>>, BeeError> {
        while let Some(head) = self.head {
            let slot = &mut self.slots[head];
            if matches!(slot.item, Item::Node(_) | Item::Key(_)) {
                return Ok(None);
            }
            self.head = slot.next;
            self.free.push(head);
            if let Item::Entry(entry) = std::mem::replace(&mut slot.item, Item::Nothing) {
                self.ready.pop_if(|top| *top == head);
                self.check_order(&entry)?;
                return Ok(Some(Some(entry)));
            }
        }
        Ok(Some(None))
    }

    /// Every key must lie behind the last one, which also bounds the work: no block is passed twice.
    fn check_order(&mut self, entry: &Entry) -> Result<(), BeeError> {
        let before = if self.range.reverse { Ordering::Greater } else { Ordering::Less };
        let ordered = self.last.as_ref().is_none_or(|last| last.cmp(&entry.key) == before);
        self.last = Some(entry.key.clone());
        if ordered && self.range.contains(&entry.key) { Ok(()) } else { Err(BeeError::Order { seq: entry.seq }) }
    }

    fn add(&mut self, item: Item) -> usize {
        let slot = Slot { item, waits: false, next: None };
        let at = match self.free.pop() {
            Some(at) => {
                self.slots[at] = slot;
                at
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        };
        self.ready.push(at);
        at
    }
}

/// Returns what a node consists of when all of it is in the range.
fn inner_items(level: &Level, subtree: Subtree) -> Vec<Item> {
    let mut items = Vec::with_capacity(2 * level.keys.len() + 1);
    for at in 0..=level.keys.len() {
        if let Some(place) = level.children.get(at) {
            items.push(Item::Node(Subtree { place: *place, depth: subtree.depth + 1, ..subtree }));
        }
        items.extend(level.keys.get(at).map(|seq| Item::Key(*seq)));
    }
    items
}

/// Returns what a node consists of, without the parts that are outside the range.
fn border_items(level: &Level, subtree: Subtree, keys: &[Bytes], range: &Range) -> Vec<Item> {
    let (from, to) = range.bounds();
    let mut items = Vec::new();
    for at in 0..=keys.len() {
        let (left, right) = (at.checked_sub(1).map(|left| &keys[left]), keys.get(at));
        let outside = (right.is_some() && right <= from) || (to.is_some() && left >= to);
        if let Some(place) = level.children.get(at).filter(|_| !outside) {
            let below = subtree.below && left < from;
            let above = subtree.above && right.is_none_or(|right| Some(right) > to);
            items.push(Item::Node(Subtree { place: *place, depth: subtree.depth + 1, below, above }));
        }
        if right.is_some_and(|key| range.contains(key)) {
            items.push(Item::Key(level.keys[at]));
        }
    }
    items
}

/// Most items kept at a time, so most blocks asked for at once: some 3 MiB of typical blocks, 1 MiB of memory.
const SLOTS_MAX: usize = 8192;

//! Walking the entries of a bee in order, naming all missing blocks of the frontier at once.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
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

/// A walk over the entries of one version, strictly in order.
///
/// When it comes to a missing block, it scouts what lies ahead as far as the held blocks (and bounds on work and
/// memory) allow, so that [`Need::Missing`] names whole storeys of the tree: fetching a bee takes as many round trips
/// as the tree is high, and a walk over held blocks keeps no more than a path.
#[derive(Debug)]
pub struct Walk {
    version: u64,
    range: Range,
    /// What is still to come, the next last.
    path: Vec<Step>,
    scout: Option<Scout>,
    /// Whether the last answer was that blocks are missing, and none has been told to have come since.
    stalled: bool,
    last: Option<Bytes>,
}

/// A part of the tree that is still to come.
#[derive(Debug, Clone, Copy)]
enum Step {
    Node(Subtree),
    Key(u64),
}

/// A tree node, and whether its keys may lie outside the range on either side.
#[derive(Debug, Clone, Copy)]
struct Subtree {
    place: Place,
    depth: usize,
    below: bool,
    above: bool,
}

/// What is ahead of the walk: parts not looked at yet, the nearest last, and missing blocks with what they hold up.
#[derive(Debug, Default)]
struct Scout {
    ahead: Vec<Step>,
    waiting: BTreeMap<u64, Vec<Step>>,
    /// How many parts are held up by them.
    held_up: usize,
}

impl Walk {
    /// Starts a walk over the keys of `range` at a version (a length of the core).
    pub fn new(version: u64, range: Range) -> Self {
        let (below, above) = (range.from != Bound::Unbounded, range.to != Bound::Unbounded);
        let path = root(version).map(|place| Step::Node(Subtree { place, depth: 0, below, above }));
        Self { version, range, path: path.into_iter().collect(), scout: None, stalled: false, last: None }
    }

    /// Returns the next entry, or `None` at the end, or all blocks known to be missing.
    ///
    /// After [`Need::Missing`] call it again once some have come: it looks for all of them then, unless
    /// [`arrived`](Self::arrived) said which. What is still missing is named again.
    pub fn next<B: Blocks>(&mut self, blocks: &B) -> Result<Need<Option<Entry>>, BeeError> {
        while let Some(step) = self.path.last().copied() {
            match step {
                Step::Key(seq) => {
                    let Some(block) = read_block(blocks, seq)? else { return self.stall(blocks, vec![seq]) };
                    self.path.pop();
                    let entry = Entry { seq, key: block.key, value: block.value };
                    self.check_order(&entry)?;
                    return Ok(Need::Ready(Some(entry)));
                }
                Step::Node(subtree) => match self.open(blocks, subtree)? {
                    Opened::Parts(parts) => {
                        self.path.pop();
                        self.path.extend(parts);
                    }
                    Opened::Missing(missing) => return self.stall(blocks, missing),
                },
            }
        }
        Ok(Need::Ready(None))
    }

    /// Notes that a missing block is there now; whoever does so must do it for all that come.
    pub fn arrived(&mut self, seq: u64) {
        self.stalled = false;
        if let Some(scout) = &mut self.scout {
            scout.arrived(seq);
        }
    }

    /// Every key must lie behind the last one, which also bounds the work: no block is passed twice.
    fn check_order(&mut self, entry: &Entry) -> Result<(), BeeError> {
        let before = if self.range.reverse { Ordering::Greater } else { Ordering::Less };
        let ordered = self.last.as_ref().is_none_or(|last| last.cmp(&entry.key) == before);
        self.last = Some(entry.key.clone());
        if ordered && self.range.contains(&entry.key) { Ok(()) } else { Err(BeeError::Order { seq: entry.seq }) }
    }

    /// Names what is missing right here and what the scout finds ahead.
    fn stall<B: Blocks>(&mut self, blocks: &B, here: Vec<u64>) -> Result<Need<Option<Entry>>, BeeError> {
        let stalled = std::mem::replace(&mut self.stalled, true);
        let mut scout = self.scout.take().unwrap_or_else(|| Scout { ahead: self.path.clone(), ..Scout::default() });
        if stalled {
            scout.recheck(blocks)?;
        }
        scout.explore(self, blocks)?;
        let missing: BTreeSet<u64> = scout.waiting.keys().copied().chain(here).collect();
        self.scout = Some(scout);
        Ok(Need::Missing(missing.into_iter().collect()))
    }

    fn open<B: Blocks>(&self, blocks: &B, subtree: Subtree) -> Result<Opened, BeeError> {
        let Some(block) = read_block(blocks, subtree.place.seq)? else {
            return Ok(Opened::Missing(vec![subtree.place.seq]));
        };
        if subtree.depth == DEPTH_MAX {
            return Err(BeeError::Depth { version: self.version });
        }
        let level = read_level(&block, subtree.place, subtree.depth == 0)?;
        let mut parts = if subtree.below || subtree.above {
            let mut keys = Vec::with_capacity(level.keys.len());
            for seq in &level.keys {
                match read_block(blocks, *seq)? {
                    Some(block) => keys.push(block.key),
                    None => return lacking(blocks, &level).map(Opened::Missing),
                }
            }
            border_parts(&level, subtree, &keys, &self.range)
        } else {
            inner_parts(&level, subtree)
        };
        if !self.range.reverse {
            parts.reverse();
        }
        Ok(Opened::Parts(parts))
    }
}

enum Opened {
    /// The children and keys in the range, the next last.
    Parts(Vec<Step>),
    /// A block without which the node cannot be taken apart, then others likely needed as well.
    Missing(Vec<u64>),
}

impl Scout {
    /// Looks at what is ahead, the nearest first, until enough is known to be missing.
    ///
    /// The order of keys is not checked here, so a hostile tree could be endless: hence the bound on steps.
    fn explore<B: Blocks>(&mut self, walk: &Walk, blocks: &B) -> Result<(), BeeError> {
        for _ in 0..STEPS_MAX {
            if self.waiting.len().max(self.held_up) >= WAITING_MAX {
                return Ok(());
            }
            match self.ahead.pop() {
                None => return Ok(()),
                Some(Step::Key(seq)) => {
                    if !is_held(blocks, seq)? {
                        self.waiting.entry(seq).or_default();
                    }
                }
                Some(Step::Node(subtree)) => match walk.open(blocks, subtree)? {
                    Opened::Parts(parts) => self.ahead.extend(parts),
                    Opened::Missing(missing) => self.wait(&missing, Step::Node(subtree)),
                },
            }
        }
        Ok(())
    }

    /// Holds a step up until the first of these blocks is there.
    fn wait(&mut self, missing: &[u64], step: Step) {
        self.held_up += 1;
        let mut step = Some(step);
        for seq in missing {
            self.waiting.entry(*seq).or_default().extend(step.take());
        }
    }

    fn arrived(&mut self, seq: u64) {
        let steps = self.waiting.remove(&seq).unwrap_or_default();
        self.held_up -= steps.len();
        self.ahead.extend(steps);
    }

    fn recheck<B: Blocks>(&mut self, blocks: &B) -> Result<(), BeeError> {
        let missing: Vec<u64> = self.waiting.keys().copied().collect();
        for seq in missing.into_iter().rev() {
            if is_held(blocks, seq)? {
                self.arrived(seq);
            }
        }
        Ok(())
    }
}

fn is_held<B: Blocks>(blocks: &B, seq: u64) -> Result<bool, BeeError> {
    blocks.block(seq).map(|block| block.is_some()).map_err(|error| BeeError::Blocks(Box::new(error)))
}

/// Names the blocks a node mentions that are not held: its keys, and its children, one of which is needed next.
fn lacking<B: Blocks>(blocks: &B, level: &Level) -> Result<Vec<u64>, BeeError> {
    let mut missing = Vec::new();
    for seq in level.mentions() {
        if !is_held(blocks, seq)? {
            missing.push(seq);
        }
    }
    Ok(missing)
}

/// Returns what a node consists of when all of it is in the range.
fn inner_parts(level: &Level, subtree: Subtree) -> Vec<Step> {
    let mut parts = Vec::with_capacity(2 * level.keys.len() + 1);
    for at in 0..=level.keys.len() {
        if let Some(place) = level.children.get(at) {
            parts.push(Step::Node(Subtree { place: *place, depth: subtree.depth + 1, ..subtree }));
        }
        parts.extend(level.keys.get(at).map(|seq| Step::Key(*seq)));
    }
    parts
}

/// Returns what a node consists of, without the parts that are outside the range.
fn border_parts(level: &Level, subtree: Subtree, keys: &[Bytes], range: &Range) -> Vec<Step> {
    let (from, to) = range.bounds();
    let mut parts = Vec::new();
    for at in 0..=keys.len() {
        let (left, right) = (at.checked_sub(1).map(|left| &keys[left]), keys.get(at));
        let outside = (right.is_some() && right <= from) || (to.is_some() && left >= to);
        if let Some(place) = level.children.get(at).filter(|_| !outside) {
            let below = subtree.below && left < from;
            let above = subtree.above && right.is_none_or(|right| Some(right) > to);
            parts.push(Step::Node(Subtree { place: *place, depth: subtree.depth + 1, below, above }));
        }
        if right.is_some_and(|key| range.contains(key)) {
            parts.push(Step::Key(level.keys[at]));
        }
    }
    parts
}

/// Most blocks known to be missing at a time: 1 to 3 MiB of typical blocks, enough for any link.
const WAITING_MAX: usize = 8192;
/// Most nodes and keys looked at ahead each time the walk stands still: some 10 ms of reading.
const STEPS_MAX: usize = 1 << 14;

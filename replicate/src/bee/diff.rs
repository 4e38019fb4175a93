//! What differs between two versions of a bee, without looking at what they share.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::block::{Block, Place};
use super::read::{read_block, read_level};
use super::{BeeError, Entry, Need, root};
use crate::Blocks;

/// A key whose entry is not the same in two versions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Difference {
    /// The entry in the first version, if the key is there.
    pub before: Option<Entry>,
    /// The entry in the second version, if the key is there.
    pub after: Option<Entry>,
}

/// A comparison of two versions, which goes on where it stopped when missing blocks have come.
///
/// Both trees are taken apart at once, the nodes written last first; a node that turns up in both is dropped, as is
/// every key in both. Since a node is never older than those below it, nothing that is shared is taken apart.
#[derive(Debug)]
pub struct Diff {
    versions: [u64; 2],
    pending: BTreeMap<Rank, Sides>,
    passed: BTreeSet<(Place, Sides)>,
    keys: BTreeMap<u64, Sides>,
}

/// The order in which nodes are taken apart: parents before their children.
type Rank = (Reverse<u64>, u64);

/// In which of the trees something is: [`BEFORE`], [`AFTER`] or both.
type Sides = u8;

impl Diff {
    /// Starts to compare the bee at two versions (lengths of the core), of which either may be the larger.
    pub fn new(before: u64, after: u64) -> Self {
        let mut pending = BTreeMap::new();
        for (version, side) in [(before, BEFORE), (after, AFTER)] {
            root(version).into_iter().for_each(|place| *pending.entry(rank(place)).or_default() |= side);
        }
        Self { versions: [before, after], pending, passed: BTreeSet::new(), keys: BTreeMap::new() }
    }

    /// Returns all differences in order of their keys, or all blocks known to be missing.
    pub fn next<B: Blocks>(&mut self, blocks: &B) -> Result<Need<Vec<Difference>>, BeeError> {
        let boundary = self.boundary();
        let mut missing = self.take_apart(blocks)?;
        let comparing = !missing.is_empty();
        let mut differences: BTreeMap<Bytes, Difference> = BTreeMap::new();
        for (seq, sides) in self.keys.iter().filter(|(_, sides)| **sides != BOTH) {
            if comparing && *seq < boundary {
                continue;
            }
            let Some(block) = read_block(blocks, *seq)? else {
                missing.insert(*seq);
                continue;
            };
            let difference = differences.entry(block.key.clone()).or_default();
            let side = if *sides == BEFORE { &mut difference.before } else { &mut difference.after };
            *side = Some(Entry { seq: *seq, key: block.key, value: block.value });
        }
        Ok(if missing.is_empty() {
            Need::Ready(differences.into_values().collect())
        } else {
            Need::Missing(missing.into_iter().collect())
        })
    }

    /// Takes nodes apart as far as blocks are held, and returns those missing.
    ///
    /// While newer nodes are missing, those that both versions could share are left alone.
    fn take_apart<B: Blocks>(&mut self, blocks: &B) -> Result<BTreeSet<u64>, BeeError> {
        let boundary = self.boundary();
        let mut missing = BTreeSet::new();
        let mut put_off = Vec::new();
        while let Some(((Reverse(seq), offset), sides)) = self.pending.pop_first() {
            if sides == BOTH {
                continue;
            }
            let place = Place { seq, offset };
            let maybe_shared = seq < boundary && !put_off.is_empty();
            match read_block(blocks, seq)? {
                Some(block) if !maybe_shared => self.take_node(&block, place, sides)?,
                Some(_) => put_off.push((place, sides)),
                None => {
                    missing.insert(seq);
                    put_off.push((place, sides));
                }
            }
        }
        for (place, sides) in put_off {
            self.add(place, sides)?;
        }
        Ok(missing)
    }

    fn take_node(&mut self, block: &Block, place: Place, sides: Sides) -> Result<(), BeeError> {
        let is_root = self.versions.iter().any(|version| root(*version) == Some(place));
        let level = read_level(block, place, is_root)?;
        if !self.passed.insert((place, sides)) {
            return Err(BeeError::Node { seq: place.seq, offset: place.offset });
        }
        for child in &level.children {
            self.add(*child, sides)?;
        }
        for seq in &level.keys {
            meet(self.keys.entry(*seq).or_default(), sides).ok_or(BeeError::Order { seq: *seq })?;
        }
        Ok(())
    }

    fn add(&mut self, place: Place, sides: Sides) -> Result<(), BeeError> {
        let met = meet(self.pending.entry(rank(place)).or_default(), sides);
        met.ok_or(BeeError::Node { seq: place.seq, offset: place.offset })
    }

    /// What is in the blocks from here on can only be in one of the versions.
    fn boundary(&self) -> u64 {
        self.versions[0].min(self.versions[1])
    }
}

fn rank(place: Place) -> Rank {
    (Reverse(place.seq), place.offset)
}

/// Notes that something is on a side, too; `None` if it was met there before, which no honest tree brings about.
fn meet(met: &mut Sides, sides: Sides) -> Option<()> {
    let again = *met & sides != 0;
    *met |= sides;
    (!again).then_some(())
}

const BEFORE: Sides = 1;
const AFTER: Sides = 2;
const BOTH: Sides = BEFORE | AFTER;

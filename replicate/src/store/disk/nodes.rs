//! Tree nodes, packed: one row for an aligned group of 32 flat-tree indices.
//!
//! A row a node was the bottleneck at small blocks, and neighbours are written and read together anyway: an append
//! fills groups from left to right, with now and then a parent that falls into an older one.
//!
//! ```text
//! key    core number, group = index / 32
//! value  4 bytes      bit i is set if node 32 * group + i is here; little-endian
//!        40 bytes a node that is here, in order: its size (8, little-endian), its hash (32)
//! ```

use redb::{ReadableTable, Table};

use super::fault::Fault;
use super::rows::Key;
use crate::Node;

/// Returns the group a node belongs to.
pub(super) fn group_of(index: u64) -> u64 {
    index / GROUP
}

/// Returns the node at `index` from its group's row.
pub(super) fn find(row: &[u8], index: u64) -> Result<Option<Node>, Fault> {
    let (present, mut nodes) = split(row)?;
    let bit = 1 << (index % GROUP);
    let before = (present & (bit - 1)).count_ones() as usize;
    Ok(if present & bit == 0 { None } else { nodes.nth(before).map(|entry| decode(index, entry)) })
}

/// Puts nodes into their groups; of two with the same index the later one counts.
pub(super) fn put(table: &mut Table<'_, Key, &[u8]>, core: u32, mut nodes: Vec<Node>) -> Result<(), Fault> {
    nodes.sort_by_key(|node| node.index);
    for group in nodes.chunk_by(|a, b| group_of(a.index) == group_of(b.index)) {
        let number = group_of(group[0].index);
        let mut slots = read(table, core, number)?;
        group.iter().for_each(|node| slots[(node.index % GROUP) as usize] = Some(*node));
        write(table, core, number, &slots)?;
    }
    Ok(())
}

/// Drops every node that is not wholly below leaf `length`: those from that leaf on, and its parents before it.
pub(super) fn truncate(table: &mut Table<'_, Key, &[u8]>, core: u32, length: u64) -> Result<(), Fault> {
    let Some(leaf) = length.checked_mul(2) else { return Ok(()) };
    table.retain_in((core, group_of(leaf) + 1)..=(core, u64::MAX), |_, _| false)?;
    drop_where(table, core, group_of(leaf), |index| index >= leaf)?;
    for parent in parents_before(leaf) {
        drop_where(table, core, group_of(parent), |index| index == parent)?;
    }
    Ok(())
}

/// Returns the ancestors of a leaf whose own index is lower.
fn parents_before(leaf: u64) -> impl Iterator<Item = u64> {
    let depths = 1..=leaf.max(1).ilog2().min(u64::BITS - 2);
    depths
        .map(move |depth| (leaf >> (depth + 1) << (depth + 1)) | ((1 << depth) - 1))
        .filter(move |parent| *parent < leaf)
}

type Slots = [Option<Node>; GROUP as usize];

fn drop_where(
    table: &mut Table<'_, Key, &[u8]>,
    core: u32,
    group: u64,
    drop: impl Fn(u64) -> bool,
) -> Result<(), Fault> {
    let mut slots = read(table, core, group)?;
    let before = slots;
    slots.iter_mut().for_each(|slot| *slot = slot.filter(|node| !drop(node.index)));
    if slots == before { Ok(()) } else { write(table, core, group, &slots) }
}

fn read(table: &Table<'_, Key, &[u8]>, core: u32, group: u64) -> Result<Slots, Fault> {
    let mut slots = [None; GROUP as usize];
    let Some(row) = table.get((core, group))? else { return Ok(slots) };
    let (present, nodes) = split(row.value())?;
    let held = (0..GROUP).filter(|bit| present >> bit & 1 == 1);
    held.zip(nodes).for_each(|(bit, entry)| slots[bit as usize] = Some(decode(group * GROUP + bit, entry)));
    Ok(slots)
}

fn write(table: &mut Table<'_, Key, &[u8]>, core: u32, group: u64, slots: &Slots) -> Result<(), Fault> {
    let mut row = vec![0; 4];
    row.reserve(GROUP as usize * ENTRY_BYTES);
    let mut present = 0u32;
    for node in slots.iter().flatten() {
        present |= 1 << (node.index % GROUP);
        row.extend_from_slice(&node.size.to_le_bytes());
        row.extend_from_slice(&node.hash);
    }
    row[..4].copy_from_slice(&present.to_le_bytes());
    if present == 0 {
        table.remove((core, group))?
    } else {
        table.insert((core, group), &row[..])?
    };
    Ok(())
}

/// Returns which nodes of the group are here, and their entries.
fn split(row: &[u8]) -> Result<(u32, impl Iterator<Item = &[u8; ENTRY_BYTES]>), Fault> {
    let (present, entries) = row.split_first_chunk().ok_or(Fault::Row(TABLE))?;
    let present = u32::from_le_bytes(*present);
    let (entries, rest) = entries.as_chunks();
    if entries.len() != present.count_ones() as usize || !rest.is_empty() {
        return Err(Fault::Row(TABLE));
    }
    Ok((present, entries.iter()))
}

fn decode(index: u64, entry: &[u8; ENTRY_BYTES]) -> Node {
    let (mut size, mut hash) = ([0; 8], [0; 32]);
    size.copy_from_slice(&entry[..8]);
    hash.copy_from_slice(&entry[8..]);
    Node { index, size: u64::from_le_bytes(size), hash }
}

/// Nodes to a row. Three such rows fill one 4 KiB page of the database.
const GROUP: u64 = 32;

/// Bytes of one node.
const ENTRY_BYTES: usize = 40;

/// The table's name, for complaints.
const TABLE: &str = "nodes";

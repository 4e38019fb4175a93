//! One batch as the journal keeps it: everything but the bytes of its blocks, which it names with their checksum.
//!
//! ```text
//! 8  sequence      every batch has the next number; all integers are little-endian, `uint` is compact encoding's
//! 8  offset        where the batch's blocks start in the block file
//! 8  bytes         how many bytes they are
//! 4  checksum      CRC-32 of those bytes
//!    records       uint count, then name (string), flag (0 removed, 1 set), value (buffer)
//!    cores         uint count, then each core:
//!      32  discovery key
//!      1   flags   1 info, 2 head, 4 truncate, 8 clear
//!          info, head (buffers), truncate (8), as flagged
//!          clear, as flagged: uint count, then start (8), end (8)
//!          nodes   buffer of 48 bytes each: index (8), size (8), hash (32)
//!          runs    uint count, then first (8), offset (8), lengths (buffer of 4 bytes each)
//!          pages   uint count, then number (8), page (buffer without trailing zeros)
//! ```

use anypath_wire::{DecodeError, Decoder, DiscoveryKey, Encode};

use super::extents::{Extent, Run};
use super::rows::{self, Placed};
use crate::Node;
use crate::store::{Batch, CoreChanges};

/// Appends the encoded batch.
pub(super) fn encode(placed: &Placed, out: &mut Vec<u8>) {
    out.uint64(placed.sequence);
    out.uint64(placed.blocks.offset);
    out.uint64(placed.blocks.bytes);
    out.raw(&placed.checksum.to_le_bytes());
    out.uint(placed.batch.records.len() as u64);
    for (name, value) in &placed.batch.records {
        out.string(name);
        out.push(u8::from(value.is_some()));
        out.buffer(value.as_deref().unwrap_or_default());
    }
    out.uint(placed.batch.cores.len() as u64);
    for (changes, runs) in placed.batch.cores.iter().zip(&placed.runs) {
        encode_core(changes, runs, out);
    }
}

/// Returns the batch; fails on anything [`encode`] cannot have written.
pub(super) fn decode(bytes: &[u8]) -> Result<Placed, DecodeError> {
    let mut from = Decoder::new(bytes);
    let sequence = from.uint64()?;
    let blocks = Extent { offset: from.uint64()?, bytes: from.uint64()? };
    let checksum = u32::from_le_bytes(from.fixed()?);
    let records = many(&mut from, |from| {
        let (name, set, value) = (from.string()?.to_owned(), from.byte()?, from.buffer()?);
        Ok((name, (set == 1).then(|| value.to_vec())))
    })?;
    let (cores, runs) = many(&mut from, decode_core)?.into_iter().unzip();
    Ok(Placed { sequence, blocks, checksum, batch: Batch { records, cores }, runs })
}

fn encode_core(changes: &CoreChanges, runs: &[Run], out: &mut Vec<u8>) {
    out.raw(&changes.core.0);
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    out.push(
        flag(changes.info.is_some(), 1)
            | flag(changes.head.is_some(), 2)
            | flag(changes.truncate.is_some(), 4)
            | flag(!changes.clear.is_empty(), 8),
    );
    changes.info.iter().chain(&changes.head).for_each(|row| out.buffer(row));
    changes.truncate.iter().for_each(|length| out.uint64(*length));
    if !changes.clear.is_empty() {
        out.uint(changes.clear.len() as u64);
        changes.clear.iter().flat_map(|blocks| [blocks.start, blocks.end]).for_each(|index| out.uint64(index));
    }
    out.uint((changes.nodes.len() * NODE_BYTES) as u64);
    for node in &changes.nodes {
        out.uint64(node.index);
        out.uint64(node.size);
        out.raw(&node.hash);
    }
    out.uint(runs.len() as u64);
    for run in runs {
        out.uint64(run.first);
        out.uint64(run.offset);
        out.uint(4 * run.lengths.len() as u64);
        run.lengths.iter().for_each(|bytes| out.raw(&bytes.to_le_bytes()));
    }
    out.uint(changes.bitfield.len() as u64);
    for (number, page) in &changes.bitfield {
        out.uint64(*number);
        out.buffer(rows::trimmed(page));
    }
}

fn decode_core(from: &mut Decoder<'_>) -> Result<(CoreChanges, Vec<Run>), DecodeError> {
    let mut changes = CoreChanges::new(DiscoveryKey(from.fixed()?));
    let flags = from.byte()?;
    if flags & 1 != 0 {
        changes.info = Some(from.buffer()?.to_vec());
    }
    if flags & 2 != 0 {
        changes.head = Some(from.buffer()?.to_vec());
    }
    if flags & 4 != 0 {
        changes.truncate = Some(from.uint64()?);
    }
    if flags & 8 != 0 {
        changes.clear = many(from, |from| Ok(from.uint64()?..from.uint64()?))?;
    }
    let (nodes, _) = from.buffer()?.as_chunks::<NODE_BYTES>();
    changes.nodes = nodes.iter().map(|node| decode_node(node)).collect::<Result<_, _>>()?;
    let runs = many(from, decode_run)?;
    changes.bitfield = many(from, |from| {
        let (number, row) = (from.uint64()?, from.buffer()?);
        rows::page(row).map(|page| (number, page)).map_err(|_| DecodeError::Count)
    })?;
    Ok((changes, runs))
}

fn decode_node(bytes: &[u8]) -> Result<Node, DecodeError> {
    let mut from = Decoder::new(bytes);
    Ok(Node { index: from.uint64()?, size: from.uint64()?, hash: from.fixed()? })
}

fn decode_run(from: &mut Decoder<'_>) -> Result<Run, DecodeError> {
    let (first, offset) = (from.uint64()?, from.uint64()?);
    let (lengths, _) = from.buffer()?.as_chunks();
    Ok(Run { first, offset, lengths: lengths.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect() })
}

/// Reads a count and that many items; the count reserves nothing.
fn many<T>(
    from: &mut Decoder<'_>,
    item: impl Fn(&mut Decoder<'_>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let mut items = Vec::new();
    for _ in 0..from.uint()? {
        items.push(item(from)?);
    }
    Ok(items)
}

/// Bytes of a node in a record.
const NODE_BYTES: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;

    fn placed() -> Placed {
        let changes = CoreChanges {
            info: Some(vec![]),
            head: Some(vec![1; 300]),
            truncate: Some(u64::MAX),
            clear: vec![3..9, 1 << 50..1 << 51],
            nodes: vec![
                Node { index: u64::MAX - 1, size: 3, hash: [9; 32] },
                Node { index: 1, size: 0, hash: [8; 32] },
            ],
            bitfield: vec![(7, rows::page(&[0, 1]).unwrap()), (8, rows::page(&[]).unwrap())],
            ..CoreChanges::new(DiscoveryKey([5; 32]))
        };
        let cores = vec![changes, CoreChanges::new(DiscoveryKey([6; 32]))];
        let runs = vec![vec![Run { first: 1 << 60, offset: 4096, lengths: vec![0, u32::MAX] }], vec![]];
        let records = vec![("a".to_owned(), Some(vec![1])), ("".to_owned(), None), ("b".to_owned(), Some(vec![]))];
        let blocks = Extent { offset: 4096, bytes: u64::from(u32::MAX) };
        Placed { sequence: 1 << 55, blocks, checksum: 77, batch: Batch { records, cores }, runs }
    }

    #[test]
    fn a_batch_comes_back_as_it_was() {
        let (placed, mut bytes) = (placed(), Vec::new());
        encode(&placed, &mut bytes);
        let back = decode(&bytes).unwrap();
        assert_eq!((back.sequence, back.blocks, back.checksum), (placed.sequence, placed.blocks, placed.checksum));
        assert_eq!((back.batch, back.runs), (placed.batch, placed.runs));
    }

    #[test]
    fn what_is_cut_short_is_refused() {
        let mut bytes = Vec::new();
        encode(&placed(), &mut bytes);
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length]).is_err(), "{length} of {} bytes", bytes.len());
        }
    }
}

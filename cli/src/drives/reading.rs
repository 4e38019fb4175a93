//! What can be read of a drive at once, and what must be fetched first: looks at the replicator, waits for nothing.

use std::collections::BTreeMap;

use anypath_replicate::Plaintext;
use anypath_replicate::bee::Need;
use anypath_replicate::core::{Encryption, leaf};
use anypath_replicate::drive::{self, BlobError, BlobId, BlobReader, DriveError, Files};
use anypath_replicate::replicator::{CoreId, Replicator};
use anypath_replicate::store::StoreError;
use anypath_wire::EncryptionKey;
use bytes::Bytes;

use crate::folder::drive::{Entry, Kind, Version};

/// How things stand with a drive's core.
pub(super) struct State {
    pub(super) version: Version,
    /// Peers that said what they have.
    pub(super) synced: usize,
    /// Whether we have the newest head that any of them has.
    pub(super) current: bool,
}

impl State {
    pub(super) fn of(replicator: &Replicator, db: CoreId) -> Self {
        let core = replicator.core(db);
        let version = Version { length: core.length(), fork: core.fork() };
        let remotes: Vec<_> = replicator.remotes(db).filter(|remote| remote.synced && !remote.paused).collect();
        let ours = (version.fork, version.length);
        let current = remotes.iter().all(|remote| (remote.fork, remote.length) <= ours);
        Self { version, synced: remotes.len(), current: current && !remotes.is_empty() && version.length > 0 }
    }
}

/// The two cores of a drive.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cores {
    pub(super) db: CoreId,
    pub(super) blobs: CoreId,
}

/// A part of a file's contents.
pub(super) enum Filled {
    /// Blocks in order.
    Blocks(Vec<Bytes>),
    /// Blocks in order, to the last.
    Rest(Vec<Bytes>),
    /// Blocks to fetch, of which the first is not held.
    Missing(Vec<u64>),
    /// Blocks that are here, and committed with what is staged now.
    Staged,
    /// Blocks that no peer has or will have.
    Never,
}

/// Reads up to [`AHEAD_BYTES`] that are committed: what is read is told as done.
pub(super) fn fill(
    reader: &mut BlobReader,
    replicator: &Replicator,
    cores: Cores,
    key: Option<&EncryptionKey>,
) -> Result<Filled, BlobError> {
    let core = replicator.core(cores.blobs);
    let encryption = key.map(|key| core.encryption(key));
    let core = Plaintext::over(replicator.committed(cores.blobs), encryption, core.fork());
    let (mut blocks, mut bytes) = (Vec::new(), 0);
    while bytes < AHEAD_BYTES {
        match reader.next(&core)? {
            Need::Ready(Some(block)) => {
                bytes += block.len();
                blocks.push(block);
            }
            Need::Ready(None) => return Ok(Filled::Rest(blocks)),
            Need::Missing(missing) if blocks.is_empty() => return Ok(lacking(missing, replicator, cores)),
            Need::Missing(_) => break,
        }
    }
    Ok(Filled::Blocks(blocks))
}

/// Reads the first of several blobs that are held whole, up to [`AHEAD_BYTES`] together.
pub(super) fn read_ahead(
    wanted: &[BlobId],
    replicator: &Replicator,
    cores: Cores,
    key: Option<&EncryptionKey>,
) -> Vec<Vec<Bytes>> {
    let mut left = AHEAD_BYTES as u64;
    let contents = wanted.iter().map_while(|blob| {
        left = left.checked_sub(blob.byte_length).filter(|_| !blob.block_map)?;
        match fill(&mut BlobReader::new(*blob), replicator, cores, key) {
            Ok(Filled::Rest(blocks)) => Some(blocks),
            _ => None,
        }
    });
    contents.collect()
}

/// Blocks beyond a length that every peer agrees on will never come.
fn lacking(missing: Vec<u64>, replicator: &Replicator, cores: Cores) -> Filled {
    let core = replicator.core(cores.blobs);
    let first = missing.first().copied().unwrap_or_default();
    if first >= core.length() && (core.writable() || nobody_has_more(replicator, cores)) {
        Filled::Never
    } else if core.has(first) {
        Filled::Staged
    } else {
        Filled::Missing(missing)
    }
}

/// Returns whether there are peers that share the contents, and none of them says that they are longer than what is known
/// here; whoever has entries is heard first, for an empty peer that came before it knows nothing.
fn nobody_has_more(replicator: &Replicator, Cores { db, blobs }: Cores) -> bool {
    let length = replicator.core(blobs).length();
    let told: BTreeMap<_, _> =
        replicator.remotes(blobs).filter(|remote| remote.synced).map(|remote| (remote.peer, remote.length)).collect();
    let mut sources = replicator.remotes(db).filter(|remote| remote.length > 0 && !remote.paused);
    !told.is_empty()
        && told.values().all(|told| *told <= length)
        && sources.all(|source| told.contains_key(&source.peer))
}

/// Returns the bytes of all contents of an encrypted drive, and whether they are here as far as peers can tell: without
/// its entries, nobody else can.
pub(super) fn held_blindly(replicator: &Replicator, cores: Cores) -> (u64, bool) {
    let core = replicator.core(cores.blobs);
    let padding = core.length().saturating_mul(Encryption::PADDING_BYTES as u64);
    let whole = core.contiguous_length() == core.length() && nobody_has_more(replicator, cores);
    (core.byte_length().saturating_sub(padding), whole)
}

/// Takes up to `limit` entries that are held; what is missing is named when there is nothing more to take.
pub(super) fn take(
    files: &mut Files,
    replicator: &Replicator,
    db: CoreId,
    key: Option<&EncryptionKey>,
    limit: usize,
) -> Result<(Vec<Entry>, Vec<u64>), DriveError> {
    let core = replicator.core(db).plaintext(key);
    let mut taken = Vec::new();
    while taken.len() < limit {
        match files.next(&core) {
            Ok(Need::Ready(Some(file))) => taken.push(entry(file)),
            Ok(Need::Ready(None)) => break,
            Ok(Need::Missing(blocks)) => return Ok((taken, blocks)),
            Err(DriveError::Name { seq, path } | DriveError::Entry { seq, path }) => {
                taken.push(Entry { name: path, seq, kind: Kind::Unreadable });
            }
            Err(error) => return Err(error),
        }
    }
    Ok((taken, Vec::new()))
}

/// What came of hashing some blocks again.
pub(super) struct Checked {
    /// Where to go on.
    pub(super) end: u64,
    /// Blocks that are not what the tree says.
    pub(super) spoilt: Vec<u64>,
}

/// Hashes up to [`AHEAD_BYTES`] of held blocks from `at` on; `None` if there are none.
pub(super) fn check_some(replicator: &Replicator, core: CoreId, at: u64) -> Result<Option<Checked>, StoreError> {
    let core = replicator.core(core);
    let (mut next, mut bytes, mut spoilt) = (core.bitfield().next_set(at), 0, Vec::new());
    let mut end = None;
    while let Some(index) = next.filter(|_| bytes < AHEAD_BYTES) {
        let block = core.block(index)?;
        bytes += block.as_ref().map_or(0, Bytes::len).max(BLOCK_BYTES_COUNTED);
        if block.is_none_or(|block| core.node(2 * index).is_ok_and(|node| node != Some(leaf(index, &block)))) {
            spoilt.push(index);
        }
        end = Some(index + 1);
        next = core.bitfield().next_set(index + 1);
    }
    Ok(end.map(|end| Checked { end, spoilt }))
}

/// Returns about how many bytes of a blob are here.
pub(super) fn held(replicator: &Replicator, blobs: CoreId, blob: &BlobId) -> u64 {
    let blocks = blob.blocks();
    share(blob.byte_length, replicator.committed(blobs).count(blocks.clone()), blocks.end - blocks.start)
}

/// Returns about how many bytes of a core are here, and how many it has.
pub(super) fn held_of_all(replicator: &Replicator, core: CoreId) -> (u64, u64) {
    let (length, bytes) = (replicator.core(core).length(), replicator.core(core).byte_length());
    (share(bytes, replicator.committed(core).count(0..length), length), bytes)
}

fn share(bytes: u64, part: u64, whole: u64) -> u64 {
    u64::try_from(u128::from(bytes) * u128::from(part) / u128::from(whole.max(1))).unwrap_or(bytes)
}

fn entry(file: drive::File) -> Entry {
    let drive::File { path, seq, entry } = file;
    let kind = match entry.linkname {
        Some(target) => Kind::Symlink(target),
        None => Kind::File { blob: entry.blob.unwrap_or_default(), executable: entry.executable },
    };
    Entry { name: path, seq, kind }
}

/// What a block counts for at least in that sum, in bytes, so that many small ones do not keep the engine.
const BLOCK_BYTES_COUNTED: usize = 1 << 10;
/// How much of a file is read in one go, in bytes.
const AHEAD_BYTES: usize = 1 << 20;

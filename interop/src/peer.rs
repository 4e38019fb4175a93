//! What the scenarios ask of a peer, whatever it is written in: the verbs of `js/peer.js`.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::content::content;

/// A replicating peer with a store on disk, whose cores are called by handles chosen when opening them.
///
/// An error is a failed scenario; nothing is retried.
pub trait Peer {
    /// Listens on a free port of 127.0.0.1 and returns it. With `core`, that core alone is replicated on each
    /// connection (as `hypercore.replicate` does), otherwise every core of the store (`corestore.replicate`).
    fn listen(&mut self, core: Option<&str>) -> Result<u16>;
    /// Dials 127.0.0.1 as the initiator; returns when the handshake is over.
    fn dial(&mut self, port: u16, core: Option<&str>) -> Result<()>;
    /// Cuts every connection, as a cable would. Listening goes on.
    fn disconnect(&mut self) -> Result<()>;
    /// Closes the store in order and ends the peer.
    fn close(self: Box<Self>) -> Result<()>;

    /// Opens or creates a core.
    fn open(&mut self, core: &str, spec: &CoreSpec) -> Result<CoreInfo>;
    /// Returns the core's present state, asking nobody.
    fn info(&mut self, core: &str) -> Result<CoreInfo>;
    /// Appends the run, which must start at the core's length. A core of several signers is signed by those named.
    fn append(&mut self, core: &str, run: &Blocks, signers: &[&str]) -> Result<CoreInfo>;
    /// Truncates to `length` under the new fork.
    fn truncate(&mut self, core: &str, length: u64, fork: u64) -> Result<CoreInfo>;
    /// Forgets the stored blocks `start..end`, which stay part of the core.
    fn clear(&mut self, core: &str, start: u64, end: u64) -> Result<()>;
    /// Fetches the blocks `start..end` and returns when they are stored here.
    fn download(&mut self, core: &str, start: u64, end: u64) -> Result<()>;
    /// Fetches everything from now on, as it comes; returns at once.
    fn follow(&mut self, core: &str) -> Result<()>;
    /// Returns which blocks are stored here, as runs `[start, end)`, asking nobody.
    fn held(&mut self, core: &str) -> Result<Vec<(u64, u64)>>;
    /// Compares the run with what is here, fetching what is missing; an error names the first difference.
    fn check(&mut self, core: &str, run: &Blocks) -> Result<()>;
    /// Returns `(block, offset in it)` of a byte, fetching only tree nodes.
    fn seek(&mut self, core: &str, byte: u64) -> Result<(u64, u64)>;
    /// Fetches a block before all others, and returns when it is stored here.
    fn fetch_now(&mut self, core: &str, index: u64) -> Result<()>;
    /// Takes blocks that peers send unasked.
    fn allow_push(&mut self, core: &str) -> Result<()>;
    /// Sends a block to the peers that take it unasked.
    fn push(&mut self, core: &str, index: u64) -> Result<()>;
    /// Listens to extension messages of that name from now on.
    fn hear(&mut self, core: &str, name: &str) -> Result<()>;
    /// Sends an extension message, of a name that is listened to here as well, to every peer.
    fn say(&mut self, core: &str, name: &str, text: &str) -> Result<()>;
    /// Returns the name and text of the next extension message that came.
    fn heard(&mut self, core: &str) -> Result<(String, String)>;
    /// Waits until all of it is reached.
    fn wait(&mut self, core: &str, until: Until) -> Result<CoreInfo>;

    /// Opens or creates a Hyperbee (utf-8 keys, JSON values) over a core of the same handle.
    fn bee_open(&mut self, bee: &str, spec: &CoreSpec) -> Result<CoreInfo>;
    /// Puts (`Some`) and deletes (`None`) in order and in one append; returns the version.
    fn bee_batch(&mut self, bee: &str, changes: &[(String, Option<Value>)]) -> Result<u64>;
    /// Returns the value of a key.
    fn bee_get(&mut self, bee: &str, key: &str) -> Result<Option<Value>>;
    /// Returns every entry in the order of the keys, of an older version if one is given.
    fn bee_list(&mut self, bee: &str, version: Option<u64>) -> Result<Vec<(String, Value)>>;
}

/// Which core to open; the fields that are set exclude each other as their comments say.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CoreSpec {
    /// A name in the corestore (default namespace): the key pair is derived from the store's primary key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Somebody's core, by its key in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// A core of the Ed25519 key pair whose seed is SHA-256 of this text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
    /// With `signer`: the core's key is the public key itself, as in hypercore 10 and older.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub compat: bool,
    /// A core of this manifest; `signer` then names who writes, if it has one signer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Manifest>,
    /// A core with a storage of its own, outside the corestore.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub plain: bool,
    /// What its blocks are encrypted with, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption: Option<String>,
}

impl CoreSpec {
    /// A named core of the corestore.
    pub fn named(name: &str) -> Self {
        Self { name: Some(name.to_owned()), ..Self::default() }
    }

    /// Somebody's core.
    pub fn keyed(key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..Self::default() }
    }

    /// A core of one signer, whose key pair comes from a text.
    pub fn signed(signer: &str) -> Self {
        Self { signer: Some(signer.to_owned()), ..Self::default() }
    }

    /// A core that a manifest describes.
    pub fn manifested(manifest: Manifest) -> Self {
        Self { manifest: Some(manifest), ..Self::default() }
    }

    /// The same as a compat core.
    pub fn compat(self) -> Self {
        Self { compat: true, ..self }
    }

    /// The same, encrypted.
    pub fn encrypted(self, key: &str) -> Self {
        Self { encryption: Some(key.to_owned()), ..self }
    }

    /// The same outside the corestore.
    pub fn plain(self) -> Self {
        Self { plain: true, ..self }
    }
}

/// Who may sign a core. Hash BLAKE2b, signatures Ed25519, namespaces the default one.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// 0, 1 or 2.
    pub version: u8,
    /// How many must sign.
    pub quorum: usize,
    /// Whether signatures over shorter lengths may be patched up.
    pub allow_patch: bool,
    /// Texts that the key pairs come from, as in [`CoreSpec::signer`].
    pub signers: Vec<String>,
    /// Bytes in hexadecimal, from version 2 on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_data: Option<String>,
}

impl Manifest {
    /// A manifest of that version, quorum and signers.
    pub fn new(version: u8, quorum: usize, signers: &[&str]) -> Self {
        let signers = signers.iter().map(|&signer| signer.to_owned()).collect();
        Self { version, quorum, allow_patch: false, signers, user_data: None }
    }
}

/// A run of blocks that both sides can compute: block `i` is `content(seed, i, sizes[i % sizes.len()])`.
#[derive(Debug, Clone, Serialize)]
pub struct Blocks {
    /// Which content.
    pub seed: u32,
    /// The first block's index.
    pub start: u32,
    /// How many blocks.
    pub count: u32,
    /// Bytes, taken in turn.
    #[serde(rename = "size")]
    pub sizes: Vec<usize>,
}

impl Blocks {
    /// The first `count` blocks of a content.
    pub fn new(seed: u32, count: u32, sizes: &[usize]) -> Self {
        Self { seed, start: 0, count, sizes: sizes.to_vec() }
    }

    /// Other blocks of the same content.
    pub fn range(&self, start: u32, end: u32) -> Self {
        Self { start, count: end - start, ..self.clone() }
    }

    /// Returns the blocks one after the other.
    pub fn iter(&self) -> impl Iterator<Item = Vec<u8>> + '_ {
        (self.start..self.start + self.count).map(|index| {
            let size = self.sizes[index as usize % self.sizes.len()];
            content(self.seed, index, size)
        })
    }
}

/// The state of a core.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CoreInfo {
    /// Hexadecimal.
    pub key: String,
    /// Hexadecimal.
    pub discovery_key: String,
    /// Blocks.
    pub length: u64,
    /// Bytes.
    pub byte_length: u64,
    /// How often it was truncated.
    pub fork: u64,
    /// Blocks stored here without a hole from the start.
    pub contiguous: u64,
    /// Peers that this core is replicated with now.
    pub peers: usize,
    /// Whether this peer can append alone.
    pub writable: bool,
    /// Hash of the tree's roots, in hexadecimal: two cores with the same one have the same blocks.
    pub tree_hash: String,
}

/// What to wait for: all that is set.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Until {
    /// At least this length.
    pub length: u64,
    /// At least so many blocks stored here from the start.
    pub contiguous: u64,
    /// Exactly this fork.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fork: Option<u64>,
    /// At least so many peers.
    pub peers: usize,
}

impl Until {
    /// That length, announced.
    pub fn length(length: u64) -> Self {
        Self { length, ..Self::default() }
    }

    /// So many blocks, stored.
    pub fn contiguous(contiguous: u64) -> Self {
        Self { contiguous, ..Self::default() }
    }
}

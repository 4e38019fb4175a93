//! What a peer asks for and what answers it: the parts of a request and of its proof, as plain values.
//!
//! Source: npm hypercore 11.37, `lib/messages.js` (request and data).

use bytes::Bytes;

use crate::Node;
use crate::core::{Encryption, Manifest};

/// What is asked of a peer; any parts together, but a block and a hash never both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Request {
    /// A block with its path.
    pub block: Option<BlockRequest>,
    /// A tree node with its path.
    pub hash: Option<HashRequest>,
    /// The node in which a byte position lies.
    pub seek: Option<SeekRequest>,
    /// Proof that the core is longer than we know.
    pub upgrade: Option<UpgradeRequest>,
    /// The manifest as well.
    pub manifest: bool,
}

/// A block by its index, with as many levels of its path as the asker lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockRequest {
    /// The block's index.
    pub index: u64,
    /// Levels of the path that are missing; 0 if the leaf's hash is already held.
    pub nodes: u64,
}

/// A tree node by its flat-tree index, with as many levels of its path as the asker lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashRequest {
    /// The node's flat-tree index.
    pub index: u64,
    /// Levels of the path that are missing.
    pub nodes: u64,
}

/// A position in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeekRequest {
    /// Bytes from the start of the core.
    pub bytes: u64,
    /// Bytes in front of each block that do not count: [`Encryption::PADDING_BYTES`] in encrypted cores, else none.
    pub padding: u64,
}

impl SeekRequest {
    /// Returns a position in the plaintext of an encrypted core.
    pub fn encrypted(bytes: u64) -> Self {
        Self { bytes, padding: Encryption::PADDING_BYTES as u64 }
    }
}

/// A position among bytes as they are stored.
impl From<u64> for SeekRequest {
    fn from(bytes: u64) -> Self {
        Self { bytes, padding: 0 }
    }
}

/// A stretch of the tree the asker does not know yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpgradeRequest {
    /// The length the asker has, in blocks.
    pub start: u64,
    /// How many blocks more it asks for.
    pub length: u64,
}

/// The answer to a [`Request`]: parts that verify together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Proof {
    /// The fork it belongs to.
    pub fork: u64,
    /// The block asked for.
    pub block: Option<BlockProof>,
    /// The node asked for.
    pub hash: Option<HashProof>,
    /// The nodes around the position asked for.
    pub seek: Option<SeekProof>,
    /// The longer tree.
    pub upgrade: Option<UpgradeProof>,
    /// The manifest asked for.
    pub manifest: Option<Manifest>,
}

/// A block and the siblings on its way up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockProof {
    /// The block's index.
    pub index: u64,
    /// The block's bytes, as stored (encrypted if the core is).
    pub value: Bytes,
    /// Siblings, bottom up.
    pub nodes: Vec<Node>,
}

/// A node (the first of `nodes`) and the siblings on its way up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashProof {
    /// The node's flat-tree index.
    pub index: u64,
    /// The node itself, then siblings, bottom up.
    pub nodes: Vec<Node>,
}

/// The node in which a byte position lies, and the siblings up to where it joins the rest of the proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeekProof {
    /// The position asked for.
    pub bytes: u64,
    /// The node found, then siblings, bottom up.
    pub nodes: Vec<Node>,
}

/// Proof that the tree grew, with the signature over its new head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpgradeProof {
    /// The length the proof starts from, in blocks.
    pub start: u64,
    /// How many blocks more were asked for.
    pub length: u64,
    /// What the asker cannot derive of the roots at `start + length`.
    pub nodes: Vec<Node>,
    /// From there to the sender's own length, which is what the signature covers.
    pub additional_nodes: Vec<Node>,
    /// 64 raw bytes or a multi-signature structure, as the manifest says.
    pub signature: Vec<u8>,
}

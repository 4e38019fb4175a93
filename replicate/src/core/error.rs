//! Why a core's operations fail, sorted by who is to blame.

use thiserror::Error;

use crate::store::StoreError;

/// Why a proof was refused. Nothing of it was kept.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// A block or node hashes to something else than what is known at its place (`INVALID_CHECKSUM`).
    #[error("a proof does not hash to the node that is known at its top")]
    InvalidChecksum,
    /// Nodes are missing, surplus, in the wrong order or too large, or nothing known joins the proof (`INVALID_OPERATION`).
    #[error("a proof does not have the nodes it needs, in the order it needs them")]
    InvalidOperation,
    /// The signature does not cover the new head, or the manifest is not that of the core (`INVALID_SIGNATURE`).
    #[error("a proof's signature or manifest does not belong to the core")]
    InvalidSignature,
    /// The manifest's prologue is contradicted, or a fork's proof does not verify by itself (`INVALID_PROOF`).
    #[error("a proof contradicts the manifest's prologue or cannot be verified by itself")]
    InvalidProof,
    /// It answers something else than what was asked.
    #[error("a proof answers something that was not asked")]
    NotAsked,
    /// It belongs to another fork than ours: a higher one is for [`Reorg`](super::Reorg), a lower one is old.
    #[error("a proof belongs to fork {theirs}, this core is at fork {ours}")]
    Fork {
        /// The proof's fork.
        theirs: u64,
        /// The core's fork.
        ours: u64,
    },
    /// It was made for a length or fork that the core no longer has; nobody's fault, ask again.
    #[error("a proof came too late: the core has moved on since it was asked for")]
    Stale,
    /// Two signed trees contradict each other, so this core takes nothing any more.
    #[error("the core is frozen: its writer signed two different trees of the same fork")]
    Frozen,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a request cannot be answered with a proof.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProveError {
    /// The block or a node on its way is not held: answer `noData` 1.
    #[error("what was asked for is not held here")]
    NotHeld,
    /// It makes no sense for the tree as it is: answer `noData` 2.
    #[error("the request does not fit the tree")]
    Invalid,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why blocks could not be appended, or the core could not be truncated.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AppendError {
    /// There is no key pair here that may sign for the core alone.
    #[error("the core cannot be written: no key pair that may sign for it alone was given")]
    NotWritable,
    /// The core is frozen.
    #[error("the core is frozen: its writer signed two different trees of the same fork")]
    Frozen,
    /// A signature made elsewhere does not cover the result, or is not by as many signers as the manifest asks for.
    #[error("the signature given does not make these blocks part of the core")]
    Signature,
    /// The result would not start with the manifest's prologue.
    #[error("the core would not start with the {prologue} blocks its manifest prescribes")]
    Prologue {
        /// Blocks in the prologue.
        prologue: u64,
    },
    /// A truncation to more blocks than there are.
    #[error("a core of {length} blocks cannot be truncated to {wanted}")]
    NotShorter {
        /// Blocks there are.
        length: u64,
        /// Blocks wanted.
        wanted: u64,
    },
    /// A truncation to a fork that is not higher than the present one.
    #[error("a core at fork {fork} cannot be truncated to fork {wanted}: it must be higher")]
    NotHigher {
        /// The present fork.
        fork: u64,
        /// The fork wanted.
        wanted: u64,
    },
    /// A block that no frame could carry to a peer.
    #[error("a block of {bytes} bytes is too large: cut it into blocks of at most {bytes_max}")]
    BlockTooLarge {
        /// Its size.
        bytes: usize,
        /// What is allowed.
        bytes_max: usize,
    },
    /// A block that the application's own rule refuses.
    #[error("block {index} breaks the rule that the application set for this core")]
    Refused {
        /// Where it would have stood.
        index: u64,
    },
    /// More blocks or bytes than can be counted.
    #[error("the core would be larger than 2^53 blocks or bytes")]
    TooLarge,
    /// A tree node that must be there is not.
    #[error("tree node {index} is missing from the store")]
    NodeMissing {
        /// The node's flat-tree index.
        index: u64,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a stored core could not be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A row has a form this version does not know.
    #[error("the stored {row} of a core cannot be read")]
    Row {
        /// `info` or `head`.
        row: &'static str,
    },
    /// A root of the tree is not there.
    #[error("tree node {index}, a root, is missing from the store")]
    RootMissing {
        /// The node's flat-tree index.
        index: u64,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

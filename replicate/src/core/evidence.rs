//! Evidence: two signed heads of one fork that contradict each other, as one value that anybody can check.
//!
//! Within a fork a core only grows, so that a node of its tree never changes once all blocks below it are there. Who
//! signed two trees of one fork that have different nodes at one place has signed two histories.
//!
//! | bytes of a piece of evidence | |
//! |---|---|
//! | 8 | `conflict` |
//! | `uint` | version, 1 |
//! | `uint` | flags: 1 a manifest follows the key; without it the key is that of the only signer |
//! | 32, manifest | the core's key, and its manifest as flagged |
//! | `uint` | fork |
//! | head, head | the one that was held first, then the one that contradicts it |
//!
//! | bytes of a head | |
//! |---|---|
//! | nodes | `uint` count, then `uint` index, `uint` size and 32 bytes of hash each: whole subtrees, left to right |
//! | `buffer` | the signature over fork, length and roots of the tree they make up, and no more of it than is looked at |

use std::collections::BTreeMap;
use std::ops::Range;

use anypath_wire::{DecodeError, Decoder, DiscoveryKey, Encode, Hash, PublicKey};
use thiserror::Error;

use super::multisig::Authority;
use super::{Core, Manifest, ProveError, Tree, VerifyError, flat_tree};
use crate::node::{decode_nodes, encode_nodes};
use crate::{Node, Proof, Request, UpgradeProof, UpgradeRequest};

/// Two signed heads of one core and fork, with all it takes to verify them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The core's key.
    pub key: PublicKey,
    /// Who may sign; `None` if that is whom the key belongs to.
    pub manifest: Option<Manifest>,
    /// The fork of both heads.
    pub fork: u64,
    /// The head that was held first, and the one that contradicts it.
    pub heads: [SignedHead; 2],
}

/// A signed tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedHead {
    /// Whole subtrees, left to right, that make up the tree.
    pub nodes: Vec<Node>,
    /// The signature over it, in the shape the manifest asks for.
    pub signature: Vec<u8>,
}

/// What a piece of evidence proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contradiction {
    /// The core's key.
    pub key: PublicKey,
    /// The name under which peers look for the core.
    pub discovery_key: DiscoveryKey,
    /// The fork of both heads.
    pub fork: u64,
    /// The heads, in the order of the evidence.
    pub heads: [Claim; 2],
    /// The fewest blocks among which the histories are known to differ.
    pub blocks: Range<u64>,
}

/// What one of the heads says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// How many blocks there are.
    pub length: u64,
    /// The hash of the tree's roots.
    pub tree_hash: Hash,
    /// Who signed it, by their places in the manifest, in ascending order.
    pub signers: Vec<u64>,
}

/// Why a piece of evidence proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// It does not begin as evidence does.
    #[error("this is no evidence of two histories")]
    Unknown,
    /// It was written by a version that is not known here.
    #[error("this evidence has version {0}, and only version {VERSION} is known here")]
    Version(u64),
    /// It is longer than any evidence.
    #[error("this is longer than evidence can be: {EVIDENCE_BYTES_MAX} bytes")]
    TooLong,
    /// It cannot be read to its end.
    #[error("this evidence is damaged: {0}")]
    Damaged(#[from] DecodeError),
    /// There is more in it or behind it than it needs: what is the same evidence is the same bytes.
    #[error("this evidence is damaged: it holds more than it needs")]
    Surplus,
    /// The manifest hashes to another key.
    #[error("the manifest in it does not belong to the key in it")]
    Manifest,
    /// The nodes of a head do not follow each other, or are more than any tree needs.
    #[error("the nodes of a head in it do not make up a tree")]
    Tree,
    /// A head needs no signature, since the manifest has it.
    #[error("a head in it is part of the manifest, and nobody signed it")]
    Unsigned,
    /// A signature does not cover its head, or carries more than it needs.
    #[error("the signature of a head in it does not hold")]
    Signature,
    /// The heads can be two of one history.
    #[error("the two heads in it do not contradict each other")]
    Agreed,
}

impl Evidence {
    /// Finds out what it proves, from nothing but itself.
    ///
    /// # Errors
    /// Why it proves nothing.
    pub fn verify(&self) -> Result<Contradiction, EvidenceError> {
        let authority = Authority::of(self.key, self.manifest.clone()).ok_or(EvidenceError::Manifest)?;
        let [first, second] = &self.heads;
        let (first, known) = first.verify(&authority, self.fork)?;
        let (second, nodes) = second.verify(&authority, self.fork)?;
        let known: BTreeMap<u64, Hash> = known.into_iter().map(|node| (node.index, node.hash)).collect();
        // Hashes alone: the sizes of two nodes that were joined are not signed one by one.
        let differs = |node: &Node| known.get(&node.index).is_some_and(|hash| *hash != node.hash);
        let differing = nodes.iter().filter(|node| differs(node)).map(|node| node.index);
        let lowest = differing.min_by_key(|index| (flat_tree::leaves(*index), *index)).ok_or(EvidenceError::Agreed)?;
        Ok(Contradiction {
            key: self.key,
            discovery_key: self.key.discovery_key(),
            fork: self.fork,
            heads: [first, second],
            blocks: flat_tree::first_leaf(lowest) / 2..flat_tree::last_leaf(lowest) / 2 + 1,
        })
    }

    /// Returns it as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.uint(VERSION);
        out.uint(if self.manifest.is_some() { MANIFEST } else { 0 });
        out.raw(&self.key.0);
        if let Some(manifest) = &self.manifest {
            manifest.encode(&mut out);
        }
        out.uint(self.fork);
        for head in &self.heads {
            encode_nodes(&head.nodes, &mut out);
            out.buffer(&head.signature);
        }
        out
    }

    /// Reads it; what it proves is another question.
    ///
    /// # Errors
    /// If these bytes are not evidence as it is written here.
    pub fn decode(bytes: &[u8]) -> Result<Self, EvidenceError> {
        if bytes.len() > EVIDENCE_BYTES_MAX {
            return Err(EvidenceError::TooLong);
        }
        let mut from = Decoder::new(bytes.strip_prefix(MAGIC).ok_or(EvidenceError::Unknown)?);
        match from.uint()? {
            VERSION => {}
            version => return Err(EvidenceError::Version(version)),
        }
        let flags = from.uint()?;
        let key = PublicKey(from.fixed()?);
        let manifest = if flags & MANIFEST != 0 { Some(Manifest::decode(&mut from)?) } else { None };
        let fork = from.uint()?;
        let heads = [SignedHead::decode(&mut from)?, SignedHead::decode(&mut from)?];
        let evidence = Self { key, manifest, fork, heads };
        if evidence.encode() == bytes { Ok(evidence) } else { Err(EvidenceError::Surplus) }
    }
}

impl SignedHead {
    /// Takes a head out of a proof that starts from nothing, as it came.
    fn new(upgrade: UpgradeProof) -> Self {
        let UpgradeProof { mut nodes, mut additional_nodes, signature, .. } = upgrade;
        nodes.append(&mut additional_nodes);
        Self { nodes, signature }
    }

    /// Leaves out of the signature what nobody looks at: whoever passes it on may have put it there.
    fn trim(&mut self, authority: &Authority, fork: u64) -> Result<(), EvidenceError> {
        let tree = self.tree(fork, &mut Vec::new())?;
        let parts = authority.parts(&tree, &self.signature).ok_or(EvidenceError::Signature)?;
        self.signature = authority.assemble(&parts);
        Ok(())
    }

    /// Returns what it says, and all nodes that follow from it.
    fn verify(&self, authority: &Authority, fork: u64) -> Result<(Claim, Vec<Node>), EvidenceError> {
        let mut nodes = Vec::new();
        let tree = self.tree(fork, &mut nodes)?;
        if authority.prologue().is_some_and(|prologue| tree.length <= prologue.length) {
            return Err(EvidenceError::Unsigned);
        }
        let parts = authority.parts(&tree, &self.signature).ok_or(EvidenceError::Signature)?;
        if authority.assemble(&parts) != self.signature {
            return Err(EvidenceError::Signature);
        }
        let mut signers: Vec<u64> = parts.iter().map(|part| part.signer).collect();
        signers.sort_unstable();
        Ok((Claim { length: tree.length, tree_hash: tree.hash(), signers }, nodes))
    }

    fn tree(&self, fork: u64, nodes: &mut Vec<Node>) -> Result<Tree, EvidenceError> {
        let mut tree = Tree { fork, ..Tree::default() };
        if self.nodes.len() > NODES_MAX {
            return Err(EvidenceError::Tree);
        }
        self.nodes.iter().try_for_each(|node| tree.append_root(*node, nodes)).map_err(|_| EvidenceError::Tree)?;
        Ok(tree)
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(Self { nodes: decode_nodes(from)?, signature: from.buffer()?.to_vec() })
    }
}

impl Contradiction {
    /// Returns who signed both heads, by their places in the manifest; nobody, if the quorum is small enough for two
    /// without a common member.
    pub fn signers_of_both(&self) -> Vec<u64> {
        let [first, second] = &self.heads;
        first.signers.iter().filter(|signer| second.signers.contains(signer)).copied().collect()
    }
}

impl Core {
    /// Returns the evidence if a peer's head of our own fork, an upgrade from 0, contradicts our tree although it is
    /// signed. The owner of the core then freezes it.
    ///
    /// # Errors
    /// If the proof does not stand by itself.
    pub fn conflicts(&self, proof: Proof) -> Result<Option<Evidence>, VerifyError> {
        let Some(authority) = self.authority() else { return Ok(None) };
        let Some(theirs) = proof.upgrade else { return Ok(None) };
        if proof.fork != self.fork() || theirs.length > self.length() {
            return Ok(None);
        }
        if proof.block.is_some() || proof.hash.is_some() || proof.seek.is_some() || theirs.start != 0 {
            return Err(VerifyError::InvalidProof);
        }
        let ours = self.signed_head(theirs.length)?;
        let mut evidence = Evidence {
            key: *self.key(),
            manifest: self.manifest().filter(|_| !self.is_compat()).cloned(),
            fork: self.fork(),
            heads: [ours, SignedHead::new(theirs)],
        };
        let trimmed = evidence.heads.iter_mut().try_for_each(|head| head.trim(authority, proof.fork));
        match trimmed.and_then(|()| evidence.verify()) {
            Ok(_) => Ok(Some(evidence)),
            Err(EvidenceError::Agreed | EvidenceError::Unsigned) => Ok(None),
            Err(EvidenceError::Signature) => Err(VerifyError::InvalidSignature),
            Err(_) => Err(VerifyError::InvalidProof),
        }
    }

    /// Returns our head, taken apart at `length` blocks as far as the nodes for that are known here.
    fn signed_head(&self, length: u64) -> Result<SignedHead, VerifyError> {
        let upgrade = Some(UpgradeRequest { start: 0, length });
        match self.prove(&Request { upgrade, ..Request::default() }) {
            Ok(Proof { upgrade: Some(upgrade), .. }) => Ok(SignedHead::new(upgrade)),
            Err(ProveError::Store(error)) => Err(error.into()),
            _ => Ok(SignedHead { nodes: self.tree().roots.clone(), signature: self.signature().to_vec() }),
        }
    }
}

const MAGIC: &[u8] = b"conflict";
const VERSION: u64 = 1;
const MANIFEST: u64 = 1;
/// Most nodes of a head: 53 roots up to the length both sides have, and 108 more from there to the head's own.
const NODES_MAX: usize = 256;
/// Longest evidence that is kept or read, in bytes. Twice 256 nodes, twice 255 signatures and a manifest with 255 signers
/// and as many linked keys come to 100 KiB; the rest is for a manifest's user data, which its owner alone chooses.
pub const EVIDENCE_BYTES_MAX: usize = 256 << 10;

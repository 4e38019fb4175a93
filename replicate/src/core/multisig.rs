//! Signatures over a tree: what is signed, by whom, and in which of three shapes.
//!
//! What is signed (fork and length as u64, little endian):
//!
//! | core | bytes |
//! |---|---|
//! | compat | TREE namespace, tree hash, length, fork |
//! | version 0 | TREE namespace, the signer's namespace, tree hash, length, fork |
//! | version 1 and later | TREE namespace, the core's key, tree hash, length, fork |
//!
//! The shape: 64 raw bytes for compat cores and for version 0 with one signer and no patch; else
//! an array of proofs and an array of nodes. A proof is `uint` signer, 64 bytes, `uint` patch; in version 0
//! `uint` flags (1 patch), `uint` signer, 64 bytes and, if patched, `uint` start, `uint` length, array of positions
//! in the array of nodes.
//!
//! Source: npm hypercore 11.37, `lib/verifier.js`, `lib/multisig.js`, `lib/caps.js`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use anypath_wire::{DecodeError, Decoder, Encode, Hash, KeyPair, PublicKey, Signature, namespace};

use super::flat_tree;
use super::manifest::{Manifest, Prologue, Signer};
use super::tree::Tree;
use crate::Node;
use crate::node::{decode_nodes, encode_nodes};

/// One signer's part of a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The signer's place in the manifest.
    pub signer: u64,
    /// Its signature over the tree, or over one that is `patch` blocks longer.
    pub signature: Signature,
    /// How many blocks longer.
    pub patch: u64,
    /// The nodes that take the tree there, as an upgrade proof would list them.
    pub nodes: Vec<Node>,
}

/// A core's key with its manifest: checks and makes signatures over its trees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    key: PublicKey,
    manifest: Manifest,
    compat: bool,
}

impl Authority {
    /// Returns the authority of a core, or `None` if the manifest is not that of the key.
    pub fn new(key: PublicKey, manifest: Manifest) -> Option<Self> {
        let compat = manifest.is_compat(&key);
        (compat || manifest.key() == key).then_some(Self { key, manifest, compat })
    }

    /// Returns the authority of a core of which no manifest may have come: then the key is that of the only signer.
    pub(super) fn of(key: PublicKey, manifest: Option<Manifest>) -> Option<Self> {
        Self::new(key, manifest.unwrap_or_else(|| Manifest::single(Signer::new(key))))
    }

    /// Returns the core's key.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// Returns the manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Returns whether the key is simply that of the only signer, as before hypercore 11.
    pub fn is_compat(&self) -> bool {
        self.compat
    }

    /// Returns the tree that every tree of this core must start with.
    pub fn prologue(&self) -> Option<&Prologue> {
        self.manifest.prologue.as_ref().filter(|_| !self.compat && self.manifest.version > 0)
    }

    /// Returns whether the signature makes this tree one of the core's.
    pub fn verify(&self, tree: &Tree, signature: &[u8]) -> bool {
        self.parts(tree, signature).is_some()
    }

    /// Returns the parts that make this tree one of the core's: as many as the quorum asks for, or none where the
    /// manifest itself vouches for the tree; `None` if the signature does not hold. Whatever else it carries is left out.
    pub fn parts(&self, tree: &Tree, signature: &[u8]) -> Option<Vec<Part>> {
        match self.prologue() {
            Some(prologue) if tree.length <= prologue.length => {
                (tree.length == prologue.length && tree.hash() == prologue.hash).then(Vec::new)
            }
            _ if self.is_raw() => {
                let part = Part { signer: 0, signature: signature.try_into().ok()?, patch: 0, nodes: Vec::new() };
                self.verify_part(&part, tree).then(|| vec![part])
            }
            _ => self.verify_parts(tree, signature).ok().flatten(),
        }
    }

    /// Returns the place in the manifest of the signer with that key.
    pub fn signer(&self, key: &PublicKey) -> Option<u64> {
        self.manifest.signers.iter().position(|signer| signer.public_key == *key).map(|place| place as u64)
    }

    /// Returns whether the pair may sign alone.
    pub fn may_sign(&self, pair: &KeyPair) -> bool {
        (self.is_raw() || self.manifest.quorum == 1) && self.signer(&pair.public()).is_some()
    }

    /// Returns the whole signature over the tree, or `None` if the pair may not sign alone.
    pub fn sign(&self, tree: &Tree, pair: &KeyPair) -> Option<Vec<u8>> {
        let part = self.sign_part(tree, pair).filter(|_| self.may_sign(pair))?;
        Some(self.assemble(&[part]))
    }

    /// Returns the pair's part of a signature over the tree, or `None` if it is no signer.
    pub fn sign_part(&self, tree: &Tree, pair: &KeyPair) -> Option<Part> {
        let signer = self.signer(&pair.public())?;
        let message = self.signable(&self.manifest.signers[signer as usize], tree);
        Some(Part { signer, signature: pair.sign(&message), patch: 0, nodes: Vec::new() })
    }

    /// Returns the parts as one signature; as many as the quorum asks for are looked at.
    pub fn assemble(&self, parts: &[Part]) -> Vec<u8> {
        match parts {
            [part] if self.is_raw() => part.signature.to_vec(),
            parts if self.manifest.version == 0 => assemble_v0(parts),
            parts => assemble(parts),
        }
    }

    fn is_raw(&self) -> bool {
        self.compat || (self.manifest.version == 0 && !self.manifest.allow_patch && self.manifest.signers.len() == 1)
    }

    /// Returns what the signer signs.
    fn signable(&self, signer: &Signer, tree: &Tree) -> Vec<u8> {
        let mut message = Vec::with_capacity(112);
        message.raw(&*TREE);
        match self.manifest.version {
            _ if self.compat => {}
            0 => message.raw(&signer.namespace),
            _ => message.raw(&self.key.0),
        }
        message.raw(&tree.hash());
        message.uint64(tree.length);
        message.uint64(tree.fork);
        message
    }

    /// Returns whether the part signs the tree itself, its own `patch` aside.
    fn verify_part(&self, part: &Part, tree: &Tree) -> bool {
        let signer = &self.manifest.signers[part.signer as usize];
        signer.public_key.verify(&self.signable(signer, tree), &part.signature)
    }

    fn verify_parts(&self, tree: &Tree, signature: &[u8]) -> Result<Option<Vec<Part>>, DecodeError> {
        let mut from = Decoder::new(signature);
        let parts = if self.manifest.version == 0 { decode_parts_v0(&mut from)? } else { decode_parts(&mut from)? };
        let patch: BTreeMap<u64, Node> = decode_nodes(&mut from)?.into_iter().map(|node| (node.index, node)).collect();
        let quorum = self.manifest.quorum as usize;
        if quorum == 0 || parts.len() < quorum {
            return Ok(None);
        }
        let mut tried = vec![false; self.manifest.signers.len()];
        let verified = parts.into_iter().take(quorum).map(|part| {
            let tried = tried.get_mut(part.signer as usize).filter(|tried| !**tried)?;
            *tried = true;
            let (part, signed) = self.patched(part, tree, &patch)?;
            self.verify_part(&part, &signed).then_some(part)
        });
        Ok(verified.collect())
    }

    /// Returns the part with the nodes of its patch, and the tree that its signer signed, if those nodes are there.
    fn patched<'a>(&self, part: Part, tree: &'a Tree, nodes: &BTreeMap<u64, Node>) -> Option<(Part, Cow<'a, Tree>)> {
        if part.patch == 0 || !self.manifest.allow_patch {
            return Some((Part { patch: 0, ..part }, Cow::Borrowed(tree)));
        }
        let growth = flat_tree::growth(tree.length, tree.length.checked_add(part.patch)?);
        let nodes: Vec<Node> = growth.map(|index| nodes.get(&index).copied()).collect::<Option<_>>()?;
        let mut longer = tree.clone();
        nodes.iter().try_for_each(|node| longer.append_root(*node, &mut Vec::new())).ok()?;
        Some((Part { nodes, ..part }, Cow::Owned(longer)))
    }
}

fn decode_parts(from: &mut Decoder<'_>) -> Result<Vec<Part>, DecodeError> {
    (0..from.count(66)?)
        .map(|_| {
            let (signer, signature) = (from.uint()?, from.fixed()?);
            Ok(Part { signer, signature, patch: from.uint()?, nodes: Vec::new() })
        })
        .collect()
}

fn decode_parts_v0(from: &mut Decoder<'_>) -> Result<Vec<Part>, DecodeError> {
    (0..from.count(66)?)
        .map(|_| {
            let flags = from.uint()?;
            let (signer, signature) = (from.uint()?, from.fixed()?);
            let patch = if flags & 1 == 0 { 0 } else { decode_patch_v0(from)? };
            Ok(Part { signer, signature, patch, nodes: Vec::new() })
        })
        .collect()
}

/// Reads a patch and returns its length; start and positions follow from the tree and the nodes' indices.
fn decode_patch_v0(from: &mut Decoder<'_>) -> Result<u64, DecodeError> {
    from.uint()?;
    let length = from.uint()?;
    for _ in 0..from.count(1)? {
        from.uint()?;
    }
    Ok(length)
}

fn assemble(parts: &[Part]) -> Vec<u8> {
    let mut patch: Vec<Node> = Vec::new();
    let mut out = Vec::new();
    out.uint(parts.len() as u64);
    for part in parts {
        out.uint(part.signer);
        out.raw(&part.signature);
        out.uint(part.patch);
        for node in &part.nodes {
            if patch.iter().all(|known| known.index != node.index) {
                patch.push(*node);
            }
        }
    }
    encode_nodes(&patch, &mut out);
    out
}

fn assemble_v0(parts: &[Part]) -> Vec<u8> {
    let mut patch: Vec<Node> = Vec::new();
    let mut out = Vec::new();
    out.uint(parts.len() as u64);
    for part in parts {
        let last = part.nodes.last().filter(|_| part.patch > 0);
        out.uint(u64::from(last.is_some()));
        out.uint(part.signer);
        out.raw(&part.signature);
        let Some(last) = last else { continue };
        out.uint(flat_tree::last_leaf(last.index) / 2 + 1);
        out.uint(part.patch);
        out.uint(part.nodes.len() as u64);
        for node in &part.nodes {
            let known = patch.iter().position(|known| known == node);
            out.uint(known.unwrap_or(patch.len()) as u64);
            if known.is_none() {
                patch.push(*node);
            }
        }
    }
    encode_nodes(&patch, &mut out);
    out
}

static TREE: LazyLock<Hash> = LazyLock::new(|| namespace("hypercore", 0));

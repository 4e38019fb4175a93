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
        match self.prologue() {
            Some(prologue) if tree.length <= prologue.length => {
                tree.length == prologue.length && tree.hash() == prologue.hash
            }
            _ if self.is_raw() => {
                let signature = signature.try_into();
                signature.is_ok_and(|signature| self.verify_part(&self.manifest.signers[0], tree, signature))
            }
            _ => self.verify_parts(tree, signature).unwrap_or(false),
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
        Some(if self.is_raw() { part.signature.to_vec() } else { self.assemble(&[part]) })
    }

    /// Returns the pair's part of a signature over the tree, or `None` if it is no signer.
    pub fn sign_part(&self, tree: &Tree, pair: &KeyPair) -> Option<Part> {
        let signer = self.signer(&pair.public())?;
        let message = self.signable(&self.manifest.signers[signer as usize], tree);
        Some(Part { signer, signature: pair.sign(&message), patch: 0, nodes: Vec::new() })
    }

    /// Returns the parts as one signature; as many as the quorum asks for are looked at.
    pub fn assemble(&self, parts: &[Part]) -> Vec<u8> {
        if self.manifest.version == 0 { assemble_v0(parts) } else { assemble(parts) }
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

    fn verify_part(&self, signer: &Signer, tree: &Tree, signature: &Signature) -> bool {
        signer.public_key.verify(&self.signable(signer, tree), signature)
    }

    fn verify_parts(&self, tree: &Tree, signature: &[u8]) -> Result<bool, DecodeError> {
        let mut from = Decoder::new(signature);
        let parts = if self.manifest.version == 0 { decode_parts_v0(&mut from)? } else { decode_parts(&mut from)? };
        let patch: BTreeMap<u64, Node> = decode_nodes(&mut from)?.into_iter().map(|node| (node.index, node)).collect();
        let quorum = self.manifest.quorum as usize;
        if quorum == 0 || parts.len() < quorum {
            return Ok(false);
        }
        let mut tried = vec![false; self.manifest.signers.len()];
        Ok(parts[..quorum].iter().all(|part| {
            let place = part.signer as usize;
            let fresh = tried.get_mut(place).is_some_and(|tried| !std::mem::replace(tried, true));
            fresh
                && self
                    .patched(tree, part.patch, &patch)
                    .is_some_and(|tree| self.verify_part(&self.manifest.signers[place], &tree, &part.signature))
        }))
    }

    /// Returns the tree that a signer signed, if the nodes for it are there.
    fn patched<'a>(&self, tree: &'a Tree, blocks: u64, nodes: &BTreeMap<u64, Node>) -> Option<Cow<'a, Tree>> {
        if blocks == 0 || !self.manifest.allow_patch {
            return Some(Cow::Borrowed(tree));
        }
        let mut longer = tree.clone();
        for index in flat_tree::growth(tree.length, tree.length.checked_add(blocks)?) {
            longer.append_root(*nodes.get(&index)?, &mut Vec::new()).ok()?;
        }
        Some(Cow::Owned(longer))
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

fn decode_nodes(from: &mut Decoder<'_>) -> Result<Vec<Node>, DecodeError> {
    (0..from.count(34)?).map(|_| Ok(Node { index: from.uint()?, size: from.uint()?, hash: from.fixed()? })).collect()
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

fn encode_nodes(nodes: &[Node], out: &mut Vec<u8>) {
    out.uint(nodes.len() as u64);
    for node in nodes {
        out.uint(node.index);
        out.uint(node.size);
        out.raw(&node.hash);
    }
}

static TREE: LazyLock<Hash> = LazyLock::new(|| namespace("hypercore", 0));

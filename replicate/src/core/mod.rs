//! One hypercore: its Merkle tree, proofs, manifest and bitfield.
//!
//! A [`Core`] changes in memory only: what it appends, accepts or truncates is *staged*, and every read sees it.
//! Its owner takes the changes of as many cores as it likes ([`Core::take_changes`]), commits them to the store as one
//! [`Batch`](crate::store::Batch), and tells each core so ([`Core::committed`]). Nothing may be announced to a peer
//! before that. If the commit fails, the changes stay staged, and the next `take_changes` returns them again.
//!
//! Pure and synchronous: proofs are plain values in and out, and nothing a peer claims is allocated or looped over.
//!
//! Source: npm hypercore 11.37, `lib/core.js`, `lib/session-state.js`.

mod bitfield;
mod error;
pub mod flat_tree;
mod manifest;
mod multisig;
mod prove;
mod reorg;
mod rows;
mod staged;
mod tree;
mod verify;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use anypath_wire::{DiscoveryKey, KeyPair, PublicKey};

pub use bitfield::{Bitfield, Words};
pub use error::{AppendError, OpenError, ProveError, VerifyError};
pub use manifest::{Manifest, Prologue, Signer};
pub use multisig::{Authority, Part};
pub use reorg::{Reorg, Want};
pub use tree::{Tree, leaf, parent, tree_hash};

use crate::store::{CoreChanges, Store, StoreError};
use crate::{AppendBlocks, Blocks, Node, Proof, Request};
use rows::{Head, Info};
use staged::{Found, Staged};

/// One hypercore, as far as it is known here.
pub struct Core {
    store: Arc<dyn Store>,
    key: PublicKey,
    discovery_key: DiscoveryKey,
    authority: Option<Authority>,
    signer: Option<KeyPair>,
    tree: Tree,
    signature: Vec<u8>,
    bitfield: Bitfield,
    user_data: BTreeMap<String, Vec<u8>>,
    frozen: bool,
    staged: Staged,
    changed: Rows,
    handed: Rows,
}

/// Rows to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Rows {
    info: bool,
    head: bool,
}

/// What an accepted proof changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Accepted {
    /// The block that is held now and was not before.
    pub block: Option<u64>,
    /// The length before.
    pub length_before: u64,
    /// The length now.
    pub length: u64,
    /// Whether the manifest is known now and was not before.
    pub manifest: bool,
}

/// What the adoption of a higher fork changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adopted {
    /// The blocks both histories have in common; those behind were dropped.
    pub ancestor: u64,
    /// The length before.
    pub old_length: u64,
}

impl Core {
    /// Begins an empty core of that manifest; writable if the pair may sign for it alone.
    pub fn create(store: Arc<dyn Store>, manifest: Manifest, signer: Option<KeyPair>) -> Self {
        let key = manifest.key();
        let mut core = Self::remote(store, key);
        core.authority = Authority::new(key, manifest);
        core.signer = signer;
        core
    }

    /// Begins an empty core whose key is the pair's public key, as hypercore 10 made them.
    pub fn create_compat(store: Arc<dyn Store>, signer: KeyPair) -> Self {
        let key = signer.public();
        let mut core = Self::remote(store, key);
        core.authority = Authority::new(key, Manifest::single(Signer::new(key)));
        core.signer = Some(signer);
        core
    }

    /// Begins a core of which nothing is known but its key.
    pub fn remote(store: Arc<dyn Store>, key: PublicKey) -> Self {
        Self {
            store,
            key,
            discovery_key: key.discovery_key(),
            authority: None,
            signer: None,
            tree: Tree::default(),
            signature: Vec::new(),
            bitfield: Bitfield::default(),
            user_data: BTreeMap::new(),
            frozen: false,
            staged: Staged::default(),
            changed: Rows { info: true, head: false },
            handed: Rows::default(),
        }
    }

    /// Opens a core that was committed to the store, or returns `None` if there is none.
    ///
    /// # Errors
    /// If the store fails or its rows do not make sense.
    pub fn open(store: Arc<dyn Store>, discovery_key: &DiscoveryKey) -> Result<Option<Self>, OpenError> {
        let Some(info) = store.info(discovery_key)? else { return Ok(None) };
        let Info { key, manifest, frozen } = Info::decode(&info).map_err(|_| OpenError::Row { row: "info" })?;
        let head = match store.head(discovery_key)? {
            Some(row) => Head::decode(&row).map_err(|_| OpenError::Row { row: "head" })?,
            None => Head::default(),
        };
        let root = |index| store.node(discovery_key, index)?.ok_or(OpenError::RootMissing { index });
        let roots = flat_tree::full_roots(head.length).map(root).collect::<Result<_, _>>()?;
        let tree = Tree { fork: head.fork, length: head.length, byte_length: head.byte_length, roots };
        let bitfield = Bitfield::from_pages(store.bitfield(discovery_key)?);
        let authority = match manifest {
            Some(manifest) => Some(Authority::new(key, manifest).ok_or(OpenError::Row { row: "info" })?),
            None => None,
        };
        Ok(Some(Self {
            authority,
            tree,
            signature: head.signature,
            bitfield,
            user_data: head.user_data,
            frozen,
            changed: Rows::default(),
            ..Self::remote(store, key)
        }))
    }

    /// Gives the core the pair that signs what is appended. A compat core learns its manifest by it.
    pub fn sign_with(&mut self, signer: KeyPair) {
        if self.authority.is_none() {
            self.learn_manifest(Manifest::single(Signer::new(signer.public())));
        }
        self.signer = Some(signer);
    }

    /// Returns the key.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// Returns the name under which peers look for the core.
    pub fn discovery_key(&self) -> &DiscoveryKey {
        &self.discovery_key
    }

    /// Returns who may sign, once that is known.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.authority.as_ref().map(Authority::manifest)
    }

    /// Returns whether the key is simply that of the only signer; such a core's manifest is never sent.
    pub fn is_compat(&self) -> bool {
        self.authority.as_ref().is_some_and(Authority::is_compat)
    }

    /// Returns the fork: 0, and higher after each truncation.
    pub fn fork(&self) -> u64 {
        self.tree.fork
    }

    /// Returns how many blocks there are, held or not.
    pub fn length(&self) -> u64 {
        self.tree.length
    }

    /// Returns the sum of all blocks' sizes in bytes, held or not.
    pub fn byte_length(&self) -> u64 {
        self.tree.byte_length
    }

    /// Returns fork, length and roots: what the signature covers.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Returns the signature over the tree, in the shape the manifest asks for; empty for an empty core.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// Returns how many blocks are held from the first on without a gap.
    pub fn contiguous_length(&self) -> u64 {
        self.bitfield.contiguous()
    }

    /// Returns whether a block is held.
    pub fn has(&self, index: u64) -> bool {
        self.bitfield.has(index)
    }

    /// Returns which blocks are held.
    pub fn bitfield(&self) -> &Bitfield {
        &self.bitfield
    }

    /// Returns whether blocks can be appended here.
    pub fn writable(&self) -> bool {
        let pair = self.signer.as_ref().zip(self.authority.as_ref());
        !self.frozen && pair.is_some_and(|(signer, authority)| authority.may_sign(signer))
    }

    /// Returns whether two contradicting signed trees were seen, so that nothing is taken any more.
    pub fn is_frozen(&self) -> bool {
        self.frozen
    }

    /// Takes nothing any more, for good.
    pub fn freeze(&mut self) {
        self.changed.info |= !self.frozen;
        self.frozen = true;
    }

    /// Returns what the owner stored under a name.
    pub fn user_data(&self, name: &str) -> Option<&[u8]> {
        self.user_data.get(name).map(Vec::as_slice)
    }

    /// Stores something of the owner's with the head.
    pub fn set_user_data(&mut self, name: &str, value: &[u8]) {
        self.user_data.insert(name.to_owned(), value.to_vec());
        self.changed.head = true;
    }

    /// Returns a tree node, if it is known here.
    pub fn node(&self, index: u64) -> Result<Option<Node>, StoreError> {
        match self.staged.node(index) {
            Found::Here(node) => Ok(Some(node)),
            Found::Gone => Ok(None),
            Found::Below => self.store.node(&self.discovery_key, index),
        }
    }

    /// Returns the block at `index`, or `None` if it is not held.
    pub fn block(&self, index: u64) -> Result<Option<Bytes>, StoreError> {
        if !self.has(index) {
            return Ok(None);
        }
        match self.staged.block(index) {
            Found::Here(block) => Ok(Some(block)),
            Found::Gone => Ok(None),
            Found::Below => self.store.block(&self.discovery_key, index),
        }
    }

    /// Returns the bytes before a block, or `None` if that is not known or the block lies beyond the end.
    pub fn byte_offset(&self, index: u64) -> Result<Option<u64>, StoreError> {
        if index == self.length() {
            return Ok(Some(self.byte_length()));
        }
        let mut offset = 0;
        for root in &self.tree.roots {
            if flat_tree::last_leaf(root.index) < index.saturating_mul(2) {
                offset += root.size;
                continue;
            }
            return Ok(self.offset_within(root.index, 2 * index)?.map(|within| offset + within));
        }
        Ok(None)
    }

    fn offset_within(&self, root: u64, leaf: u64) -> Result<Option<u64>, StoreError> {
        let (mut at, mut offset) = (root, 0);
        while at != leaf {
            let Some(left) = flat_tree::left_child(at) else { break };
            at = left;
            if leaf > flat_tree::last_leaf(left) {
                let Some(node) = self.node(left)? else { return Ok(None) };
                offset += node.size;
                at = flat_tree::sibling(left);
            }
        }
        Ok(Some(offset))
    }

    /// Returns the block in which a byte position lies, and the position within it; a position between two blocks
    /// belongs to the later one. `None` if that is not known here or the position lies beyond the end.
    pub fn seek(&self, bytes: u64) -> Result<Option<(u64, u64)>, StoreError> {
        let mut bytes = bytes;
        for root in &self.tree.roots {
            if bytes < root.size || bytes == 0 {
                return self.seek_below(root.index, bytes);
            }
            bytes -= root.size;
        }
        Ok((bytes == 0).then_some((self.length(), 0)))
    }

    fn seek_below(&self, root: u64, mut bytes: u64) -> Result<Option<(u64, u64)>, StoreError> {
        let mut at = root;
        while let Some(left) = flat_tree::left_child(at) {
            if bytes == 0 {
                return Ok(Some((flat_tree::first_leaf(at) / 2, 0)));
            }
            let Some(node) = self.node(left)? else { return Ok(None) };
            (at, bytes) = match bytes.checked_sub(node.size) {
                Some(rest) => (flat_tree::sibling(left), rest),
                None => (left, bytes),
            };
        }
        Ok(Some((at / 2, bytes)))
    }

    /// Returns how many levels of a node's path are missing here: what a request for it states as `nodes`.
    /// A store that fails counts as holding nothing.
    pub fn missing_nodes(&self, index: u64) -> u64 {
        let (mut at, mut missing) = (index, 0);
        while at <= flat_tree::INDEX_MAX
            && flat_tree::is_below(at, self.length())
            && !matches!(self.node(at), Ok(Some(_)))
        {
            at = flat_tree::parent(at);
            missing += 1;
        }
        missing
    }

    /// Returns whether a peer at our fork with that length can be upgraded by us: whether we know its roots.
    pub fn can_upgrade(&self, length: u64) -> bool {
        let known = |index| matches!(self.node(index), Ok(Some(_)));
        length == 0 || (length < self.length() && flat_tree::full_roots(length).all(known))
    }

    /// Appends blocks in order under one signature, and returns the new length.
    ///
    /// # Errors
    /// If the core cannot be written or would grow too large; then nothing is appended.
    pub fn append(&mut self, blocks: &[Bytes]) -> Result<u64, AppendError> {
        if blocks.is_empty() && self.writable() {
            return Ok(self.length());
        }
        let (mut tree, mut nodes) = (self.tree.clone(), Vec::with_capacity(2 * blocks.len()));
        for block in blocks {
            tree.append(block, &mut nodes).map_err(|_| AppendError::TooLarge)?;
        }
        self.signature = self.sign(&tree)?;
        let start = self.length();
        nodes.into_iter().for_each(|node| self.staged.put_node(node));
        for (index, block) in (start..).zip(blocks) {
            self.staged.put_block(index, block.clone());
        }
        self.bitfield.set_range(start..tree.length);
        self.tree = tree;
        self.changed.head = true;
        Ok(self.length())
    }

    /// Drops all blocks from `length` on and moves to a higher fork, by default the next one.
    ///
    /// # Errors
    /// If the core cannot be written, or the length or the fork does not fit; then nothing is dropped.
    pub fn truncate(&mut self, length: u64, fork: Option<u64>) -> Result<(), AppendError> {
        let fork = fork.unwrap_or(self.fork() + 1);
        if length > self.length() {
            return Err(AppendError::NotShorter { length: self.length(), wanted: length });
        }
        if fork <= self.fork() || fork > tree::LENGTH_MAX {
            return Err(AppendError::NotHigher { fork: self.fork(), wanted: fork });
        }
        let root = |index| self.node(index)?.ok_or(AppendError::NodeMissing { index });
        let roots: Vec<Node> = flat_tree::full_roots(length).map(root).collect::<Result<_, _>>()?;
        let byte_length = roots.iter().map(|root| root.size).sum();
        let tree = Tree { fork, length, byte_length, roots };
        self.signature = self.sign(&tree)?;
        self.drop_from(length);
        self.tree = tree;
        Ok(())
    }

    fn sign(&self, tree: &Tree) -> Result<Vec<u8>, AppendError> {
        if self.frozen {
            return Err(AppendError::Frozen);
        }
        let (signer, authority) = self.signer.as_ref().zip(self.authority.as_ref()).ok_or(AppendError::NotWritable)?;
        match authority.prologue() {
            Some(prologue) if tree.length < prologue.length => Err(AppendError::Prologue { prologue: prologue.length }),
            _ => authority.sign(tree, signer).ok_or(AppendError::NotWritable),
        }
    }

    fn drop_from(&mut self, length: u64) {
        self.staged.truncate(length);
        self.bitfield.truncate(length);
        self.changed.head = true;
    }

    /// Verifies an answer to a request and stages what it brings.
    ///
    /// # Errors
    /// See [`VerifyError`]; nothing is staged then.
    pub fn accept(&mut self, proof: Proof, asked: &Request) -> Result<Accepted, VerifyError> {
        if self.frozen {
            return Err(VerifyError::Frozen);
        }
        if proof.fork != self.fork() {
            return Err(VerifyError::Fork { theirs: proof.fork, ours: self.fork() });
        }
        verify::check_asked(&proof, asked)?;
        verify::check_bounds(&proof)?;
        let mut nodes = Vec::new();
        let top = verify::follow_paths(&proof, &mut nodes)?;
        let grown = self.verify_upgrade(&proof, top.map(|top| top.node))?;
        match top {
            Some(top) if grown.as_ref().is_none_or(|grown| grown.top.is_some()) => self.verify_top(top, &mut nodes)?,
            _ => {}
        }
        let manifest = match &grown {
            Some(grown) => {
                let authority = self.authority_for(proof.manifest.as_ref())?;
                if !authority.verify(&grown.tree, &grown.signature) {
                    return Err(VerifyError::InvalidSignature);
                }
                self.authority.is_none().then(|| authority.into_owned())
            }
            None => self.manifest_alone(proof.manifest)?,
        };
        let mut accepted =
            Accepted { length_before: self.length(), manifest: manifest.is_some(), ..Accepted::default() };
        self.stage(manifest, nodes, grown);
        if let Some(block) = proof.block.filter(|block| self.bitfield.set(block.index)) {
            accepted.block = Some(block.index);
            self.staged.put_block(block.index, block.value);
        }
        accepted.length = self.length();
        Ok(accepted)
    }

    /// Grows a copy of the tree as the proof says, or returns `None` if it brings no longer one.
    fn verify_upgrade(&self, proof: &Proof, mut top: Option<Node>) -> Result<Option<Grown>, VerifyError> {
        let Some(upgrade) = &proof.upgrade else { return Ok(None) };
        if verify::target(upgrade) <= self.length() {
            return Ok(None);
        }
        if upgrade.start != self.length() {
            return Err(VerifyError::Stale);
        }
        let authority = self.authority_for(proof.manifest.as_ref())?;
        let (mut tree, mut nodes) = (self.tree.clone(), Vec::new());
        verify::grow(&mut tree, upgrade, authority.prologue(), &mut top, &mut nodes)?;
        Ok(Some(Grown { tree, nodes, top, signature: upgrade.signature.clone() }))
    }

    /// Checks the top of a proof's paths against the node known at its place.
    fn verify_top(&self, top: verify::Top, nodes: &mut Vec<Node>) -> Result<(), VerifyError> {
        let known = self.node(top.node.index)?.ok_or(VerifyError::InvalidOperation)?;
        if known.hash != top.node.hash {
            return Err(VerifyError::InvalidChecksum);
        }
        // A hash speaks for a size only where it was computed: what is known is not replaced by a mere claim.
        if !top.computed || known == top.node {
            nodes.pop();
        }
        Ok(())
    }

    /// Returns the authority by which a head is to be judged.
    fn authority_for(&self, manifest: Option<&Manifest>) -> Result<Cow<'_, Authority>, VerifyError> {
        if let Some(authority) = &self.authority {
            return Ok(Cow::Borrowed(authority));
        }
        let manifest = manifest.cloned().unwrap_or_else(|| Manifest::single(Signer::new(self.key)));
        Authority::new(self.key, manifest).map(Cow::Owned).ok_or(VerifyError::InvalidSignature)
    }

    /// Returns the authority learnt from a manifest that came without an upgrade.
    fn manifest_alone(&self, manifest: Option<Manifest>) -> Result<Option<Authority>, VerifyError> {
        let Some(manifest) = manifest.filter(|_| self.authority.is_none()) else { return Ok(None) };
        let authority = Authority::new(self.key, manifest).filter(|authority| !authority.is_compat());
        authority.map(Some).ok_or(VerifyError::InvalidChecksum)
    }

    fn learn_manifest(&mut self, manifest: Manifest) {
        self.authority = Authority::new(self.key, manifest);
        self.changed.info |= self.authority.is_some();
    }

    fn stage(&mut self, authority: Option<Authority>, nodes: Vec<Node>, grown: Option<Grown>) {
        if let Some(authority) = authority {
            self.authority = Some(authority);
            self.changed.info = true;
        }
        nodes.into_iter().for_each(|node| self.staged.put_node(node));
        if let Some(grown) = grown {
            grown.nodes.into_iter().for_each(|node| self.staged.put_node(node));
            (self.tree, self.signature) = (grown.tree, grown.signature);
            self.changed.head = true;
        }
    }

    /// Returns whether a proof of our own fork, an upgrade from 0, contradicts our tree although it is signed.
    /// The owner of the core then freezes it.
    ///
    /// # Errors
    /// If the proof does not stand by itself.
    pub fn conflicts(&self, proof: Proof) -> Result<bool, VerifyError> {
        let Some(upgrade) = &proof.upgrade else { return Ok(false) };
        if self.authority.is_none() || proof.fork != self.fork() || self.length() < upgrade.length {
            return Ok(false);
        }
        let (length, hash) = (upgrade.length, verify::hash_at_target(upgrade));
        if proof.block.is_some() || proof.hash.is_some() || proof.seek.is_some() {
            return Err(VerifyError::InvalidProof);
        }
        reorg::Whole::verify(self, proof)?;
        let root = |index| self.node(index)?.ok_or(VerifyError::InvalidOperation);
        let roots: Vec<Node> = flat_tree::full_roots(length).map(root).collect::<Result<_, _>>()?;
        Ok(tree_hash(&roots) != hash)
    }

    /// Moves to a higher fork: drops what is behind the common ancestor and takes over the fork's head.
    ///
    /// # Errors
    /// `Stale` if the reorg is not finished or the core has changed since it started.
    pub fn adopt(&mut self, reorg: Reorg) -> Result<Adopted, VerifyError> {
        if self.frozen {
            return Err(VerifyError::Frozen);
        }
        if !reorg.is_finished() || reorg.base != (self.fork(), self.length()) {
            return Err(VerifyError::Stale);
        }
        let adopted = Adopted { ancestor: reorg.ancestor, old_length: self.length() };
        self.drop_from(reorg.ancestor);
        reorg.nodes.into_values().for_each(|node| self.staged.put_node(node));
        (self.tree, self.signature) = (reorg.tree, reorg.signature);
        if self.authority.is_none() {
            self.authority = Some(reorg.authority);
            self.changed.info = true;
        }
        Ok(adopted)
    }

    /// Returns roughly how many bytes were staged since the last [`take_changes`](Self::take_changes).
    pub fn staged_bytes(&self) -> usize {
        self.staged.bytes()
    }

    /// Returns everything staged since the last [`committed`](Self::committed), or `None` if there is nothing.
    pub fn take_changes(&mut self) -> Option<CoreChanges> {
        let bitfield = self.bitfield.hand_out();
        let changed = std::mem::take(&mut self.changed);
        self.handed = Rows { info: self.handed.info | changed.info, head: self.handed.head | changed.head };
        if self.handed == Rows::default() && bitfield.is_empty() && self.staged.is_empty() {
            return None;
        }
        let (truncate, nodes, blocks) = self.staged.hand_out();
        Some(CoreChanges {
            core: self.discovery_key,
            info: self.handed.info.then(|| self.info().encode()),
            head: self.handed.head.then(|| Head::encode(&self.tree, &self.signature, &self.user_data)),
            truncate,
            nodes,
            blocks,
            bitfield,
        })
    }

    /// Says that what [`take_changes`](Self::take_changes) returned last is in the store now.
    pub fn committed(&mut self) {
        self.staged.committed();
        self.bitfield.committed();
        self.handed = Rows::default();
    }

    fn info(&self) -> Info {
        Info { key: self.key, manifest: self.manifest().cloned(), frozen: self.frozen }
    }

    fn prologue(&self) -> Option<&Prologue> {
        self.authority.as_ref().and_then(Authority::prologue)
    }
}

/// A longer tree, not yet the core's own.
struct Grown {
    tree: Tree,
    nodes: Vec<Node>,
    top: Option<Node>,
    signature: Vec<u8>,
}

impl Blocks for Core {
    type Error = AppendError;

    fn length(&self) -> u64 {
        self.length()
    }

    fn block(&self, index: u64) -> Result<Option<Bytes>, AppendError> {
        Ok(self.block(index)?)
    }
}

impl AppendBlocks for Core {
    fn byte_length(&self) -> u64 {
        self.byte_length()
    }

    fn append(&mut self, blocks: &[Bytes]) -> Result<u64, AppendError> {
        self.append(blocks)
    }
}

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

mod accept;
mod append;
mod bitfield;
mod cache;
mod encryption;
mod error;
mod evidence;
pub mod flat_tree;
mod manifest;
mod multisig;
pub(crate) mod page;
mod position;
mod prove;
mod reorg;
mod rows;
mod rule;
mod staged;
mod tree;
mod verify;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use anypath_wire::{DiscoveryKey, KeyPair, PublicKey};

pub use accept::Accepted;
pub use bitfield::Bitfield;
pub use encryption::{DecryptError, Encryption};
pub use error::{AppendError, OpenError, ProveError, VerifyError};
pub use evidence::{Claim, Contradiction, EVIDENCE_BYTES_MAX, Evidence, EvidenceError, SignedHead};
pub use manifest::{Manifest, Prologue, Signer};
pub use multisig::{Authority, Part};
pub use position::Position;
pub use reorg::{Adopted, Reorg, Want};
pub use rule::Rule;
pub(crate) use tree::leaf_hashes;
pub use tree::{Tree, leaf, parent, tree_hash};

use crate::Node;
use crate::store::{CoreChanges, Store, StoreError};
use cache::NodeCache;
use rows::{Head, Info};
use rule::Gate;
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
    evidence: Option<Arc<Evidence>>,
    gate: Gate,
    staged: Staged,
    cache: RefCell<NodeCache>,
    changed: Rows,
    handed: Rows,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tree { fork, length, .. } = self.tree;
        f.debug_struct("Core").field("key", &self.key).field("fork", &fork).field("length", &length).finish()
    }
}

/// Rows to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Rows {
    info: bool,
    head: bool,
    /// The head was signed here, and is not one of a peer's.
    signed: bool,
}

impl Rows {
    fn and(self, other: Self) -> Self {
        Self { info: self.info | other.info, head: self.head | other.head, signed: self.signed | other.signed }
    }
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
            evidence: None,
            gate: Gate::default(),
            staged: Staged::default(),
            cache: RefCell::default(),
            changed: Rows { info: true, ..Rows::default() },
            handed: Rows::default(),
        }
    }

    /// Opens a core that was committed to the store, or returns `None` if there is none.
    ///
    /// # Errors
    /// If the store fails or its rows do not make sense.
    pub fn open(store: Arc<dyn Store>, discovery_key: &DiscoveryKey) -> Result<Option<Self>, OpenError> {
        let Some(info) = store.info(discovery_key)? else { return Ok(None) };
        let Info { key, manifest, frozen, evidence } =
            Info::decode(&info).map_err(|_| OpenError::Row { row: "info" })?;
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
            evidence: evidence.map(Arc::new),
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

    /// Learns the manifest, if it is not known yet and is that of the key.
    pub fn know_manifest(&mut self, manifest: Manifest) {
        if self.authority.is_none() {
            self.learn_manifest(manifest);
        }
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

    /// Returns key and manifest as what makes and checks signatures, once the manifest is known.
    pub fn authority(&self) -> Option<&Authority> {
        self.authority.as_ref()
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

    /// Returns why the core is frozen; `None` if it is not, if the evidence was too long to be kept, or if an older
    /// version froze it.
    pub fn evidence(&self) -> Option<&Arc<Evidence>> {
        self.evidence.as_ref()
    }

    /// Takes nothing any more, for good, and keeps the reason unless it is longer than [`EVIDENCE_BYTES_MAX`].
    pub fn freeze(&mut self, evidence: Evidence) {
        if !self.frozen {
            self.frozen = true;
            self.evidence = (evidence.encode().len() <= EVIDENCE_BYTES_MAX).then(|| Arc::new(evidence));
            self.changed.info = true;
        }
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
        if index > flat_tree::INDEX_MAX {
            return Ok(None);
        }
        match self.staged.node(index) {
            Found::Here(node) => Ok(Some(node)),
            Found::Gone => Ok(None),
            Found::Below => self.stored_node(index),
        }
    }

    fn stored_node(&self, index: u64) -> Result<Option<Node>, StoreError> {
        if let Some(node) = self.cache.borrow_mut().find(index) {
            return Ok(node);
        }
        let node = self.store.node(&self.discovery_key, index)?;
        self.cache.borrow_mut().put(index, node);
        Ok(node)
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

    /// Forgets the blocks of a range that are held here; they stay part of the core, and can be fetched again.
    pub fn clear(&mut self, blocks: Range<u64>) {
        let blocks = blocks.start..blocks.end.min(self.length());
        if self.bitfield.next_set(blocks.start).is_some_and(|first| first < blocks.end) {
            self.bitfield.clear_range(blocks.clone());
            self.staged.clear(blocks);
        }
    }

    fn drop_from(&mut self, length: u64) {
        self.staged.truncate(length);
        self.bitfield.truncate(length);
        self.gate.truncate(length);
        self.changed.head = true;
    }

    fn learn_manifest(&mut self, manifest: Manifest) {
        self.authority = Authority::new(self.key, manifest);
        self.changed.info |= self.authority.is_some();
    }

    /// Returns roughly how many bytes were staged since the last [`take_changes`](Self::take_changes).
    pub fn staged_bytes(&self) -> usize {
        self.staged.bytes()
    }

    /// Returns whether anything was staged since the last [`take_changes`](Self::take_changes).
    pub fn is_staged(&self) -> bool {
        self.changed != Rows::default() || !self.staged.next_is_empty()
    }

    /// Returns everything staged since the last [`committed`](Self::committed), or `None` if there is nothing.
    pub fn take_changes(&mut self) -> Option<CoreChanges> {
        let bitfield = self.bitfield.hand_out();
        let changed = std::mem::take(&mut self.changed);
        self.handed = self.handed.and(changed);
        if self.handed == Rows::default() && bitfield.is_empty() && self.staged.is_empty() {
            return None;
        }
        let (truncate, clear, nodes, blocks) = self.staged.hand_out();
        Some(CoreChanges {
            core: self.discovery_key,
            info: self.handed.info.then(|| self.info().encode()),
            head: self.handed.head.then(|| Head::encode(&self.tree, &self.signature, &self.user_data)),
            lasting: self.handed.signed,
            truncate,
            clear,
            nodes,
            blocks,
            bitfield,
        })
    }

    /// Says that what [`take_changes`](Self::take_changes) returned last is in the store now.
    pub fn committed(&mut self) {
        self.staged.committed(self.cache.get_mut());
        self.bitfield.committed();
        self.handed = Rows::default();
    }

    /// Gives back the memory that speeds up reading: if nothing was read since the last call, or at once.
    pub fn rest(&self, at_once: bool) {
        let mut cache = self.cache.borrow_mut();
        if at_once { cache.clear() } else { cache.rest() }
    }

    fn info(&self) -> Info {
        Info {
            key: self.key,
            manifest: self.manifest().cloned(),
            frozen: self.frozen,
            evidence: self.evidence.as_deref().cloned(),
        }
    }

    fn prologue(&self) -> Option<&Prologue> {
        self.authority.as_ref().and_then(Authority::prologue)
    }
}

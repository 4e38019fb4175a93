//! Answers a request with a proof made of the nodes a core holds.
//!
//! Source: npm hypercore 11.37, `lib/merkle-tree.js` (`generateProof`).

use bytes::Bytes;

use super::{Core, ProveError, flat_tree, position};
use crate::{BlockProof, HashProof, Node, Proof, Request, SeekProof, SeekRequest, UpgradeProof, UpgradeRequest};

impl Core {
    /// Returns the proof that answers the request, with the manifest if it is asked for and not implied by the key.
    ///
    /// # Errors
    /// `NotHeld` if the block or nodes are not here, `Invalid` if the request does not fit the tree.
    pub fn prove(&self, request: &Request) -> Result<Proof, ProveError> {
        self.prove_at(self.length(), self.signature(), request)
    }

    /// Does the same as [`prove`](Self::prove) for the head that the core had at `length` blocks of this fork.
    pub(crate) fn prove_at(&self, length: u64, signature: &[u8], request: &Request) -> Result<Proof, ProveError> {
        let manifest = self.manifest().filter(|_| request.manifest && !self.is_compat()).cloned();
        let empty = Proof { fork: self.fork(), manifest, ..Proof::default() };
        if length == 0 || (Request { manifest: false, ..*request }) == Request::default() {
            return if empty.manifest.is_some() { Ok(empty) } else { Err(ProveError::NotHeld) };
        }
        let value = request.block.map(|block| self.held(block.index)).transpose()?.unwrap_or_default();
        let upgrade = request.upgrade.map(|upgrade| self.widen(upgrade));
        let target = Target::of(request)?;
        let mut paths = Paths { core: self, length, target, seek: request.seek, path: None, found: None };
        let nodes = paths.prove(upgrade)?;
        let path = paths.path.unwrap_or_default();
        Ok(Proof {
            hash: request.hash.map(|hash| HashProof { index: hash.index, nodes: path.clone() }),
            block: request.block.map(|block| BlockProof { index: block.index, value, nodes: path }),
            seek: request.seek.zip(paths.found).map(|(seek, nodes)| SeekProof { bytes: seek.bytes, nodes }),
            upgrade: upgrade.map(|upgrade| self.upgrade_proof(upgrade, length, signature, nodes)).transpose()?,
            ..empty
        })
    }

    fn held(&self, index: u64) -> Result<Bytes, ProveError> {
        self.block(index)?.ok_or(ProveError::NotHeld)
    }

    fn expect(&self, index: u64) -> Result<Node, ProveError> {
        self.node(index)?.ok_or(ProveError::NotHeld)
    }

    /// Lets an upgrade that starts within the prologue start at 0 and end with the prologue.
    fn widen(&self, upgrade: UpgradeRequest) -> UpgradeRequest {
        match self.prologue() {
            Some(prologue) if upgrade.start < prologue.length => UpgradeRequest { start: 0, length: prologue.length },
            _ => upgrade,
        }
    }

    fn upgrade_proof(
        &self,
        upgrade: UpgradeRequest,
        head: u64,
        signature: &[u8],
        nodes: Vec<Node>,
    ) -> Result<UpgradeProof, ProveError> {
        let UpgradeRequest { start, length } = upgrade;
        let additional = flat_tree::growth(start + length, head).map(|index| self.expect(index));
        let additional_nodes = additional.collect::<Result<_, _>>()?;
        Ok(UpgradeProof { start, length, nodes, additional_nodes, signature: signature.to_vec() })
    }

    /// Returns the node at which a search for a byte position under the first `length` blocks ends.
    fn seek_from_head(&self, length: u64, seek: SeekRequest) -> Result<Option<u64>, ProveError> {
        let mut bytes = seek.bytes;
        for root in flat_tree::full_roots(length) {
            let size = unpadded(&self.expect(root)?, seek.padding)?;
            match bytes.checked_sub(size) {
                Some(0) => return Ok(Some(root)),
                Some(rest) => bytes = rest,
                None => return self.seek_within(root, bytes, seek.padding).map(Some),
            }
        }
        Ok(None)
    }

    /// Returns the node at which a search ends for a byte position that must lie below `root`.
    fn seek_under(&self, root: u64, seek: SeekRequest) -> Result<u64, ProveError> {
        let first = flat_tree::first_leaf(root) / 2;
        let padding = seek.padding.checked_mul(first).ok_or(ProveError::Invalid)?;
        let offset = self.byte_offset(first)?.ok_or(ProveError::NotHeld)?;
        let offset = offset.checked_sub(padding).ok_or(ProveError::Invalid)?;
        let bytes = seek.bytes.checked_sub(offset).ok_or(ProveError::Invalid)?;
        if bytes > 0 && unpadded(&self.expect(root)?, seek.padding)? <= bytes {
            return Err(ProveError::Invalid);
        }
        self.seek_within(root, bytes, seek.padding)
    }

    /// Descends from `root` towards a byte position below it, as far as nodes are held.
    fn seek_within(&self, root: u64, mut bytes: u64, padding: u64) -> Result<u64, ProveError> {
        let mut at = root;
        if bytes == 0 {
            return Ok(root);
        }
        while let Some(left) = flat_tree::left_child(at) {
            let Some(node) = self.node(left)? else { return Ok(at) };
            match bytes.checked_sub(unpadded(&node, padding)?) {
                Some(0) => return Ok(left),
                Some(rest) => (at, bytes) = (flat_tree::sibling(left), rest),
                None => at = left,
            }
        }
        Ok(at)
    }
}

/// What a request's block or hash means for the tree.
#[derive(Debug, Clone, Copy)]
struct Target {
    index: u64,
    levels: u64,
    is_block: bool,
}

impl Target {
    fn of(request: &Request) -> Result<Option<Self>, ProveError> {
        match (request.block, request.hash) {
            (None, None) => Ok(None),
            (Some(_), Some(_)) => Err(ProveError::Invalid),
            (Some(block), None) => Ok(Some(Self { index: 2 * block.index, levels: block.nodes, is_block: true })),
            (None, Some(hash)) if hash.index > flat_tree::INDEX_MAX => Err(ProveError::Invalid),
            (None, Some(hash)) => Ok(Some(Self { index: hash.index, levels: hash.nodes, is_block: false })),
        }
    }

    /// Returns the node reached by climbing the levels the asker lacks.
    fn root(&self, length: u64) -> Result<u64, ProveError> {
        let mut root = self.index;
        for _ in 0..self.levels {
            if !flat_tree::is_below(root, length) {
                return Err(ProveError::Invalid);
            }
            root = flat_tree::parent(root);
        }
        if flat_tree::is_below(root, length) { Ok(root) } else { Err(ProveError::Invalid) }
    }
}

/// The paths of one proof while they are put together.
struct Paths<'a> {
    core: &'a Core,
    /// The head's length.
    length: u64,
    target: Option<Target>,
    seek: Option<SeekRequest>,
    /// The target's path.
    path: Option<Vec<Node>>,
    /// The path of the node found at the byte position.
    found: Option<Vec<Node>>,
}

impl Paths<'_> {
    /// Fills in the paths and returns the nodes of the upgrade.
    fn prove(&mut self, upgrade: Option<UpgradeRequest>) -> Result<Vec<Node>, ProveError> {
        let (start, length) = match upgrade {
            Some(upgrade) => (upgrade.start, upgrade.start.checked_add(upgrade.length).ok_or(ProveError::Invalid)?),
            None => (0, self.length),
        };
        if start >= length || length > self.length {
            return Err(ProveError::Invalid);
        }
        let known = |target: &Target| upgrade.is_none() || flat_tree::is_below(target.index, start);
        let nodes = match (self.target, self.seek) {
            (Some(target), seek) if known(&target) => {
                let root = target.root(length)?;
                let found = seek.map(|seek| self.core.seek_under(root, seek)).transpose()?;
                self.follow(root, found)?;
                self.grow(start, length, None)
            }
            (Some(_), Some(_)) => Err(ProveError::Invalid),
            (Some(target), None) => self.grow(start, length, Some(target.index)),
            (None, Some(_)) if upgrade.is_none() => Err(ProveError::Invalid),
            (None, Some(seek)) => {
                let found = self.core.seek_from_head(length, seek)?;
                self.grow(start, length, found)
            }
            (None, None) => self.grow(start, length, None),
        }?;
        if self.target.is_some() && self.path.is_none() { Err(ProveError::Invalid) } else { Ok(nodes) }
    }

    /// Returns the nodes an upgrade lists, leaving out the one that `inner` lies below: its path replaces it.
    fn grow(&mut self, start: u64, length: u64, inner: Option<u64>) -> Result<Vec<Node>, ProveError> {
        let mut nodes = Vec::new();
        for root in flat_tree::growth(start, length) {
            match inner.filter(|inner| flat_tree::contains(root, *inner)) {
                Some(inner) => self.follow(root, Some(inner).filter(|_| self.target.is_none()))?,
                None => nodes.push(self.core.expect(root)?),
            }
        }
        Ok(nodes)
    }

    /// Lists what leads from the target, and from the node `found` by a search, up to `root`.
    fn follow(&mut self, root: u64, found: Option<u64>) -> Result<(), ProveError> {
        let Some(target) = self.target else {
            self.found = found.map(|found| self.siblings(found, root)).transpose()?;
            return Ok(());
        };
        let mut path = Vec::new();
        if !target.is_block {
            path.push(self.core.expect(target.index)?);
        }
        let mut at = target.index;
        while at != root {
            let sibling = flat_tree::sibling(at);
            match found.filter(|found| *found != sibling && flat_tree::contains(sibling, *found)) {
                Some(found) => self.found = Some(self.siblings(found, sibling)?),
                None => path.push(self.core.expect(sibling)?),
            }
            at = flat_tree::parent(at);
        }
        self.path = Some(path);
        Ok(())
    }

    /// Lists a node and its siblings up to `root`, which it must lie below.
    fn siblings(&self, index: u64, root: u64) -> Result<Vec<Node>, ProveError> {
        let mut nodes = vec![self.core.expect(index)?];
        let mut at = index;
        while at != root {
            nodes.push(self.core.expect(flat_tree::sibling(at))?);
            at = flat_tree::parent(at);
        }
        Ok(nodes)
    }
}

/// Returns the bytes below a node without `padding` for each block.
fn unpadded(node: &Node, padding: u64) -> Result<u64, ProveError> {
    position::unpadded(node, padding).ok_or(ProveError::Invalid)
}

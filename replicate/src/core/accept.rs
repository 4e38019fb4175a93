//! Takes proofs in: what a peer answers is verified against what is known here, and staged.
//!
//! Source: npm hypercore 11.37, `lib/core.js` (`verify`), `lib/merkle-tree.js` (`verify`).

use std::borrow::Cow;

use anypath_wire::Hash;

use super::multisig::Authority;
use super::verify::{self, Top};
use super::{Core, Manifest, Tree, VerifyError};
use crate::{Node, Proof, Request};

/// What an accepted proof changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Accepted {
    /// The block that is held now and was not before.
    pub block: Option<u64>,
    /// The block that the application's rule refuses and had not refused before.
    pub refused: Option<u64>,
    /// The length before.
    pub length_before: u64,
    /// The length now.
    pub length: u64,
    /// Whether the manifest is known now and was not before.
    pub manifest: bool,
}

impl Core {
    /// Verifies an answer to a request and stages what it brings.
    ///
    /// # Errors
    /// See [`VerifyError`]; nothing is staged then.
    pub fn accept(&mut self, proof: Proof, asked: &Request) -> Result<Accepted, VerifyError> {
        self.accept_hashed(proof, None, asked)
    }

    /// Does the same for a proof whose block was hashed already: `leaf` must be the hash of its [`leaf`](super::leaf).
    pub(crate) fn accept_hashed(
        &mut self,
        proof: Proof,
        leaf: Option<Hash>,
        asked: &Request,
    ) -> Result<Accepted, VerifyError> {
        if self.frozen {
            return Err(VerifyError::Frozen);
        }
        if proof.fork != self.fork() {
            return Err(VerifyError::Fork { theirs: proof.fork, ours: self.fork() });
        }
        verify::check_asked(&proof, asked)?;
        verify::check_bounds(&proof)?;
        let mut nodes = Vec::new();
        let top = verify::follow_paths(&proof, leaf, &mut nodes)?;
        let grown = self.verify_upgrade(&proof, top.map(|top| top.node))?;
        if let Some(top) = top.filter(|_| grown.as_ref().is_none_or(|grown| grown.top.is_some())) {
            self.verify_top(top, &mut nodes)?;
        }
        let authority = match &grown {
            Some(grown) => self.verify_head(grown, proof.manifest.as_ref())?,
            None => self.manifest_alone(proof.manifest)?,
        };
        let (length_before, manifest) = (self.length(), authority.is_some());
        self.stage(authority, nodes, grown);
        let (welcome, unwelcome) = match proof.block {
            Some(block) if self.gate.accepts(block.index, &block.value) => (Some(block), None),
            block => (None, block),
        };
        let refused = unwelcome.map(|block| block.index).filter(|index| self.gate.refuse(*index));
        let gained = welcome.filter(|block| self.bitfield.set(block.index));
        let block = gained.as_ref().map(|block| block.index);
        if let Some(gained) = gained {
            self.staged.put_block(gained.index, gained.value);
        }
        Ok(Accepted { block, refused, length_before, length: self.length(), manifest })
    }

    /// Checks the signature of a longer tree, and returns the authority if it was not known before.
    fn verify_head(&self, grown: &Grown, manifest: Option<&Manifest>) -> Result<Option<Authority>, VerifyError> {
        let authority = self.authority_for(manifest)?;
        if !authority.verify(&grown.tree, &grown.signature) {
            return Err(VerifyError::InvalidSignature);
        }
        Ok(self.authority.is_none().then(|| authority.into_owned()))
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
    fn verify_top(&self, top: Top, nodes: &mut Vec<Node>) -> Result<(), VerifyError> {
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
    pub(super) fn authority_for(&self, manifest: Option<&Manifest>) -> Result<Cow<'_, Authority>, VerifyError> {
        if let Some(authority) = &self.authority {
            return Ok(Cow::Borrowed(authority));
        }
        Authority::of(self.key, manifest.cloned()).map(Cow::Owned).ok_or(VerifyError::InvalidSignature)
    }

    /// Returns the authority learnt from a manifest that came without an upgrade.
    fn manifest_alone(&self, manifest: Option<Manifest>) -> Result<Option<Authority>, VerifyError> {
        let Some(manifest) = manifest.filter(|_| self.authority.is_none()) else { return Ok(None) };
        let authority = Authority::new(self.key, manifest).filter(|authority| !authority.is_compat());
        authority.map(Some).ok_or(VerifyError::InvalidChecksum)
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
}

/// A longer tree, not yet the core's own.
struct Grown {
    tree: Tree,
    nodes: Vec<Node>,
    top: Option<Node>,
    signature: Vec<u8>,
}

//! Moves a core to a higher fork: verifies the fork's head from nothing, then finds where the two histories part.
//!
//! The first root that differs is halved by hash proofs until it is one block, or lies beyond what the core has.
//! Source: npm hypercore 11.37, `lib/merkle-tree.js` (`ReorgBatch`).

use std::collections::BTreeMap;
use std::ops::Range;

use super::multisig::Authority;
use super::verify::{check_bounds, follow_paths, grow};
use super::{Core, Tree, VerifyError, flat_tree};
use crate::store::StoreError;
use crate::{HashRequest, Node, Proof};

/// A higher fork whose head is verified, on its way to be adopted.
#[derive(Debug)]
pub struct Reorg {
    pub(super) base: (u64, u64),
    pub(super) tree: Tree,
    pub(super) signature: Vec<u8>,
    pub(super) authority: Authority,
    pub(super) nodes: BTreeMap<u64, Node>,
    /// The first subtree known to differ, as it is in the fork.
    diff: Option<Node>,
    pub(super) ancestor: u64,
    want: Option<Want>,
}

/// What the adoption of a higher fork changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adopted {
    /// The blocks both histories have in common; those behind were dropped.
    pub ancestor: u64,
    /// The length before.
    pub old_length: u64,
}

/// What would show where within a differing subtree the difference lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// Blocks, any of whose leaves will do: choose one that the peer holds.
    pub blocks: Range<u64>,
    /// How many levels of its path to ask for.
    pub nodes: u64,
}

impl Reorg {
    /// Verifies the proof of a higher fork: an upgrade from 0.
    ///
    /// # Errors
    /// As [`Core::accept`]; `Fork` if the fork is not higher, `InvalidProof` if it does not stand by itself.
    pub fn start(core: &Core, proof: Proof) -> Result<Self, VerifyError> {
        if proof.fork <= core.fork() {
            return Err(VerifyError::Fork { theirs: proof.fork, ours: core.fork() });
        }
        let authority = core.authority_for(proof.manifest.as_ref())?.into_owned();
        let verified = Whole::verify(authority, &proof)?;
        let mut reorg = Self {
            base: (core.fork(), core.length()),
            ancestor: verified.tree.length,
            tree: verified.tree,
            signature: verified.signature,
            authority: verified.authority,
            nodes: verified.nodes.into_iter().map(|node| (node.index, node)).collect(),
            diff: None,
            want: None,
        };
        for root in &reorg.tree.roots {
            if !is_known(core, root)? {
                reorg.differ_at(*root);
                reorg.narrow(core)?;
                break;
            }
        }
        Ok(reorg)
    }

    /// Returns the fork it leads to.
    pub fn fork(&self) -> u64 {
        self.tree.fork
    }

    /// Returns the length it leads to.
    pub fn length(&self) -> u64 {
        self.tree.length
    }

    /// Returns whether the common ancestor is known, so that it can be adopted.
    pub fn is_finished(&self) -> bool {
        self.want.is_none()
    }

    /// Returns what is to be learnt next from a peer at this fork, or `None` when finished.
    pub fn want(&self) -> Option<&Want> {
        self.want.as_ref()
    }

    /// Returns a request for what is to be learnt next, about the first block that would do.
    pub fn next_request(&self) -> Option<HashRequest> {
        self.want.as_ref().map(|want| HashRequest { index: 2 * want.blocks.start, nodes: want.nodes })
    }

    /// Takes the answer to a request about the difference.
    ///
    /// # Errors
    /// `Stale` if the core has changed since [`start`](Self::start), `InvalidChecksum` if the proof does not lead to the
    /// difference, `InvalidOperation` if it does not show more of it. The reorg stays as it was.
    pub fn accept(&mut self, core: &Core, proof: &Proof) -> Result<(), VerifyError> {
        if self.base != (core.fork(), core.length()) {
            return Err(VerifyError::Stale);
        }
        if proof.fork != self.tree.fork {
            return Err(VerifyError::Fork { theirs: proof.fork, ours: self.tree.fork });
        }
        check_bounds(proof)?;
        let Some(diff) = self.diff.filter(|_| self.want.is_some()) else { return Ok(()) };
        let mut nodes = Vec::new();
        let top = follow_paths(proof, None, &mut nodes)?.ok_or(VerifyError::InvalidOperation)?;
        if !top.computed {
            return Err(VerifyError::InvalidOperation);
        }
        if top.node.index != diff.index || top.node.hash != diff.hash {
            return Err(VerifyError::InvalidChecksum);
        }
        self.nodes.extend(nodes.into_iter().map(|node| (node.index, node)));
        self.narrow(core)?;
        if self.diff == Some(diff) && self.want.is_some() { Err(VerifyError::InvalidOperation) } else { Ok(()) }
    }

    /// Moves the difference down as far as both sides' nodes are known.
    fn narrow(&mut self, core: &Core) -> Result<(), StoreError> {
        while let Some(diff) = self.diff.filter(|_| self.want.is_some()) {
            let left = flat_tree::left_child(diff.index).and_then(|left| self.nodes.get(&left));
            let Some(left) = left.copied() else { break };
            let next = if is_known(core, &left)? {
                let Some(right) = self.nodes.get(&flat_tree::sibling(left.index)) else { break };
                *right
            } else {
                left
            };
            self.differ_at(next);
        }
        Ok(())
    }

    fn differ_at(&mut self, diff: Node) {
        let start = flat_tree::first_leaf(diff.index) / 2;
        let end = self.base.1.min(flat_tree::last_leaf(diff.index) / 2 + 1);
        let depth = u64::from(flat_tree::depth(diff.index));
        (self.diff, self.ancestor) = (Some(diff), start);
        self.want = (depth > 0 && start < end).then_some(Want { blocks: start..end, nodes: depth });
    }
}

impl Core {
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
}

/// A head that was verified by itself, from the first block on.
struct Whole {
    tree: Tree,
    signature: Vec<u8>,
    authority: Authority,
    nodes: Vec<Node>,
}

impl Whole {
    fn verify(authority: Authority, proof: &Proof) -> Result<Self, VerifyError> {
        check_bounds(proof)?;
        let upgrade = proof.upgrade.as_ref().filter(|upgrade| upgrade.start == 0);
        let upgrade = upgrade.ok_or(VerifyError::InvalidProof)?;
        let (mut nodes, mut paths) = (Vec::new(), Vec::new());
        let mut top = follow_paths(proof, None, &mut paths)?.map(|top| top.node);
        let mut tree = Tree { fork: proof.fork, ..Tree::default() };
        grow(&mut tree, upgrade, authority.prologue(), &mut top, &mut nodes)?;
        if top.is_some() {
            return Err(VerifyError::InvalidProof);
        }
        if !authority.verify(&tree, &upgrade.signature) {
            return Err(VerifyError::InvalidSignature);
        }
        nodes.append(&mut paths);
        Ok(Self { tree, signature: upgrade.signature.clone(), authority, nodes })
    }
}

fn is_known(core: &Core, node: &Node) -> Result<bool, StoreError> {
    Ok(core.node(node.index)?.is_some_and(|known| known.hash == node.hash))
}

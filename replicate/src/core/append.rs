//! Writes a core: appends blocks, and truncates to a higher fork.
//!
//! Source: npm hypercore 11.37, `lib/session-state.js` (`append`, `truncate`).

use bytes::Bytes;

use super::tree::{LENGTH_MAX, leaf_hashes};
use super::{AppendError, Core, Tree, flat_tree};
use crate::{AppendBlocks, Blocks, Node};

impl Core {
    /// Appends blocks in order under one signature, and returns the new length.
    /// The blocks of the manifest's prologue need no signer; they come in one call.
    ///
    /// # Errors
    /// If the core cannot be written, its rule refuses a block or it would grow too large; then nothing is appended.
    pub fn append(&mut self, blocks: &[Bytes]) -> Result<u64, AppendError> {
        if blocks.is_empty() && self.writable() {
            return Ok(self.length());
        }
        let (tree, nodes) = self.grown(blocks)?;
        let signature = self.sign(&tree)?;
        Ok(self.stage_append(blocks, tree, nodes, signature))
    }

    /// Returns the tree as it would be after these blocks: what the signers of [`append_signed`](Self::append_signed)
    /// sign.
    ///
    /// # Errors
    /// If the core would grow too large, or would not start as its manifest prescribes.
    pub fn tree_after(&self, blocks: &[Bytes]) -> Result<Tree, AppendError> {
        Ok(self.grown(blocks)?.0)
    }

    /// Appends blocks in order under a signature made elsewhere, by as many signers as the manifest asks for, and
    /// returns the new length.
    ///
    /// # Errors
    /// `Signature` if it does not cover [`tree_after`](Self::tree_after); else as [`append`](Self::append).
    pub fn append_signed(&mut self, blocks: &[Bytes], signature: Vec<u8>) -> Result<u64, AppendError> {
        let (tree, nodes) = self.grown(blocks)?;
        if self.frozen {
            return Err(AppendError::Frozen);
        }
        if !self.authority.as_ref().is_some_and(|authority| authority.verify(&tree, &signature)) {
            return Err(AppendError::Signature);
        }
        Ok(self.stage_append(blocks, tree, nodes, signature))
    }

    fn grown(&self, blocks: &[Bytes]) -> Result<(Tree, Vec<Node>), AppendError> {
        let (mut tree, mut nodes) = (self.tree.clone(), Vec::with_capacity(2 * blocks.len()));
        let prologue = self.prologue().filter(|prologue| prologue.length > self.length());
        if let Some(block) = blocks.iter().find(|block| block.len() > BLOCK_BYTES_MAX) {
            return Err(AppendError::BlockTooLarge { bytes: block.len(), bytes_max: BLOCK_BYTES_MAX });
        }
        let hashes = leaf_hashes(&blocks.iter().map(|block| &block[..]).collect::<Vec<_>>());
        for (block, hash) in blocks.iter().zip(hashes) {
            if !self.gate.accepts(tree.length, block) {
                return Err(AppendError::Refused { index: tree.length });
            }
            let leaf = Node { index: 2 * tree.length, size: block.len() as u64, hash };
            tree.append_root(leaf, &mut nodes).map_err(|_| AppendError::TooLarge)?;
            if let Some(prologue) = prologue
                && tree.length == prologue.length
                && tree.hash() != prologue.hash
            {
                return Err(AppendError::Prologue { prologue: prologue.length });
            }
        }
        Ok((tree, nodes))
    }

    fn stage_append(&mut self, blocks: &[Bytes], tree: Tree, nodes: Vec<Node>, signature: Vec<u8>) -> u64 {
        self.signature = signature;
        let start = self.length();
        nodes.into_iter().for_each(|node| self.staged.put_node(node));
        for (index, block) in (start..).zip(blocks) {
            self.staged.put_block(index, block.clone());
        }
        self.bitfield.set_range(start..tree.length);
        self.tree = tree;
        (self.changed.head, self.changed.signed) = (true, true);
        self.length()
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
        if fork <= self.fork() || fork > LENGTH_MAX {
            return Err(AppendError::NotHigher { fork: self.fork(), wanted: fork });
        }
        let root = |index| self.node(index)?.ok_or(AppendError::NodeMissing { index });
        let roots: Vec<Node> = flat_tree::full_roots(length).map(root).collect::<Result<_, _>>()?;
        let byte_length = roots.iter().map(|root| root.size).sum();
        let tree = Tree { fork, length, byte_length, roots };
        self.signature = self.sign(&tree)?;
        self.drop_from(length);
        self.tree = tree;
        self.changed.signed = true;
        Ok(())
    }

    fn sign(&self, tree: &Tree) -> Result<Vec<u8>, AppendError> {
        if self.frozen {
            return Err(AppendError::Frozen);
        }
        let signer = self.signer.as_ref().zip(self.authority.as_ref());
        let signature = signer.and_then(|(signer, authority)| authority.sign(tree, signer));
        match (self.prologue(), signature) {
            (Some(prologue), _) if tree.length < prologue.length => {
                Err(AppendError::Prologue { prologue: prologue.length })
            }
            // The manifest itself vouches for this tree.
            (Some(prologue), None) if tree.length == prologue.length && self.length() < tree.length => Ok(Vec::new()),
            (_, signature) => signature.ok_or(AppendError::NotWritable),
        }
    }
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

/// Longest block that may be appended, in bytes: with its proof it must fit into a frame of 16 MiB.
const BLOCK_BYTES_MAX: usize = 15 << 20;

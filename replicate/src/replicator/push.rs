//! Blocks that nobody asked for: sent to peers that take them, and taken if the application wants them.
//!
//! Source: npm hypercore 11.37, `lib/replicator.js` (`push`, `setAllowPush`, `_handleData`).

use std::ops::Range;

use super::PeerId;
use super::conflict::WHOLE_HEAD;
use super::exchange::{Exchange, ExchangeError};
use super::peer::{Peer, Pending};
use crate::core::{VerifyError, flat_tree};
use crate::messages::{DataMessage, Message};
use crate::store::StoreError;
use crate::{BlockRequest, Proof, Request, UpgradeRequest};

impl Exchange {
    /// Takes blocks that peers send unasked, from now on or no longer.
    pub(super) fn allow_push(&mut self, allow: bool) {
        if self.push_allowed != allow {
            self.push_allowed = allow;
            self.tell_all_sync();
        }
    }

    /// Returns whether a peer is told that it may send blocks unasked: not while it has a longer tree to prove than it
    /// has proven so far, for the reference would then start its proof at the wrong length.
    pub(super) fn invites_push(&self, peer: &Peer) -> bool {
        let (told, remote) = (self.told, peer.remote);
        let fits = remote.fork != told.fork || remote.length <= told.length || peer.proven_length >= told.length;
        self.push_allowed && self.downloading() && fits
    }

    /// Sends blocks, once they are committed, to the peers that take them unasked and are not known to have them.
    pub(super) fn push(&mut self, run: &Range<u64>) {
        for id in self.peer_ids() {
            self.peer(id, |peer| {
                if peer.pushes.runs() < PUSHES_MAX {
                    peer.pushes.add(run.clone());
                }
            });
            self.mark_ready(id);
        }
    }

    /// Returns the next block to send to a peer unasked.
    pub(super) fn next_push(&mut self, id: PeerId) -> Result<Option<Message>, StoreError> {
        let (told, committed) = (self.told, self.told.fork == self.core.fork());
        while let Some(peer) = self.peers.get_mut(&id).filter(|_| committed) {
            let Some(run) = peer.pushes.next_run(0).filter(|run| run.start < told.length) else { break };
            peer.pushes.remove(run.start..run.start + 1);
            let takes = peer.remote.allow_push && peer.remote.downloading && peer.remote.fork == told.fork;
            if takes && !peer.blocks.has(run.start) && self.core.has(run.start) {
                return self.prove_push(id, run.start).map(Some).or_else(|error| match error {
                    crate::core::ProveError::Store(error) => Err(error),
                    _ => Ok(None),
                });
            }
        }
        Ok(None)
    }

    fn prove_push(&mut self, id: PeerId, index: u64) -> Result<Message, crate::core::ProveError> {
        let length = self.told.length;
        let known = self.peers.get(&id).map_or(0, |peer| peer.remote.length.max(peer.pushed_length));
        let upgrade = (index >= known).then_some(UpgradeRequest { start: known, length: length.saturating_sub(known) });
        let block = BlockRequest { index, nodes: levels_missing(index, known) };
        let request = Request { block: Some(block), upgrade, manifest: known == 0, ..Request::default() };
        let proof = self.core.prove_at(length, &self.told_signature, &request)?;
        self.note_pushed(id, &proof);
        Ok(Message::Data(DataMessage { request: WHOLE_HEAD, proof }))
    }

    /// Notes to which length a peer will have come by a proof that is sent to it.
    pub(super) fn note_pushed(&mut self, id: PeerId, proof: &Proof) {
        let reached = proof.upgrade.as_ref().map_or(0, |upgrade| upgrade.start + upgrade.length);
        self.peer(id, |peer| peer.pushed_length = peer.pushed_length.max(reached));
    }

    /// Lets a proof start where earlier ones lead that the peer did not ask for.
    pub(super) fn after_pushes(&self, id: PeerId, mut request: Request) -> Request {
        let pushed = self.peers.get(&id).map_or(0, |peer| if peer.remote.allow_push { peer.pushed_length } else { 0 });
        if let Some(upgrade) = &mut request.upgrade {
            let end = upgrade.start.saturating_add(upgrade.length);
            // A proof from 0 may be for another fork's reader: it needs the whole tree.
            if upgrade.start > 0 && pushed > upgrade.start && pushed < end {
                *upgrade = UpgradeRequest { start: pushed, length: end - pushed };
            }
        }
        request
    }

    /// Lets an answer start where pushes lead, as the other end may have it.
    pub(super) fn after_pushed(&self, mut asked: Request, proof: &Proof) -> Request {
        if let (true, Some(asked), Some(upgrade)) = (self.push_allowed, &mut asked.upgrade, &proof.upgrade) {
            asked.start = upgrade.start;
        }
        asked
    }

    /// Has a peer push nothing until it has proven our length: what it pushed before was lost, and its proofs start there.
    pub(super) fn uninvite(&mut self, id: PeerId) {
        self.peer(id, |peer| peer.proven_length = 0);
        self.tell_sync(id);
    }

    /// Takes a block that was not asked for, if that is allowed and it is new. What does not fit the tree here is passed
    /// over; what contradicts it is not.
    pub(super) fn handle_push(&mut self, id: PeerId, proof: Proof) -> Result<(), ExchangeError> {
        let Some(block) = proof.block.as_ref().filter(|_| self.push_allowed && self.downloading()) else {
            return Ok(());
        };
        if proof.fork != self.core.fork() || self.core.has(block.index) {
            return Ok(());
        }
        let block = Some(BlockRequest { index: block.index, nodes: block.nodes.len() as u64 });
        let start = |upgrade: &crate::UpgradeProof| UpgradeRequest { start: upgrade.start, length: upgrade.length };
        let asked = Request { block, upgrade: proof.upgrade.as_ref().map(start), ..Request::default() };
        let Some(peer) = self.peers.get_mut(&id).filter(|peer| peer.pushes_vain < VAIN_MAX && !peer.paused) else {
            return Ok(());
        };
        peer.pushes_vain += 1;
        match self.core.accept(proof, &asked) {
            Ok(accepted) => {
                self.peer(id, |peer| {
                    peer.pushes_vain = 0;
                    peer.proven_length = peer.proven_length.max(accepted.length);
                });
                if let Some(index) = accepted.block {
                    self.gain(index);
                }
                self.go_on_with_landed()?;
                self.peer_ids().into_iter().for_each(|id| self.search_later(id));
            }
            Err(VerifyError::Store(error)) => return Err(error.into()),
            Err(error @ (VerifyError::InvalidChecksum | VerifyError::InvalidSignature)) => {
                self.refuse(id, &Pending::new(self.core.fork(), asked), &error)?;
            }
            Err(_) => {}
        }
        Ok(())
    }
}

/// Returns how many levels of a block's path are missing where a tree of `length` blocks is known, and no more of it.
fn levels_missing(index: u64, length: u64) -> u64 {
    let mut node = 2 * index;
    let mut levels = 0;
    if index >= length || flat_tree::full_roots(length).any(|root| root == node) {
        return 0;
    }
    while !flat_tree::full_roots(length).any(|root| root == node) {
        node = flat_tree::parent(node);
        levels += 1;
    }
    levels
}

/// Most runs of blocks that wait to be sent unasked to one peer; more are left to its own asking.
const PUSHES_MAX: usize = 1024;
/// Blocks sent unasked, and in vain, after which a peer's are looked at no more; each costs some hashing.
const VAIN_MAX: u32 = 1024;

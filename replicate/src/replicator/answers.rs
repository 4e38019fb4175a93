//! What becomes of the answers to our requests.

use anypath_wire::Hash;

use super::PeerId;
use super::conflict::WHOLE_HEAD;
use super::exchange::{Exchange, ExchangeError, ExchangeEvent, Misbehaviour};
use super::peer::{Early, Pending};
use crate::core::VerifyError;
use crate::messages::DataMessage;
use crate::store::StoreError;
use crate::{Proof, Request};

impl Exchange {
    /// Takes an answer; `leaf` is the hash of its block, if that was computed already.
    pub(super) fn handle_data(
        &mut self,
        id: PeerId,
        data: DataMessage,
        leaf: Option<Hash>,
    ) -> Result<(), ExchangeError> {
        let DataMessage { request, proof } = data;
        if request == WHOLE_HEAD {
            return match proof.block {
                Some(_) => self.handle_push(id, proof),
                None => Ok(self.handle_conflict(id, proof)?),
            };
        }
        let Some(pending) = self.take_pending(id, request) else { return Ok(()) };
        if proof.fork != pending.fork {
            return Ok(self.handle_no_answer(id, &pending)?);
        }
        if proof.fork > self.core.fork() {
            return Ok(self.handle_reorg_data(id, &pending, proof)?);
        }
        if proof.fork < self.core.fork() {
            self.settle(id, &pending);
            return Ok(self.refill_all()?);
        }
        let length = self.core.length();
        if self.is_early(&pending) {
            self.peer(id, |peer| peer.early.push(Early::new(pending, proof)));
        } else if self.accept(id, &pending, proof, leaf)? {
            self.accept_early(id)?;
        }
        self.go_on_with_landed()?;
        self.give_up_early(id);
        if self.core.length() > length {
            return Ok(self.refill_all()?);
        }
        self.search_later(id);
        Ok(())
    }

    /// Takes the answer that there is none.
    pub(super) fn handle_no_data(&mut self, id: PeerId, request: u64) -> Result<(), StoreError> {
        let pending = self.take_pending(id, request);
        pending.map_or(Ok(()), |pending| self.handle_no_answer(id, &pending))
    }

    fn take_pending(&mut self, id: PeerId, request: u64) -> Option<Pending> {
        let peer = self.peers.get_mut(&id)?;
        let pending = peer.window.take(request)?;
        peer.upgrade_lapsed &= pending.request.upgrade.is_none();
        Some(pending)
    }

    fn handle_no_answer(&mut self, id: PeerId, pending: &Pending) -> Result<(), StoreError> {
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        // What was asked of a fork that it has left meanwhile says nothing about the one it is on.
        let current = pending.fork == peer.remote.fork;
        peer.no_data += u32::from(current);
        if pending.request.upgrade.is_some() && pending.request.block.is_some() {
            // Which of the two it has not, the next answers tell.
            peer.upgrade_alone = true;
            self.give_back(id, pending);
            return self.refill_all();
        }
        let block = pending.request.block.map(|block| block.index);
        let path = pending.request.hash.filter(|_| pending.fork == self.core.fork()).map(|hash| hash.index / 2);
        if let Some(index) = block.or(path).filter(|_| current) {
            // It said it had the block; until it says so again it has not.
            peer.blocks.set(index, index + 1, false);
        }
        if pending.request.upgrade.is_some() && current {
            peer.remote.can_upgrade = false;
        }
        self.give_back(id, pending);
        self.give_up_early(id);
        if pending.fork > self.core.fork() {
            self.decline(id, pending.fork)?;
        }
        self.refill_all()
    }

    /// Gives back everything a peer was asked for, so that others are asked.
    pub(super) fn give_back_all(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let early = std::mem::take(&mut peer.early).into_iter().map(|early| early.pending);
        let lost: Vec<_> = peer.window.drain().into_iter().chain(early).collect();
        lost.iter().for_each(|pending| self.give_back(id, pending));
    }

    /// Starts anew after the core's past has changed.
    pub(super) fn forget_requests(&mut self) {
        self.taken = self.core.bitfield().clone();
        self.upgrading = None;
        self.seeks.ask_anew();
        self.flights.clear();
        for peer in self.peers.values_mut() {
            peer.expected.clear();
            peer.early.clear();
            peer.reconsider(0);
            peer.last_upgradable = None;
            (peer.pushed_length, peer.proven_length) = (0, 0);
        }
    }

    /// Verifies an answer and stages what it brings; returns whether it was good.
    fn accept(
        &mut self,
        id: PeerId,
        pending: &Pending,
        proof: Proof,
        leaf: Option<Hash>,
    ) -> Result<bool, ExchangeError> {
        let hashed = proof.hash.is_some() || pending.request.hash.is_none();
        let asked = self.after_pushed(pending.request, &proof);
        match self.core.accept_hashed(proof, leaf, &asked) {
            Ok(_) if !hashed || !self.is_satisfied(&pending.request) => {
                self.handle_no_answer(id, pending)?;
                Ok(true)
            }
            Ok(accepted) => {
                self.settle(id, pending);
                self.peer(id, |peer| {
                    peer.no_data = 0;
                    peer.answered = peer.answered.max(pending.order);
                    peer.proven_length = peer.proven_length.max(accepted.length);
                });
                if let Some(index) = accepted.block {
                    self.gain(index);
                }
                self.events.extend(accepted.refused.map(|index| ExchangeEvent::RuleBroken { peer: id, index }));
                Ok(true)
            }
            Err(VerifyError::Store(error)) => Err(error.into()),
            Err(VerifyError::Stale | VerifyError::Frozen) if self.has_moved_on(pending) => {
                self.give_back(id, pending);
                Ok(true)
            }
            // The block's path was in the proof of a growth that has come about otherwise.
            Err(_) if pending.request.block.is_some() && self.has_outgrown(pending) => {
                self.give_back(id, pending);
                Ok(true)
            }
            Err(VerifyError::Stale) if self.push_allowed => {
                self.uninvite(id);
                self.handle_no_answer(id, pending)?;
                Ok(true)
            }
            Err(error) => {
                self.refuse(id, pending, &error)?;
                Ok(false)
            }
        }
    }

    /// Notes that a block has come, and lets all others be who were asked for it.
    pub(super) fn gain(&mut self, index: u64) {
        self.taken.set(index);
        self.staged.gained.add(index..index + 1);
        self.urgent.remove(index..index + 1);
        self.land(index);
    }

    /// Returns whether what was asked for is here now: a proof of something else is true, but no answer.
    fn is_satisfied(&self, request: &Request) -> bool {
        let block = request.block.is_none_or(|block| self.core.has(block.index) || self.core.is_refused(block.index));
        block && request.upgrade.is_none_or(|upgrade| self.core.length() > upgrade.start)
    }

    /// Returns whether our core has changed so that a request for a longer tree no longer fits it.
    fn has_moved_on(&self, pending: &Pending) -> bool {
        self.core.is_frozen() || self.has_outgrown(pending)
    }

    fn has_outgrown(&self, pending: &Pending) -> bool {
        pending.request.upgrade.is_some_and(|upgrade| upgrade.start != self.core.length())
    }

    /// Returns whether an answer cannot be verified yet, since it relies on another one that the peer sends later.
    fn is_early(&self, pending: &Pending) -> bool {
        let block = pending.request.block.filter(|_| pending.predicted);
        block.is_some_and(|block| self.core.missing_nodes(2 * block.index) > block.nodes)
    }

    /// Takes those early answers that can be verified now.
    pub(super) fn accept_early(&mut self, id: PeerId) -> Result<(), ExchangeError> {
        while let Some(peer) = self.peers.get(&id) {
            let Some(at) = peer.early.iter().position(|early| !self.is_early(&early.pending)) else { break };
            let Some(peer) = self.peers.get_mut(&id) else { break };
            let Early { pending, proof } = peer.early.swap_remove(at);
            self.accept(id, &pending, proof, None)?;
        }
        Ok(())
    }

    /// Asks again for early answers whose predecessors did not come, or of which there are too many.
    pub(super) fn give_up_early(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let bytes: usize = peer.early.iter().map(Early::bytes).sum();
        let few = peer.early.len() <= EARLY_MAX && bytes <= EARLY_BYTES_MAX;
        if !peer.early.is_empty() && (peer.window.len() == 0 || !few) {
            self.give_back_early(id);
        }
    }

    /// Asks again for all early answers.
    pub(super) fn give_back_early(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.predicts &= peer.early.is_empty();
        let early = std::mem::take(&mut peer.early);
        early.iter().for_each(|early| self.give_back(id, &early.pending));
    }

    /// Gives back what a lost request had taken, so that any peer may be asked for it.
    pub(super) fn give_back(&mut self, id: PeerId, pending: &Pending) {
        self.settle(id, pending);
        let Some(block) = pending.request.block else { return };
        let elsewhere = self.flights.next(block.index) == Some(block.index);
        if pending.fork == self.core.fork() && !self.core.has(block.index) && !elsewhere {
            self.taken.clear_range(block.index..block.index + 1);
            self.peers.values_mut().for_each(|peer| peer.reconsider(block.index));
        }
    }

    /// Notes that no longer tree comes from a peer.
    pub(super) fn let_upgrade_go(&mut self, id: PeerId) {
        self.upgrading.take_if(|asked| *asked == id);
    }

    /// Notes that a request is no longer in flight.
    fn settle(&mut self, id: PeerId, pending: &Pending) {
        if let Some(seek) = pending.request.seek {
            self.seeks.give_back(seek, id);
            // The next step may be one that only others can answer.
            self.peer_ids().into_iter().for_each(|id| self.search_later(id));
        }
        if pending.request.upgrade.is_some() {
            self.let_upgrade_go(id);
        }
        if let Some(block) = pending.request.block.filter(|_| pending.fork == self.core.fork()) {
            self.flights.remove(block.index, id);
        }
        self.peer(id, |peer| peer.expect_no_more(pending));
    }

    /// Asks a peer for nothing more, since what it sent does not verify.
    pub(super) fn refuse(&mut self, id: PeerId, pending: &Pending, error: &VerifyError) -> Result<(), StoreError> {
        tracing::warn!(peer = id.0, core = %self.core.key(), %error, "a peer sent data that does not verify");
        self.give_back(id, pending);
        self.peer(id, |peer| peer.paused = true);
        self.give_back_all(id);
        self.lose_reorganiser(id)?;
        if !matches!(error, VerifyError::InvalidOperation | VerifyError::NotAsked) {
            self.ask_conflict(id);
        }
        self.events.push_back(ExchangeEvent::Refused(id, Misbehaviour::InvalidData));
        self.refill_all()
    }
}

/// Most answers kept because they came before the one they rely on; each holds a block.
const EARLY_MAX: usize = 32;
/// Most bytes of them, of one peer and core.
const EARLY_BYTES_MAX: usize = 4 << 20;

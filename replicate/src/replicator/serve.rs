//! Answering: every request is answered or kept, none is dropped.

use super::PeerId;
use super::exchange::{Exchange, ExchangeError, Head, INVALID_REQUESTS_MAX, Misbehaviour, REQUESTS_MAX};
use super::serving::Asked;
use super::wants::REGIONS_MAX;
use crate::core::ProveError;
use crate::messages::{Bitfield, DataMessage, Message, Range};
use crate::{Proof, Request};

impl Exchange {
    /// Keeps a request until the connection has room for its answer.
    pub(super) fn handle_request(&mut self, id: PeerId, asked: Asked) -> Result<(), Misbehaviour> {
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        if peer.serving.len() >= REQUESTS_MAX {
            return Err(Misbehaviour::TooManyRequests);
        }
        peer.serving.push(asked);
        self.mark_ready(id);
        Ok(())
    }

    /// Forgets a request that is still waiting.
    pub(super) fn handle_cancel(&mut self, id: PeerId, request: u64) {
        self.peer(id, |peer| peer.serving.cancel(request));
    }

    /// Remembers a region, to say which of its blocks we hold, now and as they come.
    pub(super) fn handle_want(&mut self, id: PeerId, start: u64, length: u64) -> Result<(), Misbehaviour> {
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        if !peer.wants.add(start, length) {
            return Ok(());
        }
        if peer.regions.len() >= REGIONS_MAX {
            return Err(Misbehaviour::TooManyWants);
        }
        peer.regions.push_back((start, length));
        self.mark_ready(id);
        Ok(())
    }

    /// Answers the peer's oldest question about a region, else its most urgent request.
    ///
    /// A request waits while its answer would tell of what is not committed: a signature that got out binds us for good.
    /// All others are answered as of the committed head, so that a core that grows all the time is served all the time.
    pub(super) fn serve(&mut self, id: PeerId) -> Result<Option<Message>, ExchangeError> {
        while let Some((start, length)) = self.peers.get_mut(&id).and_then(|peer| peer.regions.pop_front()) {
            if let Some(message) = self.region(start, length) {
                return Ok(Some(message));
            }
        }
        let next = self.peers.get(&id).and_then(|peer| peer.serving.first());
        if next.is_none_or(|asked| self.waits_for_commit(&asked.request)) {
            return Ok(None);
        }
        let asked = self.peers.get_mut(&id).and_then(|peer| peer.serving.pop());
        asked.map(|asked| self.answer(id, asked)).transpose()
    }

    fn waits_for_commit(&self, request: &Request) -> bool {
        let (told, head) = (self.told, Head::of(&self.core));
        let block = request.block.map_or(0, |block| block.index.saturating_add(1));
        let upgrade = request.upgrade.map_or(0, |upgrade| upgrade.start.saturating_add(upgrade.length));
        let beyond = told.length < head.length && block.max(upgrade) > told.length;
        told.fork != head.fork || told.manifest != head.manifest || beyond
    }

    /// Returns what we hold of a region, in the shortest way; nothing if it lies beyond our length.
    fn region(&self, start: u64, length: u64) -> Option<Message> {
        let (held, whole) = (self.told.length, self.told.contiguous);
        if start + length <= whole || whole == held {
            return Some(Message::Range(Range { drop: false, start: 0, length: whole }));
        }
        let end = held.min(start + length);
        (start < end).then(|| Message::Bitfield(Bitfield::new(start, self.committed_words(start, end))))
    }

    fn answer(&mut self, id: PeerId, asked: Asked) -> Result<Message, ExchangeError> {
        let Asked { id: request, fork, request: wanted, .. } = asked;
        let held = wanted.block.is_none_or(|block| self.core.has(block.index));
        if fork != self.core.fork() || !held {
            return Ok(self.answer_manifest(&asked));
        }
        let wanted = self.after_pushes(id, wanted);
        match self.core.prove_at(self.told.length, &self.told_signature, &wanted) {
            Ok(proof) => {
                self.note_pushed(id, &proof);
                Ok(Message::Data(DataMessage { request, proof }))
            }
            Err(ProveError::Store(error)) => Err(error.into()),
            Err(ProveError::NotHeld) => Ok(self.answer_manifest(&asked)),
            Err(_) => {
                let Some(peer) = self.peers.get_mut(&id) else { return Ok(no_data(request, INVALID_REQUEST)) };
                peer.requests_invalid += 1;
                if peer.requests_invalid >= INVALID_REQUESTS_MAX {
                    return Err(Misbehaviour::InvalidRequests.into());
                }
                Ok(no_data(request, INVALID_REQUEST))
            }
        }
    }

    /// Answers with the manifest alone if it was asked for, else with nothing.
    fn answer_manifest(&self, asked: &Asked) -> Message {
        let manifest = self.core.manifest().filter(|_| asked.request.manifest && !self.core.is_compat());
        match manifest {
            None => no_data(asked.id, NOT_AVAILABLE),
            Some(manifest) => {
                let proof = Proof { fork: self.core.fork(), manifest: Some(manifest.clone()), ..Proof::default() };
                Message::Data(DataMessage { request: asked.id, proof })
            }
        }
    }
}

fn no_data(request: u64, reason: u64) -> Message {
    Message::NoData { request, reason }
}

/// Why there is no data: we do not hold it.
const NOT_AVAILABLE: u64 = 1;
/// Why there is no data: nobody could answer.
const INVALID_REQUEST: u64 = 2;

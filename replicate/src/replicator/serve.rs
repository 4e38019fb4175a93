//! Answering: every request is answered or kept, none is dropped.

use super::PeerId;
use super::exchange::{Exchange, ExchangeError, INVALID_REQUESTS_MAX, Misbehaviour, REQUESTS_MAX};
use super::peer::Asked;
use crate::Proof;
use crate::core::ProveError;
use crate::messages::{Message, NoDataReason};

impl Exchange {
    /// Keeps a request until the connection has room for its answer.
    pub(super) fn handle_request(&mut self, id: PeerId, asked: Asked) -> Result<(), Misbehaviour> {
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        if peer.serving.len() >= REQUESTS_MAX {
            return Err(Misbehaviour::TooManyRequests);
        }
        peer.serving.push_back(asked);
        self.mark_ready(id);
        Ok(())
    }

    /// Forgets a request that is still waiting.
    pub(super) fn handle_cancel(&mut self, id: PeerId, request: u64) {
        self.peer(id, |peer| peer.serving.retain(|asked| asked.id != request));
    }

    /// Remembers a region and says which of its blocks we hold.
    pub(super) fn handle_want(&mut self, id: PeerId, start: u64, length: u64) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if !peer.wants.add(start, length) {
            return;
        }
        let (held, whole) = (self.core.length(), self.core.contiguous_length());
        if start + length <= whole || whole == held {
            self.tell(id, Message::Range { drop: false, start: 0, length: whole });
            return;
        }
        let end = held.min(start + length);
        if start < end {
            let words = self.core.bitfield().words(start, end);
            self.tell(id, Message::Bitfield { start, words });
        }
    }

    /// Answers the peer's oldest request.
    pub(super) fn serve(&mut self, id: PeerId) -> Result<Option<Message>, ExchangeError> {
        let asked = self.peers.get_mut(&id).and_then(|peer| peer.serving.pop_front());
        asked.map(|asked| self.answer(id, asked)).transpose()
    }

    fn answer(&mut self, id: PeerId, asked: Asked) -> Result<Message, ExchangeError> {
        let Asked { id: request, fork, request: wanted } = asked;
        let held = wanted.block.is_none_or(|block| self.core.has(block.index));
        if fork != self.core.fork() || !held {
            return Ok(self.answer_manifest(&asked));
        }
        match self.core.prove(&wanted) {
            Ok(proof) => Ok(Message::Data { request, proof }),
            Err(ProveError::Store(error)) => Err(error.into()),
            Err(ProveError::NotHeld) => Ok(self.answer_manifest(&asked)),
            Err(_) => {
                let Some(peer) = self.peers.get_mut(&id) else { return Ok(no_data(request, NoDataReason::Invalid)) };
                peer.requests_invalid += 1;
                if peer.requests_invalid >= INVALID_REQUESTS_MAX {
                    return Err(Misbehaviour::InvalidRequests.into());
                }
                Ok(no_data(request, NoDataReason::Invalid))
            }
        }
    }

    /// Answers with the manifest alone if it was asked for, else with nothing.
    fn answer_manifest(&self, asked: &Asked) -> Message {
        let manifest = self.core.manifest().filter(|_| asked.request.manifest && !self.core.is_compat());
        match manifest {
            None => no_data(asked.id, NoDataReason::NotAvailable),
            Some(manifest) => {
                let proof = Proof { fork: self.core.fork(), manifest: Some(manifest.clone()), ..Proof::default() };
                Message::Data { request: asked.id, proof }
            }
        }
    }
}

fn no_data(request: u64, reason: NoDataReason) -> Message {
    Message::NoData { request, reason: Some(reason) }
}

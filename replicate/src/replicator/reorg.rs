//! Following a higher fork: prove the new tree from nothing, find where it leaves ours, adopt it.

use super::PeerId;
use super::exchange::{Exchange, ExchangeEvent, Misbehaviour};
use super::peer::Pending;
use crate::core::{Reorg, VerifyError};
use crate::store::StoreError;
use crate::{Proof, Request, UpgradeRequest};

/// A higher fork that peers told us of.
pub(super) struct Reorganisation {
    /// The fork.
    fork: u64,
    /// The peer that was asked last, while its answer is missing.
    asked: Option<PeerId>,
    /// The new tree, once its head is proven.
    tree: Option<Reorg>,
}

impl Exchange {
    /// Follows the peer's fork if it is higher than ours and than any other we are after.
    pub(super) fn follow_fork(&mut self, id: PeerId) -> Result<(), StoreError> {
        let Some(peer) = self.peers.get(&id).filter(|peer| peer.answers()) else { return Ok(()) };
        let fork = peer.remote.fork;
        if fork <= self.core.fork() || peer.remote.length == 0 || !self.downloading() {
            return Ok(());
        }
        let newer = self.reorganisation.as_ref().is_none_or(|current| current.fork < fork);
        if newer {
            self.reorganisation = Some(Reorganisation { fork, asked: None, tree: None });
        }
        self.ask_reorganiser()
    }

    /// Takes a part of a higher fork's proof.
    pub(super) fn handle_reorg_data(&mut self, id: PeerId, proof: Proof) -> Result<(), StoreError> {
        let Some(current) = self.reorganisation.as_mut().filter(|current| current.fork == proof.fork) else {
            return Ok(());
        };
        current.asked = None;
        let outcome = match &mut current.tree {
            Some(tree) => tree.accept(&self.core, &proof),
            None => Reorg::start(&self.core, proof).map(|tree| current.tree = Some(tree)),
        };
        match outcome {
            Ok(()) => self.ask_reorganiser(),
            Err(VerifyError::Store(error)) => Err(error),
            Err(error) => {
                tracing::warn!(peer = id.0, core = %self.core.key(), %error, "a peer sent a fork that does not verify");
                self.peer(id, |peer| peer.paused = true);
                self.events.push_back(ExchangeEvent::Refused(id, Misbehaviour::InvalidData));
                self.ask_reorganiser()
            }
        }
    }

    /// Goes to another peer if this one was asked and will not answer.
    pub(super) fn lose_reorganiser(&mut self, id: PeerId) -> Result<(), StoreError> {
        match &mut self.reorganisation {
            Some(current) if current.asked == Some(id) => current.asked = None,
            _ => return Ok(()),
        }
        self.ask_reorganiser()
    }

    /// Asks the next question about the fork, or adopts it when none is left.
    fn ask_reorganiser(&mut self) -> Result<(), StoreError> {
        let Some(current) = self.reorganisation.as_ref().filter(|current| current.asked.is_none()) else {
            return Ok(());
        };
        let fork = current.fork;
        let request = match &current.tree {
            Some(tree) => match tree.next_request() {
                Some(hash) => Request { hash: Some(hash), ..Request::default() },
                None => return self.adopt(),
            },
            None => Request { manifest: self.core.manifest().is_none(), ..Request::default() },
        };
        let proving = current.tree.is_none();
        let able = |peer: &super::peer::Peer| peer.answers() && peer.remote.fork == fork && peer.remote.length > 0;
        let Some((&id, peer)) = self.peers.iter_mut().find(|(_, peer)| able(peer)) else { return Ok(()) };
        let upgrade = proving.then_some(UpgradeRequest { start: 0, length: peer.remote.length });
        peer.ask(Pending { fork, request: Request { upgrade, ..request }, predicted: false });
        self.mark_ready(id);
        if let Some(current) = &mut self.reorganisation {
            current.asked = Some(id);
        }
        Ok(())
    }

    fn adopt(&mut self) -> Result<(), StoreError> {
        let Some(tree) = self.reorganisation.take().and_then(|current| current.tree) else { return Ok(()) };
        match self.core.adopt(tree) {
            Ok(adopted) => self.truncated(adopted.ancestor, adopted.old_length),
            Err(VerifyError::Store(error)) => Err(error),
            Err(error) => {
                tracing::warn!(core = %self.core.key(), %error, "a proven fork could not be adopted");
                Ok(())
            }
        }
    }

    /// Starts asking anew after the core's past changed; the peers are told once that is committed.
    pub(super) fn truncated(&mut self, kept: u64, old_length: u64) -> Result<(), StoreError> {
        self.staged.truncate(kept, old_length);
        self.forget_requests();
        self.refill_all()
    }
}

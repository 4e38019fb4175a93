//! Following a higher fork: prove the new tree from nothing, find where it leaves ours, adopt it.

use std::collections::BTreeSet;

use super::PeerId;
use super::exchange::Exchange;
use super::peer::{Peer, Pending};
use crate::core::{Reorg, VerifyError};
use crate::store::StoreError;
use crate::{HashRequest, Proof, Request, UpgradeRequest};

/// A higher fork that peers told us of. There is one for each fork that anybody claims to have, so that a peer which
/// claims the highest fork of all and proves nothing does not keep us from those that exist.
#[derive(Debug, Default)]
pub(super) struct Reorganisation {
    /// The peer whose answer we await.
    asked: Option<PeerId>,
    /// Peers that had no answer.
    declined: BTreeSet<PeerId>,
    /// The new tree, once it is proven.
    tree: Option<Reorg>,
}

impl Reorganisation {
    /// Returns whether the answer to a request is what is to be learnt next.
    fn fits(&self, request: &Request) -> bool {
        match (self.tree.as_ref().map(Reorg::want), request.hash) {
            (None, _) => request.upgrade.is_some(),
            (Some(Some(want)), Some(hash)) => hash.nodes == want.nodes && want.blocks.contains(&(hash.index / 2)),
            _ => false,
        }
    }
}

impl Exchange {
    /// Follows the peer's fork if it is higher than ours.
    pub(super) fn follow_fork(&mut self, id: PeerId) -> Result<(), StoreError> {
        let Some(fork) = self.peers.get(&id).map(|peer| peer.remote.fork) else { return Ok(()) };
        if !self.reorganisations.is_empty() {
            self.forget_forks();
        }
        if fork <= self.core.fork() || !self.downloading() {
            return Ok(());
        }
        self.reorganisations.entry(fork).or_default().declined.remove(&id);
        self.ask_reorganiser(fork)
    }

    /// Takes a part of a higher fork's proof.
    pub(super) fn handle_reorg_data(&mut self, id: PeerId, pending: &Pending, proof: Proof) -> Result<(), StoreError> {
        let fork = proof.fork;
        let Some(current) = self.reorganisations.get_mut(&fork) else { return Ok(()) };
        current.declined.remove(&id);
        if !current.fits(&pending.request) {
            // It came late, and another peer has answered meanwhile.
            current.asked.take_if(|asked| *asked == id);
            return self.ask_reorganiser(fork);
        }
        current.asked = None;
        let outcome = match &mut current.tree {
            Some(tree) => tree.accept(&self.core, &proof),
            None => Reorg::start(&self.core, proof).map(|tree| current.tree = Some(tree)),
        };
        match outcome {
            Ok(()) => self.ask_reorganiser(fork),
            Err(VerifyError::Store(error)) => Err(error),
            Err(VerifyError::Stale) => self.start_again(fork),
            Err(error) => {
                self.refuse(id, pending, &error)?;
                self.ask_reorganiser(fork)
            }
        }
    }

    /// Goes to another peer, since this one will not answer about a fork.
    pub(super) fn decline(&mut self, id: PeerId, fork: u64) -> Result<(), StoreError> {
        let Some(current) = self.reorganisations.get_mut(&fork) else { return Ok(()) };
        current.asked.take_if(|asked| *asked == id);
        current.declined.insert(id);
        self.ask_reorganiser(fork)
    }

    /// Goes to other peers wherever this one was asked, since it is gone.
    pub(super) fn lose_reorganiser(&mut self, id: PeerId) -> Result<(), StoreError> {
        self.forget_forks();
        for current in self.reorganisations.values_mut() {
            current.asked.take_if(|asked| *asked == id);
            current.declined.remove(&id);
        }
        let forks: Vec<_> = self.reorganisations.keys().copied().collect();
        forks.into_iter().try_for_each(|fork| self.ask_reorganiser(fork))
    }

    /// Forgets the forks that are not higher than ours or that nobody claims any more.
    fn forget_forks(&mut self) {
        let claimed: BTreeSet<_> = self.peers.values().map(|peer| peer.remote.fork).collect();
        let ours = self.core.fork();
        self.reorganisations.retain(|fork, _| *fork > ours && claimed.contains(fork));
    }

    /// Asks the next question about a fork, or adopts it when none is left.
    fn ask_reorganiser(&mut self, fork: u64) -> Result<(), StoreError> {
        let Some(current) = self.reorganisations.get_mut(&fork).filter(|current| current.asked.is_none()) else {
            return Ok(());
        };
        let want = match &current.tree {
            Some(tree) if tree.is_finished() => return self.adopt(fork),
            tree => tree.as_ref().and_then(Reorg::want),
        };
        let declined = &current.declined;
        let able = |id: &PeerId, peer: &Peer| {
            let claims = peer.remote.fork == fork && peer.remote.length > 0;
            claims && peer.answers() && !declined.contains(id) && peer.window.len() < REQUESTS_MAX
        };
        let Some((&id, peer)) = self.peers.iter_mut().find(|(id, peer)| able(id, peer)) else { return Ok(()) };
        let request = match want {
            Some(want) => {
                let held = peer.blocks.next(want.blocks.start).filter(|block| want.blocks.contains(block));
                let index = 2 * held.unwrap_or(want.blocks.start);
                Request { hash: Some(HashRequest { index, nodes: want.nodes }), ..Request::default() }
            }
            None => Request {
                manifest: self.core.manifest().is_none(),
                upgrade: Some(UpgradeRequest { start: 0, length: peer.remote.length }),
                ..Request::default()
            },
        };
        peer.ask(Pending::new(fork, request));
        current.asked = Some(id);
        self.mark_ready(id);
        Ok(())
    }

    /// Follows a fork from the start, since our core has changed while we did.
    fn start_again(&mut self, fork: u64) -> Result<(), StoreError> {
        self.reorganisations.insert(fork, Reorganisation::default());
        self.ask_reorganiser(fork)
    }

    fn adopt(&mut self, fork: u64) -> Result<(), StoreError> {
        let Some(tree) = self.reorganisations.remove(&fork).and_then(|current| current.tree) else { return Ok(()) };
        match self.core.adopt(tree) {
            Ok(adopted) => self.truncated(adopted.ancestor, adopted.old_length),
            Err(VerifyError::Store(error)) => Err(error),
            Err(VerifyError::Stale) => self.start_again(fork),
            Err(error) => {
                tracing::warn!(core = %self.core.key(), %error, "a proven fork could not be adopted");
                Ok(())
            }
        }
    }

    /// Starts asking anew after the core's past changed; the peers are told once that is committed.
    pub(super) fn truncated(&mut self, kept: u64, old_length: u64) -> Result<(), StoreError> {
        self.staged.truncate(kept, old_length);
        self.forget_forks();
        self.forget_requests();
        self.refill_all()
    }
}

/// Requests in flight to one peer, above which it is not asked about forks: it may claim one fork after the other
/// and answer nothing.
const REQUESTS_MAX: usize = 8_192;

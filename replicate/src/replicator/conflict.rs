//! Two histories: finding out that a core's writer signed two trees of one fork, and telling everybody.
//!
//! Whole heads travel under the request id 0 for this. Source: npm hypercore 11.37, `lib/replicator.js`
//! (`_checkIfConflict`, `_onconflict`), `lib/core.js` (`checkConflict`).

use super::PeerId;
use super::exchange::{Exchange, Head};
use super::serving::Asked;
use crate::core::VerifyError;
use crate::messages::{Message, RequestMessage};
use crate::store::StoreError;
use crate::{Proof, Request, UpgradeRequest};

impl Exchange {
    /// Asks a peer, whose data contradicts what is known here, once for its whole head: perhaps both are signed.
    pub(super) fn ask_conflict(&mut self, id: PeerId) {
        let Some(request) = self.whole_head(id) else { return };
        let fork = self.core.fork();
        self.peer(id, |peer| {
            if !std::mem::replace(&mut peer.conflict_asked, true) {
                peer.out.push_back(Message::Request(RequestMessage { id: WHOLE_HEAD, fork, priority: 0, request }));
            }
        });
        self.mark_ready(id);
    }

    /// Takes a peer's whole head. If it is signed and contradicts ours, nothing more is taken for this core, ever.
    pub(super) fn handle_conflict(&mut self, id: PeerId, proof: Proof) -> Result<(), StoreError> {
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        peer.heads_seen += 1;
        if peer.heads_seen > HEADS_MAX || self.core.is_frozen() {
            return Ok(());
        }
        match self.core.conflicts(proof) {
            Ok(true) => self.freeze(id),
            Err(VerifyError::Store(error)) => return Err(error),
            Ok(false) | Err(_) => {}
        }
        Ok(())
    }

    /// Freezes the core and shows everybody our head, so that they can see the same.
    fn freeze(&mut self, id: PeerId) {
        tracing::warn!(core = %self.core.key(), "the writer signed two histories: the core is frozen");
        self.core.freeze();
        self.staged.conflict = Some(id);
        for id in self.peer_ids() {
            let Some(request) = self.whole_head(id) else { continue };
            let fork = self.core.fork();
            self.peer(id, |peer| {
                peer.serving.push(Asked { id: WHOLE_HEAD, fork, urgent: true, request });
            });
            self.mark_ready(id);
        }
    }

    /// Returns the request for all that this side and the peer both claim to have.
    fn whole_head(&self, id: PeerId) -> Option<Request> {
        let head = Head::of(&self.core);
        let peer = self.peers.get(&id).filter(|peer| peer.remote.fork == head.fork)?;
        let length = head.length.min(peer.remote.length);
        let upgrade = (length > 0).then_some(UpgradeRequest { start: 0, length });
        upgrade.map(|upgrade| Request { upgrade: Some(upgrade), ..Request::default() })
    }
}

/// The request id under which whole heads are asked for and sent unasked.
pub(super) const WHOLE_HEAD: u64 = 0;
/// Most whole heads of one peer that are looked at: each costs a signature's verification.
const HEADS_MAX: u32 = 8;

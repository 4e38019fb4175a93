//! Two histories: finding out that a core's writer signed two trees of one fork, telling everybody, and parting.
//!
//! Whole heads travel under the request id 0 for this. Source: npm hypercore 11.37, `lib/replicator.js`
//! (`_checkIfConflict`, `_onconflict`), `lib/core.js` (`checkConflict`).

use std::sync::Arc;

use anypath_wire::PublicKey;

use super::exchange::{Exchange, Head};
use super::{CoreId, PeerId, Replicator};
use crate::core::{Core, Evidence, ProveError, VerifyError};
use crate::messages::{DataMessage, Message, RequestMessage};
use crate::store::StoreError;
use crate::{Proof, Request, UpgradeRequest};

/// Why a core is frozen: its writer signed two histories of one fork.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The core's key.
    pub key: PublicKey,
    /// The peer that showed it; `None` if it was known before this replicator started.
    pub peer: Option<PeerId>,
    /// The proof, for anybody; `None` if it was too long to be kept, or an older version froze the core.
    pub evidence: Option<Arc<Evidence>>,
}

impl Replicator {
    /// Returns why a core is frozen, if it is, once that is committed. Such a core is neither asked for nor served.
    pub fn conflict(&self, id: CoreId) -> Option<&Conflict> {
        self.exchanges[id.0 as usize].conflict.as_ref()
    }

    /// Shows every peer of a frozen core our head, so that it can see the same, and closes the core's channels.
    pub(super) fn part(&mut self, id: CoreId) -> Result<(), StoreError> {
        let sharing = self.connections.iter().filter(|(_, connection)| connection.has(id));
        for peer in sharing.map(|(peer, _)| *peer).collect::<Vec<_>>() {
            let head = self.exchange_mut(id).show_head(peer)?;
            if let Some(connection) = self.connections.get_mut(&peer) {
                if let Some(head) = &head
                    && let Err(error) = connection.send(id, head)
                {
                    tracing::debug!(%error, "the head of a frozen core cannot be shown");
                }
                connection.close(id);
                self.ready.insert(peer);
            }
            self.close(peer, id)?;
        }
        Ok(())
    }
}

impl Conflict {
    /// Returns why a core is frozen, if it is; what shows that is committed.
    pub(super) fn of(core: &Core, peer: Option<PeerId>) -> Option<Self> {
        core.is_frozen().then(|| Self { key: *core.key(), peer, evidence: core.evidence().cloned() })
    }
}

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
            Ok(Some(evidence)) => {
                tracing::warn!(core = %self.core.key(), "the writer signed two histories: the core is frozen");
                self.core.freeze(evidence);
                self.staged.conflict = Some(id);
            }
            Err(VerifyError::Store(error)) => return Err(error),
            Ok(None) | Err(_) => {}
        }
        Ok(())
    }

    /// Returns our committed head as far as the peer can compare it with its own, if it is at our fork.
    fn show_head(&mut self, id: PeerId) -> Result<Option<Message>, StoreError> {
        let Some(request) = self.whole_head(id) else { return Ok(None) };
        match self.core.prove_at(self.told.length, &self.told_signature, &request) {
            Ok(proof) => Ok(Some(Message::Data(DataMessage { request: WHOLE_HEAD, proof }))),
            Err(ProveError::Store(error)) => Err(error),
            Err(_) => Ok(None),
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

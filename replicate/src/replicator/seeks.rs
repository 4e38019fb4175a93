//! Looking for byte positions: tree nodes are asked for until the block is known, and no blocks.
//!
//! Source: npm hypercore 11.37, `lib/replicator.js` (`_requestSeek`).

use std::collections::BTreeMap;

use super::PeerId;
use super::exchange::{Exchange, ExchangeEvent, Head};
use super::peer::{Peer, Pending};
use crate::core::{Position, flat_tree};
use crate::store::StoreError;
use crate::{HashRequest, Request, SeekRequest};

/// Byte positions that are looked for.
#[derive(Debug, Default)]
pub(super) struct Seeks(BTreeMap<SeekRequest, Asked>);

/// Who is asked for a position.
#[derive(Debug, Default)]
struct Asked {
    /// The peer whose answer is missing.
    now: Option<PeerId>,
    /// The peer that took too long last.
    slow: Option<PeerId>,
}

impl Seeks {
    /// Returns whether nothing is looked for.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Lets anybody be asked for a position for which a peer was.
    pub(super) fn give_back(&mut self, seek: SeekRequest, id: PeerId) {
        if let Some(asked) = self.0.get_mut(&seek) {
            asked.now.take_if(|now| *now == id);
        }
    }

    /// Asks others first for a position, since a peer takes too long.
    pub(super) fn avoid(&mut self, seek: SeekRequest, id: PeerId) {
        if let Some(asked) = self.0.get_mut(&seek) {
            asked.slow = Some(id);
        }
    }

    /// Forgets who was asked.
    pub(super) fn ask_anew(&mut self) {
        self.0.values_mut().for_each(|asked| *asked = Asked::default());
    }
}

impl Exchange {
    /// Looks for a byte position.
    pub(super) fn seek(&mut self, seek: SeekRequest) -> Result<(), StoreError> {
        self.begin(|exchange| {
            exchange.seeks.0.entry(seek).or_default();
        })
    }

    /// Asks a peer for what is missing of the positions for which nobody is asked.
    pub(super) fn ask_seeks(&mut self, id: PeerId) -> Result<(), StoreError> {
        if self.seeks.is_empty() {
            return Ok(());
        }
        let others = self.peers.iter().any(|(other, peer)| *other != id && peer.answers());
        let open = |asked: &Asked| asked.now.is_none() && !(others && asked.slow == Some(id));
        let open: Vec<_> = self.seeks.0.iter().filter(|(_, asked)| open(asked)).map(|(seek, _)| *seek).collect();
        for seek in open {
            if let Position::Below { node } = self.core.position(seek)? {
                self.ask_seek(id, seek, node);
            }
        }
        Ok(())
    }

    /// Asks for the path of a leaf below `node`, of which the peer holds all nodes, and for those on the way to `seek`.
    fn ask_seek(&mut self, id: PeerId, seek: SeekRequest, node: u64) {
        let head = Head::of(&self.core);
        let same_fork = |peer: &&mut Peer| peer.remote.fork == head.fork;
        let Some(peer) = self.peers.get_mut(&id).filter(same_fork) else { return };
        let (first, last) = (flat_tree::first_leaf(node) / 2, flat_tree::last_leaf(node) / 2);
        let end = peer.valid_length(head).min(last + 1);
        let Some(leaf) = peer.blocks.next(first).filter(|leaf| *leaf < end) else {
            return self.ask_region(id, first);
        };
        let hash = HashRequest { index: 2 * leaf, nodes: flat_tree::depth(node).into() };
        let request = Request { hash: Some(hash), seek: Some(seek), ..Request::default() };
        peer.ask(Pending::new(head.fork, request));
        self.seeks.0.insert(seek, Asked { now: Some(id), slow: None });
        self.mark_ready(id);
    }

    /// Returns the positions that are known now, to be told of once that is committed, and looks for them no more.
    pub(super) fn take_sought(&mut self) -> Result<Vec<(SeekRequest, Position)>, StoreError> {
        let mut sought = Vec::new();
        for seek in self.seeks.0.keys() {
            let at = self.core.position(*seek)?;
            if !matches!(at, Position::Below { .. }) {
                sought.push((*seek, at));
            }
        }
        for (seek, _) in &sought {
            self.seeks.0.remove(seek);
        }
        Ok(sought)
    }

    /// Tells of positions that are found.
    pub(super) fn tell_sought(&mut self, sought: Vec<(SeekRequest, Position)>) {
        if !sought.is_empty() && !self.downloading() {
            self.tell_all_sync();
        }
        self.events.extend(sought.into_iter().map(|(seek, at)| ExchangeEvent::Sought { seek, at }));
    }
}

//! What the application wants of a core, and says beside it.

use std::ops::Range;

use bytes::Bytes;

use super::{CoreId, PeerId, Replicator};
use crate::SeekRequest;
use crate::core::Position;
use crate::store::StoreError;

impl Replicator {
    /// Asks all peers for blocks, now and whenever they come to have them; an end of `u64::MAX` follows the
    /// core as it grows.
    pub fn want(&mut self, id: CoreId, blocks: Range<u64>) -> Result<(), StoreError> {
        self.exchange_mut(id).want(blocks)?;
        self.reach_out(id);
        Ok(())
    }

    /// Does the same for blocks that somebody waits for: they are asked for before all others, and answered first.
    pub fn want_now(&mut self, id: CoreId, blocks: Range<u64>) -> Result<(), StoreError> {
        self.exchange_mut(id).want_now(blocks)?;
        self.reach_out(id);
        Ok(())
    }

    /// Asks all peers for the newest head of a core, now and whenever there is a newer one; for no blocks.
    pub fn follow(&mut self, id: CoreId) -> Result<(), StoreError> {
        self.exchange_mut(id).follow()?;
        self.reach_out(id);
        Ok(())
    }

    /// Returns where a byte position lies. If that is not known here, asks the peers for the tree nodes it takes, and
    /// for no blocks; [`Event::Sought`] has the answer then.
    pub fn seek(&mut self, id: CoreId, seek: impl Into<SeekRequest>) -> Result<Position, StoreError> {
        let seek = seek.into();
        let position = self.core(id).position(seek)?;
        if matches!(position, Position::Below { .. }) {
            self.exchange_mut(id).seek(seek)?;
            self.reach_out(id);
        }
        Ok(position)
    }

    /// Forgets blocks that are held here, and wants them no more; staged until the next commit. They stay part of the
    /// core.
    pub fn clear(&mut self, id: CoreId, blocks: Range<u64>) {
        self.exchange_mut(id).clear(blocks);
        self.staged.insert(id);
    }

    /// Asks for nothing more of a core; it is still served.
    pub fn want_nothing(&mut self, id: CoreId) {
        self.exchange_mut(id).want_nothing();
        self.spread_ready(id);
    }

    /// Takes blocks of a core that peers send unasked, from now on or no longer, as long as anything of it is wanted; off
    /// at first. They are verified as all others, and kept whether they were wanted or not.
    pub fn allow_push(&mut self, id: CoreId, allow: bool) {
        self.exchange_mut(id).allow_push(allow);
        self.spread_ready(id);
    }

    /// Sends blocks, as soon as they are committed, to the peers that take them unasked and do not have them.
    pub fn push(&mut self, id: CoreId, blocks: &Range<u64>) {
        self.exchange_mut(id).push(blocks);
        self.spread_ready(id);
    }

    /// Tells the application of extension messages of this name from now on; others are dropped.
    pub fn hear(&mut self, id: CoreId, name: &str) {
        self.exchange_mut(id).hear(name);
    }

    /// Sends an extension message to a peer; returns false if it does not share the core or does not read.
    pub fn say(&mut self, id: CoreId, peer: PeerId, name: &str, message: Bytes) -> bool {
        let said = self.exchange_mut(id).say(peer, name, message);
        self.spread_ready(id);
        said
    }
}

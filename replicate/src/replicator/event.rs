//! What happens to cores and peers, for the application.

use std::ops::Range;

use bytes::Bytes;

use super::{Conflict, CoreId, Misbehaviour, PeerId};
use crate::SeekRequest;
use crate::core::Position;

/// What the application is told; everything in it is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A peer shares this core with us.
    Opened {
        /// The peer.
        peer: PeerId,
        /// The core.
        core: CoreId,
    },
    /// A peer does not have this core.
    Absent {
        /// The peer.
        peer: PeerId,
        /// The core.
        core: CoreId,
    },
    /// A peer has said what it has of this core.
    Synced {
        /// The peer.
        peer: PeerId,
        /// The core.
        core: CoreId,
    },
    /// A peer no longer shares this core, or is gone.
    Closed {
        /// The peer.
        peer: PeerId,
        /// The core.
        core: CoreId,
    },
    /// Blocks arrived.
    Blocks {
        /// The core.
        core: CoreId,
        /// Their indices.
        blocks: Range<u64>,
    },
    /// The core has a new length or fork.
    Head {
        /// The core.
        core: CoreId,
    },
    /// Blocks are no longer part of the core; comes before the [`Event::Head`] it belongs to.
    Truncated {
        /// The core.
        core: CoreId,
        /// How many blocks are left of the old ones.
        kept: u64,
    },
    /// A peer has shown that the writer signed two histories of one fork: the core is frozen. It is neither asked for nor
    /// served from now on, and its channels are closed.
    Conflict {
        /// The core.
        core: CoreId,
        /// Who showed it, and the evidence.
        conflict: Conflict,
    },
    /// A byte position that was looked for by [`Replicator::seek`](super::Replicator::seek) is found.
    Sought {
        /// The core.
        core: CoreId,
        /// The position.
        seek: SeekRequest,
        /// Where it is: in a block or beyond the end.
        at: Position,
    },
    /// A peer sent an extension message that was asked for with [`Replicator::hear`](super::Replicator::hear).
    Extension {
        /// The peer.
        peer: PeerId,
        /// The core.
        core: CoreId,
        /// Its name.
        name: Bytes,
        /// What it says.
        message: Bytes,
    },
    /// The writer of a core signed a block that the application's rule refuses, and this peer passed it on. The block
    /// stays missing, and nobody is asked for it again; told once for a block.
    RuleBroken {
        /// The peer, which is not to blame: it may know nothing of the rule.
        peer: PeerId,
        /// The core.
        core: CoreId,
        /// The block's index.
        index: u64,
    },
    /// A peer sent data of this core that does not verify; it is asked for nothing more of it.
    Refused {
        /// The peer.
        peer: PeerId,
        /// The core.
        core: CoreId,
        /// What it did.
        misbehaviour: Misbehaviour,
    },
}

//! The application's own demands on a core's blocks.

use super::{CoreId, Replicator};
use crate::core::Rule;

impl Replicator {
    /// Sets what the application demands of a core's blocks, from peers and from here, before any is wanted.
    ///
    /// A block that the rule refuses is never stored, served or announced; [`Event::RuleBroken`](super::Event::RuleBroken)
    /// tells of it. It stays missing, and with it all that waits for it: the contiguous length ends there. The core goes
    /// on otherwise, since whether one bad block spoils the rest only the application knows: it may stop asking with
    /// [`Replicator::want_nothing`]. Peers are not punished, for the block is what they had to send. A rule lasts as
    /// long as the replicator, so it is set in every run.
    pub fn set_rule(&mut self, id: CoreId, rule: impl Rule + 'static) {
        self.exchange_mut(id).core.set_rule(rule);
    }
}

//! What sessions have found out about the way to a relay.

use std::sync::{Arc, Mutex, PoisonError};

use super::super::rungs::{Rung, Rungs};
use super::super::session::Learnt;

/// What sessions have found out about the way to one relay; clones share it, and the next session begins with it.
#[derive(Clone, Default)]
pub(in super::super) struct Lore(Arc<Mutex<Learnt>>);

impl Lore {
    pub(super) fn note(&self, learnt: &Learnt) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *known != *learnt {
            known.clone_from(learnt);
        }
    }

    /// Returns it, but for what is said already: what is forbidden does not pass, and what stands in the place of everything
    /// else does.
    pub(super) fn within(&self, rungs: &Rungs) -> Learnt {
        let learnt = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let streams_down = match (rungs.allow(Rung::Stream), rungs.allow(Rung::Poll)) {
            (false, _) => Some(false),
            (true, false) => Some(true),
            (true, true) => learnt.streams_down,
        };
        Learnt { streams_down, ..learnt }
    }
}

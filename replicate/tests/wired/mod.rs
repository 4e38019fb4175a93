//! Two replicators that hand each other their frames, without sockets or encryption.

use anypath_replicate::replicator::{Event, FrameError, PeerId, Replicator};
use anypath_wire::{Handshake, PublicKey, Role};

/// A connection without encryption between two replicators.
pub(crate) struct Link {
    pub(crate) left: PeerId,
    pub(crate) right: PeerId,
    pub(crate) events: Vec<Event>,
}

impl Link {
    pub(crate) fn new(left: &mut Replicator, right: &mut Replicator) -> Self {
        let (left, right) = (left.connect(shaken(Role::Responder)), right.connect(shaken(Role::Initiator)));
        Self { left, right, events: Vec::new() }
    }

    /// Carries one frame each way; returns whether there was any.
    pub(crate) fn step(&mut self, left: &mut Replicator, right: &mut Replicator) -> Result<bool, FrameError> {
        let (mut there, mut back) = (Vec::new(), Vec::new());
        let moved = left.poll_frame(self.left, &mut there)? | right.poll_frame(self.right, &mut back)?;
        if !there.is_empty() {
            right.handle_frame(self.right, there.into())?;
        }
        if !back.is_empty() {
            left.handle_frame(self.left, back.into())?;
        }
        left.commit()?;
        right.commit()?;
        while left.poll_event().is_some() {}
        self.events.extend(std::iter::from_fn(|| right.poll_event()));
        Ok(moved || left.has_frame(self.left) || right.has_frame(self.right))
    }

    pub(crate) fn settle(&mut self, left: &mut Replicator, right: &mut Replicator) {
        for _ in 0..10_000 {
            if !self.step(left, right).unwrap() {
                return;
            }
        }
        panic!("never settles");
    }
}

/// What a handshake would leave behind.
pub(crate) fn shaken(role: Role) -> Handshake {
    Handshake { role, remote: PublicKey([7; 32]), hash: [3; 64], tx: [0; 32], rx: [0; 32] }
}

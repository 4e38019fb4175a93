//! Taking frames in: the blocks of answers that came together are hashed together.

use anypath_wire::Hash;
use bytes::Bytes;

use super::{CoreId, FrameError, PeerId, Replicator};
use crate::core::leaf_hashes;
use crate::messages::{DATA, DataMessage};
use crate::mux;

/// Answers in the order in which they came, and the cores they are about.
pub(super) type Answers = Vec<(CoreId, DataMessage)>;

impl Replicator {
    /// Takes a decrypted frame from a peer.
    ///
    /// # Errors
    /// Anything but [`FrameError::Store`] ends this peer alone: the caller drops the connection.
    pub fn handle_frame(&mut self, peer: PeerId, frame: Bytes) -> Result<(), FrameError> {
        self.handle_frames(peer, [frame])
    }

    /// Takes decrypted frames from a peer; cheaper than one by one.
    ///
    /// # Errors
    /// As [`Replicator::handle_frame`]; what came before the error is taken.
    pub fn handle_frames(&mut self, peer: PeerId, frames: impl IntoIterator<Item = Bytes>) -> Result<(), FrameError> {
        if let Some(connection) = self.connections.get_mut(&peer) {
            frames.into_iter().for_each(|frame| connection.mux.handle_frame(frame));
            self.ready.insert(peer);
        }
        self.resume(peer)
    }

    /// Goes on with what a peer sent, up to where the application has to take or answer something first. For the driver,
    /// whenever [`Replicator::take_ready`] names the peer.
    ///
    /// # Errors
    /// As [`Replicator::handle_frame`]; what came before the error is taken.
    pub fn resume(&mut self, peer: PeerId) -> Result<(), FrameError> {
        let mut answers = Vec::new();
        let outcome = self.handle_events(peer, &mut answers);
        self.handle_answers(peer, &mut answers)?;
        outcome
    }

    fn handle_events(&mut self, peer: PeerId, answers: &mut Answers) -> Result<(), FrameError> {
        while !self.protocols.is_full(peer) {
            let Some(connection) = self.connections.get_mut(&peer) else { break };
            let Some(event) = connection.mux.poll_event()? else { break };
            let Some(event) = self.keep_own(peer, event) else { continue };
            let is_answer = matches!(&event, mux::Event::Message { kind: DATA, .. });
            if !is_answer || answers.len() >= ANSWERS_MAX {
                self.handle_answers(peer, answers)?;
            }
            self.handle_event(peer, event, answers)?;
        }
        Ok(())
    }

    /// Takes all answers collected, and leaves none.
    fn handle_answers(&mut self, peer: PeerId, answers: &mut Answers) -> Result<(), FrameError> {
        if answers.is_empty() {
            return Ok(());
        }
        let blocks = answers.iter().filter_map(|(_, data)| data.proof.block.as_ref());
        let hashes = leaf_hashes(&blocks.map(|block| &block.value[..]).collect::<Vec<_>>());
        let mut hashes = hashes.into_iter();
        for (core, data) in answers.drain(..) {
            let leaf: Option<Hash> = data.proof.block.as_ref().and_then(|_| hashes.next());
            let outcome = self.exchange_mut(core).handle_data(peer, data, leaf);
            self.handled(core);
            outcome?;
        }
        Ok(())
    }
}

/// Answers hashed at once: a multiple of what any processor does at a time, and little to keep.
const ANSWERS_MAX: usize = 64;

//! Extension messages: what two applications say to each other beside a core.
//!
//! Only names that the application asked for are passed on, so a stranger's chatter costs nothing.

use bytes::Bytes;

use super::PeerId;
use super::exchange::{Exchange, ExchangeEvent};
use crate::messages::Message;

impl Exchange {
    /// Passes on extension messages of this name from now on.
    pub(super) fn hear(&mut self, name: &str) {
        self.extensions.insert(Bytes::copy_from_slice(name.as_bytes()));
    }

    /// Takes an extension message; an empty name stands for that of the one before.
    pub(super) fn handle_extension(&mut self, id: PeerId, name: Bytes, message: Bytes) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if !name.is_empty() {
            let kept = name.len() <= NAME_BYTES_MAX;
            peer.extension_heard = if kept { Bytes::copy_from_slice(&name) } else { Bytes::new() };
        }
        let name = peer.extension_heard.clone();
        if self.extensions.contains(&name) && message.len() <= EXTENSION_BYTES_MAX {
            // A slice would keep all in memory that was read with it, for as long as somebody holds the event.
            let message = Bytes::copy_from_slice(&message);
            self.events.push_back(ExchangeEvent::Extension { peer: id, name, message });
        }
    }

    /// Queues an extension message; returns whether the peer is there to take it, and reads what it is sent.
    pub(super) fn say(&mut self, id: PeerId, name: &str, message: Bytes) -> bool {
        let Some(peer) = self.peers.get_mut(&id) else { return false };
        if !peer.has_room() {
            return false;
        }
        let name = Bytes::copy_from_slice(name.as_bytes());
        peer.out.push_back(Message::Extension { name, message });
        self.mark_ready(id);
        true
    }
}

/// Longest name that is remembered for the messages that follow, in bytes.
const NAME_BYTES_MAX: usize = 1024;
/// Longest extension message that is passed on, in bytes; the reference's own ones have some hundred.
const EXTENSION_BYTES_MAX: usize = 64 << 10;

//! What peers did on channels of the application's own, kept until the application takes it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::PeerId;
use super::channels::SpeakError;
use super::connection::is_core_protocol;
use crate::mux::{Channel, Event, NAME_BYTES_MAX, Protocol};

/// The protocols that the application speaks.
#[derive(Debug, Default)]
pub(super) struct Protocols {
    /// Names and aliases, and whose they are.
    names: BTreeMap<String, Arc<str>>,
    queues: BTreeMap<Arc<str>, Queue>,
    /// What waits of each connected peer, in bytes.
    waiting: BTreeMap<PeerId, usize>,
    /// What waits of peers that are gone, in bytes.
    left_behind: usize,
}

/// What waits of one protocol.
#[derive(Debug, Default)]
struct Queue {
    events: BTreeMap<PeerId, VecDeque<Event>>,
    /// The peers in `events`, in the order of their turns.
    turns: VecDeque<PeerId>,
}

impl Protocols {
    /// Takes up a protocol.
    pub(super) fn speak(&mut self, protocol: &Protocol) -> Result<(), SpeakError> {
        let names = || protocol.aliases.iter().chain([&protocol.name]);
        for name in names() {
            if self.names.contains_key(name) || is_core_protocol(name) {
                return Err(SpeakError::Taken { name: name.clone() });
            }
            if name.len() > NAME_BYTES_MAX {
                return Err(SpeakError::LongName { bytes: name.len(), bytes_max: NAME_BYTES_MAX });
            }
        }
        let owner: Arc<str> = protocol.name.as_str().into();
        self.names.extend(names().map(|name| (name.clone(), owner.clone())));
        self.queues.insert(owner, Queue::default());
        Ok(())
    }

    /// Gives up a protocol, and forgets what waits of it; its names must be gone from all connections already.
    pub(super) fn hush(&mut self, protocol: &str) {
        self.names.retain(|_, owner| **owner != *protocol);
        let Some(queue) = self.queues.remove(protocol) else { return };
        for (peer, events) in queue.events {
            self.count_out(peer, events.iter().map(bytes).sum());
        }
    }

    /// Returns the protocol that has this name or alias.
    pub(super) fn owner(&self, name: &str) -> Option<&Arc<str>> {
        self.names.get(name)
    }

    /// Returns the other names of a protocol.
    pub(super) fn aliases(&self, protocol: &str) -> Vec<String> {
        let others = self.names.iter().filter(|(name, owner)| ***owner == *protocol && *name != protocol);
        others.map(|(name, _)| name.clone()).collect()
    }

    /// Returns whether enough waits of a peer.
    pub(super) fn is_full(&self, peer: PeerId) -> bool {
        self.waiting.get(&peer).is_some_and(|bytes| *bytes >= WAITING_BYTES_MAX)
    }

    /// Keeps what a connected peer did.
    pub(super) fn push(&mut self, protocol: &str, peer: PeerId, event: Event) {
        let Some(queue) = self.queues.get_mut(protocol) else { return };
        *self.waiting.entry(peer).or_default() += bytes(&event);
        let events = queue.events.entry(peer).or_default();
        if events.is_empty() {
            queue.turns.push_back(peer);
        }
        events.push_back(event);
    }

    /// Returns what waits longest of the peer whose turn it is.
    pub(super) fn pop(&mut self, protocol: &str) -> Option<(PeerId, Event)> {
        let queue = self.queues.get_mut(protocol)?;
        let peer = queue.turns.pop_front()?;
        let events = queue.events.get_mut(&peer)?;
        let event = events.pop_front()?;
        if events.is_empty() {
            queue.events.remove(&peer);
        } else {
            queue.turns.push_back(peer);
        }
        self.count_out(peer, bytes(&event));
        Some((peer, event))
    }

    /// Forgets what waits of a channel that we closed.
    pub(super) fn forget(&mut self, protocol: &str, peer: PeerId, closed: Channel) {
        self.retain(protocol, peer, |event| match event {
            Event::Opened { channel, .. } | Event::Message { channel, .. } => *channel != closed,
            _ => true,
        });
    }

    /// Notes that a peer is gone. What it said is still told, unless all that are gone have left too much: then only the
    /// ends of its channels are.
    pub(super) fn leave(&mut self, peer: PeerId) {
        self.left_behind += self.waiting.remove(&peer).unwrap_or_default();
        if self.left_behind > LEFT_BEHIND_BYTES_MAX {
            let protocols: Vec<_> = self.queues.keys().cloned().collect();
            protocols.iter().for_each(|name| self.retain(name, peer, |event| matches!(event, Event::Closed { .. })));
        }
    }

    fn retain(&mut self, protocol: &str, peer: PeerId, keep: impl Fn(&Event) -> bool) {
        let Some(queue) = self.queues.get_mut(protocol) else { return };
        let Some(events) = queue.events.get_mut(&peer) else { return };
        let before: usize = events.iter().map(bytes).sum();
        events.retain(keep);
        let after: usize = events.iter().map(bytes).sum();
        if events.is_empty() {
            queue.events.remove(&peer);
            queue.turns.retain(|turn| *turn != peer);
        }
        self.count_out(peer, before - after);
    }

    fn count_out(&mut self, peer: PeerId, bytes: usize) {
        let Some(waiting) = self.waiting.get_mut(&peer) else {
            self.left_behind -= bytes;
            return;
        };
        *waiting -= bytes;
        if *waiting == 0 {
            self.waiting.remove(&peer);
        }
    }
}

/// Returns what an event counts, in bytes.
fn bytes(event: &Event) -> usize {
    EVENT_OVERHEAD_BYTES
        + match event {
            Event::Offered { protocol, id } => protocol.len() + id.len(),
            Event::Opened { handshake, .. } => handshake.len(),
            Event::Message { body, .. } => body.len(),
            Event::Closed { .. } => 0,
        }
}

/// What waits of one peer before no more is read from it, in bytes; a message more, however large, may exceed it.
const WAITING_BYTES_MAX: usize = 256 << 10;
/// What waits of all peers that are gone, in bytes.
const LEFT_BEHIND_BYTES_MAX: usize = 4 << 20;
/// What an event counts beyond its bytes; the reference's figure for a message that waits.
const EVENT_OVERHEAD_BYTES: usize = 512;

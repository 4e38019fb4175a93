//! Who waits at the engine for something on the application's own channels: to be told, or to send.

use std::collections::{BTreeMap, VecDeque};

use anypath_replicate::mux::{Channel, Event};
use anypath_replicate::replicator::{PeerId, Replicator};
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::channels::ChannelError;

/// What [`Channels`](crate::Channels) asks of the engine.
pub(crate) enum ChannelJob {
    /// Tell this listener of a protocol what has happened, at once or as soon as anything does.
    Listen(String, Listener),
    /// Send, when there is room.
    Send(Sending),
    /// Speak a protocol no more.
    Hush(String),
}

/// Where events are told.
pub(crate) type Listener = oneshot::Sender<Vec<(PeerId, Event)>>;

/// Messages on their way.
pub(crate) struct Sending {
    pub(crate) peer: PeerId,
    pub(crate) channel: Channel,
    pub(crate) messages: Vec<(u64, Bytes)>,
    pub(crate) sent: oneshot::Sender<Result<(), ChannelError>>,
}

/// Everybody who waits. What they wait for is in the replicator: nothing is queued here but what is to be sent.
#[derive(Default)]
pub(crate) struct Waiting {
    /// By protocol; `None` while the last answer is being taken in.
    listeners: BTreeMap<String, Option<Listener>>,
    sendings: BTreeMap<PeerId, VecDeque<Sending>>,
}

impl Waiting {
    /// Takes a job; returns the peer that has something to send now.
    pub(crate) fn handle(&mut self, job: ChannelJob, replicator: &mut Replicator) -> Option<PeerId> {
        match job {
            ChannelJob::Listen(protocol, listener) => {
                self.listeners.insert(protocol, Some(listener));
            }
            ChannelJob::Hush(protocol) => {
                self.listeners.remove(&protocol);
                replicator.hush(&protocol);
            }
            ChannelJob::Send(sending) if replicator.channels(sending.peer).is_some() => {
                let peer = sending.peer;
                self.sendings.entry(peer).or_default().push_back(sending);
                return Some(peer);
            }
            ChannelJob::Send(_) => {} // the peer is gone, and so is the sender's hope of an answer
        }
        None
    }

    /// Tells the listeners what has happened.
    pub(crate) fn tell(&mut self, replicator: &mut Replicator) {
        for (protocol, waiting) in &mut self.listeners {
            if waiting.as_ref().is_none_or(Listener::is_closed) {
                continue;
            }
            let events = take_events(protocol, replicator);
            if let Some(listener) = waiting.take_if(|_| !events.is_empty()) {
                drop(listener.send(events));
            }
        }
    }

    /// Hands a peer's mux what waits for it, up to a frame's worth. Who gave up waiting has not sent.
    pub(crate) fn send(&mut self, peer: PeerId, replicator: &mut Replicator) {
        let Some(waiting) = self.sendings.get_mut(&peer) else { return };
        let Some(mut channels) = replicator.channels(peer) else { return };
        while channels.queued_bytes() < SEND_BYTES_TARGET {
            let Some(Sending { channel, messages, sent, .. }) = waiting.pop_front() else {
                self.sendings.remove(&peer);
                break;
            };
            if !sent.is_closed() {
                let mut messages = messages.into_iter();
                let outcome = messages.try_for_each(|(kind, body)| channels.send(channel, kind, body));
                drop(sent.send(outcome.map_err(ChannelError::from)));
            }
        }
    }

    /// Forgets a peer that is gone; who waits to send to it is told so.
    pub(crate) fn forget(&mut self, peer: PeerId) {
        self.sendings.remove(&peer);
    }
}

fn take_events(protocol: &str, replicator: &mut Replicator) -> Vec<(PeerId, Event)> {
    let (mut events, mut bytes) = (Vec::new(), 0);
    while events.len() < EVENTS_AT_ONCE
        && bytes < BYTES_AT_ONCE
        && let Some((peer, event)) = replicator.poll_channel(protocol)
    {
        if let Event::Message { body, .. } = &event {
            bytes += body.len();
        }
        events.push((peer, event));
    }
    events
}

/// Events told at once: what a listener holds that has not looked at them.
const EVENTS_AT_ONCE: usize = 64;
/// Bytes of messages in them, at which no further one is added.
const BYTES_AT_ONCE: usize = 256 << 10;
/// Bytes that wait in a mux at which no more of the application's are added: a frame's worth.
const SEND_BYTES_TARGET: usize = 64 << 10;

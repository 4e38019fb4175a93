//! One connection: its mux, and which channel is which core.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::CoreId;
use super::channels::OwnChannels;
use crate::messages::{self, Message};
use crate::mux::{Channel, Mux, Protocol, SendError};
use anypath_wire::{DiscoveryKey, Handshake, PublicKey};

/// A connected peer's channels.
pub(super) struct Connection {
    pub(super) mux: Mux,
    pub(super) handshake: Handshake,
    /// Channels that are no core's.
    pub(super) own: OwnChannels,
    cores: BTreeMap<Channel, CoreId>,
    channels: BTreeMap<CoreId, Channel>,
    /// Cores in the order in which they had something to send; those not in `queued` are no longer meant.
    ready: VecDeque<CoreId>,
    queued: BTreeSet<CoreId>,
    /// Cores it offered that were not known here.
    missed: BTreeSet<DiscoveryKey>,
    /// How often a channel was opened again after the peer closed it.
    pub(super) reopened: u32,
}

impl Connection {
    /// Starts without channels.
    pub(super) fn new(handshake: Handshake) -> Self {
        Self {
            mux: Mux::new(),
            handshake,
            own: OwnChannels::default(),
            cores: BTreeMap::new(),
            channels: BTreeMap::new(),
            ready: VecDeque::new(),
            queued: BTreeSet::new(),
            missed: BTreeSet::new(),
            reopened: 0,
        }
    }

    /// Returns whether a core has a channel here.
    pub(super) fn has(&self, core: CoreId) -> bool {
        self.channels.contains_key(&core)
    }

    /// Opens our end of a core's channel, unless it is open already.
    pub(super) fn open(&mut self, core: CoreId, key: &PublicKey) {
        if self.has(core) {
            return;
        }
        let capability = messages::capability(&self.handshake.hash, self.handshake.role, key);
        let mut body = Vec::with_capacity(33);
        messages::Handshake { seeks: true, capability }.encode(&mut body);
        let channel = self.mux.open(&protocol(&key.discovery_key()), &body);
        self.cores.insert(channel, core);
        self.channels.insert(core, channel);
    }

    /// Turns down a channel for a core that is not known here, but keeps it in mind.
    pub(super) fn miss(&mut self, protocol: &str, core: DiscoveryKey) {
        if self.missed.len() < MISSED_MAX {
            self.missed.insert(core);
        }
        self.mux.reject(protocol, &core.0);
    }

    /// Opens our end of a core's channel if the peer offered it when it was not known here; returns whether it did.
    pub(super) fn make_up(&mut self, core: CoreId, key: &PublicKey, discovery_key: &DiscoveryKey) -> bool {
        let missed = self.missed.remove(discovery_key);
        if missed {
            self.open(core, key);
        }
        missed
    }

    /// Returns whether the peer's opening handshake proves that it knows the key.
    pub(super) fn proves(&self, key: &PublicKey, handshake: &[u8]) -> bool {
        let expected = messages::capability(&self.handshake.hash, self.handshake.role.other(), key);
        messages::Handshake::decode(handshake).is_ok_and(|theirs| theirs.capability == expected)
    }

    /// Returns the core of a channel.
    pub(super) fn core(&self, channel: Channel) -> Option<CoreId> {
        self.cores.get(&channel).copied()
    }

    /// Returns the cores that have a channel here.
    pub(super) fn cores(&self) -> impl Iterator<Item = CoreId> {
        self.channels.keys().copied()
    }

    /// Forgets a channel that has closed.
    pub(super) fn forget(&mut self, channel: Channel) -> Option<CoreId> {
        let core = self.cores.remove(&channel)?;
        self.channels.remove(&core);
        self.queued.remove(&core);
        Some(core)
    }

    /// Closes a core's channel; what was sent before still arrives.
    pub(super) fn close(&mut self, core: CoreId) {
        if let Some(channel) = self.channels.get(&core).copied() {
            self.mux.close(channel);
            self.forget(channel);
        }
    }

    /// Says that a core has something to send.
    pub(super) fn mark_ready(&mut self, core: CoreId) {
        if self.channels.contains_key(&core) && self.queued.insert(core) {
            self.ready.push_back(core);
        }
    }

    /// Returns the next core with something to send; the caller puts it back if there is more.
    pub(super) fn next_ready(&mut self) -> Option<CoreId> {
        while let Some(core) = self.ready.pop_front() {
            if self.queued.remove(&core) {
                return Some(core);
            }
        }
        None
    }

    /// Returns whether any core has something to send.
    pub(super) fn is_ready(&self) -> bool {
        !self.queued.is_empty()
    }

    /// Queues a message on a core's channel.
    pub(super) fn send(&mut self, core: CoreId, message: &Message) -> Result<(), SendError> {
        let Some(&channel) = self.channels.get(&core) else { return Ok(()) };
        message.send(&mut self.mux, channel)
    }
}

/// Returns the protocol of a core's channel.
pub(super) fn protocol(discovery_key: &DiscoveryKey) -> Protocol {
    Protocol::new(PROTOCOL, discovery_key.0).alias(PROTOCOL_ALIAS)
}

/// Returns whether a peer's offer is for a core.
pub(super) fn is_core_protocol(name: &str) -> bool {
    name == PROTOCOL || name == PROTOCOL_ALIAS
}

/// Most cores kept in mind that a peer offered in vain: 32 bytes each.
const MISSED_MAX: usize = 1024;

const PROTOCOL: &str = "hypercore/alpha";
const PROTOCOL_ALIAS: &str = "hypercore";

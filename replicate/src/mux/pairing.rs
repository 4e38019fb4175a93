//! Which channel of ours belongs to which of the peer's, and who still owes whom an answer.
//!
//! Ids are per sender. An id of ours is free again once both ends are gone: when a paired channel
//! is closed by either side, or when a channel that we gave up, unanswered, is answered at last.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::mux::{Channel, CloseReason, Misbehaviour, Protocol};

/// What happens next on a channel that was paired with an offer.
#[derive(Debug)]
pub(super) enum Step {
    Open(Bytes),
    Message(u64, Bytes),
    Close(CloseReason),
}

/// What became of the peer's open.
#[derive(Debug)]
pub(super) enum Answer {
    Paired(Channel, Bytes),
    Offered,
    /// It answers an open of ours that we closed meanwhile.
    GivenUp(u32),
}

/// Both ends' channels, by index (the id on the wire, less one).
#[derive(Debug, Default)]
pub(super) struct Pairing {
    locals: Vec<Slot>,
    free: Vec<u32>,
    remotes: Vec<Option<Remote>>,
    /// Our opens without answer, under each of their names, oldest first.
    waiting: BTreeMap<Name, VecDeque<u32>>,
    /// The peer's opens without answer, oldest first.
    offers: BTreeMap<Name, VecDeque<u32>>,
    offered_bytes: usize,
    buffered_bytes: usize,
    steps: VecDeque<(Channel, Step)>,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    local: Local,
}

#[derive(Debug)]
enum Local {
    Free,
    /// Opened under these names; the peer has not answered.
    Waiting(Vec<Name>),
    /// Opened and closed by us; the peer has not answered.
    Abandoned(Vec<Name>),
    Paired(u32),
}

#[derive(Debug)]
enum Remote {
    Offered(Box<Offer>),
    Paired(u32),
}

#[derive(Debug)]
struct Offer {
    handshake: Bytes,
    messages: Vec<(u64, Bytes)>,
    closed: bool,
    bytes: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    protocol: String,
    id: Vec<u8>,
}

impl Name {
    fn new(protocol: &str, id: &[u8]) -> Self {
        Self { protocol: protocol.to_owned(), id: id.to_vec() }
    }
}

impl Pairing {
    /// Returns whether more is buffered for unanswered offers than there should be.
    pub(super) fn is_full(&self) -> bool {
        self.buffered_bytes > BUFFERED_BYTES_MAX
    }

    pub(super) fn is_open(&self, channel: Channel) -> bool {
        self.locals.get(channel.index as usize).is_some_and(|slot| {
            slot.generation == channel.generation && matches!(slot.local, Local::Waiting(_) | Local::Paired(_))
        })
    }

    /// Takes an id for a new channel and pairs it with the oldest offer it answers.
    pub(super) fn open(&mut self, protocol: &Protocol) -> Channel {
        let channel = self.allocate();
        let names: Vec<Name> =
            [&protocol.name].into_iter().chain(&protocol.aliases).map(|name| Name::new(name, &protocol.id)).collect();
        match names.iter().find_map(|name| pop(&mut self.offers, name)) {
            Some(remote) => self.accept(channel, remote),
            None => {
                for name in &names {
                    self.waiting.entry(name.clone()).or_default().push_back(channel.index);
                }
                self.slot(channel.index).local = Local::Waiting(names);
            }
        }
        channel
    }

    /// Returns whether there was something to close.
    pub(super) fn close(&mut self, channel: Channel) -> bool {
        if !self.is_open(channel) {
            return false;
        }
        match std::mem::replace(&mut self.slot(channel.index).local, Local::Free) {
            Local::Paired(remote) => {
                self.remotes[remote as usize] = None;
                self.release(channel.index);
            }
            Local::Waiting(names) | Local::Abandoned(names) => {
                self.slot(channel.index).local = Local::Abandoned(names);
            }
            Local::Free => {}
        }
        true
    }

    /// Returns the names of unanswered offers.
    pub(super) fn offers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.offers.keys().map(|name| (&*name.protocol, &*name.id))
    }

    pub(super) fn is_offered(&self, protocol: &str, id: &[u8]) -> bool {
        self.offers.contains_key(&Name::new(protocol, id))
    }

    /// Drops all offers under a name and returns their indices, oldest first.
    pub(super) fn reject(&mut self, protocol: &str, id: &[u8]) -> VecDeque<u32> {
        let rejected = self.offers.remove(&Name::new(protocol, id)).unwrap_or_default();
        for remote in &rejected {
            self.take_offer(*remote);
        }
        rejected
    }

    /// Returns the next thing that happened on a channel while it was an offer.
    pub(super) fn poll_step(&mut self) -> Option<(Channel, Step)> {
        while let Some((channel, step)) = self.steps.pop_front() {
            if !self.is_open(channel) {
                continue;
            }
            if matches!(step, Step::Close(_)) {
                self.release(channel.index);
            }
            return Some((channel, step));
        }
        None
    }

    /// Takes the peer's open, under its id (1 or more).
    pub(super) fn handle_open(
        &mut self,
        id: u64,
        protocol: &str,
        protocol_id: &[u8],
        handshake: Bytes,
    ) -> Result<Answer, Misbehaviour> {
        let remote = self.free_remote(id)?;
        let name = Name::new(protocol, protocol_id);
        let Some(index) = self.pop_waiting(&name) else {
            return self.offer(remote, name, &handshake).map(|()| Answer::Offered);
        };
        let slot = self.slot(index);
        if matches!(slot.local, Local::Abandoned(_)) {
            self.release(index);
            return Ok(Answer::GivenUp(index));
        }
        slot.local = Local::Paired(remote);
        let channel = Channel { index, generation: slot.generation };
        self.remotes[remote as usize] = Some(Remote::Paired(index));
        Ok(Answer::Paired(channel, handshake))
    }

    /// Takes the peer's refusal of our id; returns the channel unless we had given it up.
    pub(super) fn handle_reject(&mut self, id: u64) -> Result<Option<Channel>, Misbehaviour> {
        let invalid = Misbehaviour::InvalidReject { id };
        let index = id.checked_sub(1).and_then(|index| u32::try_from(index).ok()).ok_or(invalid)?;
        let slot = self.locals.get_mut(index as usize).ok_or(invalid)?;
        let channel = Channel { index, generation: slot.generation };
        let (names, told) = match &mut slot.local {
            Local::Waiting(names) => (std::mem::take(names), Some(channel)),
            Local::Abandoned(names) => (std::mem::take(names), None),
            Local::Free | Local::Paired(_) => return Err(invalid),
        };
        self.forget_waiting(index, &names);
        self.release(index);
        Ok(told)
    }

    /// Takes the peer's close of its id; returns the channel unless it was closed already or not paired yet.
    pub(super) fn handle_close(&mut self, id: u64) -> Option<Channel> {
        let remote = self.remote(id)?;
        match remote.as_mut()? {
            Remote::Offered(offer) => {
                offer.closed = true;
                None
            }
            Remote::Paired(index) => {
                let index = *index;
                *remote = None;
                let generation = self.slot(index).generation;
                self.release(index);
                Some(Channel { index, generation })
            }
        }
    }

    /// Takes a message on the peer's id: returned if the channel is paired, kept if it is an offer, else dropped.
    pub(super) fn receive(&mut self, id: u64, kind: u64, body: Bytes) -> Option<(Channel, Step)> {
        match self.remote(id)?.as_mut()? {
            Remote::Paired(index) => {
                let index = *index;
                let generation = self.locals[index as usize].generation;
                Some((Channel { index, generation }, Step::Message(kind, body)))
            }
            Remote::Offered(offer) => {
                if !offer.closed {
                    // A copy, since a slice would keep the whole frame in memory.
                    offer.messages.push((kind, Bytes::copy_from_slice(&body)));
                    self.buffered_bytes += MESSAGE_OVERHEAD_BYTES + body.len();
                }
                None
            }
        }
    }

    fn offer(&mut self, remote: u32, name: Name, handshake: &Bytes) -> Result<(), Misbehaviour> {
        let bytes = MESSAGE_OVERHEAD_BYTES + name.protocol.len() + name.id.len() + handshake.len();
        self.offered_bytes += bytes;
        if self.offered_bytes > OFFERED_BYTES_MAX {
            return Err(Misbehaviour::TooManyOffers { bytes_max: OFFERED_BYTES_MAX });
        }
        let handshake = Bytes::copy_from_slice(handshake);
        let offer = Offer { handshake, messages: Vec::new(), closed: false, bytes };
        self.remotes[remote as usize] = Some(Remote::Offered(Box::new(offer)));
        self.offers.entry(name).or_default().push_back(remote);
        Ok(())
    }

    fn accept(&mut self, channel: Channel, remote: u32) {
        self.slot(channel.index).local = Local::Paired(remote);
        let Some(offer) = self.take_offer(remote) else { return };
        self.steps.push_back((channel, Step::Open(offer.handshake)));
        let messages = offer.messages.into_iter().map(|(kind, body)| (channel, Step::Message(kind, body)));
        self.steps.extend(messages);
        if offer.closed {
            self.steps.push_back((channel, Step::Close(CloseReason::Closed)));
        } else {
            self.remotes[remote as usize] = Some(Remote::Paired(channel.index));
        }
    }

    fn take_offer(&mut self, remote: u32) -> Option<Offer> {
        let Some(Remote::Offered(offer)) = self.remotes[remote as usize].take() else { return None };
        self.offered_bytes -= offer.bytes;
        self.buffered_bytes -=
            offer.messages.iter().map(|(_, body)| MESSAGE_OVERHEAD_BYTES + body.len()).sum::<usize>();
        Some(*offer)
    }

    /// Returns the index of a new id of the peer's: one that is free, or the next one.
    fn free_remote(&mut self, id: u64) -> Result<u32, Misbehaviour> {
        let invalid = Misbehaviour::InvalidOpen { id };
        let index = id.checked_sub(1).and_then(|index| usize::try_from(index).ok()).ok_or(invalid)?;
        if index == self.remotes.len() && index < CHANNELS_MAX {
            self.remotes.push(None);
        }
        match self.remotes.get(index) {
            Some(None) => Ok(index as u32),
            _ => Err(invalid),
        }
    }

    fn remote(&mut self, id: u64) -> Option<&mut Option<Remote>> {
        self.remotes.get_mut(usize::try_from(id).ok()?.checked_sub(1)?)
    }

    fn slot(&mut self, index: u32) -> &mut Slot {
        &mut self.locals[index as usize]
    }

    fn allocate(&mut self) -> Channel {
        let index = self.free.pop().unwrap_or_else(|| {
            self.locals.push(Slot { generation: 0, local: Local::Free });
            (self.locals.len() - 1) as u32
        });
        Channel { index, generation: self.slot(index).generation }
    }

    fn release(&mut self, index: u32) {
        let slot = self.slot(index);
        slot.local = Local::Free;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
    }

    /// Takes the oldest of our unanswered opens under a name, and takes it off its other names.
    fn pop_waiting(&mut self, name: &Name) -> Option<u32> {
        let index = pop(&mut self.waiting, name)?;
        if let Local::Waiting(names) | Local::Abandoned(names) = &mut self.slot(index).local {
            let names = std::mem::take(names);
            self.forget_waiting(index, &names);
        }
        Some(index)
    }

    fn forget_waiting(&mut self, index: u32, names: &[Name]) {
        for name in names {
            if let Some(queue) = self.waiting.get_mut(name) {
                queue.retain(|waiting| *waiting != index);
                if queue.is_empty() {
                    self.waiting.remove(name);
                }
            }
        }
    }
}

fn pop(queues: &mut BTreeMap<Name, VecDeque<u32>>, name: &Name) -> Option<u32> {
    let queue = queues.get_mut(name)?;
    let oldest = queue.pop_front();
    if queue.is_empty() {
        queues.remove(name);
    }
    oldest
}

/// Channels that a peer may have at once.
const CHANNELS_MAX: usize = 1 << 16;
/// Bytes of messages kept for unanswered offers before reading stops; the reference's figure.
const BUFFERED_BYTES_MAX: usize = 32 * 1024;
/// What a kept message or offer counts beyond its bytes; the reference's figure.
const MESSAGE_OVERHEAD_BYTES: usize = 512;
/// Bytes of unanswered offers, each with name, id, handshake and overhead: some 25,000 cores at once.
const OFFERED_BYTES_MAX: usize = 16 * 1024 * 1024;

//! Protomux: many channels on one connection, each with its own protocol and its messages in order.
//!
//! Both ends open a channel for the same protocol and id; the two opens pair. A [`Mux`] takes the
//! plaintext frames of one connection and tells what they mean, takes messages and packs them into frames:
//!
//! ```text
//! handle_frame ──► poll_event   Offered ─► open or reject, Opened, Message …, Closed
//! open, send   ──► poll_frame   one frame at a time, as many messages in it as are waiting
//! ```
//!
//! # The protocol
//! | what | how |
//! |---|---|
//! | a protocol | a name, perhaps aliases, and an id that tells its channels apart: [`Protocol`] |
//! | opening | symmetric: each end sends an open with a handshake of its own, and either may be first |
//! | pairing | by name and id, in the order of the opens; an alias matches as the name does |
//! | an open for which we have none | [`Event::Offered`]: answered with [`Mux::open`] or [`Mux::reject`], at once or later |
//! | messages | a number, which the protocol gives a meaning, and a body; unknown numbers are ignored |
//! | before the peer has opened | messages may follow the open at once; they wait on the other side for its answer |
//! | closing | by either end, seen by the other behind all that was sent before |
//! | cork | what is sent between two calls of `poll_frame` leaves as one batch, up to 64 KiB a frame |
//!
//! One's own protocol on a connection that carries cores as well is spoken through
//! [`Replicator::speak`](crate::replicator::Replicator::speak), for there the replicator has the mux. Two ends of a
//! connection that carries nothing else:
//!
//! ```
//! use anypath_replicate::mux::{CloseReason, Event, Mux, Protocol};
//!
//! fn carry(from: &mut Mux, to: &mut Mux) {
//!     let mut frame = Vec::new();
//!     while from.poll_frame(&mut frame) {
//!         to.handle_frame(std::mem::take(&mut frame).into());
//!     }
//! }
//!
//! let (mut ours, mut theirs) = (Mux::new(), Mux::new());
//! let chat = Protocol::new("chat", *b"room 1").alias("talk");
//!
//! // Sent at once, behind the open.
//! let channel = ours.open(&chat, b"Ann");
//! ours.send(channel, 0, b"anybody here?")?;
//! carry(&mut ours, &mut theirs);
//!
//! // They did not ask for it, and may take it or not.
//! let offered = Event::Offered { protocol: "chat".into(), id: b"room 1".into() };
//! assert_eq!(theirs.poll_event()?, Some(offered));
//! let answer = theirs.open(&chat, b"Bob");
//! let opened = Event::Opened { channel: answer, handshake: "Ann".into() };
//! assert_eq!(theirs.poll_event()?, Some(opened));
//! let message = Event::Message { channel: answer, kind: 0, body: "anybody here?".into() };
//! assert_eq!(theirs.poll_event()?, Some(message));
//!
//! theirs.close(answer);
//! carry(&mut theirs, &mut ours);
//! assert!(matches!(ours.poll_event()?, Some(Event::Opened { handshake, .. }) if handshake == "Bob"));
//! assert_eq!(ours.poll_event()?, Some(Event::Closed { channel, why: CloseReason::Closed }));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Back-pressure
//! *Outgoing*: nothing is refused, so whoever produces data stops while [`Mux::queued_bytes`] is
//! enough to keep the connection busy, and goes on once `poll_frame` has emptied it.
//! *Incoming*: frames are read one message at a time, by `poll_event` alone; the driver hands in no
//! frame while [`Mux::wants_pause`] holds. That is the case until every event of the last frame is
//! taken, and while messages on channels that are offered but not answered exceed a limit: then
//! `poll_event` returns `None` until the application opens or rejects what it was offered.
//!
//! Source: npm protomux 3.12, `index.js`.

mod inbox;
mod outbox;
mod pairing;

use anypath_wire::{DecodeError, Decoder, Encode};
use bytes::Bytes;
use thiserror::Error;

use crate::mux::inbox::{Inbox, Item};
pub(crate) use crate::mux::outbox::MESSAGE_BYTES_MAX;
use crate::mux::outbox::Outbox;
use crate::mux::pairing::{Answer, Pairing, Step};

/// What a channel speaks: both ends must name the same protocol and id for their channels to pair.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Protocol {
    /// Its name, such as `hypercore/alpha`; at most 1,024 bytes.
    pub name: String,
    /// Other names under which the peer may open the same protocol.
    pub aliases: Vec<String>,
    /// Which of its kind, such as a discovery key; empty for the only one. At most 1,024 bytes.
    pub id: Vec<u8>,
}

impl Protocol {
    /// Returns a protocol without aliases.
    pub fn new(name: impl Into<String>, id: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), aliases: Vec::new(), id: id.into() }
    }

    /// Adds another name under which the peer may open it.
    pub fn alias(mut self, name: impl Into<String>) -> Self {
        self.aliases.push(name.into());
        self
    }
}

/// Our end of a channel; never names another channel, not even after it has closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Channel {
    index: u32,
    generation: u32,
}

/// What the peer did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The peer opened a channel for which we have none: answer with [`Mux::open`] or [`Mux::reject`], at once or later.
    Offered {
        /// The name the peer used, which may be one of a protocol's aliases.
        protocol: String,
        /// The id; empty if there was none.
        id: Vec<u8>,
    },
    /// Both ends are open. Comes before the channel's first message.
    Opened {
        /// The channel, as returned by [`Mux::open`].
        channel: Channel,
        /// The peer's handshake; empty if the protocol has none.
        handshake: Bytes,
    },
    /// A message, in the order in which the peer sent them on this channel.
    Message {
        /// The channel on which it came.
        channel: Channel,
        /// Which message of the protocol; unknown ones are to be ignored.
        kind: u64,
        /// Its body: a slice of the frame.
        body: Bytes,
    },
    /// The peer ended the channel; nothing more comes. Not told of channels that we closed.
    Closed {
        /// The channel, which is gone.
        channel: Channel,
        /// How it came to that.
        why: CloseReason,
    },
}

/// How a channel ended that we did not close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer had opened it and closed it.
    Closed,
    /// The peer does not speak this protocol, or has nothing under this id.
    Rejected,
    /// The connection ended, and all its channels with it. A mux itself never says so: it knows no connection.
    Disconnected,
}

/// Why a connection can no longer be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MuxError {
    /// The peer is to blame: drop the connection.
    #[error("the peer broke the rules of channels: {0}")]
    Misbehaved(#[from] Misbehaviour),
}

/// What a peer did that no proper one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Misbehaviour {
    /// A frame that cannot be decoded.
    #[error("a frame cannot be decoded: {0}")]
    Malformed(#[from] DecodeError),
    /// A batch inside a batch.
    #[error("a batch holds another batch")]
    NestedBatch,
    /// A protocol name or id above the limit.
    #[error("an open names a protocol or id of {bytes} bytes; {bytes_max} are allowed")]
    LongName {
        /// What it has.
        bytes: usize,
        /// What is allowed.
        bytes_max: usize,
    },
    /// An open whose channel id is in use, or is not the next one, or is above the limit.
    #[error("an open uses channel id {id}, which is taken or out of order")]
    InvalidOpen {
        /// The peer's id for the channel.
        id: u64,
    },
    /// A reject of a channel that was not waiting for an answer.
    #[error("a reject names channel {id}, which is not waiting for an answer")]
    InvalidReject {
        /// Our id for the channel.
        id: u64,
    },
    /// More in unanswered opens than we are ready to keep.
    #[error("its unanswered opens take more than {bytes_max} bytes")]
    TooManyOffers {
        /// What is allowed.
        bytes_max: usize,
    },
    /// It goes on asking without taking in the answers.
    #[error("it takes in none of our answers while it sends more opens")]
    NotReading,
}

/// Why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SendError {
    /// The channel is closed, by us or by the peer.
    #[error("cannot send on a channel that is closed")]
    Closed,
    /// No frame could carry it.
    #[error("a message of {bytes} bytes does not fit into a frame, which carries {bytes_max}")]
    TooLong {
        /// What it has.
        bytes: usize,
        /// What is possible.
        bytes_max: usize,
    },
}

/// All channels of one connection, without the connection.
///
/// Once `poll_event` has failed it fails for ever; other connections' muxes are untouched.
#[derive(Debug, Default)]
pub struct Mux {
    inbox: Inbox,
    outbox: Outbox,
    pairing: Pairing,
    failed: Option<MuxError>,
}

impl Mux {
    /// Starts without channels.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a plaintext frame from the peer; `poll_event` tells what is in it. Empty ones (keep-alives) are ignored.
    pub fn handle_frame(&mut self, frame: Bytes) {
        if self.failed.is_none() {
            self.inbox.push(frame);
        }
    }

    /// Returns the next thing the peer did, or `None` if there is nothing, or nothing before an offer is answered.
    pub fn poll_event(&mut self) -> Result<Option<Event>, MuxError> {
        match self.failed {
            Some(error) => Err(error),
            None => self.advance().map_err(|misbehaviour| *self.failed.insert(misbehaviour.into())),
        }
    }

    /// Returns whether the driver should not read from the connection now (see the module's text).
    pub fn wants_pause(&self) -> bool {
        self.pairing.is_full() || !self.inbox.is_empty()
    }

    /// Opens a channel, which answers the oldest matching offer if there is one.
    ///
    /// Messages may be sent at once, before the peer has opened its end. If the peer was first, its
    /// [`Event::Opened`] follows. Several channels for one protocol and id pair in the order of their opens.
    ///
    /// # Panics
    /// If the protocol's name, an alias or the id has more than 1,024 bytes, or the handshake more than 1 MiB.
    pub fn open(&mut self, protocol: &Protocol, handshake: &[u8]) -> Channel {
        let names = protocol.aliases.iter().chain([&protocol.name]);
        assert!(names.map(String::len).chain([protocol.id.len()]).all(|bytes| bytes <= NAME_BYTES_MAX));
        assert!(handshake.len() <= HANDSHAKE_BYTES_MAX);
        let channel = self.pairing.open(protocol);
        self.outbox.push_control(OPEN, |out| {
            out.uint(wire_id(channel.index));
            out.string(&protocol.name);
            out.buffer(&protocol.id);
            out.raw(handshake);
        });
        channel
    }

    /// Returns the names and ids of the offers that wait for an answer, each once.
    pub fn offers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.pairing.offers()
    }

    /// Returns whether an offer under this name and id waits for an answer.
    pub fn is_offered(&self, protocol: &str, id: &[u8]) -> bool {
        self.pairing.is_offered(protocol, id)
    }

    /// Refuses what the peer offered under this name and id; nothing happens if there is no such offer.
    pub fn reject(&mut self, protocol: &str, id: &[u8]) {
        for remote in self.pairing.reject(protocol, id) {
            self.outbox.push_control(REJECT, |out| out.uint(wire_id(remote)));
        }
    }

    /// Ends a channel; what was sent before still arrives, and no event about it follows. Closing twice is harmless.
    pub fn close(&mut self, channel: Channel) {
        if self.pairing.close(channel) {
            self.outbox.push_control(CLOSE, |out| out.uint(wire_id(channel.index)));
        }
    }

    /// Returns whether we may send on a channel: it is opened by us, and closed by nobody.
    pub fn is_open(&self, channel: Channel) -> bool {
        self.pairing.is_open(channel)
    }

    /// Sends a message whose body is already there.
    pub fn send(&mut self, channel: Channel, kind: u64, body: &[u8]) -> Result<(), SendError> {
        self.send_with(channel, kind, |out| out.raw(body))
    }

    /// Sends a message whose body `encode` appends to the vector it is given, which holds other messages already.
    pub fn send_with(
        &mut self,
        channel: Channel,
        kind: u64,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), SendError> {
        self.send_around(channel, kind, Bytes::new(), encode, |_| ())
    }

    /// Sends a message with a large `value` in its middle, which is copied once only: into the frame.
    pub fn send_around(
        &mut self,
        channel: Channel,
        kind: u64,
        value: Bytes,
        before: impl FnOnce(&mut Vec<u8>),
        after: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), SendError> {
        if !self.pairing.is_open(channel) {
            return Err(SendError::Closed);
        }
        self.outbox.push(wire_id(channel.index), kind, value, before, after)
    }

    /// Returns how many bytes of messages wait for `poll_frame`.
    pub fn queued_bytes(&self) -> usize {
        self.outbox.bytes()
    }

    /// Appends the next plaintext frame to `out` and returns whether there was one.
    ///
    /// It holds all that waits up to 64 KiB, or one message that is larger than that. What `out` holds
    /// already is left alone, so room for a frame header may be kept in front.
    pub fn poll_frame(&mut self, out: &mut Vec<u8>) -> bool {
        self.outbox.poll_frame(out)
    }

    fn advance(&mut self) -> Result<Option<Event>, Misbehaviour> {
        loop {
            if let Some((channel, step)) = self.pairing.poll_step() {
                return Ok(Some(event(channel, step)));
            }
            if self.pairing.is_full() {
                return Ok(None);
            }
            let Some(item) = self.inbox.next()? else { return Ok(None) };
            let event = if item.channel == CONTROL {
                self.handle_control(item)?
            } else {
                let message = self.pairing.receive(item.channel, item.kind, item.body);
                message.map(|(channel, step)| event(channel, step))
            };
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    fn handle_control(&mut self, item: Item) -> Result<Option<Event>, Misbehaviour> {
        let mut body = Decoder::new(&item.body);
        match item.kind {
            OPEN => self.handle_open(&item.body),
            REJECT => {
                let id = body.uint()?;
                let channel = self.pairing.handle_reject(id)?;
                Ok(channel.map(|channel| event(channel, Step::Close(CloseReason::Rejected))))
            }
            CLOSE => {
                let channel = self.pairing.handle_close(body.uint()?);
                Ok(channel.map(|channel| event(channel, Step::Close(CloseReason::Closed))))
            }
            _ => Ok(None),
        }
    }

    fn handle_open(&mut self, frame: &Bytes) -> Result<Option<Event>, Misbehaviour> {
        let mut body = Decoder::new(frame);
        let remote = body.uint()?;
        let protocol = short(body.string()?)?;
        let id = short(body.buffer()?)?;
        if self.outbox.control_bytes() > CONTROL_BYTES_QUEUED_MAX {
            return Err(Misbehaviour::NotReading);
        }
        if remote == CONTROL {
            // The reference keeps a channel with id 0 for later use; so does its answer.
            self.outbox.push_control(REJECT, |out| out.uint(CONTROL));
            return Ok(None);
        }
        let handshake = frame.slice_ref(body.rest());
        let opened = self.pairing.handle_open(remote, protocol, id, handshake)?;
        Ok(match opened {
            Answer::Paired(channel, handshake) => Some(Event::Opened { channel, handshake }),
            Answer::Offered => Some(Event::Offered { protocol: protocol.to_owned(), id: id.to_vec() }),
            Answer::GivenUp(index) => {
                // The reference overlooks a close that comes while it makes up its mind about the
                // open, and would then take the next open with this id for a breach of the rules.
                self.outbox.push_control(CLOSE, |out| out.uint(wire_id(index)));
                None
            }
        })
    }
}

fn event(channel: Channel, step: Step) -> Event {
    match step {
        Step::Open(handshake) => Event::Opened { channel, handshake },
        Step::Message(kind, body) => Event::Message { channel, kind, body },
        Step::Close(why) => Event::Closed { channel, why },
    }
}

/// Ids count from 1 on the wire; 0 is the control channel.
fn wire_id(index: u32) -> u64 {
    u64::from(index) + 1
}

fn short<T: AsRef<[u8]> + ?Sized>(name: &T) -> Result<&T, Misbehaviour> {
    let bytes = name.as_ref().len();
    if bytes <= NAME_BYTES_MAX { Ok(name) } else { Err(Misbehaviour::LongName { bytes, bytes_max: NAME_BYTES_MAX }) }
}

/// The channel of opens, rejects, closes and batches.
const CONTROL: u64 = 0;
/// Kinds of control messages.
const BATCH: u64 = 0;
const OPEN: u64 = 1;
const REJECT: u64 = 2;
const CLOSE: u64 = 3;

/// Longest protocol name or id, in bytes, either way; those in use have some 40.
pub(crate) const NAME_BYTES_MAX: usize = 1024;
/// Longest handshake that we send, in bytes; those in use have some 40.
pub(crate) const HANDSHAKE_BYTES_MAX: usize = 1 << 20;
/// Opens, rejects and closes that wait to be sent, in bytes of memory: some 200,000, which is more
/// than the answers to all channels that a peer can have at once.
const CONTROL_BYTES_QUEUED_MAX: usize = 32 * 1024 * 1024;

//! The circuits of a session as byte streams, and what the session tells them.

use bytes::Bytes;
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, oneshot};

use super::Task;
use crate::https::link::{Ask, LinkError, Offer, Reply};
use crate::https::pipe::{self, Outward};
use crate::https::session::{CircuitId, Command, Event, Style};
use crate::https::target::reason;

/// One circuit.
pub(super) struct Circuit {
    /// Bytes to the application.
    inward: mpsc::UnboundedSender<Bytes>,
    /// What the relay has no room for yet, and who waits for it.
    waiting: Option<(Bytes, oneshot::Sender<()>)>,
    ending: bool,
    /// Nothing more goes out, and nothing more comes.
    over: [bool; 2],
    /// Who waits for it to be granted, and the application's end of it.
    asked: Option<(Reply, DuplexStream)>,
}

impl Task {
    pub(super) fn take(&mut self, ask: Ask) {
        match ask {
            Ask::Open { target, style, first, reply } => self.open(target, style, first, reply),
            Ask::Send { circuit, bytes, reply } => {
                if let Some(it) = self.circuits.get_mut(&circuit) {
                    it.waiting = Some((bytes, reply));
                    self.push(circuit);
                }
            }
            Ask::Consumed { circuit, bytes } => self.command(Command::Consumed { circuit, bytes }),
            Ask::End { circuit } => {
                if let Some(it) = self.circuits.get_mut(&circuit) {
                    it.ending = true;
                    self.push(circuit);
                }
            }
            Ask::Reset { circuit } => {
                if self.circuits.remove(&circuit).is_some() {
                    self.command(Command::Reset { circuit, reason: reason::GONE });
                }
            }
        }
    }

    fn open(&mut self, target: Bytes, style: Style, first: Bytes, reply: Reply) {
        let Some(circuit) = self.client.next_circuit() else {
            drop(reply.send(Err(LinkError::Refused(reason::FULL))));
            return;
        };
        self.command(Command::Open { circuit, style, target, first });
        let stream = self.pipe(circuit);
        if let Some(it) = self.circuits.get_mut(&circuit) {
            it.asked = stream.map(|stream| (reply, stream));
        }
    }

    /// Makes a circuit's stream; nothing if nobody is left who could ask for anything.
    fn pipe(&mut self, circuit: CircuitId) -> Option<DuplexStream> {
        let (inward, bytes) = mpsc::unbounded_channel();
        let stream = pipe::pipe(Outward { circuit, asks: self.asks.upgrade()? }, bytes);
        self.circuits.insert(circuit, Circuit { inward, waiting: None, ending: false, over: [false; 2], asked: None });
        Some(stream)
    }

    /// Hands on what waits on a circuit, as far as there is room.
    fn push(&mut self, circuit: CircuitId) {
        let now = self.now();
        let Some(it) = self.circuits.get_mut(&circuit) else { return };
        while let Some((bytes, _)) = &mut it.waiting {
            let room = self.client.send_room(circuit);
            if room == 0 {
                return;
            }
            let part = bytes.split_to(room.min(bytes.len()));
            let all = bytes.is_empty();
            self.client.handle_command(now, Command::Send { circuit, bytes: part });
            if all && let Some((_, reply)) = it.waiting.take() {
                reply.send(()).ok();
            }
        }
        if std::mem::take(&mut it.ending) {
            it.over[0] = true;
            self.client.handle_command(now, Command::End { circuit });
        }
        if it.over == [true; 2] {
            self.circuits.remove(&circuit);
        }
    }

    pub(super) fn tell(&mut self, event: Event) {
        match event {
            Event::Opened { hash, granted } => {
                self.opening = Some((hash, granted));
                self.note_carrier();
            }
            Event::Offered { circuit, target, .. } => {
                let offer = self.pipe(circuit).map(|stream| Offer { target, stream });
                let taken = offer.is_some_and(|offer| self.offers.try_send(offer).is_ok());
                if taken {
                    self.command(Command::Accept { circuit });
                } else {
                    self.circuits.remove(&circuit);
                    self.command(Command::Reset { circuit, reason: reason::FULL });
                }
            }
            Event::Accepted { circuit } => {
                let asked = self.circuits.get_mut(&circuit).and_then(|it| it.asked.take());
                if let Some((reply, stream)) = asked {
                    drop(reply.send(Ok(stream)));
                }
            }
            Event::Data { circuit, bytes } => {
                if let Some(it) = self.circuits.get(&circuit) {
                    // Bounded by the circuit's credit, which grows only as the other end takes.
                    drop(it.inward.send(bytes));
                }
            }
            Event::Writable { circuit } => self.push(circuit),
            Event::Ended { circuit } => {
                if let Some(it) = self.circuits.get_mut(&circuit) {
                    it.over[1] = true;
                    drop(it.inward.send(Bytes::new()));
                }
                self.push(circuit);
            }
            Event::Reset { circuit, reason } => {
                let gone = self.circuits.remove(&circuit);
                if let Some((reply, _)) = gone.and_then(|it| it.asked) {
                    drop(reply.send(Err(LinkError::Refused(reason))));
                }
            }
            Event::Foreign { excerpt } => {
                tracing::debug!(page = %String::from_utf8_lossy(&excerpt), "something answered in the relay's place");
            }
            Event::GoAway { after_ms } => tracing::info!(after_ms, "the relay restarts"),
            Event::Closed(why) => {
                tracing::debug!(?why, "the session with the relay is over");
                if let Some(opened) = self.opened.take() {
                    opened.send(Err(LinkError::NotOpened(why))).ok();
                }
                self.over = true;
            }
        }
    }
}

//! The HTTPS session: byte streams between a client and a relay that survive whatever carries them.
//!
//! A corporate proxy may drop, delay, repeat, reorder and truncate requests, keep answers until they are complete, or
//! answer with a page of its own. So nothing is built on a request: everything is built on numbered records, and a
//! request is only one of the things that carry them.
//!
//! ```text
//!   circuits        a byte stream each way, in order, with credit           circuit.rs
//!      │ frames     open, accept, data, end, reset, credit                  frame.rs
//!   segments        numbered, sealed once, kept until acknowledged          packing.rs, sent.rs, received.rs
//!      │ records    segments and control records, ChaCha20-Poly1305         record.rs, control.rs, cipher.rs
//!   carriers        a POST and its answer, or a stream                      lanes (client), server.rs (relay)
//! ```
//!
//! **Exactly once.** A segment is sealed under its number and sent again as the same bytes, so a repetition, by us or
//! by anybody, is recognised by its number and changes nothing. Its frames have places in their circuit and are taken
//! in that order; a lost segment holds up its own circuits only. Control records are never sent again: all they say
//! stays true, so an old one does no harm.
//!
//! **No timers in the common case.** The client says in each request which others are still open. Whatever travelled in
//! one that is over, and is not acknowledged by then, is lost and goes out again at once:
//!
//! ```text
//!   client                                relay
//!     │── request 7: others open: 5, 6 ────▶│   holds 5, 6, 7
//!     │◀── answer of 5: segments 20, 21 ────│   (20 and 21 went into 5)
//!     ✕    cut by the proxy                 │
//!     │── request 8: others open: 6, 7 ────▶│   5 is over, 20 and 21 are not acknowledged:
//!     │◀── answer of 6: segments 20, 21 ────│   sent again, the same bytes
//! ```
//!
//! In the other direction the answer itself, with its acknowledgement, says what came. Only what vanishes without a
//! trace waits for a timer, 1 s or the round trip and four times its variation, and twice that each further time.
//!
//! **Strict long-poll.** Up to six requests are under way. *Polls* carry nothing and are held by the relay until there
//! is something to say, at most for the hold that this network was found to bear (25 s at first; cut at t, 0.8 t).
//! Two of them are out while there is something going on, more as pushes become frequent, one after 10 s of silence.
//! *Sends* carry segments and are answered at once, with the acknowledgement and whatever is ready the other way. One
//! lane always stays free of polls, and the relay keeps its last held request from bulk for 20 ms, so that urgent
//! things find a way at once. What is under way is twice what the path delivers in its shortest round trip, shared by
//! the lanes (`pace.rs`): bulk fills the line and does not queue for longer than one more round trip.
//!
//! **Climbing.** [`Client::handle_stream`] takes a stream both ways (a WebSocket, an HTTP/2 request) beside the polls.
//! It must answer a ping of 1 KiB and one of 60 KiB; then everything goes there, and the polls run out. If it dies, what
//! it carried is lost in the sense above, and the next request leaves at once. Answers that come in pieces are asked for
//! when [`Learnt::streams_down`] says that they pass. Nothing of this touches circuits.
//!
//! **The end.** A session ends by [`Command::Close`], by the silence of [`Config::quiet_ms_max`], by a relay that proves
//! to have forgotten it, or by an end that breaks the protocol in a record which only it can have made. Nothing that
//! anybody between can write ends it: that is a [`Event::Foreign`] answer and a failed request.
//!
//! # Encryption
//! The session opens with Noise NK inside TLS (`opening.rs`), so whoever intercepts TLS sees records: lengths, kinds and
//! numbers. Circuits of [`Style::ciphertext`] carry what is encrypted from end to end already; their bytes travel in a
//! record's clear part, authenticated by its tag and not encrypted again.
//!
//! # How carriers plug in
//! A driver owns sockets and clock, and moves bytes between them and [`Client`] or [`Server`]. After each call it takes
//! everything out of `poll_transmit` and `poll_event`, and calls `handle_timeout` when `poll_deadline` has come.
//!
//! | the client's driver | |
//! |---|---|
//! | [`Transmit::Post`] | POST to [`Route::path`] with `Content-Length`, or in chunks; the parts are the body, as they are |
//! | the answer is 200 | `handle_bytes` as bytes come, or once; `handle_end` when it is complete |
//! | another status, a reset, an early end | `handle_failure`; of a page with status 200 the client finds out by itself |
//! | a WebSocket or duplex is open | `handle_stream` gives its number, then as above; its end is a failure |
//! | [`Transmit::Write`] | each part is whole records: one WebSocket message, or bytes of the stream |
//! | [`Transmit::Drop`] | reset the request or close the stream; nothing is to be reported |
//!
//! | the relay's driver | |
//! |---|---|
//! | POST to `/v1/o/…` | [`ask`] with the body, then [`Asked::grant`] or [`Asked::refuse`]; what is no request is 404 |
//! | POST to `/v1/x/…`, a stream's first message | [`split_session_id`]; unknown: answer 200 with [`forgotten`] |
//! | whether it is the first on its connection | `note_connection`, for a request and where this tells anything |
//! | known | `handle_open` with a number of the driver's, `handle_bytes` with the rest as it comes |
//! | the request is complete | `handle_end`; for a stream never |
//! | the connection is gone | `handle_failure` |
//! | [`Transmit::Write`] | the first is the head 200 and the bytes; more follow until `ends`; a single one has a length |
//! | [`Transmit::Drop`] | 404, or close |
//!
//! The relay's driver limits bodies and their speed, connections, and sessions; a session limits carriers, circuits and
//! bytes. Backpressure is credit: who does not say [`Command::Consumed`] is sent no more than the circuit's window. A
//! driver that cannot write on a stream stops reading from it, so that pings cannot fill its memory with pongs.
//!
//! Source: the idea of a session above disposable carriers is Turbo Tunnel's (FOCI 2020); acknowledged requests and
//! answers are BOSH's (XEP-0124); the pace is BBR's.

mod bodies;
mod carriers;
mod cipher;
mod circuit;
mod client;
mod control;
mod core;
mod frame;
mod lanes;
mod learnt;
mod look;
mod opening;
mod pace;
mod packing;
mod received;
mod record;
mod sent;
mod server;

use bytes::Bytes;

pub use self::bodies::{Bodies, Framing};
pub use self::carriers::{CarrierId, Failure, Route, Transmit};
pub use self::cipher::{Cipher, Forged};
pub use self::client::{Client, ClientConfig};
pub use self::control::{Acked, Control, Exchange, OTHERS_MAX, PADDING_BYTES_MAX, Ping, RANGES_MAX};
pub use self::core::Misbehaviour;
pub use self::frame::{CircuitId, FRAMES_MAX, Frame, Style, TARGET_BYTES_MAX};
pub use self::learnt::{Learnt, Lesson};
pub use self::opening::{Asked, Granted, OpenError, SessionId, ask, forgotten, split_session_id};
pub use self::record::{Kind, NotARecord, RECORD_BYTES_MAX, Record, Records};
pub use self::server::Server;

/// What bounds a session at one end.
#[derive(Debug, Clone)]
pub struct Config {
    /// How many circuits the other end may have open. Default 64: their first credit is 8 MiB in all.
    pub circuits_max: u64,
    /// How far credit may grow beyond the first of each circuit, in bytes, all circuits together. Default 12 MiB:
    /// what 100 Mbit/s have under way in a second, as long as bulk takes where each request has a connection of its own.
    pub pool_bytes: u64,
    /// How much may be sent and not acknowledged, in bytes. Default 12 MiB, for the same reason.
    pub window_bytes_max: u64,
    /// How long requests may be, in bytes, as the relay tells clients whose requests each come on a connection of their
    /// own. Default 2 MiB.
    pub cold_bytes_max: u64,
    /// After how long a silence the session is over, in milliseconds. Default 120,000.
    pub quiet_ms_max: u64,
}

impl Default for Config {
    fn default() -> Self {
        let (pool_bytes, window_bytes_max) = (12 << 20, 12 << 20);
        Self { circuits_max: 64, pool_bytes, window_bytes_max, cold_bytes_max: 2 << 20, quiet_ms_max: 120_000 }
    }
}

/// What the application asks for. A command about a circuit that is gone does nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Asks for a circuit, whose number `next_circuit` gave; it may be sent on at once.
    Open {
        /// The circuit.
        circuit: CircuitId,
        /// What it is to be like.
        style: Style,
        /// To whom or what, at most [`TARGET_BYTES_MAX`].
        target: Bytes,
        /// The first bytes, which go along before it is granted; at most 64 KiB.
        first: Bytes,
    },
    /// Grants a circuit that was offered. To refuse it, reset it.
    Accept {
        /// The circuit.
        circuit: CircuitId,
    },
    /// Sends bytes, at most as many as `send_room` told.
    Send {
        /// The circuit.
        circuit: CircuitId,
        /// The bytes.
        bytes: Bytes,
    },
    /// Says that so many bytes that came have gone on, so that the other end may send more.
    Consumed {
        /// The circuit.
        circuit: CircuitId,
        /// How many.
        bytes: u64,
    },
    /// Says that nothing more will be sent.
    End {
        /// The circuit.
        circuit: CircuitId,
    },
    /// Ends both directions at once; what is queued is dropped.
    Reset {
        /// The circuit.
        circuit: CircuitId,
        /// Why, for the other end.
        reason: u64,
    },
    /// Tells the client to come back later: the relay restarts.
    GoAway {
        /// After so many milliseconds.
        after_ms: u64,
    },
    /// Ends the session.
    Close {
        /// Why, for the other end.
        reason: u64,
    },
}

/// What the application is told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// At the client: the relay has opened the session.
    Opened {
        /// The handshake's hash, which a client signs to prove a key of its own.
        hash: [u8; 64],
        /// What the relay gives to it.
        granted: Granted,
    },
    /// The other end asks for a circuit.
    Offered {
        /// The circuit.
        circuit: CircuitId,
        /// What it is to be like.
        style: Style,
        /// To whom or what.
        target: Bytes,
    },
    /// The other end grants a circuit of ours.
    Accepted {
        /// The circuit.
        circuit: CircuitId,
    },
    /// Bytes of a circuit, in order; they count against its credit until [`Command::Consumed`].
    Data {
        /// The circuit.
        circuit: CircuitId,
        /// The bytes.
        bytes: Bytes,
    },
    /// There is room again for sending, after there was little.
    Writable {
        /// The circuit.
        circuit: CircuitId,
    },
    /// The other end has sent all it will.
    Ended {
        /// The circuit.
        circuit: CircuitId,
    },
    /// The other end has ended the circuit, or refused it.
    Reset {
        /// The circuit.
        circuit: CircuitId,
        /// Why.
        reason: u64,
    },
    /// Something on the way answered in the relay's place: a portal, a filter, a proxy.
    Foreign {
        /// How its answer begins, at most [`EXCERPT_BYTES_MAX`].
        excerpt: Bytes,
    },
    /// The relay restarts; come back then.
    GoAway {
        /// After so many milliseconds.
        after_ms: u64,
    },
    /// The session is over, and all its circuits with it.
    Closed(Closed),
}

/// Why a session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Closed {
    /// The application asked for it.
    ByUs,
    /// The other end asked for it.
    ByPeer {
        /// Why.
        reason: u64,
    },
    /// The relay refused to open it.
    Refused {
        /// Why.
        reason: u64,
    },
    /// The relay has no memory of it; it was restarted.
    Forgotten,
    /// Nothing was heard for [`Config::quiet_ms_max`].
    Silent,
    /// The other end broke the protocol.
    Misbehaved(Misbehaviour),
}

/// How much of a foreign answer is shown, in bytes: enough for a page's title.
pub const EXCERPT_BYTES_MAX: usize = 512;

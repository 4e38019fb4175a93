//! The HTTPS session: byte streams that survive whatever carries them.

mod carriers;
mod cipher;
mod circuit;
mod client;
mod control;
mod core;
mod frame;
mod lanes;
mod learnt;
mod opening;
mod pace;
mod packing;
mod received;
mod record;
mod sent;
mod server;

use bytes::Bytes;

pub use self::carriers::{CarrierId, Failure, Route, Transmit};
pub use self::cipher::{Cipher, Forged};
pub use self::client::{Client, ClientConfig};
pub use self::control::{Acked, Control, Exchange, OTHERS_MAX, PADDING_BYTES_MAX, Ping, RANGES_MAX};
pub use self::core::Misbehaviour;
pub use self::frame::{CircuitId, FRAMES_MAX, Frame, Style, TARGET_BYTES_MAX};
pub use self::learnt::Learnt;
pub use self::opening::{Asked, Granted, OpenError, SessionId, ask, forgotten, split_session_id};
pub use self::record::{Kind, NotARecord, RECORD_BYTES_MAX, Record, Records};
pub use self::server::Server;

/// What bounds a session at one end.
#[derive(Debug, Clone)]
pub struct Config {
    /// How many circuits the other end may have open. Default 64: their first credit is 8 MiB in all.
    pub circuits_max: u64,
    /// How far credit may grow beyond the first of each circuit, in bytes, all circuits together. Default 8 MiB: twice
    /// what 600 Mbit/s have under way in 50 ms.
    pub pool_bytes: u64,
    /// How much may be sent and not acknowledged, in bytes. Default 8 MiB, for the same reason.
    pub window_bytes_max: u64,
    /// After how long a silence the session is over, in milliseconds. Default 120,000.
    pub quiet_ms_max: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { circuits_max: 64, pool_bytes: 8 << 20, window_bytes_max: 8 << 20, quiet_ms_max: 120_000 }
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
        /// Its number.
        session: SessionId,
        /// The handshake's hash, which a client signs to prove a key of its own.
        hash: [u8; 64],
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

//! What a driver moves: requests, answers and streams, as the session sees them.

use bytes::Bytes;

/// A request with its answer, or a stream both ways. The client's are numbered by its session; a relay's driver numbers
/// its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CarrierId(pub u64);

/// What the driver is to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transmit {
    /// The client's: make a POST request, as a new carrier.
    Post {
        /// Its number.
        carrier: CarrierId,
        /// Its path.
        route: Route,
        /// Its body, in parts.
        body: Vec<Bytes>,
        /// Whether it goes in chunks, instead of telling its length.
        chunked: bool,
        /// Whether it may wait for a new connection, so that the last open one is there for what must not wait.
        patient: bool,
    },
    /// Write on a stream, or on the answer of a request.
    Write {
        /// Which.
        carrier: CarrierId,
        /// What, in parts. A part is whole records, so that it may be one WebSocket message.
        bytes: Vec<Bytes>,
        /// Whether nothing more follows on this carrier.
        ends: bool,
    },
    /// Give it up, without waiting for anything. By the relay this is an answer without a body: who asked has no keys.
    Drop {
        /// Which.
        carrier: CarrierId,
    },
}

/// The path of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `/v1/o/<tag>`: opens a session.
    Open {
        /// In letters and digits; a balancer leads those with the same tag to the same relay.
        tag: String,
    },
    /// `/v1/x/<tag>/<number>`: an exchange; the tag is what a balancer hashes, the number makes every path new.
    Exchange {
        /// As the relay gave it, in letters and digits.
        tag: String,
        /// The carrier's number.
        number: u64,
    },
}

impl Route {
    /// Returns the path.
    pub fn path(&self) -> String {
        match self {
            Self::Open { tag } => format!("/v1/o/{tag}"),
            Self::Exchange { tag, number } => format!("/v1/x/{tag}/{number}"),
        }
    }
}

/// How a carrier came to an end that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Refused, reset, cut, or out of time.
    Broken,
    /// Answered with a status other than 200.
    Status(u16),
}

//! The verbs of every sans-IO protocol core: input by `handle_*`, output by `poll_*`.

use std::net::SocketAddr;

use crate::Time;

/// A protocol core without clock, socket or task.
///
/// A driver feeds it (`handle_*`), then takes everything out (`poll_transmit`, `poll_event`) and
/// sleeps until `poll_deadline`. Malformed input is counted and dropped, never an error.
pub trait Machine {
    /// What the application asks for.
    type Command;
    /// What the application is told.
    type Event;

    /// Takes a wish of the application.
    fn handle_command(&mut self, now: Time, command: Self::Command);
    /// Takes a datagram from the network.
    fn handle_datagram(&mut self, now: Time, from: SocketAddr, datagram: &[u8]);
    /// Is called when the deadline has come.
    fn handle_timeout(&mut self, now: Time);
    /// Returns the next datagram to send.
    fn poll_transmit(&mut self) -> Option<Transmit>;
    /// Returns the next thing to tell the application.
    fn poll_event(&mut self) -> Option<Self::Event>;
    /// Returns when `handle_timeout` wants to be called next, if ever.
    fn poll_deadline(&self) -> Option<Deadline>;
}

/// A datagram on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// Where it goes.
    pub to: SocketAddr,
    /// Its bytes.
    pub datagram: Vec<u8>,
}

/// When a machine wants to be woken, and the reason, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline {
    /// The moment.
    pub at: Time,
    /// What is due then, in words.
    pub why: &'static str,
}

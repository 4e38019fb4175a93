//! Introduces peers to the replicator: listens, dials, keeps connected, reports.
//!
//! A [`Node`] is one identity, one store and its connections:
//!
//! ```text
//! Transport ─► Conn ─► handshake ─► reader task ─► engine thread (Replicator) ─► writer task
//! ```
//!
//! The engine thread alone touches cores and store; the two tasks of a connection do its encryption. So
//! decrypting, verifying and storing overlap, and nothing here is locked.

mod connection;
mod engine;
mod event;
mod keeper;
mod node;

pub use connection::ConnectionError;
pub use engine::Stopped;
pub use event::{Event, PeerInfo};
pub use node::{Config, Node};

//! The meeting point on port 443: sessions over HTTPS, circuits between peers, a directory of topics.
//!
//! The relay is blind: it holds no secret of its peers and reads nothing of what they send each other. What it knows of
//! them, their keys and topics, lasts as long as they are there.
//!
//! ```text
//!   hyper ── requests ──► Hub ── which session ──► https::session::Server ── circuits ──► the other peer's
//!   http.rs   driver.rs   hub.rs, directory.rs
//! ```
//!
//! [`Hub`] is sans-IO; [`Relay`] is its driver with sockets, TLS and a clock.

mod budget;
mod config;
mod crowd;
mod directory;
mod driver;
mod duplex;
mod echo;
mod exposition;
mod http;
mod hub;
mod metrics;
mod relay;
mod socket;
mod tls;

pub use config::{Access, Config};
pub use crowd::Seat;
pub use hub::{Carrier, Hub};
pub use relay::{Relay, RelayError};
pub use tls::{ServerTls, ServerTlsError};

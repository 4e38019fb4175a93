//! Noise handshakes over Ed25519 points, which the secret-stream, the DHT's messages and the HTTPS session all open with.
//!
//! Source: noiseprotocol.org revision 34; npm noise-handshake 4.2, noise-curve-ed 2.1.

mod handshake;
pub mod suite;

pub use handshake::{HANDSHAKE_BYTES_MAX, HandshakeError, NoiseHandshake, Split};

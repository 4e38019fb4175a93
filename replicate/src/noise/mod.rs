//! Noise and secret-stream: a byte stream becomes a private one.
//!
//! [`Frames`] cuts the stream, [`XxHandshake`] proves who is there, then [`Sealer`] and [`Opener`] carry messages:
//!
//! | frame | body | length |
//! |---|---|---|
//! | handshake | Noise XX messages 1, 2, 3 | 32, 96, 64 |
//! | header, one from each end | stream id (32), secretstream header (24) | 56 |
//! | message | tag (1), text, authenticator (16), encrypted | text + 17 |
//!
//! Each frame is its body's length as u24 little endian, then the body. Sans-IO: entropy is an argument.
//!
//! Source: npm @hyperswarm/secret-stream 6.9, noise-handshake 4.2, noise-curve-ed 2.1, sodium-secretstream 1.2.

mod frames;
mod handshake;
mod seal;
mod secretstream;
mod unordered;

pub use anypath_wire::noise::{HANDSHAKE_BYTES_MAX, HandshakeError};
pub use frames::{FRAME_BYTES_MAX, FrameTooLong, Frames};
pub use handshake::XxHandshake;
pub use seal::{HEADER_FRAME_BYTES, OpenError, Opener, SealError, Sealer, TEXT_BYTES_MAX};
pub use unordered::Unordered;

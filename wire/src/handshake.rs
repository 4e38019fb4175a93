//! What a finished Noise handshake leaves behind, as a plain value that any room can carry.

use crate::PublicKey;

/// Which end of a connection this is; who dials is the initiator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The end that dialled.
    Initiator,
    /// The end that accepted.
    Responder,
}

impl Role {
    /// Returns the role of the other end.
    pub fn other(self) -> Self {
        match self {
            Self::Initiator => Self::Responder,
            Self::Responder => Self::Initiator,
        }
    }
}

/// A finished handshake: who is there, and the keys both ends now share.
///
/// Source: hyperswarm secret-stream 6.9, `handshake` option.
#[derive(Clone, PartialEq, Eq)]
pub struct Handshake {
    /// Our end.
    pub role: Role,
    /// The peer's Ed25519 key, proven by the handshake.
    pub remote: PublicKey,
    /// The final Noise hash `h`; both ends have the same one and nobody else can.
    pub hash: [u8; 64],
    /// The key for what we send.
    pub tx: [u8; 32],
    /// The key for what we receive.
    pub rx: [u8; 32],
}

impl std::fmt::Debug for Handshake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handshake").field("role", &self.role).field("remote", &self.remote).finish_non_exhaustive()
    }
}

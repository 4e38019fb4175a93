//! What two peers of a core say when they open its channel: that they know its key, without telling it.

use anypath_wire::{DecodeError, Decoder, Encode, Hash, PublicKey, Role, keyed_hash, namespace};

/// The handshake of a core's channel: `uint` flags, 32 bytes of capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handshake {
    /// Whether the sender knows seeks with padding; those without it must not be asked to seek.
    pub seeks: bool,
    /// The sender's [`capability`].
    pub capability: Hash,
}

impl Handshake {
    /// Reads it from the channel's handshake.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new(body);
        Ok(Self { seeks: decoder.uint()? & 1 != 0, capability: decoder.fixed()? })
    }

    /// Appends its 33 bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.uint(u64::from(self.seeks));
        out.raw(&self.capability);
    }
}

/// Returns the proof that its sender knows a core's key, good for this one connection.
///
/// It is BLAKE2b-256, keyed by the connection's handshake hash, of the sender's role and the key.
/// Compare the peer's with that of the role it has; on a mismatch drop the connection.
///
/// Source: npm hypercore 11.37, `lib/caps.js`.
pub fn capability(handshake_hash: &[u8; 64], sender: Role, key: &PublicKey) -> Hash {
    let role = match sender {
        Role::Initiator => namespace("hypercore", 1),
        Role::Responder => namespace("hypercore", 2),
    };
    keyed_hash(handshake_hash, &[role, key.0].concat())
}

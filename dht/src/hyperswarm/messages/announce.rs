//! What is asked of a node to store, or to forget.

use anypath_wire::{DecodeError, Decoder, Encode, Hash, Signature};

use super::Peer;

/// An announcement, or one taken back.
///
/// | bytes | if flag |
/// |---|---|
/// | `uint` flags | |
/// | peer | 1 |
/// | 32 of refresh token | 2 |
/// | 64 of signature | 4 |
/// | `uint` bump | 8 |
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Announce {
    /// Who is announced; nobody renews what the refresh token stands for.
    pub peer: Option<Peer>,
    /// Its preimage renews the record later.
    pub refresh: Option<Hash>,
    /// By the peer's key over [`announce_signable`](crate::hyperswarm::announce_signable).
    pub signature: Option<Signature>,
    /// Milliseconds since 1970, to say that something new is to be found; 0 for nothing.
    pub bump: u64,
}

impl Announce {
    /// Returns the value of the request.
    pub fn encode(&self) -> Vec<u8> {
        let Self { peer, refresh, signature, bump } = self;
        let mut out = Vec::new();
        let bits = [peer.is_some(), refresh.is_some(), signature.is_some(), *bump != 0];
        out.uint((0..).zip(bits).map(|(at, set)| u64::from(set) << at).sum());
        if let Some(peer) = peer {
            peer.encode(&mut out);
        }
        if let Some(refresh) = refresh {
            out.raw(refresh);
        }
        if let Some(signature) = signature {
            out.raw(signature);
        }
        if *bump != 0 {
            out.uint(*bump);
        }
        out
    }

    /// Reads the value of a request.
    pub fn decode(value: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Decoder::new(value);
        let flags = from.uint()?;
        Ok(Self {
            peer: if flags & 1 != 0 { Some(Peer::decode(&mut from)?) } else { None },
            refresh: if flags & 2 != 0 { Some(from.fixed()?) } else { None },
            signature: if flags & 4 != 0 { Some(from.fixed()?) } else { None },
            bump: if flags & 8 != 0 { from.uint()? } else { 0 },
        })
    }
}

//! What a circuit to a relay is asked for: the words between a peer and its relay.
//!
//! Everything that is asked of a relay is a circuit, so that it is private, comes once, and counts against one limit.
//!
//! | target | bytes | the circuit |
//! |---|---|---|
//! | peer | 1, key (32) | leads to the peer with that key; it is granted when the peer grants it |
//! | register | 2, key (32), signature (64) | as long as it lasts, the relay knows where that key is |
//! | announce | 3, key (32), topic (32) | as long as it lasts, the key is found under the topic; it is registered here |
//! | look up | 4, topic (32) | carries keys, 32 bytes each, found under the topic, and ends |
//! | from | 5, key (32) or nothing | at the other end of *peer*: who asks, if the relay knows |
//! | prove | 6, key (32), signature (64) | is granted; from then on the session counts as that key's, without being found by it |
//! | any | 8, topic (32), key (32) or nothing | leads to a peer that is found under the topic, but not to the one with that key |
//! | meet | 7, token (32) | leads to the other circuit with that token, once there are two; nothing is sent before that |
//!
//! The signature is over `anypath register`, the hash of the session's handshake (64) and the key: it proves that who
//! registers a key has its secret, and proves it in this session only.

use anypath_wire::{DiscoveryKey, KeyPair, PublicKey, Signature};
use bytes::Bytes;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A way to the peer with that key.
    Peer(PublicKey),
    /// To be known by a key.
    Register {
        /// The key.
        key: PublicKey,
        /// What proves that it is ours.
        signature: Signature,
    },
    /// To be found under a topic.
    Announce {
        /// A key that is registered in this session.
        key: PublicKey,
        /// The topic.
        topic: DiscoveryKey,
    },
    /// The keys under a topic.
    LookUp(DiscoveryKey),
    /// At the asked peer: who asks, if the relay knows.
    From(Option<PublicKey>),
    /// To be let in as who has that key.
    Prove {
        /// The key.
        key: PublicKey,
        /// What proves that it is ours, the same as of a registration.
        signature: Signature,
    },
    /// A way to any peer under the topic.
    Any {
        /// The topic.
        topic: DiscoveryKey,
        /// Our own key, if it is found under the topic as well.
        but: Option<PublicKey>,
    },
    /// A way to whoever else has that token, which is good for one pair.
    Meet([u8; 32]),
}

impl Target {
    /// Asks to be known by a key in the session that opened with that hash.
    pub fn register(pair: &KeyPair, hash: &[u8; 64]) -> Self {
        let key = pair.public();
        Self::Register { key, signature: pair.sign(&registration(hash, &key)) }
    }

    /// Proves a key in the session that opened with that hash, without being registered.
    pub fn prove(pair: &KeyPair, hash: &[u8; 64]) -> Self {
        let key = pair.public();
        Self::Prove { key, signature: pair.sign(&registration(hash, &key)) }
    }

    /// Returns the key that a registration or a proof proves in the session that opened with that hash.
    pub fn proven(&self, hash: &[u8; 64]) -> Option<PublicKey> {
        let (Self::Register { key, signature } | Self::Prove { key, signature }) = self else { return None };
        key.verify(&registration(hash, key), signature).then_some(*key)
    }

    /// Writes it.
    pub fn encode(&self) -> Bytes {
        let parts: &[&[u8]] = match self {
            Self::Peer(key) => &[&[1], &key.0],
            Self::Register { key, signature } => &[&[2], &key.0, signature],
            Self::Announce { key, topic } => &[&[3], &key.0, &topic.0],
            Self::LookUp(topic) => &[&[4], &topic.0],
            Self::From(None) => &[&[5]],
            Self::From(Some(key)) => &[&[5], &key.0],
            Self::Prove { key, signature } => &[&[6], &key.0, signature],
            Self::Meet(token) => &[&[7], token],
            Self::Any { topic, but } => &[&[8], &topic.0, but.as_ref().map_or(&[], |key| &key.0)],
        };
        parts.concat().into()
    }

    /// Reads it; nothing if it is none.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let whole = |rest: &[u8]| <[u8; 32]>::try_from(rest).ok();
        match kind {
            1 => whole(rest).map(|key| Self::Peer(PublicKey(key))),
            2 => {
                let (key, signature) = rest.split_first_chunk()?;
                Some(Self::Register { key: PublicKey(*key), signature: signature.try_into().ok()? })
            }
            3 => {
                let (key, topic) = rest.split_first_chunk()?;
                Some(Self::Announce { key: PublicKey(*key), topic: DiscoveryKey(whole(topic)?) })
            }
            4 => whole(rest).map(|topic| Self::LookUp(DiscoveryKey(topic))),
            5 if rest.is_empty() => Some(Self::From(None)),
            5 => whole(rest).map(|key| Self::From(Some(PublicKey(key)))),
            6 => {
                let (key, signature) = rest.split_first_chunk()?;
                Some(Self::Prove { key: PublicKey(*key), signature: signature.try_into().ok()? })
            }
            7 => whole(rest).map(Self::Meet),
            8 => {
                let (topic, key) = rest.split_first_chunk()?;
                let but = if key.is_empty() { None } else { Some(PublicKey(whole(key)?)) };
                Some(Self::Any { topic: DiscoveryKey(*topic), but })
            }
            _ => None,
        }
    }
}

fn registration(hash: &[u8; 64], key: &PublicKey) -> Vec<u8> {
    [b"anypath register".as_slice(), hash, &key.0].concat()
}

/// Why a relay ends a circuit. Below 16 the numbers are the session's own.
pub mod reason {
    /// It cannot be read, or is not to be asked of a relay.
    pub const UNKNOWN: u64 = 16;
    /// No peer with that key is registered.
    pub const NOBODY: u64 = 17;
    /// The signature proves nothing, or the key is not registered in this session.
    pub const UNPROVEN: u64 = 18;
    /// There is no room for more.
    pub const FULL: u64 = 19;
    /// The peer at the other end is gone.
    pub const GONE: u64 = 20;
    /// The key was registered anew, in another session.
    pub const REPLACED: u64 = 21;
    /// The relay lets nobody in without the right token, or whose key it was not told.
    pub const NOT_ADMITTED: u64 = 22;
    /// The relay is about to restart.
    pub const RETIRING: u64 = 23;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let (key, topic) = (PublicKey([1; 32]), DiscoveryKey([2; 32]));
        for target in [
            Target::Peer(key),
            Target::Register { key, signature: [3; 64] },
            Target::Announce { key, topic },
            Target::LookUp(topic),
            Target::From(None),
            Target::From(Some(key)),
            Target::Prove { key, signature: [3; 64] },
            Target::Meet([4; 32]),
            Target::Any { topic, but: None },
            Target::Any { topic, but: Some(key) },
        ] {
            let bytes = target.encode();
            assert_eq!(Target::decode(&bytes), Some(target));
            assert_eq!(Target::decode(&[&bytes[..], &[0]].concat()), None, "{target:?}");
        }
        for bytes in [&[][..], &[1], &[9; 33], &[2; 90]] {
            assert_eq!(Target::decode(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn a_registration_proves_its_key_in_its_session_only() {
        let pair = KeyPair::from_seed(&[1; 32]);
        let target = Target::register(&pair, &[5; 64]);
        assert_eq!(target.proven(&[5; 64]), Some(pair.public()));
        assert_eq!(target.proven(&[6; 64]), None);
        assert_eq!(Target::prove(&pair, &[5; 64]).proven(&[5; 64]), Some(pair.public()));
        let Target::Register { signature, .. } = target else { panic!() };
        assert_eq!(Target::Register { key: PublicKey([9; 32]), signature }.proven(&[5; 64]), None);
    }
}

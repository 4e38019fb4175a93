//! Ed25519 keys and the discovery key, by which peers meet without naming the key itself.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{Hash, InvalidKeyText, hash::keyed_hash, key_from_text, key_to_text};

/// A detached Ed25519 signature.
pub type Signature = [u8; 64];

/// The 32 bytes that name a core, a drive or a peer.
///
/// A core's key may be the hash of a manifest instead of a curve point, so no form is insisted on here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// Returns the name under which peers look for this key: BLAKE2b-256 of `"hypercore"`, keyed by it.
    pub fn discovery_key(&self) -> DiscoveryKey {
        DiscoveryKey(keyed_hash(&self.0, b"hypercore"))
    }

    /// Returns whether this key made the signature over the message (strict: no small-order keys, canonical scalars).
    pub fn verify(&self, message: &[u8], signature: &Signature) -> bool {
        VerifyingKey::from_bytes(&self.0)
            .is_ok_and(|key| key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(signature)).is_ok())
    }
}

/// The public name of a key: proves nothing, gives nothing away.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DiscoveryKey(pub Hash);

/// An Ed25519 key pair made from a 32-byte seed; forgets the seed when dropped.
#[derive(Clone)]
pub struct KeyPair(SigningKey);

impl KeyPair {
    /// Derives the pair from its seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// Returns the public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Returns the 32-byte seed, which is the secret.
    pub fn seed(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Signs a message; the same message always gives the same signature.
    pub fn sign(&self, message: &[u8]) -> Signature {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyPair").field(&self.public()).finish()
    }
}

/// The 32 secret bytes with which an encrypted drive is read; wiped when dropped, printed by nothing but
/// [`EncryptionKey::to_text`].
#[derive(Clone, PartialEq, Eq)]
pub struct EncryptionKey(Zeroizing<[u8; 32]>);

/// Text that is not an encryption key; it is not repeated, since it may be most of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("expected 52 characters of z-base-32 or 64 of hexadecimal")]
pub struct InvalidEncryptionKey;

impl EncryptionKey {
    /// Takes the bytes for a key.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes.into())
    }

    /// Returns the bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the 52 z-base-32 characters, which whoever shall read the drive must be told.
    pub fn to_text(&self) -> String {
        key_to_text(&self.0)
    }
}

impl FromStr for EncryptionKey {
    type Err = InvalidEncryptionKey;

    fn from_str(text: &str) -> Result<Self, InvalidEncryptionKey> {
        key_from_text(text).map(Self::new).map_err(|_| InvalidEncryptionKey)
    }
}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EncryptionKey")
    }
}

macro_rules! key_text {
    ($($name:ident)*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&key_to_text(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = InvalidKeyText;

            fn from_str(text: &str) -> Result<Self, InvalidKeyText> {
                key_from_text(text).map(Self)
            }
        }
    )*};
}

key_text!(PublicKey DiscoveryKey);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_message_and_key_only() {
        let pair = KeyPair::from_seed(&[7; 32]);
        let signature = pair.sign(b"head");
        assert!(pair.public().verify(b"head", &signature));
        assert!(!pair.public().verify(b"tail", &signature));
        assert!(!KeyPair::from_seed(&[8; 32]).public().verify(b"head", &signature));
        assert!(!PublicKey([0; 32]).verify(b"head", &signature));
    }

    #[test]
    fn a_key_pair_never_prints_its_seed() {
        let printed = format!("{:?}", KeyPair::from_seed(&[7; 32]));
        assert!(!printed.contains("7, 7"), "{printed}");
    }

    #[test]
    fn an_encryption_key_is_printed_on_demand_only() {
        let key = EncryptionKey::new([7; 32]);
        assert_eq!(key.to_text().parse(), Ok(key.clone()));
        assert_eq!(format!("{key:?}"), "EncryptionKey");
        let damaged = &key.to_text()[1..];
        let error = damaged.parse::<EncryptionKey>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains(damaged));
    }
}

//! Block encryption: a core whose blocks only those can read who have a second key.
//!
//! | bytes of a stored block | content |
//! |---|---|
//! | 8 | fork (u64, little endian), blinded with XSalsa20 under the blinding key, nonce: index (8), zeros (16) |
//! | rest | plaintext, XSalsa20 under the block key, nonce: index (8), the blinded prefix (8), zeros (8) |
//!
//! Tree hashes are over stored blocks, so peers without the key verify and pass them on. There is no authenticator:
//! the tree is one. But a fork that the core has not reached tells that a block was not encrypted under this key.
//!
//! Two plaintexts at one index and fork would share a keystream, and whoever saw both would know how they differ. So a
//! truncation, which frees indices, takes a higher fork, and nobody may be shown a block that could be lost after that:
//! what is signed here reaches the disk before it is announced (`CoreChanges::lasting`), and a store brought back from an
//! older copy must not be written any more. The reference relies on the same, but for the disk.
//!
//! Source: npm hypercore 11.37, `lib/default-encryption.js`.

use std::fmt;

use anypath_wire::{EncryptionKey, Hash, PublicKey, hash, hash_all, keyed_hash, namespace};
use salsa20::XSalsa20;
use salsa20::cipher::{KeyIvInit, StreamCipher};
use thiserror::Error;
use zeroize::Zeroizing;

/// Why a stored block has no plaintext.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecryptError {
    /// It has no room for the prefix.
    #[error("block {index} is too short to be an encrypted one")]
    TooShort {
        /// The block.
        index: u64,
    },
    /// Its prefix names a fork that the core has not reached: it is not encrypted, or under another key.
    #[error("block {index} was not encrypted with this key")]
    WrongKey {
        /// The block.
        index: u64,
    },
}

/// Encrypts and decrypts the blocks of one core.
pub struct Encryption {
    block: Zeroizing<Hash>,
    blinding: Zeroizing<Hash>,
}

impl Encryption {
    /// By how much a stored block is longer than its plaintext, in bytes.
    pub const PADDING_BYTES: usize = 8;

    /// Derives the keys of a core from the encryption key; `compat` cores derive them another way.
    pub fn new(core: &PublicKey, key: &EncryptionKey, compat: bool) -> Self {
        let block = match compat {
            true => keyed_hash(&core.0, key.bytes()),
            false => hash_all(&[&namespace("hypercore", 5), &core.0, key.bytes()]),
        };
        Self { block: block.into(), blinding: hash(&block).into() }
    }

    /// Returns the block as it is stored. The same index and fork must never have two plaintexts.
    pub fn encrypt(&self, index: u64, fork: u64, plain: &[u8]) -> Vec<u8> {
        let mut stored = Vec::with_capacity(Self::PADDING_BYTES + plain.len());
        stored.extend_from_slice(&fork.to_le_bytes());
        stored.extend_from_slice(plain);
        let (prefix, text) = stored.split_at_mut(Self::PADDING_BYTES);
        self.blind(index, prefix);
        self.crypt(index, prefix, text);
        stored
    }

    /// Returns the plaintext of a block that is stored in a core at that fork.
    ///
    /// # Errors
    /// If the block is too short, or does not come from this key.
    pub fn decrypt(&self, index: u64, fork: u64, stored: &[u8]) -> Result<Vec<u8>, DecryptError> {
        let (prefix, text) = stored.split_first_chunk().ok_or(DecryptError::TooShort { index })?;
        let mut written = *prefix;
        self.blind(index, &mut written);
        if u64::from_le_bytes(written) > fork {
            return Err(DecryptError::WrongKey { index });
        }
        let mut plain = text.to_vec();
        self.crypt(index, prefix, &mut plain);
        Ok(plain)
    }

    fn blind(&self, index: u64, prefix: &mut [u8]) {
        stream(&self.blinding, index, &[0; 8]).apply_keystream(prefix);
    }

    fn crypt(&self, index: u64, prefix: &[u8], text: &mut [u8]) {
        stream(&self.block, index, prefix).apply_keystream(text);
    }
}

impl fmt::Debug for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Encryption")
    }
}

fn stream(key: &Hash, index: u64, prefix: &[u8]) -> XSalsa20 {
    let mut nonce = [0; 24];
    nonce[..8].copy_from_slice(&index.to_le_bytes());
    nonce[8..16].copy_from_slice(prefix);
    XSalsa20::new(key.into(), &nonce.into())
}

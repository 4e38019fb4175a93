//! Block encryption: a core whose blocks only those can read who have a second key.
//!
//! | bytes of a stored block | content |
//! |---|---|
//! | 8 | fork (u64, little endian), blinded with XSalsa20 under the blinding key, nonce: index (8), zeros (16) |
//! | rest | plaintext, XSalsa20 under the block key, nonce: index (8), the blinded prefix (8), zeros (8) |
//!
//! Tree hashes are over stored blocks, so peers without the key verify and pass them on. There is no authenticator:
//! the tree is one.
//!
//! Source: npm hypercore 11.37, `lib/default-encryption.js`.

use anypath_wire::{Hash, PublicKey, hash, hash_all, keyed_hash, namespace};
use salsa20::XSalsa20;
use salsa20::cipher::{KeyIvInit, StreamCipher};
use zeroize::Zeroizing;

/// Encrypts and decrypts the blocks of one core.
pub struct Encryption {
    block: Zeroizing<Hash>,
    blinding: Zeroizing<Hash>,
}

impl Encryption {
    /// By how much a stored block is longer than its plaintext, in bytes.
    pub const PADDING_BYTES: usize = 8;

    /// Derives the keys of a core from the encryption key; `compat` cores derive them another way.
    pub fn new(core: &PublicKey, encryption_key: &[u8; 32], compat: bool) -> Self {
        let block = match compat {
            true => keyed_hash(&core.0, encryption_key),
            false => hash_all(&[&namespace("hypercore", 5), &core.0, encryption_key]),
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

    /// Returns the plaintext of a stored block, or `None` if it is too short to be one.
    pub fn decrypt(&self, index: u64, stored: &[u8]) -> Option<Vec<u8>> {
        let (prefix, text) = stored.split_at_checked(Self::PADDING_BYTES)?;
        let mut plain = text.to_vec();
        self.crypt(index, prefix, &mut plain);
        Some(plain)
    }

    fn blind(&self, index: u64, prefix: &mut [u8]) {
        stream(&self.blinding, index, &[0; 8]).apply_keystream(prefix);
    }

    fn crypt(&self, index: u64, prefix: &[u8], text: &mut [u8]) {
        stream(&self.block, index, prefix).apply_keystream(text);
    }
}

fn stream(key: &Hash, index: u64, prefix: &[u8]) -> XSalsa20 {
    let mut nonce = [0; 24];
    nonce[..8].copy_from_slice(&index.to_le_bytes());
    nonce[8..16].copy_from_slice(prefix);
    XSalsa20::new(key.into(), &nonce.into())
}

//! A core as its readers and writers see it: in plaintext, whether or not its blocks are stored encrypted.
//!
//! Only what lies above a core looks through this; to replication, blocks are blocks.

use std::error::Error;

use anypath_wire::EncryptionKey;
use bytes::Bytes;
use thiserror::Error;

use crate::core::{Core, DecryptError, Encryption};
use crate::{AppendBlocks, Blocks};

/// Blocks in plaintext, over the same blocks as they are stored.
///
/// A block keeps its index; its stored form is longer by [`Encryption::PADDING_BYTES`] if the core is encrypted.
#[derive(Debug)]
pub struct Plaintext<B> {
    blocks: B,
    encryption: Option<Encryption>,
    /// The core's, as long as this is held.
    fork: u64,
}

/// Why a block could not be read or appended.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PlaintextError<E: Error + 'static> {
    /// The core below failed.
    #[error(transparent)]
    Blocks(E),
    /// The block has no plaintext under this key.
    #[error("cannot decrypt a block")]
    Decrypt(#[from] DecryptError),
}

impl<B> Plaintext<B> {
    /// Looks at the blocks of a core at that fork, wherever they are.
    pub fn over(blocks: B, encryption: Option<Encryption>, fork: u64) -> Self {
        Self { blocks, encryption, fork }
    }
}

impl Core {
    /// Returns the core as it is read, with the key it was encrypted with if it was.
    pub fn plaintext(&self, key: Option<&EncryptionKey>) -> Plaintext<&Self> {
        Plaintext::over(self, key.map(|key| self.encryption(key)), self.fork())
    }

    /// Returns what encrypts and decrypts its blocks. A core that holds any knows whether it is a compat one.
    pub fn encryption(&self, key: &EncryptionKey) -> Encryption {
        Encryption::new(self.key(), key, self.is_compat())
    }
}

impl<B: Blocks> Blocks for Plaintext<B> {
    type Error = PlaintextError<B::Error>;

    fn length(&self) -> u64 {
        self.blocks.length()
    }

    fn block(&self, index: u64) -> Result<Option<Bytes>, Self::Error> {
        let stored = self.blocks.block(index).map_err(PlaintextError::Blocks)?;
        match (&self.encryption, stored) {
            (Some(encryption), Some(stored)) => Ok(Some(encryption.decrypt(index, self.fork, &stored)?.into())),
            (_, stored) => Ok(stored),
        }
    }
}

impl<B: AppendBlocks> AppendBlocks for Plaintext<B> {
    fn byte_length(&self) -> u64 {
        let padding = if self.encryption.is_some() { Encryption::PADDING_BYTES as u64 } else { 0 };
        self.blocks.byte_length().saturating_sub(self.length().saturating_mul(padding))
    }

    fn append(&mut self, blocks: &[Bytes]) -> Result<u64, Self::Error> {
        let Some(encryption) = &self.encryption else {
            return self.blocks.append(blocks).map_err(PlaintextError::Blocks);
        };
        let indexed = (self.blocks.length()..).zip(blocks);
        let stored: Vec<Bytes> =
            indexed.map(|(index, plain)| encryption.encrypt(index, self.fork, plain).into()).collect();
        self.blocks.append(&stored).map_err(PlaintextError::Blocks)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use anypath_wire::{KeyPair, PublicKey};

    use super::*;
    use crate::bee::held::{Held, ready};
    use crate::bee::{Bee, BeeError, Change};
    use crate::core::{Manifest, Signer};
    use crate::replicator::{CoreId, Replicator};
    use crate::store::MemoryStore;

    fn key(seed: u8) -> EncryptionKey {
        EncryptionKey::new([seed; 32])
    }

    fn core() -> (Replicator, CoreId) {
        let mut replicator = Replicator::new(Arc::new(MemoryStore::default()));
        let pair = KeyPair::from_seed(&[1; 32]);
        let core = replicator.open_writable(Manifest::single(Signer::new(pair.public())), pair).unwrap();
        (replicator, core)
    }

    fn append((replicator, core): &mut (Replicator, CoreId), key: Option<&EncryptionKey>, blocks: &[&'static str]) {
        let blocks: Vec<Bytes> = blocks.iter().map(|block| Bytes::from_static(block.as_bytes())).collect();
        let mut writer = replicator.plaintext_writer(*core, key);
        let before = writer.byte_length();
        writer.append(&blocks).unwrap();
        assert_eq!(writer.byte_length() - before, blocks.iter().map(|block| block.len() as u64).sum::<u64>());
    }

    fn read((replicator, core): &(Replicator, CoreId), key: Option<&EncryptionKey>) -> Vec<Bytes> {
        let plain = replicator.core(*core).plaintext(key);
        (0..plain.length()).map(|index| plain.block(index).unwrap().unwrap()).collect()
    }

    fn refused((replicator, core): &(Replicator, CoreId), key: &EncryptionKey, index: u64) -> DecryptError {
        match replicator.core(*core).plaintext(Some(key)).block(index) {
            Err(PlaintextError::Decrypt(error)) => error,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_written_with_a_key_is_read_with_it_alone() {
        let mut core = core();
        append(&mut core, Some(&key(2)), &["one", "", "three"]);
        assert_eq!(read(&core, Some(&key(2))), ["one", "", "three"]);
        assert_eq!(read(&core, None)[0].len(), "one".len() + 8);
        assert_eq!(refused(&core, &key(3), 2), DecryptError::WrongKey { index: 2 });
        assert_eq!(core.0.core(core.1).plaintext(Some(&key(3))).block(3).unwrap(), None);
    }

    #[test]
    fn blocks_in_plaintext_are_of_no_key() {
        let mut core = core();
        append(&mut core, None, &["1234567", "12345678 and more"]);
        assert_eq!(read(&core, None), ["1234567", "12345678 and more"]);
        assert_eq!(refused(&core, &key(2), 0), DecryptError::TooShort { index: 0 });
        assert_eq!(refused(&core, &key(2), 1), DecryptError::WrongKey { index: 1 });
    }

    /// What is at an index again after a truncation is under another keystream, and what stayed is still read.
    #[test]
    fn an_index_used_again_has_another_keystream() {
        let (mut core, key) = (core(), key(2));
        append(&mut core, Some(&key), &["stays", "the same"]);
        let before = read(&core, None)[1].clone();
        core.0.truncate(core.1, 1, None).unwrap();
        append(&mut core, Some(&key), &["the same"]);
        assert_ne!(read(&core, None)[1][8..], before[8..]);
        assert_eq!(read(&core, Some(&key)), ["stays", "the same"]);
    }

    #[test]
    fn a_bee_says_what_is_wrong_with_its_blocks() {
        let change = [Change::Put { key: "a".into(), value: "b".into() }];
        let over =
            |held: Held, seed| Plaintext::over(held, Some(Encryption::new(&PublicKey([5; 32]), &key(seed), false)), 0);
        let mut written = over(Held::default(), 1);
        ready(Bee::default().apply(&mut written, &change).unwrap());
        let stored = written.blocks;
        let read = |blocks: &Plaintext<Held>| Bee::default().get(blocks, 2, b"a");
        assert!(ready(read(&over(stored.clone(), 1)).unwrap()).is_some());
        let Err(BeeError::Blocks(error)) = read(&over(stored, 2)) else { panic!("read with another key") };
        assert!(matches!(error.source().and_then(|error| error.downcast_ref()), Some(DecryptError::WrongKey { .. })));
    }
}

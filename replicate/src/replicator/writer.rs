//! A core of the replicator as bees and drives see it.

use anypath_wire::EncryptionKey;
use bytes::Bytes;

use super::{CoreId, Replicator};
use crate::core::AppendError;
use crate::{AppendBlocks, Blocks, Plaintext};

/// A core to append to; what is appended is staged for the next commit.
pub struct Writer<'a> {
    replicator: &'a mut Replicator,
    core: CoreId,
}

impl<'a> Writer<'a> {
    pub(super) fn new(replicator: &'a mut Replicator, core: CoreId) -> Self {
        Self { replicator, core }
    }
}

impl Replicator {
    /// Returns a writable core as a place to append plaintext to: it is encrypted with the key, if there is one.
    pub fn plaintext_writer(&mut self, id: CoreId, key: Option<&EncryptionKey>) -> Plaintext<Writer<'_>> {
        let (encryption, fork) = (key.map(|key| self.core(id).encryption(key)), self.core(id).fork());
        Plaintext::over(self.writer(id), encryption, fork)
    }
}

impl Blocks for Writer<'_> {
    type Error = AppendError;

    fn length(&self) -> u64 {
        self.replicator.core(self.core).length()
    }

    fn block(&self, index: u64) -> Result<Option<Bytes>, AppendError> {
        Ok(self.replicator.core(self.core).block(index)?)
    }
}

impl AppendBlocks for Writer<'_> {
    fn byte_length(&self) -> u64 {
        self.replicator.core(self.core).byte_length()
    }

    fn append(&mut self, blocks: &[Bytes]) -> Result<u64, AppendError> {
        self.replicator.append(self.core, blocks)
    }
}

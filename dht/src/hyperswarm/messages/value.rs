//! Mutable values: signed by their key, replaced by higher sequence numbers.

use anypath_wire::{DecodeError, Decoder, Encode, KeyPair, PublicKey, Signature};

use crate::hyperswarm::mutable_signable;

/// A request to store: 32 bytes of key, then the value as [`MutableValue`] has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MutablePut {
    /// Whose value it is.
    pub public_key: PublicKey,
    /// The value.
    pub value: MutableValue,
}

/// What a storing node keeps and answers: `uint` seq, `buffer` value, 64 bytes of signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MutableValue {
    /// The higher wins.
    pub seq: u64,
    /// The bytes.
    pub value: Vec<u8>,
    /// By the key over [`mutable_signable`].
    pub signature: Signature,
}

impl MutablePut {
    /// Returns the value of the request.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.public_key.0.to_vec();
        self.value.encode_into(&mut out);
        out
    }

    /// Reads the value of a request.
    pub fn decode(value: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Decoder::new(value);
        Ok(Self { public_key: PublicKey(from.fixed()?), value: MutableValue::decode_from(&mut from)? })
    }
}

impl MutableValue {
    /// Signs a value.
    pub fn sign(pair: &KeyPair, seq: u64, value: &[u8]) -> Self {
        Self { seq, value: value.to_vec(), signature: pair.sign(&mutable_signable(seq, value)) }
    }

    /// Returns whether the key signed it.
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        key.verify(&mutable_signable(self.seq, &self.value), &self.signature)
    }

    /// Returns the value of the reply.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_into(&mut out);
        out
    }

    /// Reads the value of a reply.
    pub fn decode(value: &[u8]) -> Result<Self, DecodeError> {
        Self::decode_from(&mut Decoder::new(value))
    }

    fn encode_into(&self, out: &mut Vec<u8>) {
        out.uint(self.seq);
        out.buffer(&self.value);
        out.raw(&self.signature);
    }

    fn decode_from(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(Self { seq: from.uint()?, value: from.buffer()?.to_vec(), signature: from.fixed()? })
    }
}

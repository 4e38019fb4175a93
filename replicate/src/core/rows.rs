//! How a core writes itself into the two rows a store keeps for it.
//!
//! | row | bytes |
//! |---|---|
//! | info | `uint` 1, `uint` flags (1 manifest, 2 frozen, 4 evidence), 32-byte key, the manifest, `buffer` evidence |
//! | head | `uint` 1, `uint` fork, `uint` length, `uint` bytes, `buffer` signature, array of `string` name and `buffer` user data |

use std::collections::BTreeMap;

use anypath_wire::{DecodeError, Decoder, Encode, PublicKey};

use super::{Evidence, Manifest, Tree};

/// What never changes, and the manifest once it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Info {
    pub(super) key: PublicKey,
    pub(super) manifest: Option<Manifest>,
    pub(super) frozen: bool,
    pub(super) evidence: Option<Evidence>,
}

impl Info {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        out.uint(VERSION);
        let flags = [(self.manifest.is_some(), MANIFEST), (self.frozen, FROZEN), (self.evidence.is_some(), EVIDENCE)];
        out.uint(flags.iter().filter(|(set, _)| *set).map(|(_, flag)| flag).sum());
        out.raw(&self.key.0);
        if let Some(manifest) = &self.manifest {
            manifest.encode(&mut out);
        }
        if let Some(evidence) = &self.evidence {
            out.buffer(&evidence.encode());
        }
        out
    }

    pub(super) fn decode(row: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Decoder::new(row);
        version(&mut from)?;
        let flags = from.uint()?;
        let key = PublicKey(from.fixed()?);
        let manifest = if flags & MANIFEST != 0 { Some(Manifest::decode(&mut from)?) } else { None };
        let evidence = if flags & EVIDENCE != 0 { Some(Self::decode_evidence(&mut from)?) } else { None };
        Ok(Self { key, manifest, frozen: flags & FROZEN != 0, evidence })
    }

    fn decode_evidence(from: &mut Decoder<'_>) -> Result<Evidence, DecodeError> {
        Evidence::decode(from.buffer()?).map_err(|_| DecodeError::Unknown("evidence"))
    }
}

/// The signed head, and what the core's owner keeps with it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Head {
    pub(super) fork: u64,
    pub(super) length: u64,
    pub(super) byte_length: u64,
    pub(super) signature: Vec<u8>,
    pub(super) user_data: BTreeMap<String, Vec<u8>>,
}

impl Head {
    pub(super) fn encode(tree: &Tree, signature: &[u8], user_data: &BTreeMap<String, Vec<u8>>) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        [VERSION, tree.fork, tree.length, tree.byte_length].into_iter().for_each(|number| out.uint(number));
        out.buffer(signature);
        out.uint(user_data.len() as u64);
        for (name, value) in user_data {
            out.string(name);
            out.buffer(value);
        }
        out
    }

    pub(super) fn decode(row: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Decoder::new(row);
        version(&mut from)?;
        let mut head = Self {
            fork: from.uint()?,
            length: from.uint()?,
            byte_length: from.uint()?,
            signature: from.buffer()?.to_vec(),
            user_data: BTreeMap::new(),
        };
        for _ in 0..from.count(2)? {
            let name = from.string()?.to_owned();
            head.user_data.insert(name, from.buffer()?.to_vec());
        }
        Ok(head)
    }
}

fn version(from: &mut Decoder<'_>) -> Result<(), DecodeError> {
    if from.uint()? == VERSION { Ok(()) } else { Err(DecodeError::Unknown("row version")) }
}

const VERSION: u64 = 1;
const MANIFEST: u64 = 1;
const FROZEN: u64 = 2;
const EVIDENCE: u64 = 4;

#[cfg(test)]
mod tests {
    use super::super::{SignedHead, Signer};
    use super::*;
    use crate::Node;

    #[test]
    fn rows_come_back() {
        let manifest = Manifest::single(Signer::new(PublicKey([7; 32])));
        let head =
            |byte| SignedHead { nodes: vec![Node { index: 0, size: 3, hash: [byte; 32] }], signature: vec![byte; 64] };
        let key = PublicKey([3; 32]);
        let evidence = Evidence { key, manifest: Some(manifest.clone()), fork: 2, heads: [head(1), head(2)] };
        let infos = [(None, true, None), (Some(manifest.clone()), false, None), (Some(manifest), true, Some(evidence))];
        for (manifest, frozen, evidence) in infos {
            let info = Info { key, manifest, frozen, evidence };
            assert_eq!(Info::decode(&info.encode()), Ok(info));
        }
        let tree = Tree { fork: 3, length: 500, byte_length: 70_000, roots: Vec::new() };
        let user_data = BTreeMap::from([("a".to_owned(), vec![1, 2])]);
        let head = Head::decode(&Head::encode(&tree, &[9; 68], &user_data)).unwrap();
        assert_eq!((head.fork, head.length, head.byte_length), (3, 500, 70_000));
        assert_eq!((head.signature, head.user_data), (vec![9; 68], user_data));
        assert!(Info::decode(&[2]).is_err());
    }
}

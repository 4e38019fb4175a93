//! Items that BEP 44 stores: immutable under their hash, mutable under their key.

use anypath_wire::{KeyPair, PublicKey, Signature};
use sha1::{Digest, Sha1};

use super::Id;
use super::bencode::{Value, Writer, push_bytes};

/// An item as a `put` brings it and the reply to a `get` returns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The value, bencoded.
    pub value: Vec<u8>,
    /// Whose it is, if it may change.
    pub mutable: Option<Mutable>,
}

/// The signed part of a mutable item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutable {
    /// `k`.
    pub key: PublicKey,
    /// `salt`, which lets a key have several items; not in replies.
    pub salt: Vec<u8>,
    /// `seq`: the higher wins.
    pub seq: i64,
    /// `cas`: store only over this sequence number; in puts alone.
    pub cas: Option<i64>,
    /// `sig`, over salt, seq and value.
    pub signature: Signature,
}

impl Item {
    /// Makes an immutable item of bytes.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        let mut value = Vec::new();
        push_bytes(bytes, &mut value);
        Self { value, mutable: None }
    }

    /// Makes and signs a mutable item of bytes.
    pub fn sign(pair: &KeyPair, salt: &[u8], seq: i64, bytes: &[u8]) -> Self {
        let mut item = Self::of_bytes(bytes);
        let signature = pair.sign(&signable(salt, seq, &item.value));
        let salt = salt.to_vec();
        item.mutable = Some(Mutable { key: pair.public(), salt, seq, cas: None, signature });
        item
    }

    /// Returns where it is stored: SHA-1 of the bencoded value, or of the key and the salt.
    pub fn target(&self) -> Id {
        match &self.mutable {
            None => Sha1::digest(&self.value).into(),
            Some(mutable) => mutable_target(&mutable.key, &mutable.salt),
        }
    }

    /// Returns whether it is immutable or its key signed it.
    pub fn is_sound(&self) -> bool {
        self.mutable.as_ref().is_none_or(|mutable| {
            mutable.key.verify(&signable(&mutable.salt, mutable.seq, &self.value), &mutable.signature)
        })
    }

    /// Returns the value's bytes, if it is a byte string.
    pub fn bytes(&self) -> Option<&[u8]> {
        match Value::decode(&self.value) {
            Ok(Value::Bytes(bytes)) => Some(bytes),
            _ => None,
        }
    }

    /// Reads it from the arguments of a put or from a reply: `None` if there is none, or half of one.
    pub(super) fn decode(from: &Value<'_>) -> Option<Self> {
        let value = from.raw_at("v")?.to_vec();
        if from.at("k").is_none() && from.at("sig").is_none() {
            return Some(Self { value, mutable: None });
        }
        let mutable = Mutable {
            key: PublicKey(from.fixed_at("k")?),
            salt: from.bytes_at("salt").unwrap_or_default().to_vec(),
            seq: from.number_at("seq")?,
            cas: from.number_at("cas"),
            signature: from.fixed_at("sig")?,
        };
        Some(Self { value, mutable: Some(mutable) })
    }

    /// Adds what stands behind `k` in the alphabet and before `token`.
    pub(super) fn encode_from_salt(&self, out: Writer) -> Writer {
        out.maybe(self.mutable.as_ref(), |out, mutable| {
            let salt = Some(&mutable.salt).filter(|salt| !salt.is_empty());
            let out = out.maybe(salt, |out, salt| out.bytes("salt", salt));
            out.number("seq", mutable.seq).bytes("sig", &mutable.signature)
        })
    }
}

/// Returns where a key's item under a salt is stored.
pub(super) fn mutable_target(key: &PublicKey, salt: &[u8]) -> Id {
    Sha1::new_with_prefix(key.0).chain_update(salt).finalize().into()
}

/// Returns what is signed: the fields as they stand in a dictionary, without its ends.
fn signable(salt: &[u8], seq: i64, value: &[u8]) -> Vec<u8> {
    let salt = Some(salt).filter(|salt| !salt.is_empty());
    let signed = Writer::new().maybe(salt, |out, salt| out.bytes("salt", salt)).number("seq", seq).raw("v", value);
    let mut signed = signed.finish();
    signed.pop();
    signed.remove(0);
    signed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unhex<const N: usize>(text: &str) -> [u8; N] {
        std::array::from_fn(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
    }

    /// Test vectors 1 and 2 of BEP 44, which has keys without their seeds.
    #[test]
    fn the_beps_own_items_hold() {
        let key = PublicKey(unhex("77ff84905a91936367c01360803104f92432fcd904a43511876df5cdf3e7e548"));
        for (salt, signature, target) in [
            (
                "",
                "305ac8aeb6c9c151fa120f120ea2cfb923564e11552d06a5d856091e5e853cff1260d3f39e4999684aa92eb73ffd136e6f4f3ecbfda0ce53a1608ecd7ae21f01",
                "4a533d47ec9c7d95b1ad75f576cffc641853b750",
            ),
            (
                "foobar",
                "6834284b6b24c3204eb2fea824d82f88883a3d95e8b4a21b8c0ded553d17d17ddf9a8a7104b1258f30bed3787e6cb896fca78c58f8e03b5f18f14951a87d9a08",
                "411eba73b6f087ca51a3795d9c8c938d365e32c1",
            ),
        ] {
            let (salt, signature) = (salt.as_bytes().to_vec(), unhex(signature));
            let mut item = Item::of_bytes(b"Hello World!");
            item.mutable = Some(Mutable { key, salt, seq: 1, cas: None, signature });
            assert!(item.is_sound());
            assert_eq!(item.target(), unhex(target));
            item.value[3] ^= 1;
            assert!(!item.is_sound());
        }
        assert_eq!(Item::of_bytes(b"Hello World!").target(), unhex("e5f96f6f38320f0f33959cb4d3d656452117aadb"));
    }
}

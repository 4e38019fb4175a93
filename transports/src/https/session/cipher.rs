//! Sealing and opening records: ChaCha20-Poly1305, one key for each kind and direction, the record's number as nonce.
//!
//! A segment is sealed once and sent again as the same bytes, so a number is never used for two texts, and a replay by
//! whoever sits on the way tells nothing new. The four keys derive from the handshake's two by BLAKE2b, keyed with them.

use anypath_wire::keyed_hash;
use anypath_wire::noise::Split;
use bytes::{Bytes, BytesMut};
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce, Tag};
use thiserror::Error;
use zeroize::Zeroizing;

use super::record::{self, Kind, Record, TAG_BYTES};

/// The keys of a session at one end.
pub struct Cipher {
    tx: Direction,
    rx: Direction,
}

/// The record was not made by the other end of this session, or not for this direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a record does not authenticate: it was altered on the way, or is of another session")]
pub struct Forged;

impl Cipher {
    /// Derives the session's keys from those of its handshake.
    pub fn new(split: &Split) -> Self {
        Self { tx: Direction::new(&split.tx.0), rx: Direction::new(&split.rx.0) }
    }

    /// Makes a record: `clear` is authenticated, `text` is encrypted as well.
    ///
    /// # Panics
    /// If the record would be longer than [`RECORD_BYTES_MAX`](super::RECORD_BYTES_MAX).
    pub fn seal(&self, kind: Kind, number: u64, clear: &[u8], text: &[u8]) -> Bytes {
        let mut bytes = record::begin(kind, number, clear, text.len());
        let sealed_at = bytes.len();
        bytes.extend_from_slice(text);
        let (associated, sealed) = bytes.split_at_mut(sealed_at);
        let tag = self.tx.key(kind).encrypt_inout_detached(&nonce(number), associated, sealed.into());
        bytes.extend_from_slice(&tag.expect("a record is far shorter than the cipher's limit"));
        bytes.into()
    }

    /// Returns the encrypted text of a record of the other end.
    ///
    /// # Errors
    /// [`Forged`], also for a kind that is never sealed.
    pub fn open(&self, record: &Record) -> Result<Bytes, Forged> {
        let (text, tag) = record.sealed().split_last_chunk::<TAG_BYTES>().ok_or(Forged)?;
        if record.kind == Kind::Forgotten {
            return Err(Forged);
        }
        let mut text = BytesMut::from(text);
        let key = self.rx.key(record.kind);
        key.decrypt_inout_detached(
            &nonce(record.number),
            record.associated(),
            (&mut text[..]).into(),
            &Tag::from(*tag),
        )
        .map_err(|_| Forged)?;
        Ok(text.freeze())
    }
}

struct Direction {
    data: ChaCha20Poly1305,
    control: ChaCha20Poly1305,
}

impl Direction {
    fn new(key: &[u8; 32]) -> Self {
        let cipher = |name| ChaCha20Poly1305::new(&(*Zeroizing::new(keyed_hash(key, name))).into());
        Self { data: cipher(b"anypath session data"), control: cipher(b"anypath session control") }
    }

    fn key(&self, kind: Kind) -> &ChaCha20Poly1305 {
        if kind == Kind::Data { &self.data } else { &self.control }
    }
}

fn nonce(number: u64) -> Nonce {
    let mut nonce = Nonce::default();
    nonce[4..].copy_from_slice(&number.to_le_bytes());
    nonce
}

#[cfg(test)]
mod tests {
    use anypath_wire::noise::suite::Secret;

    use super::super::record::Records;
    use super::*;

    fn ends() -> (Cipher, Cipher) {
        let split = |tx, rx| Cipher::new(&Split { hash: [0; 64], tx: Secret([tx; 32]), rx: Secret([rx; 32]) });
        (split(1, 2), split(2, 1))
    }

    fn read(bytes: &[u8]) -> Option<Record> {
        let mut records = Records::default();
        records.push(bytes);
        records.next_record().ok().flatten()
    }

    #[test]
    fn a_record_opens_at_the_other_end_only_and_unaltered_only() {
        let (a, b) = ends();
        let bytes = a.seal(Kind::Data, 7, b"clear", b"secret");
        assert_eq!(a.seal(Kind::Data, 7, b"clear", b"secret"), bytes);
        let record = read(&bytes).unwrap();
        assert_eq!((&*record.clear(), &*b.open(&record).unwrap()), (&b"clear"[..], &b"secret"[..]));
        assert_eq!(a.open(&record), Err(Forged));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&bad).is_none_or(|record| b.open(&record).is_err()), "{bit}");
        }
    }
}

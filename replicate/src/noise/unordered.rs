//! Messages beside the stream, which may be lost, repeated and reordered: each is sealed by itself.
//!
//! | bytes | content |
//! |---|---|
//! | 8 | counter, little endian: starts anywhere, increases by one a message |
//! | 16 | authenticator |
//! | rest | text, encrypted |
//!
//! The box is NaCl's secretbox (XSalsa20, Poly1305) with the counter and 16 zeros for a nonce. Nothing keeps a
//! message from being replayed. Source: npm @hyperswarm/secret-stream 6.9, `index.js` (`_setupSecretSend`).

use anypath_wire::{Handshake, Hash, Role, keyed_hash, namespace};
use poly1305::Poly1305;
use poly1305::universal_hash::KeyInit;
use salsa20::XSalsa20;
use salsa20::cipher::{KeyIvInit, StreamCipher};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::secretstream::MAC_BYTES;

/// Seals and opens the unordered messages of one connection.
pub struct Unordered {
    tx: Zeroizing<Hash>,
    rx: Zeroizing<Hash>,
    counter: u64,
}

impl Unordered {
    /// Derives both directions' keys from the handshake; `counter` should be random.
    pub fn new(handshake: &Handshake, counter: u64) -> Self {
        let (tx, rx) = (key(handshake, handshake.role), key(handshake, handshake.role.other()));
        Self { tx: tx.into(), rx: rx.into(), counter }
    }

    /// Returns the message sealed under the next counter.
    pub fn seal(&mut self, text: &[u8]) -> Vec<u8> {
        self.counter = self.counter.wrapping_add(1);
        let counter = self.counter.to_le_bytes();
        let mut sealed = [&counter[..], &[0; MAC_BYTES], text].concat();
        let (head, body) = sealed.split_at_mut(HEAD_BYTES);
        let (mut stream, mac_key) = open_stream(&self.tx, &counter);
        stream.apply_keystream(body);
        head[COUNTER_BYTES..].copy_from_slice(&Poly1305::new((&mac_key).into()).compute_unpadded(body));
        sealed
    }

    /// Returns the text of a message, or `None` if it is not one the peer sealed.
    pub fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let (head, body) = sealed.split_first_chunk::<HEAD_BYTES>()?;
        let (counter, mac) = head.split_first_chunk::<COUNTER_BYTES>()?;
        let (mut stream, mac_key) = open_stream(&self.rx, counter);
        let expected = Poly1305::new((&mac_key).into()).compute_unpadded(body);
        if !bool::from(expected.as_slice().ct_eq(mac)) {
            return None;
        }
        let mut text = body.to_vec();
        stream.apply_keystream(&mut text);
        Some(text)
    }
}

fn key(handshake: &Handshake, sender: Role) -> Hash {
    let role = match sender {
        Role::Initiator => 0,
        Role::Responder => 1,
    };
    let [role, send] = [role, 2].map(|index| namespace("hyperswarm/secret-stream", index));
    keyed_hash(&handshake.hash, &[role, send].concat())
}

/// Returns the key stream behind its first 32 bytes, and these: the authenticator's key.
fn open_stream(key: &Hash, counter: &[u8; COUNTER_BYTES]) -> (XSalsa20, [u8; 32]) {
    let mut nonce = [0; 24];
    nonce[..COUNTER_BYTES].copy_from_slice(counter);
    let mut stream = XSalsa20::new(key.into(), &nonce.into());
    let mut mac_key = [0; 32];
    stream.apply_keystream(&mut mac_key);
    (stream, mac_key)
}

const COUNTER_BYTES: usize = 8;
const HEAD_BYTES: usize = COUNTER_BYTES + MAC_BYTES;

#[cfg(test)]
mod tests {
    use anypath_wire::PublicKey;

    use super::*;

    #[test]
    fn any_damage_is_noticed() {
        let shaken = |role| Handshake { role, remote: PublicKey([1; 32]), hash: [2; 64], tx: [0; 32], rx: [0; 32] };
        let mut ours = Unordered::new(&shaken(Role::Initiator), u64::MAX);
        let theirs = Unordered::new(&shaken(Role::Responder), 7);
        let sealed = ours.seal(b"beside the stream");
        assert_eq!(theirs.open(&sealed).as_deref(), Some(&b"beside the stream"[..]));
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert_eq!(theirs.open(&damaged), None, "byte {at}");
            assert_eq!(theirs.open(&sealed[..at]), None, "{at} bytes");
        }
    }
}

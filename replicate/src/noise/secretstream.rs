//! One direction of libsodium's `crypto_secretstream_xchacha20poly1305`, in place and without associated data.

use chacha20::cipher::{KeyIvInit, StreamCipher};
use chacha20::{ChaCha20, R20, hchacha};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::mac::{Mac, authenticate};

/// The state of one direction; depends on nothing but the key, the header and the messages so far.
///
/// The key stream of a message begins with a block for the authenticator's key and a block for the tag;
/// the text follows. Source: libsodium 1.0.20, `secretstream_xchacha20poly1305.c`.
pub(super) struct SecretStream {
    key: Zeroizing<[u8; 32]>,
    /// Counter (4, little endian), inner nonce (8).
    nonce: [u8; 12],
}

impl SecretStream {
    pub(super) fn new(key: &[u8; 32], header: &[u8; HEADER_BYTES]) -> Self {
        let (mut input, mut nonce) = ([0; 16], [0; 12]);
        input.copy_from_slice(&header[..16]);
        nonce[0] = 1;
        nonce[4..].copy_from_slice(&header[16..]);
        Self { key: Zeroizing::new(hchacha::<R20>(&(*key).into(), &input.into()).into()), nonce }
    }

    /// Encrypts a tag (first byte) and text where they lie and returns the authenticator.
    pub(super) fn seal(&mut self, tagged: &mut [u8]) -> Mac {
        let (cipher, mut lead) = self.begin();
        let (tag, text) = tagged.split_at_mut(1);
        lead[TAG_AT] ^= tag[0];
        tag[0] = lead[TAG_AT];
        crypt(cipher, &lead, text);
        let mac = mac(&lead, text);
        self.advance(&mac);
        mac
    }

    /// Decrypts a tag and text where they lie; if they are not authentic, nothing changes and `false` is returned.
    pub(super) fn open(&mut self, tagged: &mut [u8], expected: &Mac) -> bool {
        let (cipher, mut lead) = self.begin();
        let (tag, text) = tagged.split_at_mut(1);
        let opened = lead[TAG_AT] ^ tag[0];
        lead[TAG_AT] = tag[0];
        if !bool::from(mac(&lead, text).ct_eq(expected)) {
            return false;
        }
        tag[0] = opened;
        crypt(cipher, &lead, text);
        self.advance(expected);
        true
    }

    fn begin(&self) -> (ChaCha20, Lead) {
        let mut cipher = ChaCha20::new((&*self.key).into(), (&self.nonce).into());
        let mut lead = [0; RUN_BYTES];
        cipher.apply_keystream(&mut lead);
        (cipher, lead)
    }

    fn advance(&mut self, mac: &Mac) {
        self.nonce[4..].iter_mut().zip(mac).for_each(|(nonce, mac)| *nonce ^= mac);
        let mut counter = [0; 4];
        counter.copy_from_slice(&self.nonce[..4]);
        let counter = u32::from_le_bytes(counter).wrapping_add(1);
        self.nonce[..4].copy_from_slice(&counter.to_le_bytes());
        if counter == 0 {
            self.rekey();
        }
    }

    fn rekey(&mut self) {
        let mut cipher = ChaCha20::new((&*self.key).into(), (&self.nonce).into());
        cipher.apply_keystream(&mut *self.key);
        cipher.apply_keystream(&mut self.nonce[4..]);
        self.nonce[..4].copy_from_slice(&1u32.to_le_bytes());
    }
}

/// Length of the header: nonce for the key (16), first inner nonce (8).
pub(super) const HEADER_BYTES: usize = 24;

/// The begin of a message's key stream: authenticator key (32), unused (32), tag block (64), first text (128).
///
/// Four blocks, because AVX2 makes four at a time: one block would take as long.
type Lead = [u8; RUN_BYTES];
const RUN_BYTES: usize = 256;
const TAG_AT: usize = 64;
const TEXT_AT: usize = 128;

/// Applies the key stream to the text, in runs of four blocks.
fn crypt(mut cipher: ChaCha20, lead: &Lead, text: &mut [u8]) {
    let (first, rest) = text.split_at_mut(text.len().min(RUN_BYTES - TEXT_AT));
    xor(first, &lead[TEXT_AT..]);
    let (runs, last) = rest.split_at_mut(rest.len() / RUN_BYTES * RUN_BYTES);
    cipher.apply_keystream(runs);
    if !last.is_empty() {
        let mut run = [0; RUN_BYTES];
        cipher.apply_keystream(&mut run);
        xor(last, &run);
    }
}

fn xor(text: &mut [u8], stream: &[u8]) {
    text.iter_mut().zip(stream).for_each(|(text, stream)| *text ^= stream);
}

fn mac(lead: &Lead, sealed: &[u8]) -> Mac {
    let mut key = [0; 32];
    key.copy_from_slice(&lead[..32]);
    let (blocks, rest) = sealed.split_at(sealed.len() / 16 * 16);
    // libsodium pads a rest of n bytes by n bytes instead of up to the next block; then come the lengths.
    let mut end = [0; 48];
    end[..rest.len()].copy_from_slice(rest);
    let lengths = 2 * rest.len();
    end[lengths + 8..lengths + 16].copy_from_slice(&((TEXT_AT - TAG_AT + sealed.len()) as u64).to_le_bytes());
    authenticate(&key, [&lead[TAG_AT..TEXT_AT], blocks], &end[..lengths + 16])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// libsodium's own answers for a state whose counter was set to its last value: the second message is
    /// sealed under the next key. Made with npm sodium-native 5.1.0.
    const AT_THE_LAST_COUNTER: [&str; 3] = [
        "895f300ccedbc40f24d1f2d039b4b7175622b2ca2c462e5dab14",
        "cc865b06f92a02a5d51cd52679f50370dc87ccffde2b03577c7e",
        "551f6717329546228643920bc8c2a08b511fa765ec00b68bba46",
    ];

    fn ends() -> [SecretStream; 2] {
        [(); 2].map(|()| SecretStream::new(&[3; 32], &[9; 24]))
    }

    #[test]
    fn the_key_changes_when_the_counter_ends() {
        let mut ends = ends();
        ends.iter_mut().for_each(|end| end.nonce[..4].copy_from_slice(&u32::MAX.to_le_bytes()));
        let [mut sealer, mut opener] = ends;
        for (index, expected) in AT_THE_LAST_COUNTER.iter().enumerate() {
            let mut tagged = format!("\0message {index}").into_bytes();
            let mac = sealer.seal(&mut tagged);
            let printed: String = tagged.iter().chain(&mac).map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(printed, *expected);
            assert!(opener.open(&mut tagged, &mac));
            assert_eq!(tagged, format!("\0message {index}").as_bytes());
        }
    }

    #[test]
    fn every_length_of_text_comes_back() {
        let [mut sealer, mut opener] = ends();
        for bytes in (0..600).chain([4095, 4096, 4097, 65_536, 100_003]) {
            let mut tagged: Vec<u8> = (0..=bytes).map(|byte| byte as u8).collect();
            let (text, mac) = (tagged.clone(), sealer.seal(&mut tagged));
            assert!(opener.open(&mut tagged, &mac), "{bytes}");
            assert_eq!(tagged, text);
        }
    }

    #[test]
    fn a_forged_message_changes_nothing() {
        let [mut sealer, mut opener] = ends();
        let mut tagged = *b"\0hello";
        let mac = sealer.seal(&mut tagged);
        let sealed = tagged;
        assert!(!opener.open(&mut tagged, &[0; 16]));
        assert_eq!(tagged, sealed);
        assert!(opener.open(&mut tagged, &mac));
    }
}

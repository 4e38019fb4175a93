//! The Noise suite of the Hypercore world: Ed25519 points, ChaCha20-Poly1305, BLAKE2b-512.

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce, Tag};
use ed25519_dalek::{SigningKey, VerifyingKey};
use noise_protocol::{Cipher, DH, Hash, U8Array};
use zeroize::Zeroize;

/// Diffie-Hellman on Ed25519 points, without any conversion to X25519.
///
/// A private key is the 32-byte seed of an Ed25519 pair; the scalar is the clamped first half of its SHA-512.
/// Source: npm noise-curve-ed 2.1; libsodium `crypto_scalarmult_ed25519_noclamp`.
pub struct Ed25519;

impl DH for Ed25519 {
    type Key = Secret<32>;
    type Pubkey = [u8; 32];
    type Output = Secret<32>;

    fn name() -> &'static str {
        "Ed25519"
    }

    /// # Panics
    /// Always: whoever starts a handshake brings its ephemeral seed.
    fn genkey() -> Secret<32> {
        unreachable!("the ephemeral seed is an argument of every handshake")
    }

    fn pubkey(seed: &Secret<32>) -> [u8; 32] {
        SigningKey::from_bytes(&seed.0).verifying_key().to_bytes()
    }

    /// Returns the shared point.
    ///
    /// # Errors
    /// If `remote` is not the canonical encoding of a point of prime order: such a point would leave
    /// the shared secret to the peer's choice, or give the two ends different views of one key.
    fn dh(seed: &Secret<32>, remote: &[u8; 32]) -> Result<Secret<32>, ()> {
        let point = VerifyingKey::from_bytes(remote).map_err(drop)?.to_edwards();
        let sound = point.compress().to_bytes() == *remote && !point.is_small_order() && point.is_torsion_free();
        if !sound {
            return Err(());
        }
        Ok(Secret((SigningKey::from_bytes(&seed.0).to_scalar() * point).compress().to_bytes()))
    }
}

/// ChaCha20-Poly1305 as in RFC 8439; the nonce is 4 zero bytes and the counter in little endian.
pub struct ChaChaPoly;

impl ChaChaPoly {
    fn keyed(key: &Secret<32>, counter: u64) -> (ChaCha20Poly1305, Nonce) {
        let mut nonce = Nonce::default();
        nonce[4..].copy_from_slice(&counter.to_le_bytes());
        (ChaCha20Poly1305::new(&key.0.into()), nonce)
    }
}

impl Cipher for ChaChaPoly {
    type Key = Secret<32>;

    fn name() -> &'static str {
        "ChaChaPoly"
    }

    fn encrypt(key: &Secret<32>, counter: u64, ad: &[u8], text: &[u8], out: &mut [u8]) {
        out[..text.len()].copy_from_slice(text);
        Self::encrypt_in_place(key, counter, ad, out, text.len());
    }

    fn encrypt_in_place(key: &Secret<32>, counter: u64, ad: &[u8], in_out: &mut [u8], text_bytes: usize) -> usize {
        let (text, rest) = in_out.split_at_mut(text_bytes);
        let (cipher, nonce) = Self::keyed(key, counter);
        let tag = cipher.encrypt_inout_detached(&nonce, ad, text.into()).expect("Noise messages are short");
        rest[..TAG_BYTES].copy_from_slice(&tag);
        text_bytes + TAG_BYTES
    }

    fn decrypt(key: &Secret<32>, counter: u64, ad: &[u8], sealed: &[u8], out: &mut [u8]) -> Result<(), ()> {
        let (text, tag) = sealed.split_last_chunk::<TAG_BYTES>().ok_or(())?;
        out.copy_from_slice(text);
        let (cipher, nonce) = Self::keyed(key, counter);
        cipher.decrypt_inout_detached(&nonce, ad, out.into(), &Tag::from(*tag)).map_err(drop)
    }

    fn decrypt_in_place(
        key: &Secret<32>,
        counter: u64,
        ad: &[u8],
        in_out: &mut [u8],
        sealed_bytes: usize,
    ) -> Result<usize, ()> {
        let sealed = in_out[..sealed_bytes].to_vec();
        let text_bytes = sealed_bytes.checked_sub(TAG_BYTES).ok_or(())?;
        Self::decrypt(key, counter, ad, &sealed, &mut in_out[..text_bytes])?;
        Ok(text_bytes)
    }
}

/// BLAKE2b with its full 64-byte digest; HMAC and HKDF over it use its 128-byte block.
#[derive(Default)]
pub struct Blake2b(blake2b_simd::State);

impl Hash for Blake2b {
    type Block = Secret<128>;
    type Output = Secret<64>;

    fn name() -> &'static str {
        "BLAKE2b"
    }

    fn input(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn result(&mut self) -> Secret<64> {
        Secret(*self.0.finalize().as_array())
    }
}

/// Bytes that are wiped when dropped: keys, chaining keys, shared points.
pub struct Secret<const N: usize>(pub [u8; N]);

impl<const N: usize> U8Array for Secret<N> {
    fn new() -> Self {
        Self([0; N])
    }

    fn new_with(byte: u8) -> Self {
        Self([byte; N])
    }

    fn from_slice(bytes: &[u8]) -> Self {
        let mut secret = Self::new();
        secret.0.copy_from_slice(bytes);
        secret
    }

    fn len() -> usize {
        N
    }

    fn as_slice(&self) -> &[u8] {
        &self.0
    }

    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl<const N: usize> Drop for Secret<N> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

const TAG_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_seeds_agree_on_a_point() {
        let (a, b) = (Secret([1; 32]), Secret([2; 32]));
        let ab = Ed25519::dh(&a, &Ed25519::pubkey(&b)).unwrap();
        assert_eq!(ab.0, Ed25519::dh(&b, &Ed25519::pubkey(&a)).unwrap().0);
        assert_ne!(ab.0, [0; 32]);
    }

    /// y coordinates from p to 2^255 - 1 encode a point a second time; none may pass, whatever its order.
    #[test]
    fn no_second_encoding_of_a_point_is_taken() {
        for low in 0xed..=0xff {
            for high in [0x7f, 0xff] {
                let mut encoding = [0xff; 32];
                (encoding[0], encoding[31]) = (low, high);
                assert!(Ed25519::dh(&Secret([1; 32]), &encoding).is_err(), "{low:02x} {high:02x}");
            }
        }
    }

    #[test]
    fn sealing_in_place_is_sealing() {
        let key = Secret([3; 32]);
        let mut apart = [0; 21];
        ChaChaPoly::encrypt(&key, 7, b"ad", b"hello", &mut apart);
        let mut in_place = *b"hello................";
        assert_eq!(ChaChaPoly::encrypt_in_place(&key, 7, b"ad", &mut in_place, 5), 21);
        assert_eq!(in_place, apart);
        assert_eq!(ChaChaPoly::decrypt_in_place(&key, 7, b"ad", &mut in_place, 21), Ok(5));
        assert_eq!(&in_place[..5], b"hello");
        assert_eq!(ChaChaPoly::decrypt_in_place(&key, 8, b"ad", &mut apart, 21), Err(()));
        assert_eq!(ChaChaPoly::decrypt_in_place(&key, 8, b"ad", &mut apart, 15), Err(()));
    }
}

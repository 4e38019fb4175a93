//! BLAKE2b-256, the hash of every tree node, key and namespace.

use blake2b_simd::Params;
use blake2b_simd::many::update_many;

/// A BLAKE2b-256 digest.
pub type Hash = [u8; 32];

/// Returns BLAKE2b-256 of `bytes`, unkeyed.
pub fn hash(bytes: &[u8]) -> Hash {
    digest(PARAMS.hash(bytes).as_bytes())
}

/// Returns BLAKE2b-256 of the parts, one behind the other.
pub fn hash_all(parts: &[&[u8]]) -> Hash {
    let mut hasher = Hasher::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finish()
}

/// Returns BLAKE2b-256 of each pair's parts, one behind the other; several pairs at once where the processor can.
pub fn hash_pairs<'a>(pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Vec<Hash> {
    let (mut states, rest): (Vec<_>, Vec<_>) =
        pairs.map(|(first, rest)| (PARAMS.to_state().update(first).clone(), rest)).unzip();
    update_many(states.iter_mut().zip(rest));
    states.iter().map(|state| digest(state.finalize().as_bytes())).collect()
}

/// Returns BLAKE2b-256 of `bytes` under a key of at most 64 bytes (BLAKE2b's own key parameter, not HMAC).
///
/// # Panics
/// If the key is longer than 64 bytes.
pub fn keyed_hash(key: &[u8], bytes: &[u8]) -> Hash {
    digest(Params::new().hash_length(32).key(key).hash(bytes).as_bytes())
}

/// Returns the `index`th 32-byte value of a protocol's namespace: `H(H(name) || index)`.
///
/// Source: npm hypercore-crypto 3.7, `namespace`.
pub fn namespace(name: &str, index: u8) -> Hash {
    hash_all(&[&hash(name.as_bytes()), &[index]])
}

/// A BLAKE2b-256 computed piece by piece.
#[derive(Debug, Clone)]
pub struct Hasher(blake2b_simd::State);

impl Hasher {
    /// Starts an unkeyed hash.
    pub fn new() -> Self {
        Self(PARAMS.to_state())
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the digest of what was added so far.
    pub fn finish(&self) -> Hash {
        digest(self.0.finalize().as_bytes())
    }
}

impl Default for Hasher {
    fn default() -> Self {
        Self::new()
    }
}

static PARAMS: std::sync::LazyLock<Params> = std::sync::LazyLock::new(|| {
    let mut params = Params::new();
    params.hash_length(32);
    params
});

fn digest(bytes: &[u8]) -> Hash {
    let mut out = [0; 32];
    out.copy_from_slice(bytes);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_hashed_at_once_are_those_hashed_one_by_one() {
        let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(3000).collect();
        for count in 0..10 {
            let pairs =
                || (0..count).map(|i| bytes[i..].split_at(i * 7).0).zip((0..count).map(|i| &bytes[..i * i * 30]));
            let expected: Vec<Hash> = pairs().map(|(first, rest)| hash_all(&[first, rest])).collect();
            assert_eq!(hash_pairs(pairs()), expected);
        }
    }
}

//! What a relay says about itself at `/.well-known/anypath`: its key and its limits, signed by that key.
//!
//! Two lines of text, so that a person and a script can read it: words `name=value`, and the signature of the first
//! line in hexadecimal, over `anypath descriptor` and the line. Words that are not known are passed over.

use anypath_wire::{KeyPair, PublicKey};
use data_encoding::HEXLOWER;

/// What a relay says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// Its key.
    pub key: PublicKey,
    /// The version of what it speaks.
    pub version: u64,
    /// For how long it holds a request at most, in milliseconds.
    pub hold_ms_max: u64,
    /// The longest body that it takes, in bytes.
    pub body_bytes_max: u64,
    /// It lets everybody in; otherwise it wants a token.
    pub open: bool,
}

impl Descriptor {
    /// Writes it, signed.
    pub fn encode(&self, pair: &KeyPair) -> String {
        let Self { key, version, hold_ms_max, body_bytes_max, open } = self;
        let access = if *open { "open" } else { "token" };
        let line = format!(
            "anypath-relay version={version} key={key} access={access} hold_ms_max={hold_ms_max} body_bytes_max={body_bytes_max}"
        );
        let signature = HEXLOWER.encode(&pair.sign(&signed(&line)));
        format!("{line}\n{signature}\n")
    }

    /// Reads it; nothing if it is none, or not signed by the key that it names.
    pub fn decode(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let (line, rest) = text.split_once('\n')?;
        let words = line.strip_prefix("anypath-relay ")?;
        let word = |name: &str| words.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        let number = |name| word(name).and_then(|value| value.parse().ok());
        let key: PublicKey = word("key")?.parse().ok()?;
        let signature = HEXLOWER.decode(rest.trim_end().as_bytes()).ok()?.try_into().ok()?;
        if !key.verify(&signed(line), &signature) {
            return None;
        }
        Some(Self {
            key,
            version: number("version")?,
            hold_ms_max: number("hold_ms_max")?,
            body_bytes_max: number("body_bytes_max")?,
            open: word("access")? == "open",
        })
    }
}

fn signed(line: &str) -> Vec<u8> {
    [b"anypath descriptor".as_slice(), line.as_bytes()].concat()
}

/// Where it is.
pub const DESCRIPTOR_PATH: &str = "/.well-known/anypath";
/// The longest one that is read, in bytes.
pub const DESCRIPTOR_BYTES_MAX: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_that_was_changed() {
        let pair = KeyPair::from_seed(&[1; 32]);
        let descriptor =
            Descriptor { key: pair.public(), version: 1, hold_ms_max: 50_000, body_bytes_max: 1 << 20, open: true };
        let text = descriptor.encode(&pair);
        assert_eq!(Descriptor::decode(text.as_bytes()), Some(descriptor));
        assert_eq!(Descriptor::decode(text.replace("50000", "50001").as_bytes()), None);
        assert_eq!(Descriptor::decode(b"<html>\n</html>"), None);
        assert_eq!(Descriptor::decode(text.lines().next().unwrap().as_bytes()), None);
    }
}

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
    /// Whom it lets in.
    pub admits: Admits,
    /// Over how many tags topics are spread: 1, unless several relays stand behind one name.
    pub tags: u64,
    /// The SHA-256 of the key of its certificate, if it knows that: who finds another one there is looked into.
    pub tls_key: Option<[u8; 32]>,
    /// The two ports at which it answers by UDP how it sees who asks, if it does.
    pub echo: Option<[u16; 2]>,
}

/// Whom a relay lets in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Admits {
    /// Everybody.
    #[default]
    All,
    /// Who shows a token.
    Token,
    /// Who proves a key that it was told.
    Keys,
}

impl Descriptor {
    /// Writes it, signed.
    pub fn encode(&self, pair: &KeyPair) -> String {
        let Self { key, version, hold_ms_max, body_bytes_max, admits, tags, tls_key, echo } = self;
        let access = match admits {
            Admits::All => "open",
            Admits::Token => "token",
            Admits::Keys => "keys",
        };
        let mut line = format!(
            "anypath-relay version={version} key={key} access={access} hold_ms_max={hold_ms_max} body_bytes_max={body_bytes_max}"
        );
        if *tags != 1 {
            line += &format!(" tags={tags}");
        }
        if let Some(key) = tls_key {
            line += &format!(" tls_key={}", HEXLOWER.encode(key));
        }
        if let Some([first, second]) = echo {
            line += &format!(" echo={first},{second}");
        }
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
            admits: match word("access")? {
                "open" => Admits::All,
                "keys" => Admits::Keys,
                _ => Admits::Token,
            },
            tags: number("tags").unwrap_or(1).clamp(1, TAGS_MAX),
            tls_key: word("tls_key").and_then(|key| HEXLOWER.decode(key.as_bytes()).ok()?.try_into().ok()),
            echo: word("echo").and_then(|ports| {
                let (first, second) = ports.split_once(',')?;
                Some([first.parse().ok()?, second.parse().ok()?])
            }),
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

/// The most tags that there may be: a peer with many topics opens as many sessions.
pub const TAGS_MAX: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_that_was_changed() {
        let pair = KeyPair::from_seed(&[1; 32]);
        let bare = Descriptor {
            key: pair.public(),
            version: 1,
            hold_ms_max: 50_000,
            body_bytes_max: 1 << 20,
            admits: Admits::All,
            tags: 1,
            tls_key: None,
            echo: None,
        };
        let full = Descriptor {
            admits: Admits::Keys,
            tags: 16,
            tls_key: Some([7; 32]),
            echo: Some([443, 50_001]),
            ..bare.clone()
        };
        let closed = Descriptor { admits: Admits::Token, ..bare.clone() };
        for descriptor in [&bare, &full, &closed] {
            assert_eq!(Descriptor::decode(descriptor.encode(&pair).as_bytes()).as_ref(), Some(descriptor));
        }
        let text = bare.encode(&pair);
        assert_eq!(Descriptor::decode(text.replace("50000", "50001").as_bytes()), None);
        assert_eq!(Descriptor::decode(b"<html>\n</html>"), None);
        assert_eq!(Descriptor::decode(text.lines().next().unwrap().as_bytes()), None);
    }
}

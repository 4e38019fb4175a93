//! Links, which a person passes on: a drive's key and where to look for it.

use std::fmt;
use std::str::FromStr;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use thiserror::Error;

use crate::base32::excerpt;
use crate::{Address, EncryptionKey, InvalidAddress, InvalidEncryptionKey, InvalidKeyText, PublicKey};

/// A drive's key, where it may be found and, if it is encrypted, what it is read with:
/// `hyper://<z-base-32 key>[?via=ADDRESS[&via=ADDRESS…]][#encryption=<z-base-32 key>]`.
///
/// Read from a bare key (52 characters of z-base-32 or 64 of hexadecimal) as well. Hints with a scheme that
/// nothing here dials are kept: another version may know it. Another fragment is refused by its name: whoever wrote it
/// wants something that is not known here. Written as text, a link tells its secret; in `{:?}` it does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The drive.
    pub key: PublicKey,
    /// Where to look first, in the order of preference.
    pub via: Vec<Address>,
    /// What an encrypted drive is read with; never sent to anybody.
    pub encryption: Option<EncryptionKey>,
}

/// Text that is not a link.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidLink {
    /// Another scheme than `hyper`.
    #[error("a link starts with hyper://, this one with {0:?}")]
    Scheme(String),
    /// The part that should be the key is not one.
    #[error("the link's key is damaged: {0}")]
    Key(#[from] InvalidKeyText),
    /// A `via` hint is not an address.
    #[error("the link's hint is damaged: {0}")]
    Via(#[from] InvalidAddress),
    /// What stands behind `#encryption=` is not a key. The text is not repeated.
    #[error("the link's encryption key is damaged: {0}")]
    Encryption(#[from] InvalidEncryptionKey),
    /// A part of the link that this version cannot honour, so that going on would mislead.
    #[error("the link asks for {0:?}, which this version does not know")]
    Unknown(String),
}

impl FromStr for Link {
    type Err = InvalidLink;

    fn from_str(text: &str) -> Result<Self, InvalidLink> {
        let text = text.trim();
        let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
        let rest = match rest.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("hyper") => rest,
            Some((scheme, _)) => return Err(InvalidLink::Scheme(excerpt(scheme))),
            None => rest,
        };
        let (key, query) = rest.split_once('?').unwrap_or((rest, ""));
        let key = key.trim_end_matches('/').parse()?;
        let via = query
            .split('&')
            .filter_map(|pair| pair.strip_prefix("via="))
            .map(|via| percent_decode_str(via).decode_utf8_lossy().parse())
            .collect::<Result<_, _>>()?;
        Ok(Self { key, via, encryption: encryption(fragment)? })
    }
}

/// Reads the part behind the `#`. Of what is refused no more is repeated than a name: the rest may be a secret.
fn encryption(fragment: &str) -> Result<Option<EncryptionKey>, InvalidLink> {
    match fragment.split_once('=') {
        Some(("encryption", key)) => Ok(Some(key.parse()?)),
        Some((name, _)) => Err(InvalidLink::Unknown(format!("#{}", excerpt(name)))),
        None if fragment.is_empty() => Ok(None),
        None => Err(InvalidLink::Unknown("#…".to_owned())),
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hyper://{}", self.key)?;
        for (i, via) in self.via.iter().enumerate() {
            let via = via.to_string();
            write!(f, "{}via={}", if i == 0 { '?' } else { '&' }, utf8_percent_encode(&via, ESCAPED))?;
        }
        self.encryption.iter().try_for_each(|key| write!(f, "#encryption={}", key.to_text()))
    }
}

/// What a `via` hint may not carry as it is inside a link's query.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'#').add(b'&').add(b'%').add(b'+').add(b'"').add(b'<').add(b'>');

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> PublicKey {
        PublicKey(std::array::from_fn(|i| i as u8))
    }

    fn bare() -> Link {
        Link { key: key(), via: Vec::new(), encryption: None }
    }

    #[test]
    fn a_link_survives_being_written_and_read() {
        let via = vec!["tcp://192.0.2.7:3282".parse().unwrap(), "tcp://[2001:db8::1]:1".parse().unwrap()];
        let link = Link { via, ..bare() };
        assert_eq!(link.to_string().parse(), Ok(link.clone()));
        let link = Link { encryption: Some(EncryptionKey::new([9; 32])), ..link };
        assert_eq!(link.to_string().parse(), Ok(link.clone()));
        let secret = EncryptionKey::new([9; 32]).to_text();
        assert!(
            link.to_string()
                .ends_with(&format!("?via=tcp://192.0.2.7:3282&via=tcp://[2001:db8::1]:1#encryption={secret}"))
        );
        assert!(!format!("{link:?}").contains(&secret));
    }

    #[test]
    fn a_bare_key_is_a_link_without_hints() {
        let text = key().to_string();
        assert_eq!(text.parse(), Ok(bare()));
        assert_eq!(format!("hyper://{text}/").parse(), Ok(bare()));
        assert_eq!(format!("{text}#").parse(), Ok(bare()));
        let encryption = Some(EncryptionKey::new([1; 32]));
        assert_eq!(format!("{text}#encryption={}", "01".repeat(32)).parse(), Ok(Link { encryption, ..bare() }));
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_by_name() {
        let refused = |fragment: &str| format!("hyper://{}#{fragment}", key()).parse::<Link>().unwrap_err();
        assert_eq!(refused("signer=abc"), InvalidLink::Unknown("#signer".into()));
        assert!(matches!("https://example.org".parse::<Link>(), Err(InvalidLink::Scheme(_))));
        assert!(matches!(format!("{}?via=nowhere", key()).parse::<Link>(), Err(InvalidLink::Via(_))));
    }

    #[test]
    fn a_damaged_secret_is_refused_without_being_repeated() {
        let secret = &EncryptionKey::new([9; 32]).to_text()[..50];
        for text in [format!("encryption={secret}"), secret.to_owned(), format!("encryption={secret}yy&x=1")] {
            let error = format!("hyper://{}#{text}", key()).parse::<Link>().unwrap_err();
            assert!(!format!("{error} {error:?}").contains(secret), "{error}");
        }
    }
}

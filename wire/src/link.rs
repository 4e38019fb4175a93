//! Links, which a person passes on: a drive's key and where to look for it.

use std::fmt;
use std::str::FromStr;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use thiserror::Error;

use crate::base32::excerpt;
use crate::{Address, InvalidAddress, InvalidKeyText, PublicKey};

/// A drive's key and where it may be found: `hyper://<z-base-32 key>[?via=ADDRESS[&via=ADDRESS…]]`.
///
/// Read from a bare key (52 characters of z-base-32 or 64 of hexadecimal) as well. Hints with a scheme that
/// nothing here dials are kept: another version may know it. A fragment is refused by its name (`#encryption=…` is
/// one): whoever wrote it wants something that is not known here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The drive.
    pub key: PublicKey,
    /// Where to look first, in the order of preference.
    pub via: Vec<Address>,
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
    /// A part of the link that this version cannot honour, so that going on would mislead.
    #[error("the link asks for {0:?}, which this version does not know")]
    Unknown(String),
}

impl FromStr for Link {
    type Err = InvalidLink;

    fn from_str(text: &str) -> Result<Self, InvalidLink> {
        let text = text.trim();
        let (rest, fragment) = text.split_once('#').map_or((text, None), |(rest, fragment)| (rest, Some(fragment)));
        if let Some(fragment) = fragment.filter(|fragment| !fragment.is_empty()) {
            let name = fragment.split_once('=').map_or(fragment, |(name, _)| name);
            return Err(InvalidLink::Unknown(format!("#{}", excerpt(name))));
        }
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
        Ok(Self { key, via })
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hyper://{}", self.key)?;
        for (i, via) in self.via.iter().enumerate() {
            let via = via.to_string();
            write!(f, "{}via={}", if i == 0 { '?' } else { '&' }, utf8_percent_encode(&via, ESCAPED))?;
        }
        Ok(())
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

    #[test]
    fn a_link_survives_being_written_and_read() {
        let via = vec!["tcp://192.0.2.7:3282".parse().unwrap(), "tcp://[2001:db8::1]:1".parse().unwrap()];
        let link = Link { key: key(), via };
        assert_eq!(link.to_string().parse(), Ok(link));
    }

    #[test]
    fn a_bare_key_is_a_link_without_hints() {
        let bare = key().to_string();
        assert_eq!(bare.parse(), Ok(Link { key: key(), via: Vec::new() }));
        assert_eq!(format!("hyper://{bare}/").parse(), Ok(Link { key: key(), via: Vec::new() }));
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_by_name() {
        let text = format!("hyper://{}#encryption=abc", key());
        assert_eq!(text.parse::<Link>(), Err(InvalidLink::Unknown("#encryption".into())));
        assert!(matches!("https://example.org".parse::<Link>(), Err(InvalidLink::Scheme(_))));
        assert!(matches!(format!("{}?via=nowhere", key()).parse::<Link>(), Err(InvalidLink::Via(_))));
    }
}

//! Links, which a person passes on, and addresses, which a transport dials.

use std::fmt;
use std::str::FromStr;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use thiserror::Error;

use crate::{InvalidKeyText, PublicKey};

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
            return Err(InvalidLink::Unknown(format!("#{name}")));
        }
        let rest = match rest.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("hyper") => rest,
            Some((scheme, _)) => return Err(InvalidLink::Scheme(scheme.to_owned())),
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

/// Where a transport may reach a peer: `scheme://host:port`, the host a name or an IP address (IPv6 in brackets).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The transport's word, lower case: `tcp`.
    pub scheme: String,
    /// A name or an IP address, without brackets.
    pub host: String,
    /// 1 to 65535; 0 only where an address asks for any free port to listen at.
    pub port: u16,
}

/// Text that is not an address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is not an address: expected scheme://host:port, as in tcp://192.0.2.7:3282")]
pub struct InvalidAddress {
    text: String,
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        parse_address(text).ok_or_else(|| InvalidAddress { text: text.chars().take(SHOWN_CHARS_MAX).collect() })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, host, port } = self;
        if host.contains(':') { write!(f, "{scheme}://[{host}]:{port}") } else { write!(f, "{scheme}://{host}:{port}") }
    }
}

fn parse_address(text: &str) -> Option<Address> {
    let (scheme, rest) = text.split_once("://")?;
    let (host, port) = rest.trim_end_matches('/').rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(bracketed) => bracketed.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._:%".contains(c));
    if !word(scheme) || !word(host) {
        return None;
    }
    Some(Address { scheme: scheme.to_ascii_lowercase(), host: host.to_owned(), port: port.parse().ok()? })
}

/// What a `via` hint may not carry as it is inside a link's query.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'#').add(b'&').add(b'%').add(b'+').add(b'"').add(b'<').add(b'>');
/// How much of a wrong text an error repeats, in characters.
const SHOWN_CHARS_MAX: usize = 80;

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

    #[test]
    fn addresses_of_both_families_and_names_are_read() {
        for text in ["tcp://127.0.0.1:0", "tcp://[::1]:65535", "tcp://relay.example:443"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in ["127.0.0.1:1", "tcp://::1:1", "tcp://host", "tcp://:1", "tcp://host:65536", "tcp://a b:1"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}

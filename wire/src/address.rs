//! Addresses, which a transport dials.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::base32::excerpt;

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
        parse(text).ok_or_else(|| InvalidAddress { text: excerpt(text) })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, host, port } = self;
        write_place(f, scheme, host, port)
    }
}

fn parse(text: &str) -> Option<Address> {
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

/// Writes `scheme://host:port`, the host in brackets if it is an IPv6 address.
pub(crate) fn write_place(
    f: &mut fmt::Formatter<'_>,
    scheme: &str,
    host: &str,
    port: impl fmt::Display,
) -> fmt::Result {
    if host.contains(':') { write!(f, "{scheme}://[{host}]:{port}") } else { write!(f, "{scheme}://{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

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

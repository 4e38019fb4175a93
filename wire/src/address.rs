//! Addresses, which a transport dials.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::PublicKey;
use crate::base32::excerpt;

/// Where a transport may reach a peer: `scheme://host:port`, the host a name or an IP address (IPv6 in brackets).
///
/// A relay is `https://host[:port][#key]`: the port is 443 if none is named, and the key (z-base-32) tells the relay
/// from whoever stands in its place; so it does with `quic://host:port[#key]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The transport's word, lower case: `tcp`.
    pub scheme: String,
    /// A name or an IP address, without brackets.
    pub host: String,
    /// 1 to 65535; 0 only where an address asks for any free port to listen at.
    pub port: u16,
    /// The key that who is there must have; none with schemes that prove none.
    pub key: Option<PublicKey>,
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
        let Self { scheme, host, port, key } = self;
        write_place(f, scheme, host, port)?;
        key.iter().try_for_each(|key| write!(f, "#{key}"))
    }
}

fn parse(text: &str) -> Option<Address> {
    let (place, key) = text.split_once('#').map_or((text, None), |(place, key)| (place, Some(key)));
    let (scheme, rest) = place.split_once("://")?;
    let is_relay = scheme.eq_ignore_ascii_case(RELAY);
    let rest = rest.trim_end_matches('/');
    let has_port = rest.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
    let (host, port) = if is_relay && !has_port { (rest, RELAY_PORT) } else { rest.rsplit_once(':')? };
    let key = key.filter(|key| !key.is_empty());
    if key.is_some() && !KEYED.iter().any(|keyed| scheme.eq_ignore_ascii_case(keyed)) {
        return None;
    }
    let key = key.map(str::parse).transpose().ok()?;
    let host = match host.strip_prefix('[') {
        Some(bracketed) => bracketed.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._:%".contains(c));
    if !word(scheme) || !word(host) {
        return None;
    }
    Some(Address { scheme: scheme.to_ascii_lowercase(), host: host.to_owned(), port: port.parse().ok()?, key })
}

/// The scheme of relays, and the port where they are unless said otherwise.
const RELAY: &str = "https";
const RELAY_PORT: &str = "443";

/// The schemes whose addresses may have a key.
const KEYED: [&str; 2] = [RELAY, "quic"];

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
    fn a_relay_needs_no_port_and_may_have_a_key() {
        let key = PublicKey([7; 32]);
        let read = |text: &str| text.parse::<Address>().unwrap();
        assert_eq!(read("https://relay.example").to_string(), "https://relay.example:443");
        assert_eq!(read("https://[::1]/").to_string(), "https://[::1]:443");
        assert_eq!(read("HTTPS://relay.example:8443#").to_string(), "https://relay.example:8443");
        let named = format!("https://relay.example:443#{key}");
        assert_eq!(read(&format!("https://relay.example#{key}")).key, Some(key));
        assert_eq!(read(&named).to_string(), named);
        assert_eq!(read(&format!("quic://[::1]:7#{key}")).key, Some(key));
        for text in [format!("tcp://a:1#{key}"), "https://a#nokey".to_owned(), "https://".to_owned()] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
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

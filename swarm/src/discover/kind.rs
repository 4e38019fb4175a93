//! The kinds of sources by their words, and the places their networks begin at.

use std::fmt;
use std::str::FromStr;

/// The kinds of sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SourceKind {
    /// Hyperswarm's DHT.
    Hyperswarm,
    /// BitTorrent's DHT, as Dat used it.
    Classic,
    /// The same network, by multicast DNS.
    Lan,
    /// The DNS tracker of old Dat programs.
    Tracker,
}

/// A word that is no source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no source of that name: there are hyperswarm, classic, lan and tracker")]
pub struct UnknownSource;

/// A name or an IPv4 address, and a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The name or address.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Text that is no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected HOST:PORT")]
pub struct InvalidPlace;

impl SourceKind {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Hyperswarm, Self::Classic, Self::Lan, Self::Tracker];

    /// Returns its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hyperswarm => "hyperswarm",
            Self::Classic => "classic",
            Self::Lan => "lan",
            Self::Tracker => "tracker",
        }
    }

    /// Returns the nodes that its public network begins at; of the same network, the group that everybody listens to; the
    /// trackers that Dat's programs asked.
    pub fn bootstrap(self) -> Vec<Place> {
        let places: &[(&str, u16)] = match self {
            Self::Hyperswarm => {
                &[("node1.hyperdht.org", 49_737), ("node2.hyperdht.org", 49_737), ("node3.hyperdht.org", 49_737)]
            }
            Self::Classic => {
                &[("router.bittorrent.com", 6_881), ("router.utorrent.com", 6_881), ("dht.transmissionbt.com", 6_881)]
            }
            Self::Lan => &[("224.0.0.251", 5_353)],
            Self::Tracker => &[("discovery1.datprotocol.com", 5_300), ("discovery2.datprotocol.com", 5_300)],
        };
        places.iter().map(|(host, port)| Place { host: (*host).to_owned(), port: *port }).collect()
    }
}

impl fmt::Display for SourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for SourceKind {
    type Err = UnknownSource;

    fn from_str(text: &str) -> Result<Self, UnknownSource> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or(UnknownSource)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl FromStr for Place {
    type Err = InvalidPlace;

    fn from_str(text: &str) -> Result<Self, InvalidPlace> {
        let (host, port) = text.rsplit_once(':').ok_or(InvalidPlace)?;
        let is_host = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        let port = port.parse().ok().filter(|port| *port != 0).ok_or(InvalidPlace)?;
        if host.is_empty() || !host.chars().all(is_host) {
            return Err(InvalidPlace);
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_and_places_come_back_from_their_words() {
        for kind in SourceKind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
            assert!(kind.bootstrap().iter().all(|place| place.to_string().parse() == Ok(place.clone())));
        }
        assert!("dns".parse::<SourceKind>().is_err());
        for bad in ["", "x", ":1", "x:", "x:0", "x:65536", "a b:1", "::1:1"] {
            assert_eq!(bad.parse::<Place>(), Err(InvalidPlace), "{bad}");
        }
    }
}

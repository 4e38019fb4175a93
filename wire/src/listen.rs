//! Where a transport is asked to listen: an address with one port, any port, or a range to choose from.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use thiserror::Error;

use crate::Address;
use crate::address::write_place;
use crate::base32::excerpt;

/// Where to listen: `scheme://host:port`, `scheme://host:first-last` (the first free one is taken) or port 0 (any).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ListenAt {
    /// The transport's word, lower case: `tcp`.
    pub scheme: String,
    /// A name or an IP address of this machine, without brackets; `0.0.0.0` and `::` mean all of one family.
    pub host: String,
    /// The ports to try, in order; 0 alone asks for any free one.
    pub ports: RangeInclusive<u16>,
}

impl ListenAt {
    /// Returns the ports as a person writes them: `3282` or `3282-3299`.
    pub fn ports_text(&self) -> String {
        let (first, last) = (self.ports.start(), self.ports.end());
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    }
}

/// Text that does not say where to listen.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{text:?} does not say where to listen: expected scheme://host:port or a range of ports, as in tcp://0.0.0.0:3282-3299"
)]
pub struct InvalidListenAt {
    text: String,
}

impl FromStr for ListenAt {
    type Err = InvalidListenAt;

    fn from_str(text: &str) -> Result<Self, InvalidListenAt> {
        parse(text).ok_or_else(|| InvalidListenAt { text: excerpt(text) })
    }
}

impl fmt::Display for ListenAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, host, ports: _ } = self;
        write_place(f, scheme, host, self.ports_text())
    }
}

fn parse(text: &str) -> Option<ListenAt> {
    let (place, ports) = text.trim_end_matches('/').rsplit_once(':')?;
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let Address { scheme, host, port: first, key: None } = format!("{place}:{first}").parse().ok()? else {
        return None;
    };
    let last = last.parse().ok()?;
    let sound = first <= last && (first > 0 || last == 0);
    sound.then_some(ListenAt { scheme, host, ports: first..=last })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_port_any_port_and_a_range_survive_being_read_and_written() {
        for text in ["tcp://0.0.0.0:3282", "tcp://[::]:0", "tcp://localhost:3282-3299"] {
            assert_eq!(text.parse::<ListenAt>().unwrap().to_string(), text);
        }
        assert_eq!("TCP://[::1]:5-7/".parse::<ListenAt>().unwrap().ports, 5..=7);
    }

    #[test]
    fn a_range_that_names_no_port_is_refused() {
        for text in [
            "tcp://h:9-8",
            "tcp://h:0-5",
            "tcp://h:1-",
            "tcp://h:-2",
            "tcp://h:1-2-3",
            "h:1",
            "tcp://::1:1",
            "tcp://h:1-65536",
        ] {
            assert!(text.parse::<ListenAt>().is_err(), "{text}");
        }
    }
}

//! Which hosts are reached without the proxy: the list in `NO_PROXY`, by curl's rules.

use std::net::IpAddr;

/// A list of hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct NoProxy(Vec<String>);

impl NoProxy {
    /// Reads a list with commas, spaces or both between its parts; a part is a name, which stands for all below it as
    /// well, an IP address, a network (`10.0.0.0/8`), or `*` for everything.
    pub(super) fn read(text: &str) -> Self {
        let parts = text.split([',', ' ', '\t']).filter(|part| !part.is_empty());
        Self(parts.take(PARTS_MAX).map(str::to_ascii_lowercase).collect())
    }

    /// Returns whether a host, a name or an IP address without brackets, is among them.
    pub(super) fn has(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        match host.parse() {
            Ok(address) => self.0.iter().any(|part| part == "*" || has_address(part, address)),
            Err(_) => self.0.iter().any(|part| part == "*" || has_name(part, &host)),
        }
    }
}

fn has_name(part: &str, host: &str) -> bool {
    let part = part.trim_end_matches('.').trim_start_matches('.');
    let rest = host.strip_suffix(part);
    !part.is_empty() && rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn has_address(part: &str, address: IpAddr) -> bool {
    let (network, bits) = part.split_once('/').map_or((part, None), |(network, bits)| (network, Some(bits)));
    let network = network.trim_start_matches('[').trim_end_matches(']');
    match (network.parse(), address) {
        (Ok(IpAddr::V4(network)), IpAddr::V4(address)) => {
            same_bits(network.to_bits().into(), address.to_bits().into(), bits, 32)
        }
        (Ok(IpAddr::V6(network)), IpAddr::V6(address)) => same_bits(network.to_bits(), address.to_bits(), bits, 128),
        _ => false,
    }
}

fn same_bits(network: u128, address: u128, bits: Option<&str>, bits_max: u32) -> bool {
    let bits = bits.map_or(Some(bits_max), |bits| bits.parse().ok().filter(|bits| *bits <= bits_max));
    bits.is_some_and(|bits| (network ^ address).checked_shr(bits_max - bits).unwrap_or(0) == 0)
}

/// How many parts are looked at: no administrator writes more.
const PARTS_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_for_all_below_them() {
        let list = NoProxy::read("example.com, .lan\tHOST.");
        for host in ["example.com", "a.b.example.com", "EXAMPLE.com.", "x.lan", "lan", "host"] {
            assert!(list.has(host), "{host}");
        }
        for host in ["badexample.com", "example.com.evil", "xlan", "com", "ahost"] {
            assert!(!list.has(host), "{host}");
        }
        assert!(NoProxy::read("a,*").has("anything") && NoProxy::read("*").has("::1"));
        assert!(!NoProxy::read(" ,. ,").has("anything"));
    }

    #[test]
    fn addresses_are_compared_as_numbers_and_networks_by_their_bits() {
        let list = NoProxy::read("192.0.2.7 10.0.0.0/8 [::1] fe80::/10 0.0.0.0/33 9.9.9.9/x");
        for host in ["192.0.2.7", "10.255.1.2", "::1", "0:0:0:0:0:0:0:1", "febf::1"] {
            assert!(list.has(host), "{host}");
        }
        for host in ["192.0.2.70", "11.0.0.1", "::2", "fec0::1", "0.0.0.1", "9.9.9.9"] {
            assert!(!list.has(host), "{host}");
        }
        assert!(NoProxy::read("0.0.0.0/0").has("8.8.8.8"));
        assert!(!NoProxy::read("0.0.0.0/0").has("name.example") && !NoProxy::read("2.7").has("192.0.2.7"));
    }
}

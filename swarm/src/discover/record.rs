//! Where a peer takes connections, as it says so itself: a value under its key in Hyperswarm's DHT, whose announcements tell
//! of keys alone.
//!
//! | field | form |
//! |---|---|
//! | format | uint, 1 |
//! | addresses | uint, how many; each a string: `tcp://192.0.2.7:3282` |

use std::net::IpAddr;

use anypath_transports::outward;
use anypath_wire::{Address, Decoder, Encode};

/// Returns the value that says where a peer takes connections.
pub(super) fn encode(addresses: &[Address]) -> Vec<u8> {
    let addresses: Vec<_> = addresses.iter().take(ADDRESSES_MAX).map(Address::to_string).collect();
    let mut value = Vec::new();
    value.uint(FORMAT);
    value.uint(addresses.len() as u64);
    addresses.iter().for_each(|address| value.string(address));
    value
}

/// Returns the addresses by which others may reach what listens here: one that means all of this machine's is the one it
/// uses towards others, and the one others see it at.
pub(super) fn dialled_from_outside(listens: &[Address], seen_at: Option<IpAddr>) -> Vec<Address> {
    let mut addresses: Vec<Address> = Vec::new();
    for listen in listens {
        let is_any = listen.host.parse().is_ok_and(|ip: IpAddr| ip.is_unspecified());
        let seen = seen_at.filter(|_| is_any).map(|ip| Address { host: ip.to_string(), ..listen.clone() });
        for address in [outward(listen)].into_iter().chain(seen) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    addresses
}

/// Returns the addresses a value names; none if it is something else, for others use the same place for what they like.
pub(super) fn decode(value: &[u8]) -> Vec<Address> {
    let mut decoder = Decoder::new(value);
    if decoder.uint() != Ok(FORMAT) {
        return Vec::new();
    }
    let Ok(count) = decoder.count(1) else { return Vec::new() };
    let texts = (0..count.min(ADDRESSES_MAX)).map_while(|_| decoder.string().ok());
    texts.filter_map(|text| text.parse().ok()).collect()
}

const FORMAT: u64 = 1;
/// Addresses of one peer: one for each of its networks, and some that are old.
const ADDRESSES_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_and_anything_else_is_none() {
        let addresses: Vec<Address> = ["tcp://192.0.2.7:1", "tcp://[2001:db8::1]:2"].map(|a| a.parse().unwrap()).into();
        let value = encode(&addresses);
        assert_eq!(decode(&value), addresses);
        for cut in 0..value.len() {
            assert!(decode(&value[..cut]).len() < 2, "{cut}");
        }
        for other in
            [&b""[..], b"\x02\x00", b"\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"\x01\x01\x03tcp", &[255; 99]]
        {
            assert_eq!(decode(other), [], "{other:?}");
        }
        let many = vec![addresses[0].clone(); 100];
        assert_eq!(decode(&encode(&many)).len(), ADDRESSES_MAX);
    }

    #[test]
    fn what_means_all_addresses_is_told_as_it_is_seen() {
        let listens = ["tcp://0.0.0.0:5", "tcp://192.0.2.1:6"].map(|text| text.parse().unwrap());
        let told = dialled_from_outside(&listens, Some("198.51.100.1".parse().unwrap()));
        assert!(told.contains(&"tcp://198.51.100.1:5".parse().unwrap()), "{told:?}");
        assert!(told.contains(&listens[1]) && !told.contains(&listens[0]), "{told:?}");
    }
}

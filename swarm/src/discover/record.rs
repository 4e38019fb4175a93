//! Where a peer takes connections, as it says so itself: a value under its key in Hyperswarm's DHT, whose announcements tell
//! of keys alone.
//!
//! | field | form |
//! |---|---|
//! | format | uint, 1 |
//! | addresses | uint, how many; each a string: `tcp://192.0.2.7:3282` |

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
}

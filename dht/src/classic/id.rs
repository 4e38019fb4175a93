//! Ids of the classic dialect: 20 bytes anybody may choose, but for those that BEP 42 ties to an address.

use std::net::IpAddr;

/// A node's place among infohashes.
pub type Id = [u8; 20];

/// Returns an id that the address may have: its first 21 bits follow from the IP and the last byte, the rest is chance.
///
/// Source: BEP 42.
pub fn id_for(ip: &IpAddr, chance: [u8; 20]) -> Id {
    let mut id = chance;
    let prefix = prefix(ip, chance[19]);
    id[0] = (prefix >> 24) as u8;
    id[1] = (prefix >> 16) as u8;
    id[2] = (prefix >> 8) as u8 & 0xf8 | chance[2] & 0x07;
    id
}

/// Returns whether an address may have that id. Those of a local network may have any.
pub fn id_fits(ip: &IpAddr, id: &Id) -> bool {
    is_local(ip) || id_for(ip, *id) == *id
}

/// Returns whether addresses like this are handed out by a local network, and so prove nothing.
fn is_local(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local() || ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unique_local(),
    }
}

/// Returns the checksum whose first 21 bits the id starts with.
fn prefix(ip: &IpAddr, last: u8) -> u32 {
    let masked = |octets: &[u8], mask: &[u8]| -> Vec<u8> { octets.iter().zip(mask).map(|(a, b)| a & b).collect() };
    let mut bytes = match ip {
        IpAddr::V4(ip) => masked(&ip.octets(), &MASK4),
        IpAddr::V6(ip) => masked(&ip.octets()[..8], &MASK6),
    };
    bytes[0] |= (last & 0x07) << 5;
    crc32c(&bytes)
}

/// CRC-32C (Castagnoli) of a few bytes.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ CASTAGNOLI } else { crc >> 1 })
    })
}

/// The bits of an address that count.
const MASK4: [u8; 4] = [0x03, 0x0f, 0x3f, 0xff];
const MASK6: [u8; 8] = [0x01, 0x03, 0x07, 0x0f, 0x1f, 0x3f, 0x7f, 0xff];
/// The polynomial, reversed.
const CASTAGNOLI: u32 = 0x82f6_3b78;

#[cfg(test)]
mod tests {
    use super::*;

    /// The table at the end of BEP 42: address, last byte, first three bytes.
    const TABLE: [(&str, u8, [u8; 3]); 5] = [
        ("124.31.75.21", 1, [0x5f, 0xbf, 0xbf]),
        ("21.75.31.124", 86, [0x5a, 0x3c, 0xe9]),
        ("65.23.51.170", 22, [0xa5, 0xd4, 0x32]),
        ("84.124.73.14", 65, [0x1b, 0x03, 0x21]),
        ("43.213.53.83", 90, [0xe5, 0x6f, 0x6c]),
    ];

    #[test]
    fn ids_follow_from_addresses_as_the_bep_says() {
        for (ip, last, first) in TABLE {
            let ip = ip.parse().unwrap();
            let mut chance = [0; 20];
            (chance[2], chance[19]) = (first[2], last);
            let id = id_for(&ip, chance);
            assert_eq!(id[..3], first, "{ip}");
            assert!(id_fits(&ip, &id));
            let mut other = id;
            other[0] ^= 1;
            assert!(!id_fits(&ip, &other));
            assert!(id_fits(&"192.168.1.1".parse().unwrap(), &other));
        }
    }
}

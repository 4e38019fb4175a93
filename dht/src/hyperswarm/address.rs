//! IPv4 addresses in compact encoding: 4 bytes in network order, the port in 2, little endian. IPv6: 16 and 2.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use anypath_wire::{DecodeError, Decoder, Encode};

/// Appends the 6 bytes of an address.
pub(crate) fn encode_address(address: &SocketAddrV4, out: &mut Vec<u8>) {
    out.raw(&address_bytes(address));
}

/// Returns the 6 bytes of an address.
pub(crate) fn address_bytes(address: &SocketAddrV4) -> [u8; ADDRESS_BYTES] {
    let [a, b, c, d] = address.ip().octets();
    let [low, high] = address.port().to_le_bytes();
    [a, b, c, d, low, high]
}

/// Reads the 6 bytes of an address.
pub(crate) fn decode_address(from: &mut Decoder<'_>) -> Result<SocketAddrV4, DecodeError> {
    let ip = Ipv4Addr::from(from.fixed::<4>()?);
    Ok(SocketAddrV4::new(ip, u16::from_le_bytes(from.fixed()?)))
}

/// Appends the count of addresses, then each.
pub(crate) fn encode_addresses(addresses: &[SocketAddrV4], out: &mut Vec<u8>) {
    out.uint(addresses.len() as u64);
    addresses.iter().for_each(|address| encode_address(address, out));
}

/// Reads a list of addresses; never longer than the bytes that came.
pub(crate) fn decode_addresses(from: &mut Decoder<'_>) -> Result<Vec<SocketAddrV4>, DecodeError> {
    (0..from.count(ADDRESS_BYTES)?).map(|_| decode_address(from)).collect()
}

/// Appends the count of IPv6 addresses, then each.
pub(crate) fn encode_addresses6(addresses: &[SocketAddrV6], out: &mut Vec<u8>) {
    out.uint(addresses.len() as u64);
    for address in addresses {
        out.raw(&address.ip().octets());
        out.raw(&address.port().to_le_bytes());
    }
}

/// Reads a list of IPv6 addresses; never longer than the bytes that came.
pub(crate) fn decode_addresses6(from: &mut Decoder<'_>) -> Result<Vec<SocketAddrV6>, DecodeError> {
    let count = from.count(ADDRESS6_BYTES)?;
    let one = |_| {
        let ip = Ipv6Addr::from(from.fixed::<16>()?);
        Ok(SocketAddrV6::new(ip, u16::from_le_bytes(from.fixed()?), 0, 0))
    };
    (0..count).map(one).collect()
}

/// An IPv4 address and a port.
pub(crate) const ADDRESS_BYTES: usize = 6;
/// An IPv6 address and a port.
const ADDRESS6_BYTES: usize = 18;

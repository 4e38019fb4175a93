//! Compact addresses: 4 or 16 bytes of IP and 2 of port, in network order; for nodes behind 20 bytes of id.
//!
//! Source: BEP 5, Contact Encoding; BEP 32.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Id;

/// Nodes a reply tells of, by family.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contacts {
    /// `nodes`, with IPv4 addresses; `None` if the reply has no such field.
    pub nodes: Option<Vec<(Id, SocketAddr)>>,
    /// `nodes6`, with IPv6 addresses.
    pub nodes6: Option<Vec<(Id, SocketAddr)>>,
}

/// Returns the 6 or 18 bytes of an address.
pub(super) fn encode_peer(address: &SocketAddr) -> Vec<u8> {
    let mut out = match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    out.extend_from_slice(&address.port().to_be_bytes());
    out
}

/// Reads the 6 or 18 bytes of an address.
pub(super) fn decode_peer(bytes: &[u8]) -> Option<SocketAddr> {
    let (ip, port) = bytes.split_last_chunk::<2>()?;
    let ip = match ip.len() {
        4 => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(ip).ok()?)),
        16 => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(ip).ok()?)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes(*port)))
}

/// Returns ids and addresses, one behind the other.
pub(super) fn encode_nodes(nodes: &[(Id, SocketAddr)]) -> Vec<u8> {
    nodes.iter().flat_map(|(id, address)| [&id[..], &encode_peer(address)].concat()).collect()
}

/// Reads ids and addresses of `address_bytes` each; `None` if something is left over.
pub(super) fn decode_nodes(bytes: &[u8], address_bytes: usize) -> Option<Vec<(Id, SocketAddr)>> {
    let pieces = bytes.chunks_exact(ID_BYTES + address_bytes);
    if !pieces.remainder().is_empty() {
        return None;
    }
    let node = |piece: &[u8]| {
        let (id, address) = piece.split_first_chunk::<ID_BYTES>()?;
        Some((*id, decode_peer(address)?))
    };
    pieces.map(node).collect()
}

const ID_BYTES: usize = 20;
/// IPv4 and port.
pub(super) const PEER4_BYTES: usize = 6;
/// IPv6 and port.
pub(super) const PEER6_BYTES: usize = 18;

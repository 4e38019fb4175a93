//! Which address to pass on to others when listening at all of this machine's.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anypath_wire::Address;
use socket2::{Domain, Socket, Type};

/// Returns an address that was bound as others should dial it: one that means all of this machine's addresses becomes the
/// one it uses towards others, or loopback if it knows no way to them.
pub fn outward(bound: &Address) -> Address {
    let host = match bound.host.parse() {
        Ok(IpAddr::V4(ip)) if ip.is_unspecified() => towards(ELSEWHERE_V4.into()).unwrap_or(Ipv4Addr::LOCALHOST.into()),
        Ok(IpAddr::V6(ip)) if ip.is_unspecified() => towards(ELSEWHERE_V6.into()).unwrap_or(Ipv6Addr::LOCALHOST.into()),
        _ => return bound.clone(),
    };
    Address { host: host.to_string(), ..bound.clone() }
}

/// Names the network that this machine is in, by the beginning of its address there; nothing is sent.
pub(crate) fn here() -> String {
    match towards(ELSEWHERE_V4.into()).or_else(|_| towards(ELSEWHERE_V6.into())) {
        Ok(IpAddr::V4(ip)) => {
            let [a, b, c, _] = ip.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        Ok(IpAddr::V6(ip)) => format!("{}/64", Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
        Err(_) => "nowhere".to_owned(),
    }
}

/// Returns the address a datagram to `ip` would be sent from. Nothing is sent.
pub(crate) fn towards(ip: IpAddr) -> io::Result<IpAddr> {
    let to = SocketAddr::new(ip, DISCARD_PORT);
    let socket = Socket::new(Domain::for_address(to), Type::DGRAM, None)?;
    socket.connect(&to.into())?;
    let from = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
    Ok(from.ip())
}

/// Addresses for documentation (RFC 5737, RFC 3849): routed like any other, and nobody's.
const ELSEWHERE_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const ELSEWHERE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const DISCARD_PORT: u16 = 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_that_means_all_is_replaced() {
        let named: Address = "tcp://192.0.2.7:1".parse().unwrap();
        assert_eq!(outward(&named), named);
        for all in ["tcp://0.0.0.0:7", "tcp://[::]:7"] {
            let real = outward(&all.parse().unwrap());
            assert!(real.port == 7 && real.host.parse().is_ok_and(|ip: IpAddr| !ip.is_unspecified()), "{real}");
        }
    }
}

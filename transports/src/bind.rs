//! From a place in the configuration to a bound socket: the first free port of the first usable address.

use std::io;
use std::net::SocketAddr;

use anypath_wire::ListenAt;
use socket2::{Domain, Protocol, Socket, Type};

use crate::ListenError;
use crate::reach::resolve;

/// Returns what `bind_one` makes of the first port of the range that nobody has and that we may have.
pub(crate) async fn bind<T>(at: &ListenAt, bind_one: impl Fn(SocketAddr) -> io::Result<T>) -> Result<T, ListenError> {
    let addresses = resolve(&at.host, *at.ports.start()).await;
    let addresses = addresses.map_err(|source| ListenError::Name { host: at.host.clone(), source })?;
    let mut refusal = ListenError::InUse { at: at.clone() };
    for address in addresses {
        match bind_first_port(at, address, &bind_one) {
            Ok(bound) => return Ok(bound),
            Err(source) => refusal = reason(at, address, source),
        }
    }
    Err(refusal)
}

fn bind_first_port<T>(
    at: &ListenAt,
    mut address: SocketAddr,
    bind_one: impl Fn(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let mut refusal = io::ErrorKind::AddrInUse.into();
    for port in at.ports.clone() {
        address.set_port(port);
        match bind_one(address) {
            Err(e) if matches!(e.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied) => refusal = e,
            settled => return settled,
        }
    }
    Err(refusal)
}

/// Makes a socket that is not bound yet; one for IPv6 takes nothing of IPv4.
pub(crate) fn socket(at: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(at), kind, Some(protocol))?;
    if at.is_ipv6() {
        // Otherwise [::] takes the port for IPv4 as well, and 0.0.0.0 beside it fails.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn reason(at: &ListenAt, address: SocketAddr, source: io::Error) -> ListenError {
    let at = at.clone();
    match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse { at },
        io::ErrorKind::PermissionDenied => ListenError::NotPermitted { at },
        io::ErrorKind::AddrNotAvailable => ListenError::NotHere { ip: address.ip() },
        _ => ListenError::Io { at, source },
    }
}

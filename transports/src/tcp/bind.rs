//! From a place in the configuration to a listening socket: the first free port of the first usable address.

use std::io;
use std::net::SocketAddr;

use anypath_wire::ListenAt;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use super::dial::resolve;
use super::{NAME, TcpConfig};
use crate::ListenError;

pub(super) async fn bind(config: &TcpConfig, at: &ListenAt) -> Result<TcpListener, ListenError> {
    if at.scheme != NAME {
        return Err(ListenError::NotSpoken { transport: NAME, at: at.clone() });
    }
    let addresses = resolve(&at.host, *at.ports.start()).await;
    let addresses = addresses.map_err(|source| ListenError::Name { host: at.host.clone(), source })?;
    let mut refusal = ListenError::InUse { at: at.clone() };
    for address in addresses {
        match bind_first_port(config, at, address) {
            Ok(socket) => return Ok(socket),
            Err(source) => refusal = reason(at, address, source),
        }
    }
    Err(refusal)
}

/// Takes the first port of the range that nobody has and that we may have.
fn bind_first_port(config: &TcpConfig, at: &ListenAt, mut address: SocketAddr) -> io::Result<TcpListener> {
    let mut refusal = io::ErrorKind::AddrInUse.into();
    for port in at.ports.clone() {
        address.set_port(port);
        match listening(address, config.backlog_max) {
            Err(e) if matches!(e.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied) => refusal = e,
            settled => return settled,
        }
    }
    Err(refusal)
}

fn listening(at: SocketAddr, backlog: u16) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    if at.is_ipv6() {
        // Otherwise [::] takes the port for IPv4 as well, and 0.0.0.0 beside it fails.
        socket.set_only_v6(true)?;
    }
    // Connections of a former run that linger keep a port for a minute. On Windows the same word means to share the
    // port with whoever has it, and lingering connections do not keep it.
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    socket.bind(&at.into())?;
    socket.listen(backlog.into())?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
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

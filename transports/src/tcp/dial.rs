//! From an address to a connected stream.

use std::io;
use std::net::SocketAddr;

use anypath_wire::{Address, Role};
use tokio::net::TcpStream;

use super::{NAME, TcpConfig, address, conn};
use crate::reach::{Patience, reach};
use crate::{Conn, DialError};

pub(super) async fn dial(config: &TcpConfig, to: &Address) -> Result<Conn, DialError> {
    if to.scheme != NAME {
        return Err(DialError::NotSpoken { transport: NAME, to: to.clone() });
    }
    let patience = Patience { limit_ms: config.dial_timeout_ms, head_start_ms: config.head_start_ms };
    let stream = reach(to, patience, connect).await?;
    conn(config, Role::Initiator, stream).map_err(|source| DialError::Io { to: to.clone(), source })
}

async fn connect(at: SocketAddr) -> Result<TcpStream, DialError> {
    let to = || address(at);
    let stream = TcpStream::connect(at).await.map_err(|source| match source.kind() {
        io::ErrorKind::ConnectionRefused => DialError::Refused { to: to() },
        _ => DialError::Io { to: to(), source },
    })?;
    // Dialling a port of this machine where nobody listens may by chance leave from that very port, and TCP then
    // connects the socket to itself.
    if stream.local_addr().is_ok_and(|local| local == at) { Err(DialError::Refused { to: to() }) } else { Ok(stream) }
}

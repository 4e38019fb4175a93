//! From a place in the configuration to a listening socket.

use std::io;
use std::net::SocketAddr;

use anypath_wire::ListenAt;
use socket2::{Protocol, Type};
use tokio::net::TcpListener;

use super::{NAME, TcpConfig};
use crate::ListenError;
use crate::bind::{self, socket};

pub(super) async fn bind(config: &TcpConfig, at: &ListenAt) -> Result<TcpListener, ListenError> {
    if at.scheme != NAME {
        return Err(ListenError::NotSpoken { transport: NAME, at: at.clone() });
    }
    bind::bind(at, |address| listening(address, config.backlog_max)).await
}

fn listening(at: SocketAddr, backlog: u16) -> io::Result<TcpListener> {
    let socket = socket(at, Type::STREAM, Protocol::TCP)?;
    // Connections of a former run that linger keep a port for a minute. On Windows the same word means to share the
    // port with whoever has it, and lingering connections do not keep it.
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    socket.bind(&at.into())?;
    socket.listen(backlog.into())?;
    TcpListener::from_std(socket.into())
}

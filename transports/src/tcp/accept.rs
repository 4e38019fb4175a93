//! Accepts peers, and keeps accepting when the machine runs out of something for a while.

use std::io;
use std::time::Duration;

use anypath_wire::{Address, Role};
use tokio::net::TcpListener;
use tokio::time::sleep;

use super::{TcpConfig, address, conn};
use crate::{AcceptError, BoxFuture, Conn, Listener};

pub(super) struct TcpListening {
    config: TcpConfig,
    socket: TcpListener,
    address: Address,
}

impl TcpListening {
    pub(super) fn new(config: TcpConfig, socket: TcpListener) -> io::Result<Self> {
        let address = address(socket.local_addr()?);
        Ok(Self { config, socket, address })
    }

    async fn next(&self) -> Result<Conn, AcceptError> {
        let mut pause = PAUSE_FIRST;
        loop {
            match self.socket.accept().await {
                Ok((stream, from)) => match conn(&self.config, Role::Responder, stream) {
                    Ok(conn) => return Ok(conn),
                    Err(error) => {
                        tracing::debug!(at = %self.address, %from, %error, "a peer left while it was accepted")
                    }
                },
                Err(source) => match Trouble::of(&source) {
                    Trouble::Socket => return Err(AcceptError::Broken { at: self.address.clone(), source }),
                    Trouble::Peer => {
                        tracing::debug!(at = %self.address, error = %source, "a peer left before it was accepted")
                    }
                    Trouble::Machine => {
                        tracing::warn!(at = %self.address, error = %source, ?pause, "cannot accept for now");
                        sleep(pause).await;
                        pause = (pause * 2).min(PAUSE_MAX);
                    }
                },
            }
        }
    }
}

impl Listener for TcpListening {
    fn address(&self) -> Address {
        self.address.clone()
    }

    fn accept(&mut self) -> BoxFuture<'_, Result<Conn, AcceptError>> {
        Box::pin(self.next())
    }
}

/// Whose trouble a failed accept is, and so what to do about it.
#[derive(Debug, PartialEq, Eq)]
enum Trouble {
    /// The peer hung up while it waited: the next one may be fine.
    Peer,
    /// Out of descriptors or memory, or anything unknown: asking again at once would only spin.
    Machine,
    /// The socket no longer listens: nothing will come.
    Socket,
}

impl Trouble {
    fn of(error: &io::Error) -> Self {
        use io::ErrorKind::*;
        match error.kind() {
            ConnectionAborted | ConnectionReset | NotConnected | BrokenPipe | Interrupted | TimedOut => Self::Peer,
            InvalidInput | Unsupported => Self::Socket,
            _ => Self::Machine,
        }
    }
}

/// How long to wait after the first failure: one that passes by itself costs a peer nothing it would notice.
const PAUSE_FIRST: Duration = Duration::from_millis(10);
/// How long to wait at most: once a second is no load, and a peer's own patience is longer.
const PAUSE_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn running_out_of_descriptors_is_waited_out_and_a_lost_peer_is_not() {
        let trouble = |code| Trouble::of(&io::Error::from_raw_os_error(code));
        let (enfile, emfile, enomem, enobufs) = (23, 24, 12, 105);
        for code in [enfile, emfile, enomem, enobufs] {
            assert_eq!(trouble(code), Trouble::Machine, "{code}");
        }
        let (econnaborted, einval) = (103, 22);
        assert_eq!(trouble(econnaborted), Trouble::Peer);
        assert_eq!(trouble(einval), Trouble::Socket);
    }
}

//! UDP sockets, for those whose protocols are datagrams.

use std::io;
use std::net::SocketAddr;

use socket2::{Protocol, Type};
use tokio::net::UdpSocket;

use crate::bind::socket;

/// A bound UDP socket of one family; what is sent and heard is its owner's concern.
#[derive(Debug)]
pub struct Udp {
    socket: UdpSocket,
    address: SocketAddr,
}

impl Udp {
    /// Binds a socket within the runtime of the caller; port 0 takes a free one.
    ///
    /// # Errors
    /// Those of the system: the port is taken, or the address is not here.
    pub fn bind(at: SocketAddr) -> io::Result<Self> {
        let socket = socket(at, Type::DGRAM, Protocol::UDP)?;
        // As much as the system gives: what comes while the owner is busy waits there.
        drop(socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES));
        socket.bind(&at.into())?;
        let socket = UdpSocket::from_std(socket.into())?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }

    /// Returns the address that was bound, with its port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until a datagram is there; may return without one.
    ///
    /// # Errors
    /// If the socket is of no use any more.
    pub async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// Hands on the datagrams that are there, at most [`BATCH_MAX`](Self::BATCH_MAX), so that one waking serves many.
    pub fn receive(&self, buffer: &mut [u8], mut take: impl FnMut(SocketAddr, &[u8])) {
        for _ in 0..Self::BATCH_MAX {
            match self.socket.try_recv_from(buffer) {
                Ok((length, from)) => take(from, &buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // What an earlier datagram met with, told by some systems at the next call: nothing to do with this one.
                Err(error) => tracing::trace!(at = %self.address, %error, "a datagram came to nothing"),
            }
        }
    }

    /// Sends a datagram, waiting for room in the system's buffer. One that cannot be sent is lost, as others are on their way.
    pub async fn send(&self, to: SocketAddr, datagram: &[u8]) {
        if let Err(error) = self.socket.send_to(datagram, to).await {
            tracing::trace!(%to, %error, "a datagram was not sent");
        }
    }

    /// Most datagrams handed on at once: some milliseconds of work, after which timers and others have their turn.
    pub const BATCH_MAX: usize = 64;
    /// The longest datagram there is.
    pub const DATAGRAM_BYTES_MAX: usize = 65_536;
}

/// What is asked of the system for datagrams that wait: the reference's.
const RECEIVE_BUFFER_BYTES: usize = 1 << 20;

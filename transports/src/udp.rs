//! UDP sockets, for those whose protocols are datagrams.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

use socket2::{Protocol, SockRef, Type};
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

    /// Binds the port of a multicast group, which other programs may have bound too, and joins the group on every interface.
    ///
    /// # Errors
    /// If a program that does not share has the port.
    pub fn multicast(group: SocketAddrV4) -> io::Result<Self> {
        let at = SocketAddr::from((Ipv4Addr::UNSPECIFIED, group.port()));
        let socket = socket(at, Type::DGRAM, Protocol::UDP)?;
        socket.set_reuse_address(true)?;
        #[cfg(unix)]
        socket.set_reuse_port(true)?;
        // Multicast DNS's own: who checks it knows that a datagram passed no router.
        socket.set_multicast_ttl_v4(255)?;
        socket.bind(&at.into())?;
        let address = group.into();
        let udp = Self { socket: UdpSocket::from_std(socket.into())?, address };
        drop(udp.join(group));
        Ok(udp)
    }

    /// Joins a group on the interfaces there are now; returns those to send by: all, or, where there is no other, loopback.
    fn join(&self, group: SocketAddrV4) -> io::Result<Vec<Ipv4Addr>> {
        let interfaces = if_addrs::get_if_addrs()?.into_iter().filter_map(|interface| match interface.ip() {
            IpAddr::V4(ip) => Some(ip),
            IpAddr::V6(_) => None,
        });
        let (loopback, others): (Vec<_>, Vec<_>) = interfaces.partition(Ipv4Addr::is_loopback);
        for interface in loopback.iter().chain(&others) {
            // It fails where it was joined before, and on interfaces without multicast.
            drop(SockRef::from(&self.socket).join_multicast_v4(group.ip(), interface));
        }
        Ok(if others.is_empty() { loopback } else { others })
    }

    /// Returns the address that was bound, with its port; of a group's, the group.
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
        match to {
            SocketAddr::V4(group) if group.ip().is_multicast() => self.send_to_group(group, datagram).await,
            to => self.send_to(to, datagram).await,
        }
    }

    /// Sends a datagram by every interface, those included that came since.
    async fn send_to_group(&self, group: SocketAddrV4, datagram: &[u8]) {
        for interface in self.join(group).unwrap_or_default() {
            if SockRef::from(&self.socket).set_multicast_if_v4(&interface).is_ok() {
                self.send_to(group.into(), datagram).await;
            }
        }
    }

    async fn send_to(&self, to: SocketAddr, datagram: &[u8]) {
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

//! Tells who asks by UDP how the relay sees it, at two ports: so a peer learns what its NAT does.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use anypath_transports::https::echo::{BYTES, answer};
use tokio::net::UdpSocket;

/// Two sockets that answer.
#[derive(Clone)]
pub(crate) struct Echo([Arc<UdpSocket>; 2]);

impl Echo {
    /// Takes the same port as the relay has for TCP, and another one.
    pub(crate) async fn bind(at: SocketAddr) -> io::Result<Self> {
        let other = SocketAddr::new(at.ip(), 0);
        Ok(Self([UdpSocket::bind(at).await?.into(), UdpSocket::bind(other).await?.into()]))
    }

    /// Returns its ports.
    pub(crate) fn ports(&self) -> io::Result<[u16; 2]> {
        let [first, second] = &self.0;
        Ok([first.local_addr()?.port(), second.local_addr()?.port()])
    }

    /// Answers at one of its ports, for ever. Nothing is kept of anybody, and no answer is longer than its question.
    pub(crate) async fn serve(self, port: usize) {
        let (asked, other) = (&self.0[port], &self.0[1 - port]);
        let mut question = [0; BYTES + 1];
        loop {
            let Ok((length, from)) = asked.recv_from(&mut question).await else { continue };
            if let Some((answer, by_other)) = answer(&question[..length], from) {
                // One that cannot be sent is lost, as others are on the way.
                drop(if by_other { other } else { asked }.send_to(&answer, from).await);
            }
        }
    }
}

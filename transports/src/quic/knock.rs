//! Learns at once that nothing listens somewhere. QUIC itself would wait: a refusal comes as ICMP, which a system tells of
//! only to a socket that talks to one place and no other.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

/// Waits until the way there is found to be refused, or for ever.
///
/// A byte is sent that is no QUIC packet (RFC 9000, section 17: its fixed bit is not set), so nobody answers it.
pub(super) async fn refusal(to: SocketAddr) -> io::Error {
    match knock(to).await {
        Ok(()) => std::future::pending().await,
        Err(error) => error,
    }
}

async fn knock(to: SocketAddr) -> io::Result<()> {
    let any: SocketAddr =
        if to.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(to).await?;
    for _ in 0..KNOCKS {
        socket.send(&[0]).await?;
        let listening = async {
            loop {
                socket.recv(&mut [0]).await?;
            }
        };
        if let Ok(refused) = timeout(PAUSE, listening).await {
            return refused;
        }
    }
    Ok(())
}

/// How often is knocked, as datagrams and their refusals are lost, and the pause between: systems limit refusals to some
/// a second.
const KNOCKS: u32 = 4;
const PAUSE: Duration = Duration::from_secs(1);

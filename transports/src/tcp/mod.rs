//! TCP: the plainest way to a peer, over IPv4 and IPv6.

mod accept;
mod bind;
mod dial;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anypath_wire::{Address, ListenAt, Role};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use crate::{BoxFuture, Conn, DialError, ListenError, Listener, Transport};

/// Dials and listens over TCP: `tcp://host:port`.
///
/// A name with several addresses is dialled at all of them, one after another with a head start for each (in the
/// manner of RFC 8305), and the first to answer carries. `[::]` listens for IPv6 alone, so that `0.0.0.0` may have
/// the same port.
#[derive(Debug, Clone, Default)]
pub struct Tcp {
    config: TcpConfig,
}

impl Tcp {
    /// Makes the transport; nothing is opened yet.
    pub fn new(config: TcpConfig) -> Self {
        Self { config }
    }
}

/// What may be set about TCP.
#[derive(Debug, Clone)]
pub struct TcpConfig {
    /// How long finding a name's addresses and reaching one of them may take, in milliseconds. Default 10,000: three
    /// lost SYNs (sent after 0, 1, 3 and 7 s) are survived.
    pub dial_timeout_ms: u64,
    /// How long an address is tried alone before the name's next one is tried beside it, in milliseconds.
    /// Default 250, as RFC 8305, section 8, recommends.
    pub head_start_ms: u64,
    /// How long a connection is silent before the system asks whether the peer is still there, in seconds. Default
    /// 30: firewalls and NATs forget a silent connection after a minute or more.
    pub keepalive_idle_s: u64,
    /// How long the system waits for an answer before it asks again, in seconds. Default 10.
    pub keepalive_interval_s: u64,
    /// How many such questions in a row may stay unanswered before the connection counts as broken. Default 3.
    pub keepalive_probes_max: u32,
    /// How many peers may wait to be accepted; the system may allow fewer. Default 1,024: a crowd that arrives at
    /// once is not turned away.
    pub backlog_max: u16,
}

impl Default for TcpConfig {
    fn default() -> Self {
        Self {
            dial_timeout_ms: 10_000,
            head_start_ms: 250,
            keepalive_idle_s: 30,
            keepalive_interval_s: 10,
            keepalive_probes_max: 3,
            backlog_max: 1024,
        }
    }
}

impl Transport for Tcp {
    fn name(&self) -> &'static str {
        NAME
    }

    fn speaks(&self, to: &Address) -> bool {
        to.scheme == NAME
    }

    fn dial<'a>(&'a self, to: &'a Address) -> BoxFuture<'a, Result<Conn, DialError>> {
        Box::pin(dial::dial(&self.config, to))
    }

    fn listen<'a>(&'a self, at: &'a ListenAt) -> BoxFuture<'a, Result<Box<dyn Listener>, ListenError>> {
        Box::pin(async {
            let socket = bind::bind(&self.config, at).await?;
            let listener = accept::TcpListening::new(self.config.clone(), socket);
            let listener = listener.map_err(|source| ListenError::Io { at: at.clone(), source })?;
            Ok(Box::new(listener) as Box<dyn Listener>)
        })
    }
}

fn conn(config: &TcpConfig, role: Role, stream: TcpStream) -> io::Result<Conn> {
    tune(config, &stream)?;
    let (remote, local) = (address(stream.peer_addr()?), address(stream.local_addr()?));
    let (reader, writer) = stream.into_split();
    Ok(Conn { role, remote, local, transport: NAME, moves: None, reader: Box::new(reader), writer: Box::new(writer) })
}

/// Lets small messages leave at once, and has the system notice a peer that vanished.
fn tune(config: &TcpConfig, stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(config.keepalive_idle_s))
        .with_interval(Duration::from_secs(config.keepalive_interval_s));
    #[cfg(not(windows))]
    let keepalive = keepalive.with_retries(config.keepalive_probes_max);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// Writes a socket's address as one that can be dialled; an IPv6 address of one link keeps its zone.
fn address(at: SocketAddr) -> Address {
    let host = match at {
        SocketAddr::V6(at) if at.scope_id() != 0 => format!("{}%{}", at.ip(), at.scope_id()),
        at => at.ip().to_string(),
    };
    Address { scheme: NAME.to_owned(), host, port: at.port(), key: None }
}

/// The ladder's word for it, and the scheme of its addresses.
const NAME: &str = "tcp";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_one_link_keeps_its_zone() {
        let at = std::net::SocketAddrV6::new("fe80::1".parse().unwrap(), 7, 0, 3);
        assert_eq!(address(at.into()).to_string(), "tcp://[fe80::1%3]:7");
    }

    #[tokio::test]
    async fn a_stream_sends_at_once_and_is_kept_alive() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let socket = SockRef::from(&stream);
        assert!(!socket.tcp_nodelay().unwrap() && !socket.keepalive().unwrap());
        tune(&TcpConfig::default(), &stream).unwrap();
        assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
        #[cfg(target_os = "linux")]
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(30));
    }
}

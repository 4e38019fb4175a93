//! QUIC: one UDP socket, streams that survive a change of address, and peers that prove their key before they get one.

mod accept;
mod dial;
mod knock;
mod proof;
mod setup;
mod stream;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use anypath_wire::{Address, KeyPair, ListenAt, PublicKey, Role};
use quinn::{Connection, RecvStream, SendStream};

use self::dial::Dialler;
use self::proof::Proof;
use self::stream::Sending;
use crate::outward::towards;
use crate::{BoxFuture, Conn, DialError, ListenError, Listener, Transport};

/// Dials and listens over QUIC version 1 (RFC 9000): `quic://host:port[#key]`.
///
/// Both ends prove their Ed25519 keys in TLS 1.3 as raw public keys (RFC 7250), and whoever has another key than the
/// address names never gets a stream. A connection carries one stream of bytes; its first byte, 1, is the
/// dialler's and of this room alone, as QUIC tells nobody of a stream that nothing was written to.
#[derive(Debug, Clone)]
pub struct Quic {
    config: QuicConfig,
    proof: Arc<Proof>,
    dialler: Arc<Dialler>,
}

impl Quic {
    /// Makes the transport of the peer with this identity; nothing is opened yet.
    pub fn new(config: QuicConfig, identity: KeyPair) -> Self {
        let proof = Arc::new(Proof::new(identity));
        Self { dialler: Arc::new(Dialler::default()), config, proof }
    }
}

/// What may be set about QUIC.
#[derive(Debug, Clone)]
pub struct QuicConfig {
    /// How long finding a name's addresses and reaching one of them may take, in milliseconds. Default 10,000.
    pub dial_timeout_ms: u64,
    /// How long an address is tried alone before the name's next one is tried beside it, in milliseconds.
    /// Default 250, as RFC 8305, section 8, recommends.
    pub head_start_ms: u64,
    /// After how much silence a packet asks whether the peer is there and keeps NATs from forgetting us, in
    /// milliseconds. Default 10,000: many forget UDP after 30 s.
    pub keepalive_ms: u64,
    /// After how much silence a connection counts as broken, in milliseconds. Default 30,000.
    pub idle_ms: u32,
    /// Bytes that a peer may send before they are read, which bounds memory a connection and, over a long path, speed:
    /// this much a round trip. Default 4 MiB: 1 Gbit/s over 33 ms.
    pub window_bytes: u32,
    /// What decides how fast to send.
    pub congestion: Congestion,
}

impl Default for QuicConfig {
    fn default() -> Self {
        Self {
            dial_timeout_ms: 10_000,
            head_start_ms: 250,
            keepalive_ms: 10_000,
            idle_ms: 30_000,
            window_bytes: 4 << 20,
            congestion: Congestion::default(),
        }
    }
}

/// What decides how fast to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Congestion {
    /// RFC 9438: as most of the internet does; takes a loss for a full path.
    #[default]
    Cubic,
    /// RFC 9002, appendix B.
    NewReno,
    /// Version 1 of draft-cardwell-iccrg-bbr-congestion-control: measures what the path carries, and takes no loss for
    /// anything.
    Bbr,
}

impl Transport for Quic {
    fn name(&self) -> &'static str {
        NAME
    }

    fn speaks(&self, to: &Address) -> bool {
        to.scheme == NAME
    }

    fn dial<'a>(&'a self, to: &'a Address) -> BoxFuture<'a, Result<Conn, DialError>> {
        Box::pin(self.dialler.dial(&self.config, &self.proof, to))
    }

    fn listen<'a>(&'a self, at: &'a ListenAt) -> BoxFuture<'a, Result<Box<dyn Listener>, ListenError>> {
        Box::pin(async {
            let listening = accept::listen(&self.config, &self.proof, at).await?;
            Ok(Box::new(listening) as Box<dyn Listener>)
        })
    }
}

/// The two ends of a connection, as their keys and addresses.
struct Ends {
    local: Address,
    remote: Address,
}

impl Ends {
    /// Names both ends of a connection over a socket that is bound there.
    fn of(connection: &Connection, bound: SocketAddr, own: PublicKey, peer: PublicKey) -> Self {
        let remote = connection.remote_address();
        let ip = match connection.local_ip() {
            Some(ip) => ip,
            None if bound.ip().is_unspecified() => towards(remote.ip()).unwrap_or(bound.ip()),
            None => bound.ip(),
        };
        Self { local: address(SocketAddr::new(ip, bound.port()), own), remote: address(remote, peer) }
    }

    fn conn(self, role: Role, sending: SendStream, receiving: RecvStream) -> Conn {
        let Self { local, remote } = self;
        let writer = Box::new(Sending::new(sending));
        Conn { role, remote, local, transport: NAME, moves: None, reader: Box::new(receiving), writer }
    }
}

fn address(at: SocketAddr, key: PublicKey) -> Address {
    let host = match at {
        SocketAddr::V6(at) if at.scope_id() != 0 => format!("{}%{}", at.ip(), at.scope_id()),
        at => at.ip().to_string(),
    };
    Address { scheme: NAME.to_owned(), host, port: at.port(), key: Some(key) }
}

/// Says that a peer did not do as this room does.
fn foreign(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The ladder's word for it, and the scheme of its addresses.
const NAME: &str = "quic";
/// What both ends agree on in TLS before anything else (RFC 7301).
const ALPN: &[u8] = b"anypath/1";
/// The first byte of a connection's stream.
const HELLO: u8 = 1;

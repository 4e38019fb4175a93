//! From our configuration to quinn's.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anypath_wire::PublicKey;
use quinn::congestion::{BbrConfig, ControllerFactory, CubicConfig, NewRenoConfig};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Endpoint, EndpointConfig, IdleTimeout, ServerConfig, TokioRuntime, TransportConfig, VarInt};
use socket2::{Protocol, Socket, Type};

use super::proof::{Expected, Proof};
use super::{Congestion, QuicConfig};
use crate::bind::socket;

/// Returns what a dialler needs, and what will know which key was there.
pub(super) fn dialling(
    config: &QuicConfig,
    proof: &Proof,
    wanted: Option<PublicKey>,
) -> io::Result<(ClientConfig, Arc<Expected>)> {
    let (tls, expected) = proof.dialling(wanted).map_err(io::Error::other)?;
    let mut client = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).map_err(io::Error::other)?));
    client.transport_config(Arc::new(transport(config)));
    Ok((client, expected))
}

/// Returns what a listener needs.
pub(super) fn listening(config: &QuicConfig, proof: &Proof) -> io::Result<ServerConfig> {
    let tls = proof.listening().map_err(io::Error::other)?;
    let crypto = QuicServerConfig::try_from(tls).map_err(io::Error::other)?;
    let mut server = ServerConfig::with_crypto(Arc::new(crypto));
    server
        .transport_config(Arc::new(transport(config)))
        .max_incoming(INCOMING_MAX)
        .incoming_buffer_size(INCOMING_BYTES_MAX)
        .incoming_buffer_size_total(INCOMING_BYTES_MAX * 64);
    Ok(server)
}

/// Makes an endpoint of a socket that is bound there.
pub(super) fn endpoint(at: SocketAddr, server: Option<ServerConfig>) -> io::Result<Endpoint> {
    let socket = socket(at, Type::DGRAM, Protocol::UDP)?;
    widen(&socket);
    socket.bind(&at.into())?;
    Endpoint::new(EndpointConfig::default(), server, socket.into(), Arc::new(TokioRuntime))
}

/// Asks for as much room as the system gives: what comes while others have the processor is lost otherwise.
fn widen(socket: &Socket) {
    for bytes in [SOCKET_BYTES, SOCKET_BYTES / 4] {
        if socket.set_recv_buffer_size(bytes).is_ok() && socket.set_send_buffer_size(bytes).is_ok() {
            return;
        }
    }
}

fn transport(config: &QuicConfig) -> TransportConfig {
    let mut transport = TransportConfig::default();
    let window = VarInt::from_u32(config.window_bytes);
    transport
        .max_concurrent_bidi_streams(1_u32.into())
        .max_concurrent_uni_streams(0_u32.into())
        .datagram_receive_buffer_size(None)
        .stream_receive_window(window)
        .receive_window(window)
        .send_window(config.window_bytes.into())
        .keep_alive_interval(Some(Duration::from_millis(config.keepalive_ms)))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(config.idle_ms))))
        .congestion_controller_factory(factory(config.congestion));
    transport
}

fn factory(congestion: Congestion) -> Arc<dyn ControllerFactory + Send + Sync> {
    match congestion {
        Congestion::Cubic => Arc::new(CubicConfig::default()),
        Congestion::NewReno => Arc::new(NewRenoConfig::default()),
        Congestion::Bbr => Arc::new(BbrConfig::default()),
    }
}

/// First packets of peers that wait to be looked at; more are refused.
const INCOMING_MAX: usize = 1024;
/// What such a peer may send meanwhile, in bytes; of all together 64 times that.
const INCOMING_BYTES_MAX: u64 = 64 << 10;
/// Room asked for in a socket, in bytes each way: 10 ms at 3 Gbit/s.
const SOCKET_BYTES: usize = 4 << 20;

//! Accepts peers: many may be proving their keys at a time, and none of them holds up the others.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anypath_wire::{Address, ListenAt, PublicKey, Role};
use quinn::{Endpoint, Incoming};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::proof::{Proof, proven};
use super::{Ends, HELLO, NAME, QuicConfig, address, foreign, setup};
use crate::bind::bind;
use crate::{AcceptError, BoxFuture, Conn, ListenError, Listener};

pub(super) async fn listen(
    config: &QuicConfig,
    proof: &Arc<Proof>,
    at: &ListenAt,
) -> Result<QuicListening, ListenError> {
    if at.scheme != NAME {
        return Err(ListenError::NotSpoken { transport: NAME, at: at.clone() });
    }
    let failed = |source| ListenError::Io { at: at.clone(), source };
    let server = setup::listening(config, proof).map_err(failed)?;
    let endpoint = bind(at, |address| setup::endpoint(address, Some(server.clone()))).await?;
    let bound = endpoint.local_addr().map_err(failed)?;
    let address = address(bound, proof.own());
    Ok(QuicListening { endpoint, bound, address, own: proof.own(), arriving: JoinSet::new() })
}

pub(super) struct QuicListening {
    endpoint: Endpoint,
    bound: SocketAddr,
    address: Address,
    own: PublicKey,
    /// Peers that have yet to prove their key and to open their stream.
    arriving: JoinSet<io::Result<Conn>>,
}

impl QuicListening {
    async fn next(&mut self) -> Result<Conn, AcceptError> {
        loop {
            tokio::select! {
                incoming = self.endpoint.accept() => match incoming {
                    Some(incoming) => self.admit(incoming),
                    None => {
                        let source = io::ErrorKind::NotConnected.into();
                        return Err(AcceptError::Broken { at: self.address.clone(), source });
                    }
                },
                Some(arrived) = self.arriving.join_next() => match arrived {
                    Ok(Ok(conn)) => return Ok(conn),
                    Ok(Err(error)) => tracing::debug!(at = %self.address, %error, "a peer left while it was accepted"),
                    Err(error) => tracing::debug!(at = %self.address, %error, "a peer could not be accepted"),
                },
            }
        }
    }

    /// Lets a peer prove its key. While many do, it first has to show that it is where it says (RFC 9000, section 8.1.2).
    fn admit(&mut self, incoming: Incoming) {
        if self.arriving.len() >= ARRIVING_MAX {
            return incoming.refuse();
        }
        if self.arriving.len() >= ARRIVING_UNVALIDATED_MAX
            && incoming.may_retry()
            && !incoming.remote_address_validated()
        {
            drop(incoming.retry());
            return;
        }
        let (bound, own) = (self.bound, self.own);
        self.arriving.spawn(async move {
            let arriving = timeout(ARRIVAL_TIME_MAX, arrive(incoming, bound, own));
            arriving.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        });
    }
}

async fn arrive(incoming: Incoming, bound: SocketAddr, own: PublicKey) -> io::Result<Conn> {
    let connection = incoming.await?;
    let peer = proven(connection.peer_identity()).ok_or_else(|| foreign("it proved no key"))?;
    let (sending, mut receiving) = connection.accept_bi().await?;
    let mut hello = [0];
    receiving.read_exact(&mut hello).await.map_err(io::Error::other)?;
    if hello != [HELLO] {
        return Err(foreign("its stream begins with another byte"));
    }
    Ok(Ends::of(&connection, bound, own, peer).conn(Role::Responder, sending, receiving))
}

impl Listener for QuicListening {
    fn address(&self) -> Address {
        self.address.clone()
    }

    fn accept(&mut self) -> BoxFuture<'_, Result<Conn, AcceptError>> {
        Box::pin(self.next())
    }
}

impl Drop for QuicListening {
    /// Turns away who comes; those who are here keep the socket until they leave.
    fn drop(&mut self) {
        self.endpoint.set_server_config(None);
    }
}

/// Peers that prove their key at a time; more are refused. Each costs two signatures and some 100 KiB.
const ARRIVING_MAX: usize = 512;
/// Peers that may do so without having shown that they are where they say.
const ARRIVING_UNVALIDATED_MAX: usize = 64;
/// How long a peer may take from its first packet to the first byte of its stream.
const ARRIVAL_TIME_MAX: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use anypath_wire::KeyPair;
    use quinn::{ClientConfig, Connection};

    use super::super::setup;
    use super::*;

    async fn listening() -> QuicListening {
        let proof = Arc::new(Proof::new(KeyPair::from_seed(&[1; 32])));
        listen(&QuicConfig::default(), &proof, &"quic://127.0.0.1:0".parse().unwrap()).await.unwrap()
    }

    async fn connect(to: SocketAddr, client: ClientConfig) -> (Endpoint, Result<Connection, quinn::ConnectionError>) {
        let endpoint = setup::endpoint("127.0.0.1:0".parse().unwrap(), None).unwrap();
        let connecting = endpoint.connect_with(client, to, "anypath.invalid").unwrap();
        (endpoint, connecting.await)
    }

    fn peer() -> ClientConfig {
        let proof = Proof::new(KeyPair::from_seed(&[2; 32]));
        setup::dialling(&QuicConfig::default(), &proof, None).unwrap().0
    }

    /// Accepts for as long as `peers` do what they do; returns what was accepted.
    async fn accepted_while<T>(listening: &mut QuicListening, peers: impl Future<Output = T>) -> (Vec<Conn>, T) {
        let mut accepted = Vec::new();
        let mut peers = std::pin::pin!(peers);
        loop {
            tokio::select! {
                conn = listening.next() => accepted.push(conn.unwrap()),
                done = &mut peers => return (accepted, done),
            }
        }
    }

    #[tokio::test]
    async fn who_opens_no_stream_or_another_one_holds_up_nobody() {
        let mut listening = listening().await;
        let to = listening.bound;
        let peers = async {
            let silent = connect(to, peer()).await;
            let foreign = connect(to, peer()).await;
            let mut stream = foreign.1.as_ref().unwrap().open_bi().await.unwrap();
            stream.0.write_all(b"GET").await.unwrap();
            foreign.1.as_ref().unwrap().closed().await;
            let good = connect(to, peer()).await;
            let mut greeted = good.1.as_ref().unwrap().open_bi().await.unwrap();
            greeted.0.write_all(&[HELLO]).await.unwrap();
            (silent, foreign, good)
        };
        let (accepted, peers) = tokio::join!(listening.next(), peers);
        let good = peers.2.0.local_addr().unwrap();
        assert_eq!(accepted.unwrap().remote.port, good.port());
    }

    #[tokio::test]
    async fn who_proves_no_key_is_turned_away() {
        let mut listening = listening().await;
        let to = listening.bound;
        let (tls, _) = Proof::new(KeyPair::from_seed(&[2; 32])).dialling(None).unwrap();
        let mut without = tls.clone();
        without.client_auth_cert_resolver = Arc::new(Nobody);
        let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(without).unwrap();
        let (accepted, lost) = accepted_while(&mut listening, async {
            let (_endpoint, connected) = connect(to, ClientConfig::new(Arc::new(crypto))).await;
            // TLS 1.3 lets a dialler end its own part of the handshake before its proof is looked at.
            match connected {
                Ok(connection) => connection.closed().await.to_string(),
                Err(error) => error.to_string(),
            }
        })
        .await;
        assert!(accepted.is_empty() && lost.contains("no certificates"), "{lost}");
    }

    #[derive(Debug)]
    struct Nobody;

    impl rustls::client::ResolvesClientCert for Nobody {
        fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<rustls::sign::CertifiedKey>> {
            None
        }

        fn only_raw_public_keys(&self) -> bool {
            true
        }

        fn has_certs(&self) -> bool {
            true
        }
    }
}

//! From an address to a stream: a socket for each family, shared by all dials, and no stream before the key is proven.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use anypath_wire::{Address, Role};
use quinn::{ConnectError, ConnectionError, Endpoint, TransportErrorCode};

use super::knock::refusal;
use super::proof::{Expected, Proof, proven};
use super::{Ends, HELLO, NAME, QuicConfig, foreign, setup};
use crate::reach::{Patience, reach};
use crate::{Conn, DialError};

/// The sockets that dials leave from, opened with the first.
#[derive(Debug, Default)]
pub(super) struct Dialler {
    v4: Mutex<Option<Endpoint>>,
    v6: Mutex<Option<Endpoint>>,
}

impl Dialler {
    pub(super) async fn dial(
        self: &Arc<Self>,
        config: &QuicConfig,
        proof: &Arc<Proof>,
        to: &Address,
    ) -> Result<Conn, DialError> {
        if to.scheme != NAME {
            return Err(DialError::NotSpoken { transport: NAME, to: to.clone() });
        }
        let patience = Patience { limit_ms: config.dial_timeout_ms, head_start_ms: config.head_start_ms };
        reach(to, patience, |at| {
            let to = Address { host: at.ip().to_string(), port: at.port(), ..to.clone() };
            let attempt = Attempt { at, to, dialler: self.clone(), config: config.clone(), proof: proof.clone() };
            async move {
                tokio::select! {
                    reached = attempt.reach() => reached,
                    source = refusal(at) => Err(attempt.refused(source)),
                }
            }
        })
        .await
    }

    /// Returns the socket of that family.
    fn endpoint(&self, to: SocketAddr) -> io::Result<Endpoint> {
        let (place, any) = match to {
            SocketAddr::V4(_) => (&self.v4, (Ipv4Addr::UNSPECIFIED, 0).into()),
            SocketAddr::V6(_) => (&self.v6, (Ipv6Addr::UNSPECIFIED, 0).into()),
        };
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(endpoint) = &*place {
            return Ok(endpoint.clone());
        }
        Ok(place.insert(setup::endpoint(any, None)?).clone())
    }
}

/// One address of a name.
struct Attempt {
    at: SocketAddr,
    /// The same, with the key that is wanted.
    to: Address,
    dialler: Arc<Dialler>,
    config: QuicConfig,
    proof: Arc<Proof>,
}

impl Attempt {
    async fn reach(&self) -> Result<Conn, DialError> {
        let (client, expected) = setup::dialling(&self.config, &self.proof, self.to.key).map_err(|e| self.io(e))?;
        let endpoint = self.dialler.endpoint(self.at).map_err(|e| self.io(e))?;
        let connecting = match endpoint.connect_with(client, self.at, SERVER_NAME) {
            Ok(connecting) => connecting,
            Err(ConnectError::EndpointStopping) => return Err(self.io(io::ErrorKind::NotConnected.into())),
            Err(error) => return Err(self.io(io::Error::other(error))),
        };
        let connection = connecting.await.map_err(|error| self.failed(error, &expected))?;
        let peer = proven(connection.peer_identity()).ok_or_else(|| self.io(foreign("it proved no key")))?;
        let (mut sending, receiving) = connection.open_bi().await.map_err(|error| self.failed(error, &expected))?;
        sending.write_all(&[HELLO]).await.map_err(|error| self.io(error.into()))?;
        let bound = endpoint.local_addr().map_err(|e| self.io(e))?;
        Ok(Ends::of(&connection, bound, self.proof.own(), peer).conn(Role::Initiator, sending, receiving))
    }

    fn failed(&self, error: ConnectionError, expected: &Expected) -> DialError {
        let to = self.to.clone();
        if let Some(found) = expected.stranger() {
            return DialError::AnotherKey { to, found };
        }
        match error {
            ConnectionError::TimedOut => DialError::TimedOut { to, limit_ms: self.config.idle_ms.into() },
            ConnectionError::ConnectionClosed(close) if close.error_code == TransportErrorCode::CONNECTION_REFUSED => {
                DialError::Refused { to }
            }
            error => self.io(error.into()),
        }
    }

    fn refused(&self, source: io::Error) -> DialError {
        match source.kind() {
            io::ErrorKind::ConnectionRefused => DialError::Refused { to: self.to.clone() },
            _ => self.io(source),
        }
    }

    fn io(&self, source: io::Error) -> DialError {
        DialError::Io { to: self.to.clone(), source }
    }
}

/// A name is asked for and not sent: keys alone say who is there.
const SERVER_NAME: &str = "anypath.invalid";

//! A byte stream to a machine, both ways in one, so that TLS and HTTP can be put on it.

use std::sync::Arc;
use std::time::Duration;

use anypath_wire::Address;
use tokio::io::{AsyncRead, AsyncWrite, join};
use tokio::time::sleep;

use super::proxy::{Proxy, ProxyError};
use super::tls::Tls;
use crate::{DialError, Transport};

/// Both halves of a byte stream.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A byte stream, whatever it is made of.
pub type Line = Box<dyn Stream>;

/// What lines are made with.
pub(super) struct Reach {
    /// What carries them.
    pub(super) tcp: Arc<dyn Transport>,
    /// What a proxy that is reached by TLS must prove.
    pub(super) proxy_tls: Tls,
}

impl Reach {
    /// Opens a line to a machine of which this one knows the address. Who is refused knocks again: there are gateways
    /// that let a host in only after its first connections were reset.
    pub(super) async fn direct(&self, host: &str, port: u16) -> Result<Line, DialError> {
        let to = Address { scheme: self.tcp.name().to_owned(), host: host.to_owned(), port, key: None };
        let mut refusals = 0;
        let conn = loop {
            match self.tcp.dial(&to).await {
                Err(DialError::Refused { .. }) if refusals < REFUSALS_MAX => sleep(REFUSED_PAUSE).await,
                dialled => break dialled?,
            }
            refusals += 1;
        };
        Ok(Box::new(join(conn.reader, conn.writer)))
    }

    /// Opens a line to a proxy.
    pub(super) async fn proxy(&self, proxy: &Proxy) -> Result<Line, ProxyError> {
        let unreachable = |source| ProxyError::Unreachable { proxy: proxy.to_string(), source: Box::new(source) };
        let line = self.direct(&proxy.host, proxy.port).await.map_err(unreachable)?;
        if !proxy.secure {
            return Ok(line);
        }
        let secured = self.proxy_tls.secure(&proxy.host, line).await;
        let (line, _) =
            secured.map_err(|source| ProxyError::Tls { proxy: proxy.to_string(), source: Box::new(source) })?;
        Ok(line)
    }
}

/// How often a refusal is not believed, and the pause before knocking again.
const REFUSALS_MAX: u32 = 4;
const REFUSED_PAUSE: Duration = Duration::from_millis(50);

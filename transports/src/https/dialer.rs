//! From a relay's name to a secure line: directly, or through the proxy that the network wants.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::time::timeout;

use super::line::{Line, Reach};
use super::proxy::{Proxies, ProxyError, Wallet, tunnel};
use super::tls::{Seen, Tls, TlsConfig, TlsError, TlsSetupError};
use crate::{DialError, Transport};

/// How a relay is reached.
#[derive(Debug, Clone, Default)]
pub struct DialerConfig {
    /// Through which proxy. Default: none.
    pub proxies: Proxies,
    /// Whom to trust. Default: whom the system trusts.
    pub tls: TlsConfig,
    /// How long it may take, in milliseconds; default 10,000 where it is 0.
    pub timeout_ms: u64,
}

/// Why a relay is not reached.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReachError {
    /// Directly.
    #[error(transparent)]
    Direct(#[from] DialError),
    /// Through the proxy.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// It, or what stands in its place, is not trusted.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Not in time.
    #[error("{to} was not reached within {limit_ms} ms{}", through.as_ref().map_or(String::new(), |proxy| format!(" through the proxy {proxy}")))]
    TimedOut {
        /// Host and port.
        to: String,
        /// The proxy, if there is one.
        through: Option<String>,
        /// How long was waited, in milliseconds.
        limit_ms: u64,
    },
}

/// Opens secure lines to relays.
pub struct Dialer {
    config: DialerConfig,
    reach: Reach,
    tls: Tls,
    wallet: Wallet,
}

/// A secure line to a relay.
pub struct Dialled {
    /// The line.
    pub line: Line,
    /// Who is at its other end.
    pub seen: Seen,
    /// The proxy it leads through.
    pub through: Option<String>,
}

impl Dialer {
    /// Makes a dialer that reaches machines by `tcp`.
    ///
    /// # Errors
    /// If the authorities that are to be trusted cannot be used.
    pub fn new(tcp: Arc<dyn Transport>, mut config: DialerConfig) -> Result<Self, TlsSetupError> {
        // What is said about the relay's certificate is not said about a proxy's.
        let proxy_tls = TlsConfig { roots: config.tls.roots.clone(), ..TlsConfig::default() };
        let reach = Reach { tcp, proxy_tls: Tls::new(&proxy_tls)? };
        let tls = Tls::new(&config.tls)?;
        if config.timeout_ms == 0 {
            config.timeout_ms = TIMEOUT_MS;
        }
        Ok(Self { config, reach, tls, wallet: Wallet::default() })
    }

    /// Opens a secure line to a relay, `host` without brackets. Behind a proxy its name is not resolved here: there may
    /// be nobody to ask.
    pub async fn dial(&self, host: &str, port: u16) -> Result<Dialled, ReachError> {
        self.dial_for(host, port, false).await
    }

    /// The same for HTTP/2.
    pub(super) async fn dial_http2(&self, host: &str, port: u16) -> Result<Dialled, ReachError> {
        self.dial_for(host, port, true).await
    }

    async fn dial_for(&self, host: &str, port: u16, http2: bool) -> Result<Dialled, ReachError> {
        let limit_ms = self.config.timeout_ms;
        let dialled = timeout(Duration::from_millis(limit_ms), self.dial_untimed(host, port, http2)).await;
        dialled.unwrap_or_else(|_| {
            let through = self.config.proxies.for_host(host).map(ToString::to_string);
            Err(ReachError::TimedOut { to: place(host, port), through, limit_ms })
        })
    }

    /// Names the way to a relay as it is from where this machine is now: its network, as the address here shows it, and the
    /// proxy.
    pub(super) fn way(&self, host: &str, port: u16) -> String {
        let through =
            self.config.proxies.for_host(host).map_or("directly".to_owned(), |proxy| format!("through {proxy}"));
        format!("to {} {through}, from {}", place(host, port), crate::outward::here())
    }

    /// Returns by which scheme the proxy has asked who we are, if it has and can be answered: `basic` or `digest`.
    pub fn scheme(&self) -> Option<&'static str> {
        self.wallet.scheme()
    }

    /// Waits until several connections to a host may be dialled at once: a proxy that refuses our password is not to see
    /// it twice.
    pub(super) async fn may_hurry(&self, host: &str) {
        if self.config.proxies.for_host(host).is_some_and(|proxy| proxy.credentials.is_some()) {
            self.wallet.welcome().await;
        }
    }

    async fn dial_untimed(&self, host: &str, port: u16, http2: bool) -> Result<Dialled, ReachError> {
        let proxy = self.config.proxies.for_host(host);
        let line = match proxy {
            Some(proxy) => tunnel(&self.reach, proxy, &self.wallet, &place(host, port)).await?,
            None => self.reach.direct(host, port).await?,
        };
        let (line, seen) =
            if http2 { self.tls.secure_http2(host, line).await? } else { self.tls.secure(host, line).await? };
        Ok(Dialled { line, seen, through: proxy.map(ToString::to_string) })
    }
}

/// Writes `host:port`, an IPv6 address in brackets.
pub(super) fn place(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// A connection to a proxy, its questions, the proxy's own to the relay, and TLS: some round trips of the slowest path.
const TIMEOUT_MS: u64 = 10_000;

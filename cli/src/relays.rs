//! How relays are reached: which proxy, whom to trust, what to show.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, Result};
use anypath_transports::Tcp;
use anypath_transports::https::{
    Dialer, DialerConfig, Https, HttpsConfig, InvalidProxy, Proxies, Proxy, Rungs, TlsConfig, read_roots,
};
use anypath_wire::{Address, KeyPair, ListenAt};

use crate::Failure;
use crate::args::{LISTEN_DEFAULT, Network};
use crate::networks::Networks;

/// How relays are reached.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Relays {
    /// Reach relays through this proxy (http://[USER:PASSWORD@]HOST:PORT), through the one that the environment names by
    /// curl's rules (auto, the default; the place for passwords), or through none.
    #[arg(long, value_name = "URL")]
    pub proxy: Option<ProxyChoice>,

    /// Trust the certificate authorities in this file (PEM) as well as the system's.
    #[arg(long, value_name = "FILE")]
    pub roots: Option<PathBuf>,

    /// Refuse relays whose certificate no public authority has issued: who runs the network may look inside.
    #[arg(long)]
    pub deny_intercepted: bool,

    /// Show relays what this file holds, to be let in.
    #[arg(long, value_name = "FILE")]
    pub relay_token_file: Option<PathBuf>,

    /// Let only these carry sessions with relays, best first: WebSockets (ws), HTTP/2 (h2), requests with answers in
    /// pieces (stream), requests with whole answers (poll) [default: ws,h2,stream,poll].
    #[arg(long, value_name = "NAME,…")]
    pub rungs: Option<Rungs>,
}

/// Which proxy.
#[derive(Debug, Clone, Default)]
pub enum ProxyChoice {
    /// The environment's.
    #[default]
    Auto,
    /// None.
    None,
    /// This one.
    This(Proxy),
}

impl ProxyChoice {
    /// Returns whether it holds a password.
    pub(crate) fn has_password(&self) -> bool {
        matches!(self, Self::This(proxy) if proxy.credentials.is_some())
    }
}

impl FromStr for ProxyChoice {
    type Err = InvalidProxy;

    fn from_str(text: &str) -> Result<Self, InvalidProxy> {
        Ok(match text {
            "auto" => Self::Auto,
            "none" => Self::None,
            proxy => Self::This(proxy.parse()?),
        })
    }
}

impl Network {
    /// Returns how relays are reached, if any of the addresses named here or in links is one.
    pub(crate) fn relays<'a>(&'a self, others: impl IntoIterator<Item = &'a Address>) -> Option<&'a Relays> {
        let mut named = self.via.iter().chain(others);
        let is_named = named.any(|address| address.scheme == RELAY_SCHEME);
        (is_named && self.allows(RELAY_SCHEME)).then_some(&self.relays)
    }

    /// Returns whether a transport may be used.
    pub(crate) fn allows(&self, transport: &str) -> bool {
        self.ways.as_ref().is_none_or(|ways| ways.allow(transport))
    }

    /// Returns where peers are accepted: as said, or at the default place.
    ///
    /// # Errors
    /// Never, as long as the default is an address.
    pub(crate) fn listen_at(&self) -> Result<Vec<ListenAt>> {
        if !self.listen.is_empty() || self.nowhere || !self.allows("tcp") {
            return Ok(self.listen.clone());
        }
        Ok(vec![LISTEN_DEFAULT.parse().context("the default place to listen is not one")?])
    }
}

impl Relays {
    /// Makes the transport, which remembers networks there; nothing is contacted yet.
    ///
    /// # Errors
    /// If a file cannot be read, the environment names a proxy of an unknown kind, or no authority is known.
    pub(crate) fn transport(&self, identity: KeyPair, networks: Networks) -> Result<Https> {
        let (token, rungs, notebook) = (self.token()?, self.rungs(), Some(Arc::new(networks) as _));
        let config = HttpsConfig { identity, token, rungs, notebook };
        Ok(Https::new(self.dialer()?, config))
    }

    /// Makes what reaches relays; nothing is contacted yet.
    ///
    /// # Errors
    /// The same.
    pub(crate) fn dialer(&self) -> Result<Dialer> {
        let roots = match &self.roots {
            None => Vec::new(),
            Some(path) => {
                let pem = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
                read_roots(&pem).map_err(|error| usage(&format!("{}: {error}", path.display())))?
            }
        };
        let tls = TlsConfig { roots, pin: None, deny_intercepted: self.deny_intercepted };
        let config = DialerConfig { proxies: self.proxies()?, tls, timeout_ms: 0 };
        Ok(Dialer::new(Arc::new(Tcp::default()), config).map_err(|error| usage(&error))?)
    }

    /// Returns what may carry sessions.
    pub(crate) fn rungs(&self) -> Rungs {
        self.rungs.clone().unwrap_or_default()
    }

    /// Returns which hosts are reached through which proxy.
    ///
    /// # Errors
    /// If the environment names one of an unknown kind.
    pub(crate) fn proxies(&self) -> Result<Proxies> {
        Ok(match &self.proxy {
            None | Some(ProxyChoice::Auto) => {
                Proxies::from_environment(|name| env::var(name).ok()).map_err(|error| usage(&error))?
            }
            Some(ProxyChoice::None) => Proxies::none(),
            Some(ProxyChoice::This(proxy)) => Proxies::all(proxy.clone()),
        })
    }

    /// Returns what relays are shown, empty if nothing.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(crate) fn token(&self) -> Result<Vec<u8>> {
        Ok(self.relay_token_file.as_deref().map(read_token).transpose()?.unwrap_or_default())
    }
}

fn usage(error: &dyn std::fmt::Display) -> Failure {
    Failure::new("relays", error.to_string())
}

/// Reads a token from a file; space around it says nothing.
pub(crate) fn read_token(path: &std::path::Path) -> Result<Vec<u8>> {
    let token = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(token.trim_ascii().to_vec())
}

/// The scheme of relays' addresses.
pub(crate) const RELAY_SCHEME: &str = "https";

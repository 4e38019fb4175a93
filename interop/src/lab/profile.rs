//! The kinds of network that people sit in, from the easiest to the hardest.

use std::fmt;

/// What a site's gateway does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Profile {
    /// Public address, no NAT, no filter.
    Open,
    /// NAT whose mapping and filtering do not depend on the other end.
    FullCone,
    /// NAT whose mapping does not depend on the other end; only who was written to may answer.
    Cone,
    /// NAT with a new random port for every destination.
    Symmetric,
    /// NAT; every UDP datagram is dropped.
    UdpBlocked,
    /// The same, and TCP goes to ports 80 and 443 alone.
    UdpBlocked443,
    /// No way out, no names from outside; a proxy (tinyproxy) that connects to port 443.
    ProxyConnect,
    /// The same with squid, which wants a password in clear.
    ProxyAuth,
    /// The same with squid, which wants proof of a password.
    ProxyDigest,
    /// A proxy (squid) that looks into TLS with an authority of its own; nothing but HTTP/1.1, upgrades pass.
    TlsIntercept,
    /// The same and upgrades are stripped, as squid does it unless told otherwise.
    TlsInterceptNoWs,
    /// A proxy (mitmproxy) that looks into TLS, keeps requests and answers until they are whole, and strips upgrades.
    ProxyBuffering,
    /// A proxy (tinyproxy) that ends connections silent for a while, and any that grow old.
    ProxyIdle,
    /// The first connections of a host are reset, and UDP is silent until they were.
    Captive,
}

impl Profile {
    /// Every one.
    pub const ALL: [Self; 14] = [
        Self::Open,
        Self::FullCone,
        Self::Cone,
        Self::Symmetric,
        Self::UdpBlocked,
        Self::UdpBlocked443,
        Self::ProxyConnect,
        Self::ProxyAuth,
        Self::ProxyDigest,
        Self::TlsIntercept,
        Self::TlsInterceptNoWs,
        Self::ProxyBuffering,
        Self::ProxyIdle,
        Self::Captive,
    ];

    /// Returns its name, as tables have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::FullCone => "fullcone",
            Self::Cone => "cone",
            Self::Symmetric => "symmetric",
            Self::UdpBlocked => "udp-blocked",
            Self::UdpBlocked443 => "udp-blocked-443",
            Self::ProxyConnect => "proxy-connect",
            Self::ProxyAuth => "proxy-auth",
            Self::ProxyDigest => "proxy-digest",
            Self::TlsIntercept => "tls-intercept",
            Self::TlsInterceptNoWs => "tls-intercept-nows",
            Self::ProxyBuffering => "proxy-buffering",
            Self::ProxyIdle => "proxy-idle",
            Self::Captive => "captive",
        }
    }

    /// Whether nothing leads out but a proxy.
    pub fn is_proxied(self) -> bool {
        (Self::ProxyConnect..=Self::ProxyIdle).contains(&self)
    }

    /// Whether the proxy opens TLS.
    pub fn is_intercepted(self) -> bool {
        (Self::TlsIntercept..=Self::ProxyBuffering).contains(&self)
    }

    /// Whether WebSockets get through.
    pub fn passes_upgrades(self) -> bool {
        !matches!(self, Self::TlsInterceptNoWs | Self::ProxyBuffering)
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

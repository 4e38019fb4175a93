//! What bounds a relay, and whom it lets in.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;

use anypath_transports::https::session;
use anypath_wire::PublicKey;

/// Whom a relay lets in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    #[default]
    Open,
    /// Who shows this token.
    Token(Vec<u8>),
    /// Who proves one of these keys. Anybody may open a session to do so, and can do nothing else in it.
    Keys(BTreeSet<PublicKey>),
}

/// What bounds a relay.
#[derive(Debug, Clone)]
pub struct Config {
    /// Whom it lets in. Default: everybody.
    pub access: Access,
    /// How many sessions there may be. Default 4,096.
    pub sessions_max: usize,
    /// Over how many tags topics are spread. Default 1; where several relays stand behind one name, a few times as many
    /// as there are of them, the same at all of them.
    pub tags: u64,
    /// How many connections may be open. Default 16,384: sessions have up to six.
    pub connections_max: usize,
    /// How many of them may come from one address. Default 512: whole offices come from one.
    pub connections_per_address_max: usize,
    /// How many sessions there may be of one address. Default 1,024: a quarter of all.
    pub sessions_per_address_max: usize,
    /// How many sessions one address may open in a minute, all at once or one after the other. Default 600: a whole office
    /// that comes back from a power cut.
    pub opens_per_minute_max: NonZeroU32,
    /// Who stands in front of the relay, and is believed when it says by `X-Forwarded-For` for whom it speaks; addresses
    /// that are bounded above are then those. Default: nobody.
    pub fronts: Vec<IpAddr>,
    /// How long a session may take from its opening to its first request, in milliseconds. Default 10,000.
    pub unproven_ms_max: u64,
    /// The longest body of a request, in bytes. Default 2 MiB, as much as clients send
    /// where they are told that longer ones are worth it.
    pub body_bytes_max: usize,
    /// What sessions may keep in all, in bytes: sent and not acknowledged, come and not passed on. Beyond, the session
    /// whose client has taken nothing for the longest time is given up. A quarter as much may be bodies of requests that
    /// are still coming; beyond, requests are refused. Default 1 GiB: some hundred peers at full speed.
    pub memory_bytes_max: usize,
    /// How long a request's head, and its body, may take to come, in milliseconds. Default 30,000.
    pub request_ms_max: u64,
    /// What bounds each session. Default: 12 MiB each way.
    pub session: session::Config,
    /// Whether the same port answers by UDP who asks how it is seen, and another one with it. Default: they do.
    pub echo: bool,
    /// Where Prometheus hears figures, at `/metrics`, without TLS. Default: nowhere.
    pub metrics: Option<SocketAddr>,
    /// Whom to ask about this relay, for its page. Default: nobody is named.
    pub contact: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            access: Access::Open,
            sessions_max: 4_096,
            tags: 1,
            connections_max: 16_384,
            connections_per_address_max: 512,
            sessions_per_address_max: 1_024,
            opens_per_minute_max: NonZeroU32::MIN.saturating_add(599),
            fronts: Vec::new(),
            unproven_ms_max: 10_000,
            body_bytes_max: 2 << 20,
            memory_bytes_max: 1 << 30,
            request_ms_max: 30_000,
            session: session::Config::default(),
            echo: true,
            metrics: None,
            contact: String::new(),
        }
    }
}

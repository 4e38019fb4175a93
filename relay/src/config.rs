//! What bounds a relay, and whom it lets in.

use anypath_transports::https::session;

/// Whom a relay lets in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    #[default]
    Open,
    /// Who shows this token.
    Token(Vec<u8>),
}

/// What bounds a relay.
#[derive(Debug, Clone)]
pub struct Config {
    /// Whom it lets in. Default: everybody.
    pub access: Access,
    /// How many sessions there may be. Default 4,096.
    pub sessions_max: usize,
    /// How many connections may be open. Default 16,384: sessions have up to six.
    pub connections_max: usize,
    /// How many of them may come from one address. Default 512: whole offices come from one.
    pub connections_per_address_max: usize,
    /// How long a session may take from its opening to its first request, in milliseconds. Default 10,000.
    pub unproven_ms_max: u64,
    /// The longest body of a request, in bytes. Default 1 MiB, a little more than clients send.
    pub body_bytes_max: usize,
    /// How long a request's head, and its body, may take to come, in milliseconds. Default 30,000.
    pub request_ms_max: u64,
    /// What bounds each session. Default: 4 MiB each way.
    pub session: session::Config,
    /// Whom to ask about this relay, for its page. Default: nobody is named.
    pub contact: String,
}

impl Default for Config {
    fn default() -> Self {
        let session = session::Config { pool_bytes: 4 << 20, window_bytes_max: 4 << 20, ..session::Config::default() };
        Self {
            access: Access::Open,
            sessions_max: 4_096,
            connections_max: 16_384,
            connections_per_address_max: 512,
            unproven_ms_max: 10_000,
            body_bytes_max: 1 << 20,
            request_ms_max: 30_000,
            session,
            contact: String::new(),
        }
    }
}

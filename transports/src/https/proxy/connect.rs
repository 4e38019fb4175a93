//! CONNECT: asks a proxy for a way to a host, and tells it who asks if it wants to know.

use hyper::StatusCode;
use thiserror::Error;

use super::super::line::{Line, Reach};
use super::super::tls::TlsError;
use super::auth::{Verdict, Wallet, schemes};
use super::head::{Asking, HeadError};
use super::url::Proxy;
use crate::DialError;

/// Why a proxy gives no way through. Ours first, then the network, then the proxy.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// It wants to know who asks, and nothing was given to tell it.
    #[error(
        "the proxy {proxy} asks for a name and a password ({schemes}): give them as in http://user:password@host:port"
    )]
    AsksWho {
        /// The proxy.
        proxy: String,
        /// How it would be told.
        schemes: String,
    },
    /// It refuses the name and the password; they are not shown to it again.
    #[error(
        "the proxy {proxy} refuses the name and the password it was given; they are not tried again, lest the account be locked"
    )]
    CredentialsRefused {
        /// The proxy.
        proxy: String,
    },
    /// It wants to know in a way that is not known here.
    #[error("the proxy {proxy} asks who we are by {schemes}; Basic and Digest are spoken here")]
    SchemeUnknown {
        /// The proxy.
        proxy: String,
        /// How it would be told.
        schemes: String,
    },
    /// It could not be reached.
    #[error("the proxy {proxy} cannot be reached: {source}")]
    Unreachable {
        /// The proxy.
        proxy: String,
        /// Why.
        source: Box<DialError>,
    },
    /// It could not be reached by TLS.
    #[error("the proxy {proxy} cannot be reached securely: {source}")]
    Tls {
        /// The proxy.
        proxy: String,
        /// Why.
        source: Box<TlsError>,
    },
    /// It hung up, or answered something that is not HTTP.
    #[error("the proxy {proxy} gave no proper answer: {source}")]
    Garbled {
        /// The proxy.
        proxy: String,
        /// What was wrong.
        source: HeadError,
    },
    /// It refuses.
    #[error("the proxy {proxy} does not connect to {to}: it answered {status}")]
    Refused {
        /// The proxy.
        proxy: String,
        /// The host and port that were asked for.
        to: String,
        /// Its answer.
        status: StatusCode,
    },
}

/// Asks the proxy for a way to `to`, `host:port`: once, once more if it wants to know who asks, and once again if what
/// it had asked earlier has grown old.
pub(in super::super) async fn tunnel(
    reach: &Reach,
    proxy: &Proxy,
    wallet: &Wallet,
    to: &str,
) -> Result<Line, ProxyError> {
    let name = || proxy.to_string();
    if wallet.is_refused() {
        return Err(ProxyError::CredentialsRefused { proxy: name() });
    }
    let mut kept = None;
    for _ in 0..ATTEMPTS_MAX {
        let mut asking = match kept.take() {
            Some(asking) => asking,
            None => Asking::new(reach.proxy(proxy).await?),
        };
        let answer = proxy.credentials.as_ref().and_then(|who| wallet.answer(who, "CONNECT", to));
        let garbled = |source| ProxyError::Garbled { proxy: name(), source };
        let head = asking.ask(&request(to, answer.as_deref())).await.map_err(garbled)?;
        if head.status.is_success() {
            wallet.let_through();
            return Ok(asking.into_line());
        }
        // tinyproxy's word for a wrong password.
        if head.status == StatusCode::UNAUTHORIZED && answer.is_some() {
            wallet.refuse();
            return Err(ProxyError::CredentialsRefused { proxy: name() });
        }
        if head.status != StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            return Err(ProxyError::Refused { proxy: name(), to: to.to_owned(), status: head.status });
        }
        if proxy.credentials.is_none() {
            return Err(ProxyError::AsksWho { proxy: name(), schemes: schemes(head.challenges()) });
        }
        match wallet.note(head.challenges(), answer.is_some()) {
            Verdict::Answer if asking.skip_page(&head).await => kept = Some(asking),
            Verdict::Answer => {}
            Verdict::Refused => return Err(ProxyError::CredentialsRefused { proxy: name() }),
            Verdict::Unknown => {
                return Err(ProxyError::SchemeUnknown { proxy: name(), schemes: schemes(head.challenges()) });
            }
        }
    }
    Err(ProxyError::CredentialsRefused { proxy: name() })
}

/// Returns the request; hosts were checked when they were read, so nothing in it can end a line.
fn request(to: &str, answer: Option<&str>) -> String {
    let answer = answer.map_or(String::new(), |answer| format!("Proxy-Authorization: {answer}\r\n"));
    format!(
        "CONNECT {to} HTTP/1.1\r\nHost: {to}\r\nUser-Agent: {AGENT}\r\nProxy-Connection: Keep-Alive\r\n{answer}\r\n"
    )
}

/// What we call ourselves.
pub(in super::super) const AGENT: &str = concat!("anypath/", env!("CARGO_PKG_VERSION"));
/// Unasked, asked, and asked again for what has grown old.
const ATTEMPTS_MAX: u32 = 3;

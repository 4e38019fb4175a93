//! HTTP proxies: which one a relay is reached through, and the way through it.

mod auth;
mod challenge;
mod connect;
mod digest;
mod head;
mod no_proxy;
mod rules;
mod url;

pub(super) use self::auth::Wallet;
pub use self::connect::ProxyError;
pub(super) use self::connect::{AGENT, tunnel};
pub use self::head::HeadError;
pub use self::rules::Proxies;
pub use self::url::{InvalidProxy, Proxy};

//! HTTPS: byte streams through whatever lets requests pass.
//!
//! [`Dialer`] reaches a relay, directly or through a proxy; [`session`] makes streams of requests that may be lost.

mod dialer;
mod line;
mod proxy;
pub mod session;
mod tls;

pub use self::dialer::{Dialer, DialerConfig, Dialled, ReachError};
pub use self::line::{Line, Stream};
pub use self::proxy::{HeadError, InvalidProxy, Proxies, Proxy, ProxyError};
pub use self::tls::{Judgement, Seen, TlsConfig, TlsError, TlsSetupError, read_roots};

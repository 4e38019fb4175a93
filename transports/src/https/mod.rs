//! HTTPS: byte streams through whatever lets requests pass.
//!
//! [`Dialer`] reaches a relay, directly or through a proxy; [`session`] makes streams of requests that may be lost;
//! [`Https`] is the transport over both: strict long-poll at once, better ([`Rungs`]) as soon as it is proven.

mod descriptor;
mod dialer;
mod duplex;
pub mod echo;
mod line;
mod link;
mod pipe;
mod posts;
mod presence;
mod proxy;
mod rungs;
pub mod session;
mod sockets;
mod survey;
mod target;
mod tls;
mod transport;

pub use self::descriptor::{Admits, DESCRIPTOR_BYTES_MAX, DESCRIPTOR_PATH, Descriptor, TAGS_MAX};
pub use self::dialer::{Dialer, DialerConfig, Dialled, ReachError};
pub use self::line::{Line, Stream};
pub use self::link::Notebook;
pub use self::proxy::{HeadError, InvalidProxy, Proxies, Proxy, ProxyError};
pub use self::rungs::{InvalidRungs, Rung, Rungs};
pub use self::survey::Surveyor;
pub use self::target::{Target, reason};
pub use self::tls::{Judgement, Seen, TlsConfig, TlsError, TlsSetupError, key_hash, read_roots};
pub use self::transport::{Https, HttpsConfig, RelayError};

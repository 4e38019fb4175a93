//! Byte streams between two peers: memory and TCP.
//!
//! The only room that opens peers' sockets. What travels in the streams, and whether it is private, is no concern
//! of this room; nor is choosing between transports or trying again.

mod conn;
mod error;
mod memory;
mod tcp;
mod transport;

pub use conn::{Conn, Reader, Writer, close};
pub use error::{AcceptError, DialError, ListenError};
pub use memory::Memory;
pub use tcp::{Tcp, TcpConfig};
pub use transport::{BoxFuture, Listener, Transport};

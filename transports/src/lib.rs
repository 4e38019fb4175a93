//! Byte streams between two peers: memory, TCP, QUIC, and HTTPS by way of a relay; and UDP sockets.
//!
//! The only room that opens peers' sockets. What travels in the streams, and whether it is private, is no concern
//! of this room; nor is choosing between transports or trying again.
//!
//! ```
//! use anypath_transports::{Memory, Transport};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let network = Memory::new();
//! let mut listener = network.listen(&"memory://here:1".parse()?).await?;
//! let mut dialled = network.dial(&listener.address()).await?;
//! let mut accepted = listener.accept().await?;
//!
//! dialled.writer.write_all(b"hello").await?;
//! let mut hello = [0; 5];
//! accepted.reader.read_exact(&mut hello).await?;
//! assert_eq!(&hello, b"hello");
//! # Ok(())
//! # }
//! ```

mod bind;
mod conn;
mod error;
pub mod https;
mod memory;
mod outward;
mod quic;
mod reach;
mod tcp;
mod transport;
mod udp;

pub use conn::{Conn, Reader, Writer, close};
pub use error::{AcceptError, DialError, ListenError};
pub use memory::Memory;
pub use outward::outward;
pub use quic::{Congestion, Quic, QuicConfig};
pub use tcp::{Tcp, TcpConfig};
pub use transport::{BoxFuture, Listener, Transport};
pub use udp::Udp;

//! A byte stream to one peer, and how to end it without losing what is under way.

use std::fmt;
use std::io;
use std::time::Duration;

use anypath_wire::{Address, Role};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::timeout;

/// The half that receives.
pub type Reader = Box<dyn AsyncRead + Send + Unpin>;
/// The half that sends. Shutting it down, or dropping it, tells the peer that nothing more comes.
pub type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// A byte stream to one peer, in two halves that may live in two tasks.
pub struct Conn {
    /// Which end this is: who dialled is the initiator.
    pub role: Role,
    /// The peer's end. Of a peer that dialled, an address to show, not one to dial.
    pub remote: Address,
    /// Our end.
    pub local: Address,
    /// The [`name`](crate::Transport::name) of the transport that carries it.
    pub transport: &'static str,
    /// Names what carries it from then on, where that may change as it runs.
    pub moves: Option<watch::Receiver<&'static str>>,
    /// The half that receives.
    pub reader: Reader,
    /// The half that sends.
    pub writer: Writer,
}

impl fmt::Debug for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { role, remote, local, .. } = self;
        write!(f, "Conn({role:?}, {local} to {remote})")
    }
}

/// Ends a stream so that the peer still receives all that was written: flushes, says that nothing more comes, then
/// reads and discards until the peer says the same.
///
/// Without the reading, closing a TCP socket with unread bytes in it resets the connection and the peer may lose the
/// end of what was sent to it. A peer that does not end is left after 2 s or 16 MiB.
pub async fn close(reader: &mut Reader, writer: &mut Writer) -> io::Result<()> {
    let ending = async {
        writer.shutdown().await?;
        tokio::io::copy(&mut reader.take(DRAIN_BYTES_MAX), &mut tokio::io::sink()).await.map(drop)
    };
    timeout(DRAIN_TIME_MAX, ending).await.unwrap_or(Ok(()))
}

/// How much is read from a peer that keeps sending after we ended, in bytes: more than both ends' socket buffers hold.
const DRAIN_BYTES_MAX: u64 = 16 << 20;
/// How long a peer may take to end after we did: a few round trips of the slowest path.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(2);

//! The half of a stream that sends, and stays until the peer has all of it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use quinn::SendStream;
use tokio::io::AsyncWrite;
use tokio::runtime::Handle;
use tokio::time::timeout;

/// Sends; dropped, it ends the stream, and holds the connection until what was written has arrived. A connection of which
/// nobody holds anything is closed at once, with all that is under way.
pub(super) struct Sending {
    /// There until it is dropped.
    stream: Option<SendStream>,
    ended: bool,
    runtime: Handle,
}

impl Sending {
    /// Takes the stream, within a runtime.
    pub(super) fn new(stream: SendStream) -> Self {
        Self { stream: Some(stream), ended: false, runtime: Handle::current() }
    }

    fn stream(&mut self) -> io::Result<&mut SendStream> {
        self.stream.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn end(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.ended, true) {
            return Ok(());
        }
        self.stream()?.finish().map_err(io::Error::from)
    }
}

impl AsyncWrite for Sending {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.stream() {
            Ok(stream) => Pin::new(stream).poll_write(cx, bytes).map_err(io::Error::from),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.end())
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        // One that the peer does not want any more has nothing to wait for.
        let ending = self.end();
        let Some(stream) = self.stream.take().filter(|_| ending.is_ok()) else { return };
        self.runtime.spawn(async move {
            // Whether it arrived or not: nobody is there to be told.
            drop(timeout(LINGER_TIME_MAX, stream.stopped()).await);
        });
    }
}

/// How long a peer may take to acknowledge the end: some retransmissions over the slowest path.
const LINGER_TIME_MAX: Duration = Duration::from_secs(10);

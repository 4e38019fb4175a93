//! The seam: what every way of reaching a peer can do.

use std::pin::Pin;

use anypath_wire::{Address, ListenAt};
use tokio::io::AsyncWriteExt;

use crate::{AcceptError, Conn, DialError, ListenError};

/// A future behind a pointer, so that the traits here can be used as `dyn`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A way to reach peers. Dropping a future it returned gives up what that future began.
pub trait Transport: Send + Sync {
    /// Returns the word for it in the configuration's ladder and in addresses: `memory`, `tcp`.
    fn name(&self) -> &'static str;

    /// Returns whether [`dial`](Self::dial) knows what to do with this address.
    fn speaks(&self, to: &Address) -> bool;

    /// Opens a byte stream to the peer that listens there; this end is the initiator.
    fn dial<'a>(&'a self, to: &'a Address) -> BoxFuture<'a, Result<Conn, DialError>>;

    /// Does the same, and sends bytes on the stream. A transport that can sends them along with what opens the stream, and
    /// so spares a round trip.
    fn dial_saying<'a>(&'a self, to: &'a Address, first: &'a [u8]) -> BoxFuture<'a, Result<Conn, DialError>> {
        Box::pin(async move {
            let mut conn = self.dial(to).await?;
            let written = conn.writer.write_all(first).await;
            written.map_err(|source| DialError::Io { to: to.clone(), source })?;
            Ok(conn)
        })
    }

    /// Begins to accept byte streams there, until the listener is dropped.
    fn listen<'a>(&'a self, at: &'a ListenAt) -> BoxFuture<'a, Result<Box<dyn Listener>, ListenError>>;
}

/// A place where peers can dial us.
pub trait Listener: Send {
    /// Returns the address it is bound to, with the port that was taken.
    fn address(&self) -> Address;

    /// Waits for the next peer; this end is the responder. Dropping the future loses no peer.
    ///
    /// An error is final: nothing more will be accepted here. What may pass (no descriptor left, a peer that hung up
    /// while it queued) is waited out inside.
    fn accept(&mut self) -> BoxFuture<'_, Result<Conn, AcceptError>>;
}

//! What a service is told from outside: to end, or to read its files again.

use std::io;

/// What is wished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// End.
    End,
    /// Read files again.
    Reload,
}

/// Hears signals in place of [`Interrupt`](crate::Interrupt): to a service SIGHUP means something else.
#[cfg(unix)]
pub(crate) struct Signals {
    end: [tokio::signal::unix::Signal; 2],
    reload: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    /// Listens for SIGINT and SIGTERM, which end, and SIGHUP, which reloads.
    pub(crate) fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let end = [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?];
        Ok(Self { end, reload: signal(SignalKind::hangup())? })
    }

    /// Returns the next wish.
    pub(crate) async fn next(&mut self) -> Wish {
        let [interrupt, terminate] = &mut self.end;
        tokio::select! {
            _ = interrupt.recv() => Wish::End,
            _ = terminate.recv() => Wish::End,
            _ = self.reload.recv() => Wish::Reload,
        }
    }
}

/// Hears Ctrl-C; where this runs, there is no other signal.
#[cfg(not(unix))]
pub(crate) struct Signals;

#[cfg(not(unix))]
impl Signals {
    /// Listens.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self)
    }

    /// Returns the next wish.
    pub(crate) async fn next(&mut self) -> Wish {
        // If it cannot be heard, nothing is wished.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        Wish::End
    }
}

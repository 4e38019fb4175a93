//! What carries a session: streams both ways are tried, used, and followed by others when they die.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Came, Task};
use crate::https::link::LinkError;
use crate::https::rungs::Rung;
use crate::https::session::{CarrierId, Failure};
use crate::https::sockets::Both;

impl Task {
    /// Notes what carries the session now; only once something does, it is there.
    pub(super) fn note_carrier(&mut self) {
        let rung = self.rung();
        self.carried.send_if_modified(|carried| std::mem::replace(carried, rung.name()) != rung.name());
        let is_carried = self.rungs.allow_requests() || self.client.is_on_stream();
        if let Some(opening) = self.opening.take_if(|_| is_carried)
            && let Some(opened) = self.opened.take()
        {
            opened.send(Ok(opening)).ok();
        }
    }

    fn rung(&self) -> Rung {
        let streams = self.client.learnt().streams_down == Some(true);
        match &self.both {
            Some((_, rung, _)) if self.client.is_on_stream() => *rung,
            _ if streams => Rung::Stream,
            _ => Rung::Poll,
        }
    }

    /// Lets go of the stream both ways if it is that carrier: whether it carried anything decides what is tried next.
    pub(super) fn end_both(&mut self, carrier: CarrierId) {
        if self.both.take_if(|(used, ..)| *used == carrier).is_some() {
            let was_proven = self.client.is_on_stream();
            if was_proven {
                self.attempts.end();
            } else if !self.attempts.fail() && !self.rungs.allow_requests() {
                self.give_up();
            }
        }
    }

    /// Ends the session, which nothing that may carry it carries.
    pub(super) fn give_up(&mut self) {
        if let Some(opened) = self.opened.take() {
            opened.send(Err(LinkError::NotCarried)).ok();
        }
        self.leave();
    }

    /// Returns when a stream both ways is tried next, unless what is better carries the session, or may yet be found to do so.
    pub(super) fn both_due(&self) -> Option<Instant> {
        let next = self.attempts.next()?;
        self.client.stream_path()?;
        let is_open = self.client.learnt().streams_down.is_none();
        let better = if is_open && self.rungs.prefer(Rung::Stream, Rung::Poll) { Rung::Stream } else { self.rung() };
        self.attempts.due.filter(|_| self.rungs.prefer(next, better))
    }

    pub(super) fn try_both(&mut self) {
        let Some(path) = self.client.stream_path() else { return };
        if self.both_due().is_none_or(|due| Instant::now() < due) {
            return;
        }
        let Some(kind) = self.attempts.next() else { return };
        self.attempts.begin();
        let (posts, came) = (Arc::clone(&self.posts), self.came.clone());
        self.running.spawn(async move {
            let both = match kind {
                Rung::Duplex => {
                    posts.duplex(&path).await.map(|it| Both::Duplex(Box::new(it))).map_err(|it| it.to_string())
                }
                _ => posts.socket(&path).await.map(|it| Both::Socket(Box::new(it))).map_err(|it| it.to_string()),
            };
            let both = both.inspect_err(|error| tracing::debug!(error, "the session stays on requests")).ok();
            drop(came.send((NO_CARRIER, Came::Both(both))).await);
        });
    }

    pub(super) fn use_both(&mut self, both: Both) {
        let now = self.now();
        let (writes, written) = mpsc::unbounded_channel();
        let Some(carrier) = self.client.handle_stream(now) else { return };
        self.both = Some((carrier, both.rung(), writes));
        let came = self.came.clone();
        let run = async move {
            both.run(written, carrier, &came).await;
            drop(came.send((carrier, Came::Failure(Failure::Broken))).await);
        };
        self.requests.insert(carrier, self.running.spawn(run));
    }
}

/// Stands where no carrier is meant; the session never counts so far.
const NO_CARRIER: CarrierId = CarrierId(u64::MAX);

//! Keeps listening and keeps connected: accepts who comes, dials again who was lost.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anypath_replicate::noise::XxHandshake;
use anypath_replicate::replicator::PeerId;
use anypath_transports::{Conn, Listener};
use anypath_wire::{Address, PublicKey, Role};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{Instrument, debug, info_span};

use crate::connection::{ConnectionError, begin, shake};
use crate::event::{Event, PeerInfo, Unreachable};
use crate::node::Shared;

/// Ends all that subscribed to it.
#[derive(Debug, Default)]
pub(crate) struct Cut(watch::Sender<bool>);

impl Cut {
    /// Returns what tells of the end.
    pub(crate) fn subscribe(&self) -> watch::Receiver<bool> {
        self.0.subscribe()
    }

    /// Tells of the end.
    pub(crate) fn begin(&self) {
        self.0.send_replace(true);
    }

    /// Tells of the end, and waits until all have ended.
    pub(crate) async fn now(self) {
        self.begin();
        self.0.closed().await;
    }
}

/// How long an address is dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Persistence {
    /// For as long as the node runs: somebody named it.
    Always,
    /// Until it fails this often in a row, or leads to ourselves or to a peer that is connected already: somebody found it.
    Tries(u32),
}

/// The peers that are connected, by how many connections each has.
#[derive(Debug, Default)]
pub(crate) struct Present(Mutex<BTreeMap<PublicKey, usize>>);

/// One connection of a peer that is present.
struct Presence<'a>(&'a Present, PublicKey);

impl Present {
    /// Counts a connection; `None` if it shall be the peer's only one and is not.
    fn enter(&self, key: PublicKey, alone: bool) -> Option<Presence<'_>> {
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let connections = peers.entry(key).or_default();
        if alone && *connections > 0 {
            return None;
        }
        *connections += 1;
        Some(Presence(self, key))
    }
}

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        let mut peers = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connections) = peers.get_mut(&self.1) {
            *connections -= 1;
            if *connections == 0 {
                peers.remove(&self.1);
            }
        }
    }
}

/// Accepts connections until the listener fails or the node stops.
pub(crate) async fn accept(node: Arc<Shared>, mut listener: Box<dyn Listener>) {
    // Waiting for a place before accepting leaves further peers in the system's queue.
    while let Ok(place) = node.connections.clone().acquire_owned().await {
        let conn = match listener.accept().await {
            Ok(conn) => conn,
            Err(error) => {
                tracing::error!(address = %listener.address(), %error, "no longer listening");
                return;
            }
        };
        let node = node.clone();
        let cut = node.cut();
        tokio::spawn(async move {
            let ran =
                async { run(&node, conn, begin(Role::Responder, &node.identity)?, Instant::now(), cut, false).await };
            if let Err(error) = ran.await {
                debug!(%error, "an incoming connection ended");
            }
            drop(place);
        });
    }
}

/// Dials an address, and again whenever the connection is lost or does not come about, until it is cut.
pub(crate) async fn keep_connected(
    node: Arc<Shared>,
    address: Address,
    persistence: Persistence,
    mut cut: watch::Receiver<bool>,
) {
    let mut failures = 0;
    let alone = persistence != Persistence::Always;
    while let Ok(place) = node.connections.clone().acquire_owned().await {
        let started = Instant::now();
        let outcome = dial(&node, &address, started, cut.clone(), alone).await;
        failures = if started.elapsed() >= PROVEN_AFTER { 0 } else { failures + 1 };
        let is_known = |error: &Unreachable| {
            matches!(error, Unreachable::Connection(ConnectionError::Ourselves | ConnectionError::Present))
        };
        if alone && outcome.as_ref().is_err_and(is_known) {
            return;
        }
        if let Err(error) = outcome {
            debug!(%address, %error, "a dialled connection ended");
            drop(node.engine.events.send(Event::Unreachable { address: address.clone(), error: Arc::new(error) }));
        }
        drop(place);
        let gives_up = matches!(persistence, Persistence::Tries(tries) if failures >= tries);
        if gives_up || node.engine.has_stopped() || *cut.borrow() {
            return;
        }
        tokio::select! {
            () = sleep(RETRY_MIN.saturating_mul(1 << failures.min(RETRY_DOUBLINGS_MAX))) => {}
            _ = cut.changed() => return,
        }
    }
}

async fn dial(
    node: &Arc<Shared>,
    address: &Address,
    started: Instant,
    mut cut: watch::Receiver<bool>,
    alone: bool,
) -> Result<(), Unreachable> {
    let transport = node.transports.iter().find(|transport| transport.speaks(address));
    let transport = transport.ok_or_else(|| Unreachable::NoTransport(address.clone()))?;
    let mut noise = begin(Role::Initiator, &node.identity)?;
    let first = noise.poll_frame().unwrap_or_default();
    let conn = tokio::select! {
        conn = transport.dial_saying(address, &first) => conn?,
        _ = cut.changed() => return Ok(()),
    };
    // What was dialled says more than the address it led to.
    run(node, Conn { remote: address.clone(), ..conn }, noise, started, cut, alone).await?;
    Ok(())
}

/// Runs one connection from handshake to end, telling the subscribers; if it shall be `alone`, only where it is the peer's
/// first. Of two peers that dial each other at once, at most one ends its own: whoever dials is done with the handshake
/// before the other.
async fn run(
    node: &Arc<Shared>,
    conn: Conn,
    noise: XxHandshake,
    started: Instant,
    mut cut: watch::Receiver<bool>,
    alone: bool,
) -> Result<(), ConnectionError> {
    let _counted = node.running.clone();
    let (transport, moves, address) = (conn.transport, conn.moves.clone(), conn.remote.clone());
    let incoming = conn.role == Role::Responder;
    let span = info_span!("connection", transport, %address, incoming);
    async {
        let shaken = tokio::select! {
            shaken = shake(conn, noise, &node.identity) => shaken?,
            _ = cut.changed() => return Ok(()),
        };
        let key = shaken.handshake.remote;
        let _presence = node.present.enter(key, alone).ok_or(ConnectionError::Present)?;
        let registered = shaken.register(&node.engine).await?;
        let peer = registered.peer;
        let info = PeerInfo { peer, key, transport, address: address.clone(), took: started.elapsed() };
        tracing::info!(%key, "connected");
        drop(node.engine.events.send(Event::Connected(Arc::new(info))));
        let outcome = tokio::select! {
            outcome = registered.run(cut) => outcome.map_err(Arc::new),
            () = tell_moves(node, peer, transport, moves) => Ok(()),
        };
        tracing::info!(%key, error = outcome.as_ref().err().map(tracing::field::display), "disconnected");
        drop(node.engine.events.send(Event::Disconnected { peer, error: outcome.err() }));
        Ok(())
    }
    .instrument(span)
    .await
}

/// Tells what carries a peer each time that it changes; never returns.
async fn tell_moves(node: &Shared, peer: PeerId, mut from: &'static str, moves: Option<watch::Receiver<&'static str>>) {
    if let Some(mut moves) = moves {
        loop {
            let to = *moves.borrow_and_update();
            if to != from {
                drop(node.engine.events.send(Event::Moved { peer, from, to }));
                from = to;
            }
            if moves.changed().await.is_err() {
                break;
            }
        }
    }
    std::future::pending().await
}

/// First pause before an address is dialled again; doubles with each failure.
const RETRY_MIN: Duration = Duration::from_millis(250);
/// How often the pause doubles: to 16 s.
const RETRY_DOUBLINGS_MAX: u32 = 6;
/// A connection that lasted this long was a good one.
const PROVEN_AFTER: Duration = Duration::from_secs(15);

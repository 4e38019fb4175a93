//! What one source does for one topic, again and again: announces it, asks who else did, and takes it back at the end.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anypath_dht::{Announcement, Ask, Event, Outcome};
use anypath_wire::{Address, Hash, KeyPair, PublicKey};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::source::{ANNOUNCE_INTERVAL, Source, SourceError, outcome};
use super::{SourceKind, Status};
use crate::finder::FinderEnded;

/// A topic, and who is to be told.
#[derive(Debug, Clone)]
pub(super) struct Errand {
    pub(super) topic: Hash,
    pub(super) identity: KeyPair,
    /// Where this node takes connections; if nowhere, it has nothing to announce.
    pub(super) listens: Vec<Address>,
    pub(super) heard: mpsc::Sender<Heard>,
}

/// What an errand brings.
#[derive(Debug)]
pub(super) enum Heard {
    Failed(SourceKind, Arc<SourceError>),
    Status(SourceKind, Hash, Status),
    Found(SourceKind, Hash, Address),
}

/// What a round took.
struct Round {
    outcome: Outcome,
    announced: bool,
}

impl Errand {
    /// Goes on with a source until it is told to leave.
    pub(super) async fn run(self, source: Arc<Source>, leave: watch::Receiver<bool>) {
        let Self { mut listens, .. } = self;
        if !source.is_local() {
            // Of no use to anybody there.
            listens.retain(|address| !address.host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback()));
        }
        Going { errand: Self { listens, ..self }, source }.run(leave).await;
    }
}

/// An errand with its source.
#[derive(Debug, Clone)]
struct Going {
    errand: Errand,
    source: Arc<Source>,
}

impl Going {
    async fn run(self, mut leave: watch::Receiver<bool>) {
        let (mut pause, mut announced): (Duration, Option<(Instant, usize)>) = (PAUSE_MIN, None);
        while !*leave.borrow() {
            let due =
                !self.errand.listens.is_empty() && announced.is_none_or(|(at, _)| at.elapsed() >= ANNOUNCE_INTERVAL);
            let round = tokio::select! {
                round = self.round(due) => round,
                // What is being announced is announced to the end, or it could not be taken back.
                _ = leave.changed(), if !due => break,
            };
            let Ok(Round { outcome, announced: is_announced }) = round else {
                self.tell(Status::Ended).await;
                return;
            };
            if is_announced {
                announced = Some((Instant::now(), outcome.stored));
            }
            // On the same network there may be nobody else, and who comes later asks.
            let is_alone = outcome.answers == 0 && self.source.kind() != SourceKind::Lan;
            self.tell(match (outcome.answers, announced) {
                (_, Some((_, nodes))) if !is_alone => Status::Announced { nodes },
                (0, _) => Status::Unanswered,
                (_, Some((_, nodes))) => Status::Announced { nodes },
                (nodes, None) => Status::Asked { nodes },
            })
            .await;
            tokio::select! {
                () = sleep(pause) => {}
                _ = leave.changed() => {}
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
        if announced.is_some() {
            self.forget().await;
        }
    }

    /// Asks who announced the topic, and announces it on the way.
    async fn round(&self, announce: bool) -> Result<Round, FinderEnded> {
        let ask = if announce {
            self.source.record(&self.errand.identity, &self.errand.listens).await?;
            let port = self.errand.listens.first().map(|address| address.port);
            Ask::Announce(Announcement { port, ..Announcement::new(self.errand.topic, self.errand.identity.clone()) })
        } else {
            Ask::Lookup { topic: self.errand.topic }
        };
        let (mut keys, mut resolving) = (BTreeSet::from([self.errand.identity.public()]), JoinSet::new());
        let mut answers = self.source.ask(ask).await?;
        let outcome = loop {
            match answers.recv().await.ok_or(FinderEnded)? {
                Event::Address { address, .. } => self.found(tcp(address)).await,
                Event::Peer { key, .. } if keys.len() <= KEYS_MAX && keys.insert(key) => {
                    resolving.spawn(self.clone().resolve(key));
                }
                Event::Done { outcome, .. } => break outcome,
                _ => {}
            }
        };
        while resolving.join_next().await.is_some() {}
        Ok(Round { outcome, announced: announce && outcome.stored > 0 })
    }

    /// Finds where a peer takes connections.
    async fn resolve(self, key: PublicKey) {
        for address in self.source.addresses(key).await.unwrap_or_default() {
            self.found(address).await;
        }
    }

    /// Takes the announcement back. Where that is not possible, it ends by being old.
    async fn forget(&self) {
        let ask = Ask::Unannounce { topic: self.errand.topic, key_pair: self.errand.identity.clone() };
        let forgotten = async { outcome(&mut self.source.ask(ask).await?).await };
        if let Ok(Ok(Outcome { stored: nodes, .. })) = timeout(FORGET_TIME_MAX, forgotten).await {
            self.tell(Status::Forgotten { nodes }).await;
        }
    }

    async fn found(&self, address: Address) {
        if !self.errand.listens.contains(&address) && is_dialled(&address, self.source.is_local()) {
            drop(self.errand.heard.send(Heard::Found(self.source.kind(), self.errand.topic, address)).await);
        }
    }

    async fn tell(&self, status: Status) {
        drop(self.errand.heard.send(Heard::Status(self.source.kind(), self.errand.topic, status)).await);
    }
}

fn tcp(at: SocketAddr) -> Address {
    Address { scheme: TCP.to_owned(), host: at.ip().to_string(), port: at.port(), key: None }
}

/// Returns whether an address that a stranger named is dialled: by TCP, one that could be a peer's, and this machine's own
/// only if the source lies on this machine.
fn is_dialled(address: &Address, is_local: bool) -> bool {
    let Ok(ip) = address.host.parse::<IpAddr>() else { return false };
    let is_somewhere = match ip {
        IpAddr::V4(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast(),
        IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast(),
    };
    address.scheme == TCP && address.port != 0 && is_somewhere && (is_local || !ip.is_loopback())
}

const TCP: &str = "tcp";
/// The first pause between two questions about one topic; it doubles,
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// up to this: whoever comes later finds us, if we are announced.
const PAUSE_MAX: Duration = Duration::from_secs(256);
/// How long taking an announcement back may take.
const FORGET_TIME_MAX: Duration = Duration::from_secs(5);
/// Peers whose addresses are asked for in one round.
const KEYS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_do_not_make_us_dial_anything() {
        let dialled = |text: &str, local| is_dialled(&text.parse().unwrap(), local);
        assert!(dialled("tcp://192.0.2.7:1", false) && dialled("tcp://[2001:db8::1]:1", false));
        for never in
            ["tcp://0.0.0.0:1", "tcp://224.0.0.1:1", "tcp://192.0.2.7:0", "https://192.0.2.7:1", "tcp://name:1"]
        {
            assert!(!dialled(never, true), "{never}");
        }
        assert!(!dialled("tcp://127.0.0.1:22", false) && dialled("tcp://127.0.0.1:22", true));
    }
}

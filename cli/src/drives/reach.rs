//! Which peers were reached, which were not, and why: what a person is told when nobody has the data.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anypath_replicate::replicator::{self, PeerId};
use anypath_swarm::{Event, PeerInfo};
use anypath_wire::Address;

use crate::{Failure, NOBODY, Rung};

/// What became of every way to a peer so far. Clones share one memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reach(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    peers: BTreeMap<PeerId, Arc<PeerInfo>>,
    sharing: BTreeSet<PeerId>,
    absent: BTreeSet<PeerId>,
    /// Addresses that were dialled, and what came of it if it was no peer.
    dialled: BTreeMap<Address, Option<String>>,
    carried: Option<&'static str>,
    /// What came of looking for peers, by source.
    sources: BTreeMap<&'static str, String>,
}

impl Reach {
    /// Takes note of addresses that are dialled from now on.
    pub(crate) fn dialling(&self, addresses: &BTreeSet<Address>) {
        self.state().dialled.extend(addresses.iter().map(|address| (address.clone(), None)));
    }

    /// Takes note of how a source of peers fares.
    pub(crate) fn looking(&self, source: &'static str, fares: String) {
        self.state().sources.insert(source, fares);
    }

    /// Takes note of an event.
    pub(crate) fn note(&self, event: &Event) {
        let mut state = self.state();
        match event {
            Event::Connected(info) => {
                state.dialled.get_mut(&info.address).into_iter().for_each(|reason| *reason = None);
                state.peers.insert(info.peer, info.clone());
            }
            Event::Disconnected { peer, .. } => {
                state.peers.remove(peer);
                state.sharing.remove(peer);
                state.absent.remove(peer);
            }
            Event::Moved { peer, to, .. } => {
                if state.sharing.contains(peer) {
                    state.carried = Some(to);
                }
                if let Some(info) = state.peers.get_mut(peer) {
                    Arc::make_mut(info).transport = to;
                }
            }
            Event::Unreachable { address, error } => {
                state.dialled.insert(address.clone(), Some(error.to_string()));
            }
            Event::Core(replicator::Event::Opened { peer, .. }) => {
                state.carried = state.peers.get(peer).map(|info| info.transport);
                state.sharing.insert(*peer);
                state.absent.remove(peer);
            }
            Event::Core(replicator::Event::Absent { peer, .. }) if !state.sharing.contains(peer) => {
                state.absent.insert(*peer);
            }
            _ => {}
        }
    }

    /// Returns who a connected peer is.
    pub(crate) fn peer(&self, peer: PeerId) -> Option<Arc<PeerInfo>> {
        self.state().peers.get(&peer).cloned()
    }

    /// Returns whether an address fails for another reason than it did before.
    pub(crate) fn is_news(&self, address: &Address, reason: &str) -> bool {
        self.state().dialled.get(address).is_none_or(|known| known.as_deref() != Some(reason))
    }

    /// Returns the transport of the peer that shared a core with us last.
    pub(crate) fn transport(&self) -> Option<&'static str> {
        self.state().carried
    }

    /// Returns from how many addresses nothing is to be expected: nobody is there, or a peer without the drive.
    pub(crate) fn answered_without(&self) -> usize {
        let state = self.state();
        state.dialled.values().flatten().count() + state.absent.len()
    }

    /// Returns why nobody gave us anything for that long.
    pub(crate) fn failure(&self, waited: Duration) -> Failure {
        let state = self.state();
        let seconds = waited.as_secs();
        let (connected, absent) = (state.peers.len(), state.absent.len());
        let message = if connected == 0 && state.dialled.is_empty() && !state.sources.is_empty() {
            format!("no peer was found within {seconds} s; does `anypath share` run there, with the same --discover?")
        } else if connected == 0 && state.dialled.is_empty() {
            format!(
                "no peer came within {seconds} s: name one with --via tcp://HOST:PORT, or let it be found with --discover"
            )
        } else if connected == 0 {
            format!("no peer was reached within {seconds} s; is `anypath share` still running there?")
        } else if absent == connected {
            format!("connected to {connected} peer(s), but none of them has this drive: check the link")
        } else {
            format!("connected to {connected} peer(s), but none sent anything new for {seconds} s")
        };
        let reached: BTreeSet<_> = state.peers.values().map(|info| &info.address).collect();
        let rungs =
            state.dialled.iter().filter(|(address, _)| !reached.contains(address)).map(|(address, reason)| Rung {
                transport: address.scheme.clone(),
                address: address.to_string(),
                reason: reason.clone().unwrap_or_else(|| format!("no answer within {seconds} s")),
            });
        let sources = state.sources.iter().map(|(source, fares)| Rung {
            transport: (*source).to_owned(),
            address: (*source).to_owned(),
            reason: fares.clone(),
        });
        Failure { code: NOBODY, message, rungs: rungs.chain(sources).collect() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

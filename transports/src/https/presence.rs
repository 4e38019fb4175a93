//! Being found at a relay: a session for each tag that our topics have there, held and opened again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anypath_wire::DiscoveryKey;
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::link::{Offer, Opened};
use super::target::Target;
use super::transport::{Carried, Place, RelayError, Shared, Tag, URGENT};

/// Our presence at a relay; it ends when it is dropped.
pub(super) struct Presence {
    offers: mpsc::Receiver<Offered>,
    _tasks: JoinSet<()>,
}

/// A circuit to us, and what carries it.
type Offered = (DuplexStream, Carried);

impl Presence {
    /// Registers our key at a relay, and announces our topics there, also those that come later.
    pub(super) async fn begin(shared: &Arc<Shared>, place: &Place) -> Result<Self, RelayError> {
        // Before there is a topic, some tag is as good as any.
        let first = shared.topics.borrow().first().copied().unwrap_or(DiscoveryKey([0; 32]));
        let (tag, opened) = shared.open_for(place, &first).await?;
        let registered = Registered::begin(shared, place, &tag, opened).await?;
        shared.note(place, |known| known.present = true);
        let (found, offers) = mpsc::channel(OFFERS_MAX);
        let presences = Presences { shared: Arc::clone(shared), place: place.clone(), found };
        let mut tasks = JoinSet::new();
        tasks.spawn(presences.keep(tag, registered));
        Ok(Self { offers, _tasks: tasks })
    }

    /// Returns the next circuit to us, and what carries it.
    pub(super) async fn next(&mut self) -> Offered {
        match self.offers.recv().await {
            Some(offered) => offered,
            // Its tasks end with it only.
            None => std::future::pending().await,
        }
    }
}

#[derive(Clone)]
struct Presences {
    shared: Arc<Shared>,
    place: Place,
    found: mpsc::Sender<Offered>,
}

impl Presences {
    /// Holds a session for each tag, from that one on.
    async fn keep(self, tag: Tag, registered: Registered) {
        let mut sessions = JoinSet::new();
        let mut held = BTreeSet::from([tag.clone()]);
        sessions.spawn(self.clone().hold(tag, Some(registered)));
        let mut topics = self.shared.topics.subscribe();
        loop {
            let now = topics.borrow_and_update().clone();
            for topic in now {
                let tag = self.shared.known(&self.place).tag(&topic);
                if held.insert(tag.clone()) {
                    sessions.spawn(self.clone().hold(tag, None));
                }
            }
            if topics.changed().await.is_err() {
                return;
            }
        }
    }

    /// Holds a session for a tag, and opens it again when it is over.
    async fn hold(self, tag: Tag, mut registered: Option<Registered>) {
        let mut failures = 0;
        loop {
            if let Some(here) = &mut registered {
                match here.next_offer(&self.shared, &self.place).await {
                    Some(Offer { target, stream }) if matches!(Target::decode(&target), Some(Target::From(_))) => {
                        if self.found.send((stream, here.opened.link.carried())).await.is_err() {
                            return;
                        }
                    }
                    Some(_) => {}
                    None => registered = None,
                }
                continue;
            }
            match Registered::open(&self.shared, &self.place, &tag).await {
                Ok(again) => (registered, failures) = (Some(again), 0),
                Err(error) => {
                    tracing::debug!(relay = self.place.0, %error, "not registered again yet");
                    let pause = RETRY_MIN * (1 << u32::min(failures, RETRY_DOUBLINGS_MAX));
                    failures += 1;
                    sleep(pause).await;
                }
            }
        }
    }
}

/// A session in which our key is registered.
struct Registered {
    opened: Opened,
    tag: Tag,
    topics: watch::Receiver<BTreeSet<DiscoveryKey>>,
    /// The circuits that announce topics, as long as they are held.
    held: BTreeMap<DiscoveryKey, DuplexStream>,
    /// The circuit that registers the key.
    _key: DuplexStream,
}

impl Registered {
    /// Opens a session, registers our key in it, and announces the topics with its tag.
    async fn open(shared: &Shared, place: &Place, tag: &Tag) -> Result<Self, RelayError> {
        let opened = shared.open(place, tag).await?;
        Self::begin(shared, place, tag, opened).await
    }

    /// Registers our key in a session, and announces the topics with its tag.
    async fn begin(shared: &Shared, place: &Place, tag: &Tag, opened: Opened) -> Result<Self, RelayError> {
        let target = Target::register(&shared.config.identity, &opened.hash);
        let key = opened.link.circuit(target.encode(), URGENT, &[]).await.map_err(|error| shared.refusal(error))?;
        let (tag, topics) = (tag.clone(), shared.topics.subscribe());
        let mut registered = Self { opened, tag, topics, held: BTreeMap::new(), _key: key };
        registered.announce(shared, place).await?;
        Ok(registered)
    }

    /// Announces the topics that are not announced yet; if it is given up, the next call goes on.
    async fn announce(&mut self, shared: &Shared, place: &Place) -> Result<(), RelayError> {
        let key = shared.config.identity.public();
        loop {
            let topics = self.topics.borrow_and_update().clone();
            let ours = |topic: &DiscoveryKey| shared.known(place).tag(topic) == self.tag;
            let Some(topic) = topics.into_iter().find(|topic| !self.held.contains_key(topic) && ours(topic)) else {
                return Ok(());
            };
            self.topics.mark_changed();
            let target = Target::Announce { key, topic }.encode();
            self.held.insert(topic, self.opened.link.circuit(target, URGENT, &[]).await?);
        }
    }

    /// Waits for a circuit; nothing if the session is over.
    async fn next_offer(&mut self, shared: &Shared, place: &Place) -> Option<Offer> {
        loop {
            tokio::select! {
                offer = self.opened.offered.recv() => return offer,
                () = self.opened.link.over() => return None,
                changed = self.topics.changed() => {
                    changed.ok()?;
                    self.announce(shared, place).await.ok()?;
                }
            }
        }
    }
}

/// How many circuits to us may wait to be taken.
const OFFERS_MAX: usize = 16;
/// The pause before registering again, doubled with each failure up to 16 s.
const RETRY_MIN: Duration = Duration::from_millis(250);
const RETRY_DOUBLINGS_MAX: u32 = 6;

//! HTTPS as a transport: peers meet at a relay, under the topics that they have in common.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anypath_wire::{Address, DiscoveryKey, KeyPair, ListenAt, PublicKey, Role};
use thiserror::Error;
use tokio::io::{AsyncReadExt, DuplexStream, split};
use tokio::sync::watch;
use tokio::time::sleep;

use super::dialer::{Dialer, ReachError};
use super::link::{Link, LinkError, Offer, Opened};
use super::posts::{PostError, Posts};
use super::session::Style;
use super::target::{Target, reason};
use crate::{AcceptError, BoxFuture, Conn, DialError, ListenError, Listener, Transport};

/// What may be set about HTTPS.
pub struct HttpsConfig {
    /// By which key peers find us at relays.
    pub identity: KeyPair,
    /// What relays want to see to let us in; empty if nothing.
    pub token: Vec<u8>,
    /// Whether WebSockets are tried beside requests.
    pub sockets: bool,
}

/// Dials and listens at relays: `https://host[:port][#key]`.
///
/// To listen is to register at the relay and to announce the topics given by [`meet`](Self::meet); to dial is to ask for
/// who announces one of them, and for a circuit to the first that grants it. The relay sees keys and topics and nothing
/// else. Without a key in the address, the relay is whoever TLS says; its key is then remembered.
#[derive(Clone)]
pub struct Https(Arc<Shared>);

struct Shared {
    dialer: Arc<Dialer>,
    config: HttpsConfig,
    topics: watch::Sender<BTreeSet<DiscoveryKey>>,
    relays: Mutex<BTreeMap<Place, Known>>,
}

type Place = (String, u16);

/// What is known of a relay.
#[derive(Clone, Default)]
struct Known {
    key: Option<PublicKey>,
    posts: Option<Arc<Posts>>,
    /// The session that is dialled by.
    link: Option<Link>,
}

/// Why a relay leads to nobody.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RelayError {
    /// It is not reached.
    #[error(transparent)]
    Reach(#[from] ReachError),
    /// Requests to it come to nothing.
    #[error("requests to the relay come to nothing: {0}")]
    Broken(String),
    /// What is there is no relay.
    #[error("what answers there is no anypath relay (a portal, a filter, or another site)")]
    NoRelay,
    /// It has another key than it should.
    #[error("the relay there has another key than the one that was named: {found}")]
    AnotherKey {
        /// The key that it has.
        found: PublicKey,
    },
    /// It did not open a session, or ended it.
    #[error("{0}")]
    Session(String),
    /// Nobody there has what is looked for.
    #[error("nobody who has it is at this relay now")]
    Nobody,
}

impl Https {
    /// Makes the transport; nothing is contacted yet.
    pub fn new(dialer: Dialer, config: HttpsConfig) -> Self {
        let (topics, _) = watch::channel(BTreeSet::new());
        Self(Arc::new(Shared { dialer: Arc::new(dialer), config, topics, relays: Mutex::default() }))
    }

    /// Meets others under a topic from now on.
    pub fn meet(&self, topic: DiscoveryKey) {
        self.0.topics.send_if_modified(|topics| topics.insert(topic));
    }

    /// Expects the relay of that address to have the key that the address names, if it names one.
    pub fn expect(&self, relay: &Address) {
        if let Some(key) = relay.key {
            self.0.note(&(relay.host.clone(), relay.port), |known| known.key = Some(key));
        }
    }
}

impl Transport for Https {
    fn name(&self) -> &'static str {
        NAME
    }

    fn speaks(&self, to: &Address) -> bool {
        to.scheme == NAME
    }

    fn dial<'a>(&'a self, to: &'a Address) -> BoxFuture<'a, Result<Conn, DialError>> {
        Box::pin(async move {
            if to.scheme != NAME {
                return Err(DialError::NotSpoken { transport: NAME, to: to.clone() });
            }
            self.expect(to);
            let place = (to.host.clone(), to.port);
            let stream = self.0.dial(&place).await;
            let stream = stream.map_err(|source| DialError::Relay { to: to.clone(), source: Box::new(source) })?;
            let (stream, carried) = stream;
            Ok(conn(Role::Initiator, to.clone(), carried, stream))
        })
    }

    fn listen<'a>(&'a self, at: &'a ListenAt) -> BoxFuture<'a, Result<Box<dyn Listener>, ListenError>> {
        Box::pin(async move {
            if at.scheme != NAME {
                return Err(ListenError::NotSpoken { transport: NAME, at: at.clone() });
            }
            let place = (at.host.clone(), *at.ports.start());
            let registered = self.0.register(&place).await;
            let registered =
                registered.map_err(|source| ListenError::Relay { at: at.clone(), source: Box::new(source) })?;
            let (host, port) = place.clone();
            let address = Address { scheme: NAME.to_owned(), host, port, key: self.0.known(&place).key };
            let listening =
                Listening { shared: Arc::clone(&self.0), place, address, registered: Some(registered), failures: 0 };
            Ok(Box::new(listening) as Box<dyn Listener>)
        })
    }
}

fn conn(role: Role, remote: Address, transport: &'static str, stream: DuplexStream) -> Conn {
    let (reader, writer) = split(stream);
    let local = remote.clone();
    Conn { role, remote, local, transport, reader: Box::new(reader), writer: Box::new(writer) }
}

impl Shared {
    fn known(&self, place: &Place) -> Known {
        self.relays.lock().unwrap_or_else(PoisonError::into_inner).get(place).cloned().unwrap_or_default()
    }

    fn note(&self, place: &Place, note: impl FnOnce(&mut Known)) {
        note(self.relays.lock().unwrap_or_else(PoisonError::into_inner).entry(place.clone()).or_default());
    }

    /// Opens a session with a relay, after it was seen that a relay is there and that it has the right key.
    async fn open(&self, place: &Place) -> Result<Opened, RelayError> {
        let known = self.known(place);
        let fresh = || Arc::new(Posts::new(Arc::clone(&self.dialer), &place.0, place.1));
        let posts = known.posts.unwrap_or_else(fresh);
        let descriptor = posts.descriptor().await.map_err(broken)?.ok_or(RelayError::NoRelay)?;
        match known.key {
            Some(key) if key != descriptor.key => return Err(RelayError::AnotherKey { found: descriptor.key }),
            Some(_) => {}
            None => {
                tracing::info!(key = %descriptor.key, host = place.0, "the relay's key is taken as TLS vouches for it")
            }
        }
        self.note(place, |known| {
            known.key = Some(descriptor.key);
            known.posts = Some(Arc::clone(&posts));
        });
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| RelayError::Session(error.to_string()))?;
        Ok(Link::open(posts, descriptor.key, self.config.token.clone(), seed, self.config.sockets).await?)
    }

    /// Finds a peer under our topics, and returns a circuit to it and what carries that.
    async fn dial(&self, place: &Place) -> Result<(DuplexStream, &'static str), RelayError> {
        let link = match self.known(place).link.filter(Link::is_open) {
            Some(link) => link,
            None => {
                let opened = self.open(place).await?;
                self.note(place, |known| known.link = Some(opened.link.clone()));
                opened.link
            }
        };
        let topics = self.topics.borrow().clone();
        for topic in topics {
            for key in look_up(&link, topic).await? {
                if key == self.config.identity.public() {
                    continue;
                }
                let style = Style { urgent: false, ciphertext: true };
                match link.circuit(Target::Peer(key).encode(), style).await {
                    Ok(stream) => return Ok((stream, link.carried())),
                    Err(LinkError::Refused(why)) => tracing::debug!(%key, why, "the relay leads to no such peer"),
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Err(RelayError::Nobody)
    }

    /// Opens a session, registers our key in it, and announces our topics.
    async fn register(&self, place: &Place) -> Result<Registered, RelayError> {
        let opened = self.open(place).await?;
        let target = Target::register(&self.config.identity, &opened.hash);
        let key = opened.link.circuit(target.encode(), URGENT).await?;
        let mut registered = Registered { opened, topics: self.topics.subscribe(), held: BTreeMap::new(), _key: key };
        registered.announce(self.config.identity.public()).await?;
        Ok(registered)
    }
}

async fn look_up(link: &Link, topic: DiscoveryKey) -> Result<Vec<PublicKey>, RelayError> {
    let stream = link.circuit(Target::LookUp(topic).encode(), URGENT).await?;
    let mut found = Vec::new();
    let read = stream.take(FOUND_BYTES_MAX).read_to_end(&mut found).await;
    read.map_err(|error: io::Error| RelayError::Session(error.to_string()))?;
    Ok(found.as_chunks().0.iter().map(|key| PublicKey(*key)).collect())
}

/// A session in which our key is registered.
struct Registered {
    opened: Opened,
    topics: watch::Receiver<BTreeSet<DiscoveryKey>>,
    /// The circuits that announce topics, as long as they are held.
    held: BTreeMap<DiscoveryKey, DuplexStream>,
    /// The circuit that registers the key.
    _key: DuplexStream,
}

impl Registered {
    /// Announces the topics that are not announced yet; if it is given up, the next call goes on.
    async fn announce(&mut self, key: PublicKey) -> Result<(), RelayError> {
        loop {
            let topics = self.topics.borrow_and_update().clone();
            let Some(topic) = topics.into_iter().find(|topic| !self.held.contains_key(topic)) else { return Ok(()) };
            self.topics.mark_changed();
            let target = Target::Announce { key, topic }.encode();
            self.held.insert(topic, self.opened.link.circuit(target, URGENT).await?);
        }
    }

    /// Waits for a circuit; nothing if the session is over.
    async fn next_offer(&mut self, key: PublicKey) -> Option<Offer> {
        loop {
            tokio::select! {
                offer = self.opened.offered.recv() => return offer,
                () = self.opened.link.over() => return None,
                changed = self.topics.changed() => {
                    changed.ok()?;
                    self.topics.mark_changed();
                    self.announce(key).await.ok()?;
                }
            }
        }
    }
}

struct Listening {
    shared: Arc<Shared>,
    place: Place,
    address: Address,
    registered: Option<Registered>,
    failures: u32,
}

impl Listener for Listening {
    fn address(&self) -> Address {
        self.address.clone()
    }

    fn accept(&mut self) -> BoxFuture<'_, Result<Conn, AcceptError>> {
        Box::pin(async {
            let key = self.shared.config.identity.public();
            loop {
                if let Some(registered) = &mut self.registered {
                    match registered.next_offer(key).await {
                        Some(Offer { target, stream }) if matches!(Target::decode(&target), Some(Target::From(_))) => {
                            let carried = registered.opened.link.carried();
                            return Ok(conn(Role::Responder, self.address.clone(), carried, stream));
                        }
                        Some(_) => {}
                        None => self.registered = None,
                    }
                    continue;
                }
                match self.shared.register(&self.place).await {
                    Ok(registered) => (self.registered, self.failures) = (Some(registered), 0),
                    Err(error) => {
                        tracing::debug!(relay = self.place.0, %error, "not registered again yet");
                        let pause = RETRY_MIN * (1 << self.failures.min(RETRY_DOUBLINGS_MAX));
                        self.failures += 1;
                        sleep(pause).await;
                    }
                }
            }
        })
    }
}

fn broken(error: PostError) -> RelayError {
    if let PostError::Reach(error) = error { RelayError::Reach(error) } else { RelayError::Broken(error.to_string()) }
}

impl From<LinkError> for RelayError {
    fn from(error: LinkError) -> Self {
        let refused = |why| match why {
            reason::NOT_ADMITTED => "the relay lets nobody in without the right token".to_owned(),
            reason::FULL => "the relay has no room for more".to_owned(),
            why => format!("the relay refuses (reason {why})"),
        };
        Self::Session(match error {
            LinkError::NotOpened(super::session::Closed::Refused { reason }) | LinkError::Refused(reason) => {
                refused(reason)
            }
            error => error.to_string(),
        })
    }
}

/// The ladder's word for it, and the scheme of its addresses.
const NAME: &str = "https";
/// What is asked of the relay itself does not wait behind bulk.
const URGENT: Style = Style { urgent: true, ciphertext: false };
/// How much of an answer to a look-up is read, in bytes: 64 keys.
const FOUND_BYTES_MAX: u64 = 64 * 32;
/// The pause before registering again, doubled with each failure up to 16 s.
const RETRY_MIN: Duration = Duration::from_millis(250);
const RETRY_DOUBLINGS_MAX: u32 = 6;

//! HTTPS as a transport: peers meet at a relay, under the topics that they have in common.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use anypath_wire::{Address, DiscoveryKey, KeyPair, ListenAt, PublicKey, Role, keyed_hash};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, split};
use tokio::sync::watch;

use super::dialer::{Dialer, ReachError};
use super::link::{Asked, Link, LinkError, Lore, Notebook, Opened};
use super::posts::{PostError, Posts};
use super::presence::Presence;
use super::rungs::Rungs;
use super::session::{Closed, Style};
use super::target::{Target, reason};
use crate::{AcceptError, BoxFuture, Conn, DialError, ListenError, Listener, Transport};

/// What may be set about HTTPS.
pub struct HttpsConfig {
    /// By which key peers find us at relays.
    pub identity: KeyPair,
    /// What relays want to see to let us in; empty if nothing.
    pub token: Vec<u8>,
    /// What may carry sessions with relays.
    pub rungs: Rungs,
    /// Where what is learnt of networks is kept; otherwise it is forgotten with the transport.
    pub notebook: Option<Arc<dyn Notebook>>,
}

/// Dials and listens at relays: `https://host[:port][#key]`.
///
/// To listen is to register at the relay and to announce the topics given by [`meet`](Self::meet); to dial is to ask for
/// who announces one of them, and for a circuit to the first that grants it. The relay sees keys and topics and nothing
/// else. Without a key in the address, the relay is whoever TLS says; its key is then remembered.
#[derive(Clone)]
pub struct Https(Arc<Shared>);

pub(super) struct Shared {
    dialer: Arc<Dialer>,
    pub(super) config: HttpsConfig,
    pub(super) topics: watch::Sender<BTreeSet<DiscoveryKey>>,
    relays: Mutex<BTreeMap<Place, Known>>,
}

pub(super) type Place = (String, u16);

/// What is known of a relay.
#[derive(Clone, Default)]
pub(super) struct Known {
    key: Option<PublicKey>,
    /// Whether a key is to be proven before anything else is asked.
    proof: bool,
    /// Over how many tags topics are spread there; 0 as long as it has not said so.
    tags: u64,
    posts: Option<Arc<Posts>>,
    /// What sessions have found out about the way there.
    lore: Lore,
    /// Whether we are to be found there.
    pub(super) present: bool,
    /// The sessions that are dialled by, by their tags.
    links: BTreeMap<Tag, Link>,
}

/// What leads to the same relay all who look for a topic, where several stand behind one name.
pub(super) type Tag = String;

impl Known {
    pub(super) fn tag(&self, topic: &DiscoveryKey) -> Tag {
        let hash = keyed_hash(&topic.0, b"anypath relay tag");
        let [a, b, ..] = hash;
        (u64::from(u16::from_be_bytes([a, b])) % self.tags.max(1)).to_string()
    }
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
    /// It lets in certain keys only.
    #[error(
        "the relay lets in only keys that it was told, and this program's is not among them: ask for {key} to be added"
    )]
    NotListed {
        /// Our key.
        key: PublicKey,
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
        self.dial_saying(to, &[])
    }

    fn dial_saying<'a>(&'a self, to: &'a Address, first: &'a [u8]) -> BoxFuture<'a, Result<Conn, DialError>> {
        Box::pin(async move {
            if to.scheme != NAME {
                return Err(DialError::NotSpoken { transport: NAME, to: to.clone() });
            }
            self.expect(to);
            let place = (to.host.clone(), to.port);
            let (along, rest) = first.split_at(first.len().min(ALONG_BYTES_MAX));
            let stream = self.0.dial(&place, along).await;
            let stream = stream.map_err(|source| DialError::Relay { to: to.clone(), source: Box::new(source) })?;
            let (mut stream, carried) = stream;
            stream.write_all(rest).await.map_err(|source| DialError::Io { to: to.clone(), source })?;
            Ok(conn(Role::Initiator, to.clone(), carried, stream))
        })
    }

    fn listen<'a>(&'a self, at: &'a ListenAt) -> BoxFuture<'a, Result<Box<dyn Listener>, ListenError>> {
        Box::pin(async move {
            if at.scheme != NAME {
                return Err(ListenError::NotSpoken { transport: NAME, at: at.clone() });
            }
            let place = (at.host.clone(), *at.ports.start());
            let presence = Presence::begin(&self.0, &place).await;
            let presence =
                presence.map_err(|source| ListenError::Relay { at: at.clone(), source: Box::new(source) })?;
            let (host, port) = place.clone();
            let address = Address { scheme: NAME.to_owned(), host, port, key: self.0.known(&place).key };
            Ok(Box::new(Listening { address, presence }) as Box<dyn Listener>)
        })
    }
}

/// What carries a session, as it changes.
pub(super) type Carried = watch::Receiver<&'static str>;

fn conn(role: Role, remote: Address, carried: Carried, stream: DuplexStream) -> Conn {
    let (transport, moves) = (*carried.borrow(), Some(carried.clone()));
    let (reader, writer) = split(stream);
    let local = remote.clone();
    Conn { role, remote, local, transport, moves, reader: Box::new(reader), writer: Box::new(writer) }
}

impl Shared {
    pub(super) fn known(&self, place: &Place) -> Known {
        self.relays.lock().unwrap_or_else(PoisonError::into_inner).get(place).cloned().unwrap_or_default()
    }

    pub(super) fn note(&self, place: &Place, note: impl FnOnce(&mut Known)) {
        note(self.relays.lock().unwrap_or_else(PoisonError::into_inner).entry(place.clone()).or_default());
    }

    /// Opens a session with the relay that has a topic, and returns its tag.
    pub(super) async fn open_for(&self, place: &Place, topic: &DiscoveryKey) -> Result<(Tag, Opened), RelayError> {
        let guess = self.known(place).tag(topic);
        let opened = self.open(place, &guess).await?;
        let tag = self.known(place).tag(topic);
        // Several relays stand behind one name, and another one has the topic.
        let opened = if tag == guess { opened } else { self.open(place, &tag).await? };
        Ok((tag, opened))
    }

    /// Opens a session by a tag. A relay whose key is known is asked for nothing else before that, since its answer
    /// proves the key; if there is no answer, what is there is looked at.
    pub(super) async fn open(&self, place: &Place, tag: &Tag) -> Result<Opened, RelayError> {
        let posts = self.posts(place);
        let lore = self.lore(place);
        posts.reach().await.map_err(broken)?;
        let key = match self.known(place).key {
            Some(key) => key,
            None => self.inquire(place, &posts).await?,
        };
        let opened = match self.try_to_open(&posts, &lore, key, tag, 1).await {
            // Reason 0 is ours: a key that is none.
            Err(LinkError::NotOpened(Closed::Silent | Closed::Refused { reason: 0 })) => {
                self.inquire(place, &posts).await?;
                self.try_to_open(&posts, &lore, key, tag, u64::MAX).await
            }
            opened => opened,
        };
        let opened = opened?;
        self.note(place, |known| (known.tags, known.proof) = (opened.granted.tags, opened.granted.proof));
        Ok(opened)
    }

    async fn try_to_open(
        &self,
        posts: &Arc<Posts>,
        lore: &Lore,
        key: PublicKey,
        tag: &Tag,
        attempts_max: u64,
    ) -> Result<Opened, LinkError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|_| LinkError::Over)?;
        let (token, rungs) = (self.config.token.clone(), self.config.rungs.clone());
        let asked = Asked { relay: key, token, tag: tag.clone(), rungs, attempts_max };
        Link::open(Arc::clone(posts), asked, seed, lore).await
    }

    /// Returns what is known of the way to a relay, from here: this machine may be in another network than it was.
    fn lore(&self, place: &Place) -> Lore {
        let way = self.dialer.way(&place.0, place.1);
        let known = self.known(place).lore;
        if known.way() == way {
            return known;
        }
        let lore = Lore::recall(way, self.config.notebook.clone());
        self.note(place, |known| known.lore = lore.clone());
        lore
    }

    fn posts(&self, place: &Place) -> Arc<Posts> {
        let mut posts = None;
        self.note(place, |known| {
            let fresh = || Arc::new(Posts::new(Arc::clone(&self.dialer), &place.0, place.1));
            posts = Some(Arc::clone(known.posts.get_or_insert_with(fresh)));
        });
        posts.unwrap_or_else(|| Arc::new(Posts::new(Arc::clone(&self.dialer), &place.0, place.1)))
    }

    /// Asks a relay what it says about itself, remembers it, and returns its key.
    async fn inquire(&self, place: &Place, posts: &Posts) -> Result<PublicKey, RelayError> {
        let descriptor = posts.descriptor().await.map_err(broken)?.ok_or(RelayError::NoRelay)?;
        match self.known(place).key {
            Some(key) if key != descriptor.key => return Err(RelayError::AnotherKey { found: descriptor.key }),
            Some(_) => {}
            None => {
                tracing::info!(key = %descriptor.key, host = place.0, "the relay's key is taken as TLS vouches for it")
            }
        }
        self.note(place, |known| {
            known.key = Some(descriptor.key);
            known.tags = descriptor.tags;
        });
        Ok(descriptor.key)
    }

    /// Returns the session that leads to where a topic is looked up.
    async fn link(&self, place: &Place, topic: &DiscoveryKey) -> Result<Link, RelayError> {
        let known = self.known(place);
        if let Some(link) = known.links.get(&known.tag(topic)).filter(|link| link.is_open()) {
            return Ok(link.clone());
        }
        let (tag, opened) = self.open_for(place, topic).await?;
        self.introduce(place, &opened).await?;
        self.note(place, |known| drop(known.links.insert(tag, opened.link.clone())));
        Ok(opened.link)
    }

    /// Returns a circuit to a peer under our topics, on which bytes were sent, and what carries it. For one topic the relay
    /// is to choose the peer, which spares a round trip; if that one is not to be had, it is asked for all.
    async fn dial(&self, place: &Place, first: &[u8]) -> Result<(DuplexStream, Carried), RelayError> {
        let topics = self.topics.borrow().clone();
        if topics.len() == 1
            && let Some(topic) = topics.first()
        {
            let link = self.link(place, topic).await?;
            let but = self.known(place).present.then(|| self.config.identity.public());
            let target = Target::Any { topic: *topic, but };
            match link.circuit(target.encode(), BYTES, first).await {
                Ok(stream) => return Ok((stream, link.carried())),
                Err(LinkError::Refused(why)) => tracing::debug!(why, "the relay leads to nobody by itself"),
                Err(error) => return Err(error.into()),
            }
        }
        for topic in topics {
            let link = self.link(place, &topic).await?;
            for key in look_up(&link, topic).await? {
                if key == self.config.identity.public() {
                    continue;
                }
                match link.circuit(Target::Peer(key).encode(), BYTES, first).await {
                    Ok(stream) => return Ok((stream, link.carried())),
                    Err(LinkError::Refused(why)) => tracing::debug!(%key, why, "the relay leads to no such peer"),
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Err(RelayError::Nobody)
    }

    /// Proves our key in a session in which it is not registered, where a relay wants to know it.
    async fn introduce(&self, place: &Place, opened: &Opened) -> Result<(), RelayError> {
        if self.known(place).proof {
            let target = Target::prove(&self.config.identity, &opened.hash);
            let proven = opened.link.circuit(target.encode(), URGENT, &[]).await;
            drop(proven.map_err(|error| self.refusal(error))?);
        }
        Ok(())
    }

    /// Says by which key we were not let in, if that is what it is about.
    pub(super) fn refusal(&self, error: LinkError) -> RelayError {
        match error {
            LinkError::Refused(reason::NOT_ADMITTED) => RelayError::NotListed { key: self.config.identity.public() },
            error => error.into(),
        }
    }
}

async fn look_up(link: &Link, topic: DiscoveryKey) -> Result<Vec<PublicKey>, RelayError> {
    let stream = link.circuit(Target::LookUp(topic).encode(), URGENT, &[]).await?;
    let mut found = Vec::new();
    let read = stream.take(FOUND_BYTES_MAX).read_to_end(&mut found).await;
    read.map_err(|error: io::Error| RelayError::Session(error.to_string()))?;
    Ok(found.as_chunks().0.iter().map(|key| PublicKey(*key)).collect())
}

struct Listening {
    address: Address,
    presence: Presence,
}

impl Listener for Listening {
    fn address(&self) -> Address {
        self.address.clone()
    }

    fn accept(&mut self) -> BoxFuture<'_, Result<Conn, AcceptError>> {
        Box::pin(async {
            let (stream, carried) = self.presence.next().await;
            Ok(conn(Role::Responder, self.address.clone(), carried, stream))
        })
    }
}

pub(super) fn broken(error: PostError) -> RelayError {
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
pub(super) const URGENT: Style = Style { urgent: true, ciphertext: false };
/// Peers encrypt what they say to each other.
const BYTES: Style = Style { urgent: false, ciphertext: true };
/// How much goes along with the question for a circuit, in bytes: any handshake's first message.
const ALONG_BYTES_MAX: usize = 16 << 10;
/// How much of an answer to a look-up is read, in bytes: 64 keys.
const FOUND_BYTES_MAX: u64 = 64 * 32;

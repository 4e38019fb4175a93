//! Protocols of the application's own between nodes: who is slow makes others wait, loses nothing and costs little.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anypath_replicate::core::{Manifest, Signer};
use anypath_replicate::mux::{Channel, CloseReason, Event, Protocol, SendError};
use anypath_replicate::replicator::{OpenChannelError, PeerId, SpeakError};
use anypath_replicate::store::MemoryStore;
use anypath_swarm::{ChannelError, Channels, Config, Event as NodeEvent, Node};
use anypath_transports::Memory;
use anypath_wire::KeyPair;
use bytes::Bytes;
use tokio::time::{sleep, timeout};

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_application_makes_its_peers_wait_and_loses_nothing() {
    let mut pair = Pair::new().await;
    let (on_ann, on_bob) = pair.open("").await;
    let sent = Arc::new(AtomicUsize::new(0));
    let (counter, peer, ann) = (sent.clone(), pair.bob_at_ann, pair.ann_speaks);
    let flood = tokio::spawn(async move {
        for number in 0..MESSAGES {
            let body = Bytes::from(vec![number as u8; MESSAGE_BYTES]);
            ann.send(peer, on_ann, number as u64, body).await.unwrap();
            counter.fetch_add(1, Ordering::SeqCst);
        }
    });
    sleep(Duration::from_millis(500)).await;
    for number in 0..MESSAGES {
        let ahead = (sent.load(Ordering::SeqCst) - number.min(sent.load(Ordering::SeqCst))) * MESSAGE_BYTES;
        assert!(ahead <= AHEAD_BYTES_MAX, "{ahead} bytes are on their way");
        let Some((_, Event::Message { channel, kind, body })) = hear(&mut pair.bob_speaks).await else {
            panic!("message {number} is missing")
        };
        assert_eq!((channel, kind, body), (on_bob, number as u64, vec![number as u8; MESSAGE_BYTES].into()));
    }
    flood.await.unwrap();
    pair.ann.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_last_is_heard_though_the_connection_ends() {
    let mut pair = Pair::new().await;
    let (on_ann, on_bob) = pair.open("").await;
    for number in 0..32 {
        pair.ann_speaks.send(pair.bob_at_ann, on_ann, number, vec![1; MESSAGE_BYTES]).await.unwrap();
    }
    pair.ann.stop().await.unwrap();
    for number in 0..32 {
        let message = Event::Message { channel: on_bob, kind: number, body: vec![1; MESSAGE_BYTES].into() };
        let heard = hear(&mut pair.bob_speaks).await;
        assert!(heard == Some((pair.ann_at_bob, message)), "message {number}: {heard:.200?}");
    }
    let ended = Event::Closed { channel: on_bob, why: CloseReason::Disconnected };
    assert_eq!(hear(&mut pair.bob_speaks).await, Some((pair.ann_at_bob, ended)));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_floods_delays_neither_other_peers_nor_other_cores() {
    let pair = Pair::new().await;
    // Ann floods Bob, who takes nothing; Carol shares a core with him.
    let channel = pair.ann_speaks.open(pair.bob_at_ann, "", "").await.unwrap();
    let (peer, ann) = (pair.bob_at_ann, pair.ann_speaks);
    let flood = tokio::spawn(async move {
        let body = Bytes::from(vec![0; MESSAGE_BYTES]);
        while ann.send(peer, channel, 0, body.clone()).await.is_ok() {}
    });
    sleep(Duration::from_millis(200)).await;
    let carol = node(&pair.network, 3);
    let key = KeyPair::from_seed(&[9; 32]);
    let manifest = Manifest::single(Signer::new(key.public()));
    let public = manifest.key();
    let core = carol.call(move |replicator| replicator.open_writable(manifest, key)).await.unwrap().unwrap();
    let blocks: Vec<Bytes> = (0..300).map(|index| vec![index as u8; 10_000].into()).collect();
    carol.call(move |replicator| replicator.append(core, &blocks)).await.unwrap().unwrap();
    let copy = pair.bob.call(move |replicator| replicator.open(&public)).await.unwrap().unwrap();
    pair.bob.call(move |replicator| replicator.want(copy, 0..u64::MAX)).await.unwrap().unwrap();
    carol.connect("memory://bob:1".parse().unwrap());
    let whole = async {
        while pair.bob.read(move |replicator| replicator.core(copy).contiguous_length()).await.unwrap() < 300 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, whole).await.expect("the core never comes");
    assert!(!flood.is_finished());
    pair.ann.stop().await.unwrap();
    flood.await.unwrap();
    pair.bob.stop().await.unwrap();
}

#[tokio::test]
async fn a_node_ends_though_somebody_waits_to_send() {
    let mut pair = Pair::new().await;
    let (on_ann, _) = pair.open("").await;
    let (peer, mut ann) = (pair.bob_at_ann, pair.ann_speaks);
    let waiting = tokio::spawn(async move {
        let body = Bytes::from(vec![0; MESSAGE_BYTES]);
        let outcome = loop {
            if let Err(error) = ann.send(peer, on_ann, 0, body.clone()).await {
                break error;
            }
        };
        while ann.recv().await.is_some() {}
        outcome
    });
    sleep(Duration::from_millis(50)).await;
    pair.ann.stop().await.unwrap();
    let outcome = timeout(PATIENCE, waiting).await.unwrap().unwrap();
    assert!(matches!(outcome, ChannelError::Gone | ChannelError::Stopped(_)), "{outcome:?}");
}

#[tokio::test]
async fn what_cannot_be_done_is_told() {
    let mut pair = Pair::new().await;
    let (on_ann, on_bob) = pair.open("").await;
    let ann = &pair.ann_speaks;
    let again = ann.open(pair.bob_at_ann, "", "").await;
    assert_eq!(again, Err(ChannelError::Open(OpenChannelError::AlreadyOpen(on_ann))));
    assert_eq!(ann.open(PeerId(99), "", "").await, Err(ChannelError::Gone));
    assert_eq!(ann.send(PeerId(99), on_ann, 0, "").await, Err(ChannelError::Gone));
    let too_long = ann.send(pair.bob_at_ann, on_ann, 0, vec![0; 16 << 20]).await;
    assert!(matches!(too_long, Err(ChannelError::Send(SendError::TooLong { .. }))), "{too_long:?}");
    let taken = pair.ann.speak(Protocol::new("test", "")).await.unwrap_err();
    assert_eq!(taken, ChannelError::Speak(SpeakError::Taken { name: "test".into() }));

    // Whoever speaks no more has closed its channels, and may speak again.
    drop(pair.ann_speaks);
    let closed = Event::Closed { channel: on_bob, why: CloseReason::Closed };
    assert_eq!(hear(&mut pair.bob_speaks).await, Some((pair.ann_at_bob, closed)));
    let unheard = pair.bob_speaks.open(pair.ann_at_bob, "", "").await.unwrap();
    let rejected = Event::Closed { channel: unheard, why: CloseReason::Rejected };
    assert_eq!(hear(&mut pair.bob_speaks).await, Some((pair.ann_at_bob, rejected)));
    pair.ann_speaks = pair.ann.speak(Protocol::new("test", "")).await.unwrap();
    pair.open("").await;
}

#[tokio::test]
async fn hearing_may_be_given_up_and_taken_up_again() {
    let mut pair = Pair::new().await;
    let (on_ann, on_bob) = pair.open("").await;
    for number in 0..200 {
        // Given up at once, or when the question has reached the engine.
        let given_up = timeout(Duration::from_micros(number % 7 * 100), pair.bob_speaks.recv()).await;
        assert!(given_up.is_err(), "{given_up:?}");
        pair.ann_speaks.send(pair.bob_at_ann, on_ann, number, "").await.unwrap();
        let message = Event::Message { channel: on_bob, kind: number, body: Bytes::new() };
        assert_eq!(hear(&mut pair.bob_speaks).await, Some((pair.ann_at_bob, message)));
    }
    pair.bob.stop().await.unwrap();
    while pair.bob_speaks.recv().await.is_some() {}
}

/// Two nodes that are connected and speak `test`.
struct Pair {
    network: Memory,
    ann: Node,
    bob: Node,
    ann_speaks: Channels,
    bob_speaks: Channels,
    ann_at_bob: PeerId,
    bob_at_ann: PeerId,
}

impl Pair {
    async fn new() -> Self {
        let network = Memory::new();
        let (ann, bob) = (node(&network, 1), node(&network, 2));
        let ann_speaks = ann.speak(Protocol::new("test", "")).await.unwrap();
        let bob_speaks = bob.speak(Protocol::new("test", "")).await.unwrap();
        let (mut seen, mut heard) = (ann.subscribe(), bob.subscribe());
        ann.connect(bob.listen(&"memory://bob:1".parse().unwrap()).await.unwrap());
        let NodeEvent::Connected(bob_at_ann) = seen.recv().await.unwrap() else { panic!("who is there?") };
        let NodeEvent::Connected(ann_at_bob) = heard.recv().await.unwrap() else { panic!("who is there?") };
        let (bob_at_ann, ann_at_bob) = (bob_at_ann.peer, ann_at_bob.peer);
        Self { network, ann, bob, ann_speaks, bob_speaks, ann_at_bob, bob_at_ann }
    }

    /// Opens a channel from both ends and takes what is told of that.
    async fn open(&mut self, id: &str) -> (Channel, Channel) {
        let on_ann = self.ann_speaks.open(self.bob_at_ann, id, "ann").await.unwrap();
        let offered = Event::Offered { protocol: "test".into(), id: id.into() };
        assert_eq!(hear(&mut self.bob_speaks).await, Some((self.ann_at_bob, offered)));
        let on_bob = self.bob_speaks.open(self.ann_at_bob, id, "bob").await.unwrap();
        let opened = |channel, handshake: &str| Event::Opened { channel, handshake: handshake.to_owned().into() };
        assert_eq!(hear(&mut self.bob_speaks).await, Some((self.ann_at_bob, opened(on_bob, "ann"))));
        assert_eq!(hear(&mut self.ann_speaks).await, Some((self.bob_at_ann, opened(on_ann, "bob"))));
        (on_ann, on_bob)
    }
}

fn node(network: &Memory, seed: u8) -> Node {
    let (identity, store) = (KeyPair::from_seed(&[seed; 32]), Arc::new(MemoryStore::default()));
    Node::start(Config { identity, store, transports: vec![Arc::new(network.clone())] }).unwrap()
}

async fn hear(channels: &mut Channels) -> Option<(PeerId, Event)> {
    timeout(PATIENCE, channels.recv()).await.expect("nothing is heard")
}

const MESSAGES: usize = 512;
const MESSAGE_BYTES: usize = 64 << 10;
/// What the parts on the way hold together: 2 MiB unwritten, the pipe, 4 MiB unread, 256 KiB untold, 256 KiB told.
const AHEAD_BYTES_MAX: usize = 10 << 20;
/// Long beyond doubt: only a test that fails waits for so long.
const PATIENCE: Duration = Duration::from_secs(60);

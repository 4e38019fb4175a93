//! What every transport promises, asked of each of them in the same words.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::sync::Arc;
use std::time::Duration;

use anypath_transports::{
    Conn, DialError, ListenError, Listener, Memory, Quic, QuicConfig, Reader, Tcp, Transport, Writer, close,
};
use anypath_wire::{Address, KeyPair, ListenAt, Role};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

macro_rules! over_each_transport {
    ($($behaviour:ident)*) => {
        mod memory { $(#[tokio::test] async fn $behaviour() { super::$behaviour(super::World::memory()).await; })* }
        mod tcp { $(#[tokio::test] async fn $behaviour() { super::$behaviour(super::World::tcp()).await; })* }
        mod quic { $(#[tokio::test] async fn $behaviour() { super::$behaviour(super::World::quic()).await; })* }
    };
}

over_each_transport! {
    both_ends_know_who_they_are
    sixty_four_mebibytes_travel_each_way_at_once
    ending_one_direction_leaves_the_other
    dropping_a_writer_ends_its_direction_alone
    closing_loses_nothing_even_with_bytes_unread
    closing_does_not_wait_for_a_silent_peer_for_ever
    a_stalled_reader_stalls_the_writer_and_loses_nothing
    a_crowd_is_accepted_one_by_one
    giving_up_an_accept_loses_no_peer
    nobody_listening_is_a_refusal_that_names_the_place
    a_place_in_use_is_named
    a_range_gives_its_first_free_port
    a_dropped_listener_frees_its_place
    another_transports_addresses_are_refused
}

/// A transport and a place it can listen at.
struct World {
    transport: Arc<dyn Transport>,
    place: ListenAt,
}

impl World {
    fn memory() -> Self {
        Self { transport: Arc::new(Memory::new()), place: "memory://here:0".parse().unwrap() }
    }

    fn tcp() -> Self {
        Self { transport: Arc::new(Tcp::default()), place: "tcp://127.0.0.1:0".parse().unwrap() }
    }

    fn quic() -> Self {
        let transport = Quic::new(QuicConfig::default(), KeyPair::from_seed(&[1; 32]));
        Self { transport: Arc::new(transport), place: "quic://127.0.0.1:0".parse().unwrap() }
    }

    async fn listen(&self) -> Box<dyn Listener> {
        self.transport.listen(&self.place).await.unwrap()
    }

    /// Returns the initiator's end, the responder's and the listener between them.
    async fn pair(&self) -> (Conn, Conn, Box<dyn Listener>) {
        let mut listener = self.listen().await;
        let to = listener.address();
        let (dialled, accepted) = tokio::join!(self.transport.dial(&to), listener.accept());
        (dialled.unwrap(), accepted.unwrap(), listener)
    }
}

async fn both_ends_know_who_they_are(world: World) {
    let (initiator, responder, listener) = world.pair().await;
    assert_eq!((initiator.role, responder.role), (Role::Initiator, Role::Responder));
    assert_eq!((&initiator.remote, &responder.local), (&listener.address(), &listener.address()));
    assert_eq!(initiator.local, responder.remote);
    assert_eq!((initiator.transport, responder.transport), (world.transport.name(), world.transport.name()));
    assert!(world.transport.speaks(&initiator.remote));
}

async fn sixty_four_mebibytes_travel_each_way_at_once(world: World) {
    let (initiator, responder, _listener) = world.pair().await;
    let received = tokio::join!(
        send(initiator.writer, 1),
        send(responder.writer, 2),
        receive(initiator.reader),
        receive(responder.reader)
    );
    assert_eq!((received.2, received.3), (received.1, received.0), "each end has what the other sent");
    assert_ne!(received.0, received.1, "the directions differ, so that an echo would be noticed");
}

/// Sends 64 MiB that no shift or repetition leaves alike, and returns their hash.
async fn send(mut writer: Writer, seed: u64) -> blake2b_simd::Hash {
    let mut hash = blake2b_simd::State::new();
    let mut state = seed;
    for _ in 0..1024 {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        while chunk.len() < CHUNK_BYTES {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            chunk.extend_from_slice(&state.to_le_bytes());
        }
        hash.update(&chunk);
        writer.write_all(&chunk).await.unwrap();
    }
    writer.shutdown().await.unwrap();
    hash.finalize()
}

async fn receive(mut reader: Reader) -> blake2b_simd::Hash {
    let mut hash = blake2b_simd::State::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match reader.read(&mut chunk).await.unwrap() {
            0 => return hash.finalize(),
            n => _ = hash.update(&chunk[..n]),
        }
    }
}

async fn ending_one_direction_leaves_the_other(world: World) {
    let (mut initiator, mut responder, _listener) = world.pair().await;
    initiator.writer.write_all(b"question").await.unwrap();
    initiator.writer.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut responder.reader).await, b"question");
    responder.writer.write_all(b"answer").await.unwrap();
    responder.writer.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut initiator.reader).await, b"answer");
}

async fn dropping_a_writer_ends_its_direction_alone(world: World) {
    let (mut initiator, mut responder, _listener) = world.pair().await;
    drop(initiator.writer);
    assert_eq!(read_to_end(&mut responder.reader).await, b"");
    responder.writer.write_all(b"still here").await.unwrap();
    drop(responder.writer);
    assert_eq!(read_to_end(&mut initiator.reader).await, b"still here");
}

async fn closing_loses_nothing_even_with_bytes_unread(world: World) {
    let (mut initiator, mut responder, _listener) = world.pair().await;
    responder.writer.write_all(&[1; 10_000]).await.unwrap();
    let written = write_until_stalled(&mut initiator.writer).await;
    let closing = async move {
        close(&mut initiator.reader, &mut initiator.writer).await.unwrap();
    };
    let reading = async {
        let received = read_to_end(&mut responder.reader).await;
        drop(responder.writer);
        received.len()
    };
    assert_eq!(tokio::join!(closing, reading), ((), written));
}

async fn closing_does_not_wait_for_a_silent_peer_for_ever(world: World) {
    let (mut initiator, _silent, _listener) = world.pair().await;
    timeout(PATIENCE, close(&mut initiator.reader, &mut initiator.writer)).await.unwrap().unwrap();
}

async fn a_stalled_reader_stalls_the_writer_and_loses_nothing(world: World) {
    let (mut initiator, mut responder, _listener) = world.pair().await;
    let written = write_until_stalled(&mut initiator.writer).await;
    drop(initiator.writer);
    assert_eq!(read_to_end(&mut responder.reader).await.len(), written);
}

/// Writes until nothing more is taken, and returns how many bytes were.
async fn write_until_stalled(writer: &mut Writer) -> usize {
    let chunk = vec![7; CHUNK_BYTES];
    let mut written = 0;
    while let Ok(done) = timeout(Duration::from_millis(300), writer.write(&chunk)).await {
        written += done.unwrap();
        assert!(written < 64 << 20, "what nobody reads piles up without limit");
    }
    written
}

async fn a_crowd_is_accepted_one_by_one(world: World) {
    let mut listener = world.listen().await;
    let to = listener.address();
    let mut crowd = tokio::task::JoinSet::new();
    for number in 0..300_u32 {
        let (transport, to) = (world.transport.clone(), to.clone());
        crowd.spawn(async move {
            let mut conn = transport.dial(&to).await.unwrap();
            conn.writer.write_u32(number).await.unwrap();
            assert_eq!(conn.reader.read_u32().await.unwrap(), number);
        });
    }
    for _ in 0..300 {
        let mut conn = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let number = conn.reader.read_u32().await.unwrap();
            conn.writer.write_u32(number).await.unwrap();
        });
    }
    while let Some(done) = crowd.join_next().await {
        done.unwrap();
    }
}

async fn giving_up_an_accept_loses_no_peer(world: World) {
    let mut listener = world.listen().await;
    let to = listener.address();
    for _ in 0..50 {
        let (transport, to) = (world.transport.clone(), to.clone());
        let dialling = tokio::spawn(async move { transport.dial(&to).await.unwrap() });
        // Every wait is given up at once, whatever the dial has come to, until one of them has the peer.
        let accepted = loop {
            tokio::select! {
                biased;
                accepted = listener.accept() => break accepted.unwrap(),
                () = tokio::task::yield_now() => {}
            }
        };
        assert_eq!(dialling.await.unwrap().local, accepted.remote);
    }
}

async fn nobody_listening_is_a_refusal_that_names_the_place(world: World) {
    let address = world.listen().await.address();
    let error = world.transport.dial(&address).await.unwrap_err();
    assert!(matches!(&error, DialError::Refused { to } if *to == address), "{error:?}");
    let Address { host, port, .. } = address;
    assert_eq!(error.to_string(), format!("connection refused by {host}:{port} (nothing listens there?)"));
}

async fn a_place_in_use_is_named(world: World) {
    let listener = world.listen().await;
    let taken = place(&listener.address());
    let error = world.transport.listen(&taken).await.err().unwrap();
    assert!(matches!(&error, ListenError::InUse { at } if *at == taken), "{error:?}");
    let port = listener.address().port;
    assert!(error.to_string().starts_with(&format!("port {port} on {} is in use: ", taken.host)), "{error}");
}

async fn a_range_gives_its_first_free_port(world: World) {
    let listeners = [world.listen_in_range().await, world.listen_in_range().await];
    let ports = listeners.map(|listener| listener.address().port);
    assert!(ports[0] < ports[1] && RANGE.contains(&ports[0]) && RANGE.contains(&ports[1]), "{ports:?}");
}

impl World {
    async fn listen_in_range(&self) -> Box<dyn Listener> {
        let at = ListenAt { ports: RANGE, ..self.place.clone() };
        self.transport.listen(&at).await.unwrap()
    }
}

async fn a_dropped_listener_frees_its_place(world: World) {
    let (mut initiator, mut responder, listener) = world.pair().await;
    let address = listener.address();
    // The listener's side ends first, so that it is the one whose port would linger.
    let ending = close(&mut responder.reader, &mut responder.writer);
    tokio::try_join!(ending, close(&mut initiator.reader, &mut initiator.writer)).unwrap();
    drop((initiator, responder, listener));
    // At once, or with QUIC a few round trips later, when nothing late can come any more.
    let again = async {
        loop {
            match world.transport.listen(&place(&address)).await {
                Ok(again) => return again,
                Err(ListenError::InUse { .. }) if world.transport.name() == "quic" => {
                    sleep(Duration::from_millis(20)).await
                }
                Err(error) => panic!("{error}"),
            }
        }
    };
    assert_eq!(timeout(PATIENCE, again).await.unwrap().address(), address);
}

fn place(at: &Address) -> ListenAt {
    ListenAt { scheme: at.scheme.clone(), host: at.host.clone(), ports: at.port..=at.port }
}

async fn another_transports_addresses_are_refused(world: World) {
    let to = "other://192.0.2.1:1".parse().unwrap();
    assert!(!world.transport.speaks(&to));
    let error = world.transport.dial(&to).await.unwrap_err();
    assert!(matches!(error, DialError::NotSpoken { .. }), "{error:?}");
    let error = world.transport.listen(&"other://192.0.2.1:1".parse().unwrap()).await.err().unwrap();
    assert!(matches!(error, ListenError::NotSpoken { .. }), "{error:?}");
}

async fn read_to_end(reader: &mut Reader) -> Vec<u8> {
    let mut received = Vec::new();
    reader.read_to_end(&mut received).await.unwrap();
    received
}

const CHUNK_BYTES: usize = 64 << 10;
/// Below the ports that systems hand out by themselves, away from those of anypath.
const RANGE: std::ops::RangeInclusive<u16> = 23_282..=23_382;
/// Long enough for any machine, and short enough to notice that something waits for ever.
const PATIENCE: Duration = Duration::from_secs(60);

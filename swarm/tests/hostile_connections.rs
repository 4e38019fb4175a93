//! Garbage, half handshakes, idlers and peers that read nothing: an honest clone goes on beside them, and nothing is left.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::sync::Arc;
use std::time::Duration;

use anypath_replicate::core::{Manifest, Signer};
use anypath_replicate::messages;
use anypath_replicate::mux::{Mux, Protocol};
use anypath_replicate::noise::{FRAME_BYTES_MAX, Frames, Opener, Sealer, XxHandshake};
use anypath_replicate::replicator::CoreId;
use anypath_replicate::store::MemoryStore;
use anypath_swarm::{Config, Node};
use anypath_transports::{Conn, Memory, Tcp, Transport};
use anypath_wire::{Address, Handshake, KeyPair, PublicKey, Role};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

#[tokio::test(flavor = "multi_thread")]
async fn over_memory_a_share_outlives_all_of_them() {
    outlives(Arc::new(Memory::new()), "memory://share:1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tcp_a_share_outlives_all_of_them() {
    outlives(Arc::new(Tcp::default()), "tcp://127.0.0.1:0").await;
}

async fn outlives(transport: Arc<dyn Transport>, place: &str) {
    let share = Share::start(transport.clone(), place).await;
    let mut idle = Vec::new();
    for _ in 0..500 {
        idle.push(share.dial().await);
    }
    until(|| share.node.connections() == 500).await;
    for breach in 0..8 {
        let mut conn = share.dial().await;
        let writing = breach_with(breach, &mut conn, share.key);
        // The share may hang up in the middle of it.
        drop(timeout(Duration::from_secs(5), writing).await);
    }
    share.is_cloned(transport.clone()).await;
    for dropped_after in 0..4 {
        let mut conn = share.dial().await;
        shake(&mut conn, dropped_after).await;
    }
    drop(idle);
    until(|| share.node.connections() == 0).await;
    share.is_cloned(transport).await;
    until(|| share.node.connections() == 0).await;
    let core = share.core;
    assert_eq!(share.node.read(move |replicator| replicator.remotes(core).count()).await.unwrap(), 0);
    share.node.stop().await.unwrap();
}

/// A frame of the greatest length, a byte at a time, costs its bytes; and its sender alone waits.
#[tokio::test]
async fn a_frame_that_never_ends_holds_up_nobody() {
    let transport: Arc<dyn Transport> = Arc::new(Memory::new());
    let share = Share::start(transport.clone(), "memory://share:1").await;
    let mut conn = share.dial().await;
    shake(&mut conn, 4).await.unwrap();
    conn.writer.write_all(&(FRAME_BYTES_MAX as u32).to_le_bytes()[..3]).await.unwrap();
    for _ in 0..1_000 {
        conn.writer.write_all(&[1]).await.unwrap();
    }
    assert_eq!(share.node.connections(), 1);
    share.is_cloned(transport).await;
    drop(conn);
    until(|| share.node.connections() == 0).await;
}

/// A peer that has answers coming and takes none of them in does not keep a node from ending.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_reads_nothing_cannot_keep_a_node_alive() {
    let transport: Arc<dyn Transport> = Arc::new(Memory::new());
    let share = Share::start(transport.clone(), "memory://share:1").await;
    let mut conn = share.dial().await;
    let (handshake, mut sealer) = shake(&mut conn, 4).await.unwrap();
    let message = ask_everything(&handshake, share.key);
    conn.writer.write_all(&sealed(&mut sealer, &message)).await.unwrap();
    share.is_cloned(transport).await;
    assert!(share.node.connections() >= 1);
    share.node.stop().await.unwrap();
    until(|| share.node.connections() == 0).await;
}

/// Who says nothing loses its place, though it holds on to the connection.
#[tokio::test]
async fn a_handshake_that_never_ends_is_given_up() {
    let transport: Arc<dyn Transport> = Arc::new(Memory::new());
    let share = Share::start(transport, "memory://share:1").await;
    let (mut silent, mut slow) = (share.dial().await, share.dial().await);
    until(|| share.node.connections() == 2).await;
    silent.writer.flush().await.unwrap();
    while slow.writer.write_all(&[33, 0, 0][..1]).await.is_ok() && share.node.connections() > 0 {
        sleep(Duration::from_secs(1)).await;
    }
    until(|| share.node.connections() == 0).await;
}

/// Does one of the things that no honest peer does.
async fn breach_with(kind: u32, conn: &mut Conn, key: PublicKey) -> std::io::Result<()> {
    let garbage: Vec<u8> = (0..1_000_000u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u8).collect();
    match kind {
        0 => return conn.writer.write_all(&garbage).await,
        1 => return conn.writer.write_all(b"GET / HTTP/1.1\r\nHost: share\r\n\r\n").await,
        2 => return conn.writer.write_all(&[0; 100_000]).await,
        3 => return conn.writer.write_all(&[&[32, 0, 0][..], &[0xff; 32]].concat()).await,
        _ => {}
    }
    let Some((handshake, mut sealer)) = shake(conn, 4).await else { return Ok(()) };
    match kind {
        4 => conn.writer.write_all(&garbage).await,
        5 => conn.writer.write_all(&sealed(&mut sealer, &garbage[..50_000])).await,
        6 => {
            let mut frame = sealed(&mut sealer, &ask_everything(&handshake, key));
            let last = frame.len() - 1;
            frame[last] ^= 1;
            conn.writer.write_all(&frame).await
        }
        _ => {
            for _ in 0..10_000 {
                conn.writer.write_all(&sealed(&mut sealer, &[])).await?;
            }
            conn.writer.write_all(&sealed(&mut sealer, &[0, 0, 1, 200])).await
        }
    }
}

/// Shakes hands as an honest dialler does, up to a step: 4 is all of them.
async fn shake(conn: &mut Conn, steps: u32) -> Option<(Handshake, Sealer)> {
    let mut noise = XxHandshake::new(Role::Initiator, &KeyPair::from_seed(&[66; 32]), [5; 32]);
    let mut frames = Frames::new(1 << 16);
    for _ in 0..steps {
        while let Some(frame) = noise.poll_frame() {
            conn.writer.write_all(&frame).await.ok()?;
        }
        if let Some(handshake) = noise.finished() {
            let (sealer, header) = Sealer::new(&handshake, [7; 24]);
            conn.writer.write_all(&header).await.ok()?;
            let header = next_frame(conn, &mut frames).await?;
            Opener::new(&handshake).open(header).unwrap();
            return Some((handshake, sealer));
        }
        let frame = next_frame(conn, &mut frames).await?;
        noise.handle_frame(&frame).unwrap();
    }
    None
}

async fn next_frame(conn: &mut Conn, frames: &mut Frames) -> Option<BytesMut> {
    loop {
        if let Some(frame) = frames.next_frame().unwrap() {
            return Some(frame);
        }
        let mut bytes = BytesMut::with_capacity(1_024);
        if conn.reader.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        frames.push(bytes);
    }
}

fn sealed(sealer: &mut Sealer, message: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; Sealer::ROOM_BYTES];
    frame.extend_from_slice(message);
    sealer.seal(&mut frame).unwrap();
    frame
}

/// Returns a frame that opens the core's channel and asks for every block.
fn ask_everything(handshake: &Handshake, key: PublicKey) -> Vec<u8> {
    let mut mux = Mux::new();
    let mut body = Vec::new();
    let capability = messages::capability(&handshake.hash, Role::Initiator, &key);
    messages::Handshake { seeks: true, capability }.encode(&mut body);
    let channel = mux.open(&Protocol::new("hypercore/alpha", key.discovery_key().0), &body);
    for index in 0..BLOCKS {
        let block = Some(anypath_replicate::BlockRequest { index, nodes: 0 });
        let request = anypath_replicate::Request { block, ..Default::default() };
        let asked = messages::RequestMessage { id: index + 1, request, ..Default::default() };
        messages::Message::Request(asked).send(&mut mux, channel).unwrap();
    }
    let mut frame = Vec::new();
    assert!(mux.poll_frame(&mut frame));
    frame
}

/// A node that shares a core.
struct Share {
    node: Node,
    transport: Arc<dyn Transport>,
    address: Address,
    core: CoreId,
    key: PublicKey,
}

impl Share {
    async fn start(transport: Arc<dyn Transport>, place: &str) -> Self {
        let node = node(1, transport.clone());
        let pair = KeyPair::from_seed(&[3; 32]);
        let manifest = Manifest::single(Signer::new(pair.public()));
        let key = manifest.key();
        let core = node.call(move |replicator| replicator.open_writable(manifest, pair)).await.unwrap().unwrap();
        let blocks: Vec<_> = (0..BLOCKS).map(|i| Bytes::from(vec![i as u8; 20_000])).collect();
        node.call(move |replicator| replicator.append(core, &blocks)).await.unwrap().unwrap();
        let address = node.listen(&place.parse().unwrap()).await.unwrap();
        Self { node, transport, address, core, key }
    }

    async fn dial(&self) -> Conn {
        self.transport.dial(&self.address).await.unwrap()
    }

    /// Clones the core with a node of its own.
    async fn is_cloned(&self, transport: Arc<dyn Transport>) {
        let (clone, key) = (node(2, transport), self.key);
        let copy = clone.call(move |replicator| replicator.open(&key)).await.unwrap().unwrap();
        clone.call(move |replicator| replicator.want(copy, 0..u64::MAX)).await.unwrap().unwrap();
        clone.connect(self.address.clone());
        let whole = async {
            while clone.read(move |replicator| replicator.core(copy).contiguous_length()).await.unwrap() < BLOCKS {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, whole).await.expect("the clone never ends");
        clone.stop().await.unwrap();
    }
}

fn node(seed: u8, transport: Arc<dyn Transport>) -> Node {
    let (identity, store) = (KeyPair::from_seed(&[seed; 32]), Arc::new(MemoryStore::default()));
    Node::start(Config { identity, store, transports: vec![transport] }).unwrap()
}

/// Waits until something holds.
async fn until(holds: impl Fn() -> bool) {
    let held = async {
        while !holds() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, held).await.expect("it never comes to hold");
}

const BLOCKS: u64 = 200;
/// Long beyond doubt: only a test that fails waits for so long.
const PATIENCE: Duration = Duration::from_secs(60);

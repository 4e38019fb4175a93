//! A circuit as a byte stream: two tasks that move bytes between it and the session.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};
use tokio::sync::{mpsc, oneshot};

use super::link::Ask;
use super::session::CircuitId;

/// Where a circuit's bytes go.
#[derive(Clone)]
pub(super) struct Outward {
    pub(super) circuit: CircuitId,
    pub(super) asks: mpsc::Sender<Ask>,
}

/// Makes the application's end of a circuit. Bytes that come are handed in by `inward`, an empty piece for their end;
/// when that channel ends without one, the circuit is broken.
pub(super) fn pipe(outward: Outward, inward: mpsc::UnboundedReceiver<Bytes>) -> DuplexStream {
    let (ours, theirs) = duplex(BUFFER_BYTES);
    let (reader, writer) = split(ours);
    tokio::spawn(send(outward.clone(), reader));
    tokio::spawn(receive(outward, inward, writer));
    theirs
}

async fn send(Outward { circuit, asks }: Outward, mut reader: ReadHalf<DuplexStream>) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(READ_BYTES);
        match reader.read_buf(&mut buffer).await {
            Ok(1..) => {}
            // Nothing more is said; if the session is over, nobody has to know.
            _ => return drop(asks.send(Ask::End { circuit }).await),
        }
        let (reply, replied) = oneshot::channel();
        let sent = asks.send(Ask::Send { circuit, bytes: buffer.split().freeze(), reply }).await;
        if sent.is_err() || replied.await.is_err() {
            return;
        }
    }
}

async fn receive(
    Outward { circuit, asks }: Outward,
    mut inward: mpsc::UnboundedReceiver<Bytes>,
    mut writer: WriteHalf<DuplexStream>,
) {
    while let Some(bytes) = inward.recv().await {
        if bytes.is_empty() {
            drop(writer.shutdown().await);
            return;
        }
        let count = bytes.len() as u64;
        if writer.write_all(&bytes).await.is_err() {
            return drop(asks.send(Ask::Reset { circuit }).await);
        }
        drop(asks.send(Ask::Consumed { circuit, bytes: count }).await);
    }
    drop(writer.shutdown().await);
}

/// What may lie between the application and the tasks each way, in bytes.
const BUFFER_BYTES: usize = 256 << 10;
/// How much is taken at once, in bytes.
const READ_BYTES: usize = 64 << 10;

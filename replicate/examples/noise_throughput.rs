//! Measures how fast one core seals and opens frames: `cargo run --release -p anypath-replicate --example noise_throughput`.
#![allow(clippy::print_stdout, clippy::disallowed_methods)]

use std::time::Instant;

use anypath_replicate::noise::{FRAME_BYTES_MAX, Frames, Opener, Sealer};
use anypath_wire::{Handshake, PublicKey, Role};
use bytes::BytesMut;

const ROUND_BYTES: usize = 2 << 20;
const ROUNDS: usize = 200;

fn main() {
    for message_bytes in [64, 1 << 10, 4 << 10, 64 << 10, 1 << 20] {
        let (seal, open) = measure(message_bytes);
        println!("{message_bytes:>8} byte messages: seal {seal:>6.0} MB/s, open {open:>6.0} MB/s");
    }
}

/// Returns MB/s of plaintext, of the best round: sealing in one buffer, and cutting and opening what was sealed.
fn measure(message_bytes: usize) -> (f64, f64) {
    let handshake =
        Handshake { role: Role::Initiator, remote: PublicKey([1; 32]), hash: [2; 64], tx: [3; 32], rx: [4; 32] };
    let peer = Handshake { role: Role::Responder, tx: [4; 32], rx: [3; 32], ..handshake.clone() };
    let (mut sealer, header) = Sealer::new(&handshake, [9; 24]);
    let (mut opener, mut frames) = (Opener::new(&peer), Frames::new(FRAME_BYTES_MAX));
    frames.push(BytesMut::from(&header[..]));
    let (mut sealing, mut opening, mut opened) = (f64::MAX, f64::MAX, 0);
    for round in 0..ROUNDS {
        let mut out = vec![0; ROUND_BYTES / message_bytes * (message_bytes + Sealer::OVERHEAD_BYTES)];
        out.clear();
        let started = Instant::now();
        for _ in 0..ROUND_BYTES / message_bytes {
            let start = out.len();
            out.resize(start + Sealer::ROOM_BYTES + message_bytes, round as u8);
            sealer.seal_tail(&mut out, start).expect("fits");
        }
        sealing = sealing.min(started.elapsed().as_secs_f64());
        frames.push(BytesMut::from(bytes::Bytes::from(out)));
        let started = Instant::now();
        while let Some(frame) = frames.next_frame().expect("fits") {
            opened += opener.open(frame).expect("authentic").len();
        }
        opening = opening.min(started.elapsed().as_secs_f64());
    }
    assert_eq!(opened, ROUNDS * ROUND_BYTES, "all that was sealed was opened");
    let mb = ROUND_BYTES as f64 / 1e6;
    (mb / sealing, mb / opening)
}

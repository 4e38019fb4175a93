//! How fast records are sealed and opened, with their bytes encrypted, and with them only authenticated.
//!
//! `cargo run --release -p anypath-transports --example record_sealing`
#![allow(clippy::print_stdout, reason = "an example is a program")]

use anypath_transports::https::session::{Cipher, Kind, Records};
use anypath_wire::noise::Split;
use anypath_wire::noise::suite::Secret;
use tokio::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let split = |tx, rx| Cipher::new(&Split { hash: [0; 64], tx: Secret([tx; 32]), rx: Secret([rx; 32]) });
    let (client, relay) = (split(1, 2), split(2, 1));
    let bytes = vec![7; SEGMENT_BYTES];
    for (name, clear, text) in [("encrypted", &b""[..], &bytes[..]), ("authenticated", &bytes[..], &[7; 12][..])] {
        let mut best = [0.0_f64; 2];
        for _ in 0..ROUNDS {
            let started = Instant::now();
            let sealed: Vec<_> = (0..SEGMENTS).map(|number| client.seal(Kind::Data, number, clear, text)).collect();
            best[0] = best[0].max(rate(started));
            let mut records = Records::default();
            sealed.iter().for_each(|record| records.push(record));
            let started = Instant::now();
            while let Some(record) = records.next_record()? {
                relay.open(&record)?;
            }
            best[1] = best[1].max(rate(started));
        }
        println!("{name}: seals {:.0} MiB/s, opens {:.0} MiB/s", best[0], best[1]);
    }
    Ok(())
}

fn rate(started: Instant) -> f64 {
    (SEGMENTS as usize * SEGMENT_BYTES) as f64 / 1_048_576.0 / started.elapsed().as_secs_f64()
}

/// As long as the session makes them, in bytes.
const SEGMENT_BYTES: usize = 16_000;
/// 8 MiB at a time.
const SEGMENTS: u64 = 512;
const ROUNDS: usize = 20;

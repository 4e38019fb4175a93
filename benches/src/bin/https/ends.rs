//! The two ends of a circuit: one that does what it is asked for, and one that asks and measures.
//!
//! What is asked is a byte, and what it is about: `S` and a number, to send so many bytes; `T` and a number, to take so
//! many and say so; `E` and a time, to send the time back with one's own. Numbers and times (nanoseconds since 1970:
//! both ends are on one machine) are 8 bytes, little-endian.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use anypath_transports::https::{Dialer, DialerConfig, Https, HttpsConfig, Proxies, Rungs};
use anypath_transports::{Conn, Reader, Tcp, Transport, Writer};
use anypath_wire::{Address, DiscoveryKey, KeyPair};
use clap::Subcommand;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{interval, sleep};

use crate::first;

/// What a process of this program does at its end.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Side {
    /// Be found at the relay, and do what whoever comes asks for.
    #[command(hide = true)]
    Serve { relay: Address, rung: Rung },
    /// Move so many bytes, and print the seconds they took.
    #[command(hide = true)]
    Move { relay: Address, rung: Rung, way: Bulk, bytes: u64 },
    /// Send small messages beside bulk or none, and print how long each took there and back.
    #[command(hide = true)]
    Ping { relay: Address, rung: Rung, bulk: Bulk },
    /// Be found at the relay, and serve a core of one block.
    #[command(hide = true)]
    Hold { relay: Address },
    /// Fetch that core, and print when its block was there.
    #[command(hide = true)]
    Fetch { relay: Address },
}

/// What may carry the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Rung {
    /// Whatever passes.
    Any,
    /// Requests that are answered as a whole.
    Poll,
}

/// What goes beside small messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Bulk {
    None,
    Up,
    Down,
}

/// How long messages took, in milliseconds.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Trips {
    pub(crate) up: Vec<f64>,
    pub(crate) down: Vec<f64>,
}

/// What was moved.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Moved {
    pub(crate) seconds: f64,
    /// What carried it at the end.
    pub(crate) carrier: String,
}

impl Side {
    /// Does it.
    pub(crate) async fn run(self) -> Result<()> {
        match self {
            Self::Serve { relay, rung } => serve(&relay, rung).await,
            Self::Move { relay, rung, way, bytes } => {
                let https = transport(2, rung)?;
                let mut conn = https.dial(&relay).await?;
                settle(&mut conn).await?;
                let began = Instant::now();
                bulk(&mut conn.reader, &mut conn.writer, way, bytes).await?;
                let seconds = began.elapsed().as_secs_f64();
                // What carries it is told of a new circuit.
                let carrier = https.dial(&relay).await?.transport.to_owned();
                say(&serde_json::to_string(&Moved { seconds, carrier })?);
                Ok(())
            }
            Self::Ping { relay, rung, bulk } => {
                let trips = ping(&relay, rung, bulk).await?;
                say(&serde_json::to_string(&trips)?);
                Ok(())
            }
            Self::Hold { relay } => first::hold(&relay).await,
            Self::Fetch { relay } => first::fetch(relay).await,
        }
    }
}

async fn serve(relay: &Address, rung: Rung) -> Result<()> {
    let https = transport(1, rung)?;
    https.expect(relay);
    let at = format!("https://{}:{}", relay.host, relay.port).parse()?;
    let mut listener = https.listen(&at).await?;
    say("ready");
    loop {
        let conn = listener.accept().await?;
        tokio::spawn(answer(conn));
    }
}

async fn answer(mut conn: Conn) -> Result<()> {
    loop {
        let (asked, number) = (conn.reader.read_u8().await?, conn.reader.read_u64_le().await?);
        match asked {
            b'S' => send(&mut conn.writer, number).await?,
            b'T' => {
                take(&mut conn.reader, number).await?;
                conn.writer.write_u64_le(number).await?;
            }
            _ => {
                let both = [number.to_le_bytes(), now().to_le_bytes()].concat();
                conn.writer.write_all(&both).await?;
            }
        }
        conn.writer.flush().await?;
    }
}

/// Waits until the session has climbed as high as it will.
async fn settle(conn: &mut Conn) -> Result<()> {
    let began = Instant::now();
    while began.elapsed() < CLIMB_TIME {
        echo(&mut conn.reader, &mut conn.writer).await?;
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

async fn echo(reader: &mut Reader, writer: &mut Writer) -> Result<(f64, f64)> {
    ask(writer, b'E', now()).await?;
    read_echo(reader).await
}

async fn read_echo(reader: &mut Reader) -> Result<(f64, f64)> {
    let (sent, there) = (reader.read_u64_le().await?, reader.read_u64_le().await?);
    let between = |from: u64, to: u64| to.saturating_sub(from) as f64 / 1e6;
    Ok((between(sent, there), between(there, now())))
}

async fn bulk(reader: &mut Reader, writer: &mut Writer, way: Bulk, bytes: u64) -> Result<()> {
    match way {
        Bulk::None => {}
        Bulk::Down => {
            ask(writer, b'S', bytes).await?;
            take(reader, bytes).await?;
        }
        Bulk::Up => {
            ask(writer, b'T', bytes).await?;
            send(writer, bytes).await?;
            writer.flush().await?;
            reader.read_u64_le().await?;
        }
    }
    Ok(())
}

async fn ping(relay: &Address, rung: Rung, way: Bulk) -> Result<Trips> {
    let https = transport(2, rung)?;
    let mut conn = https.dial(relay).await?;
    settle(&mut conn).await?;
    let Conn { mut reader, mut writer, .. } = conn;
    let load = async {
        let mut conn = https.dial(relay).await?;
        loop {
            bulk(&mut conn.reader, &mut conn.writer, way, BULK_BYTES).await?;
            if way == Bulk::None {
                sleep(Duration::from_millis(100)).await;
            }
        }
        #[expect(unreachable_code, reason = "the type of what ends with the other branch only")]
        Ok::<(), anyhow::Error>(())
    };
    let trips = async {
        // Bulk has filled what it fills by then.
        sleep(Duration::from_secs(2)).await;
        let sending = async {
            let mut ticks = interval(PING_EACH);
            for _ in 0..PINGS {
                ticks.tick().await;
                ask(&mut writer, b'E', now()).await?;
            }
            Ok::<(), anyhow::Error>(())
        };
        let reading = async {
            let mut trips = Trips::default();
            for _ in 0..PINGS {
                let (up, down) = read_echo(&mut reader).await?;
                trips.up.push(up);
                trips.down.push(down);
            }
            Ok(trips)
        };
        let ((), trips) = tokio::try_join!(sending, reading)?;
        Ok(trips)
    };
    tokio::select! {
        error = load => Err(error.err().context("bulk has ended")?),
        trips = trips => trips,
    }
}

async fn ask(writer: &mut Writer, what: u8, number: u64) -> Result<()> {
    let mut asked = vec![what];
    asked.extend(number.to_le_bytes());
    writer.write_all(&asked).await?;
    Ok(writer.flush().await?)
}

async fn send(writer: &mut Writer, bytes: u64) -> Result<()> {
    let piece = vec![0x5a; PIECE_BYTES];
    let mut left = bytes;
    while left > 0 {
        let now = left.min(PIECE_BYTES as u64);
        writer.write_all(&piece[..now as usize]).await?;
        left -= now;
    }
    Ok(())
}

async fn take(reader: &mut Reader, bytes: u64) -> Result<()> {
    let taken = tokio::io::copy(&mut reader.take(bytes), &mut tokio::io::sink()).await?;
    anyhow::ensure!(taken == bytes, "the circuit ended after {taken} bytes");
    Ok(())
}

fn transport(seed: u8, rung: Rung) -> Result<Https> {
    let https = https(seed, rung)?;
    https.meet(DiscoveryKey([7; 32]));
    Ok(https)
}

/// Makes a transport of any carriers that meets nobody yet.
pub(crate) fn https(seed: u8, rung: Rung) -> Result<Https> {
    let proxies = Proxies::from_environment(|name| std::env::var(name).ok())?;
    let dialer = Dialer::new(Arc::new(Tcp::default()), DialerConfig { proxies, ..DialerConfig::default() })?;
    let rungs = if rung == Rung::Any { Rungs::default() } else { "poll".parse()? };
    Ok(Https::new(dialer, HttpsConfig { identity: identity(seed), token: Vec::new(), rungs, notebook: None }))
}

/// Returns who a peer is, by its number.
pub(crate) fn identity(seed: u8) -> KeyPair {
    KeyPair::from_seed(&[seed; 32])
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or_default()
}

#[expect(clippy::print_stdout, reason = "the other process reads it")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// Probing a better rung takes a few round trips, and a pause if the first does not pass.
const CLIMB_TIME: Duration = Duration::from_secs(4);
const PING_EACH: Duration = Duration::from_millis(20);
const PINGS: usize = 300;
/// Asked for again and again.
const BULK_BYTES: u64 = 8 << 20;
const PIECE_BYTES: usize = 64 << 10;

//! A relay under abuse of many kinds at once: what it keeps stays within its budget, and honest peers go on.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use anypath_interop::Anypath;
use anypath_interop::folder::{Plan, expect_same, generate, list};
use anypath_transports::https::{Dialer, DialerConfig, Https, HttpsConfig, Proxies, TlsConfig, read_roots};
use anypath_transports::{Tcp, Transport};
use anypath_wire::{Address, DiscoveryKey, KeyPair, ListenAt};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

#[test]
fn honest_peers_go_on_and_memory_is_bounded() -> Result<()> {
    let house = House::new()?;
    let (source, target) = (house.folder.path().join("source"), house.folder.path().join("target"));
    generate(&source, Plan { seed: 31, files: 20, large_bytes: 12 << 20 })?;
    let mut share = house.run("share", &["share", text(&source)?, "--listen", "tcp://127.0.0.1:0"])?;
    let key = share.wait_for("shared")?["key"].as_str().context("no key")?.to_owned();
    let before = house.figure("anypath_relay_memory_resident_bytes")?;
    let runtime = Runtime::new()?;
    let mut mob = JoinSet::new();
    runtime.block_on(async { house.unleash(&mut mob) })?;
    let began = Instant::now();
    let let_go = || house.figure("anypath_relay_sessions_over_total{by=\"memory\"}").unwrap_or(0);
    while house.figure("anypath_relay_sessions_opened_total")? < u64::from(OPENS) || let_go() == 0 {
        ensure!(began.elapsed() < Duration::from_secs(60), "the budget is not used up, or nobody hurries");
        std::thread::sleep(Duration::from_millis(100));
    }
    let mut clone = house.run("clone", &["clone", &key, text(&target)?])?;
    let mut most = 0;
    while clone.is_running() {
        most = most.max(house.figure("anypath_relay_memory_resident_bytes")?);
        std::thread::sleep(Duration::from_millis(100));
    }
    clone.finish()?.expect_code(0)?;
    expect_same(&list(&source)?, &list(&target)?)?;
    let kept = most.saturating_sub(before);
    println!(
        "{} MiB more than before, after {:?} {}",
        kept >> 20,
        began.elapsed(),
        house.figure("anypath_relay_sessions_over_total{by=\"memory\"}").unwrap_or(0)
    );
    ensure!(kept < (BUDGET_MIB + BESIDES_MIB) << 20, "{} MiB more than before", kept >> 20);
    ensure!(!mob.is_empty() && share.is_running(), "the mob was there all the time");
    runtime.shutdown_background();
    Ok(())
}

/// A relay, and how to get at it.
struct House {
    folder: TempDir,
    relay: Address,
    metrics: SocketAddr,
    _relay: Anypath,
}

impl House {
    fn new() -> Result<Self> {
        let folder = TempDir::new()?;
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()])?;
        let [certificate, secret] = ["cert.pem", "key.pem"].map(|name| folder.path().join(name));
        fs::write(&certificate, cert.pem())?;
        fs::write(&secret, signing_key.serialize_pem())?;
        let metrics = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let (memory, exposed) = (BUDGET_MIB.to_string(), metrics.to_string());
        let words = ["relay", "--listen", "127.0.0.1:0", "--name", "localhost", "--memory", &memory];
        let files = ["--tls-cert", text(&certificate)?, "--tls-key", text(&secret)?];
        let limits = ["--metrics", &exposed, "--opens-per-minute", "100000"];
        let mut program = Anypath::start(&folder.path().join("relay"), words.iter().chain(&files).chain(&limits))?;
        let relay = program.first("listening")?["address"].as_str().context("no address")?.parse()?;
        Ok(Self { folder, relay, metrics, _relay: program })
    }

    fn run(&self, store: &str, words: &[&str]) -> Result<Anypath> {
        let (roots, address) = (self.folder.path().join("cert.pem"), self.relay.to_string());
        let relay = ["--via", &address, "--proxy", "none", "--roots", text(&roots)?];
        Anypath::start(&self.folder.path().join(store), words.iter().chain(&relay))
    }

    /// Returns what the relay tells Prometheus under that name.
    fn figure(&self, name: &str) -> Result<u64> {
        let mut stream = TcpStream::connect(self.metrics)?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        let mut told = String::new();
        stream.read_to_string(&mut told)?;
        let line = told.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.with_context(|| format!("no {name} in {told}"))?.parse()?)
    }

    fn dialer(&self) -> Result<Dialer> {
        let tls =
            TlsConfig { roots: read_roots(&fs::read(self.folder.path().join("cert.pem"))?)?, ..TlsConfig::default() };
        Ok(Dialer::new(Arc::new(Tcp::default()), DialerConfig { proxies: Proxies::none(), tls, timeout_ms: 0 })?)
    }

    /// Lets the mob loose, of every kind a few.
    fn unleash(&self, mob: &mut JoinSet<()>) -> Result<()> {
        let dialer = Arc::new(self.dialer()?);
        for _ in 0..CROWD {
            for kind in [Kind::SlowHead, Kind::SlowBody, Kind::GiantHead, Kind::Rubbish] {
                mob.spawn(pester(Arc::clone(&dialer), self.relay.clone(), kind));
            }
        }
        for number in 0..OPENERS {
            mob.spawn(hurry(self.peer(number)?, self.relay.clone()));
        }
        for number in 0..DEAF {
            let (one, other) = (self.peer(100 + number)?, self.peer(200 + number)?);
            let topic = DiscoveryKey([number; 32]);
            [&one, &other].into_iter().for_each(|peer| peer.meet(topic));
            mob.spawn(turn_deaf(one, other, self.relay.clone()));
        }
        Ok(())
    }

    fn peer(&self, seed: u8) -> Result<Https> {
        let config = HttpsConfig {
            identity: KeyPair::from_seed(&[seed; 32]),
            token: Vec::new(),
            rungs: "poll".parse()?,
            notebook: None,
        };
        Ok(Https::new(self.dialer()?, config))
    }
}

/// What one of the mob does on its connections.
#[derive(Clone, Copy)]
enum Kind {
    SlowHead,
    SlowBody,
    GiantHead,
    Rubbish,
}

/// Does it again and again, with pauses: it is not about who has more processors.
async fn pester(dialer: Arc<Dialer>, relay: Address, kind: Kind) {
    loop {
        sleep(PAUSE).await;
        let Ok(dialled) = dialer.dial(&relay.host, relay.port).await else { continue };
        let mut line = dialled.line;
        let head =
            |path: &str, length: usize| format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
        let slowly = match kind {
            Kind::SlowHead => b"POST /v1/o/a HTTP/1.1\r\nHost: x\r\nX: ".to_vec(),
            Kind::SlowBody => [head("/v1/x/a/1", 1 << 20).into_bytes(), vec![3; 200_000]].concat(),
            Kind::GiantHead => format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}", "y".repeat(1 << 20)).into_bytes(),
            Kind::Rubbish => [head("/v1/x/a/1", 60_000).into_bytes(), vec![9; 60_000]].concat(),
        };
        let begun = line.write_all(&slowly).await.is_ok() && line.flush().await.is_ok();
        let mut answer = [0; 4096];
        while begun && line.write_all(b"z").await.is_ok() && line.flush().await.is_ok() {
            tokio::select! {
                read = line.read(&mut answer) => if read.is_ok_and(|length| length == 0) { break },
                () = sleep(PAUSE) => {}
            }
        }
    }
}

/// Opens sessions and leaves them.
async fn hurry(peer: Https, relay: Address) {
    let config = |number: u32| DiscoveryKey([u8::try_from(number % 251).unwrap_or_default(); 32]);
    for number in 0..OPENS / u32::from(OPENERS) {
        peer.meet(config(number));
        let at = ListenAt { scheme: "https".to_owned(), host: relay.host.clone(), ports: relay.port..=relay.port };
        drop(peer.listen(&at).await);
    }
    std::future::pending().await
}

/// Meets an accomplice many times, sends without end, and is not read.
async fn turn_deaf(one: Https, other: Https, relay: Address) {
    let at = ListenAt { scheme: "https".to_owned(), host: relay.host.clone(), ports: relay.port..=relay.port };
    one.expect(&relay);
    loop {
        sleep(PAUSE).await;
        let Ok(mut listener) = one.listen(&at).await else { continue };
        let (mut unread, mut writing) = (Vec::new(), JoinSet::new());
        while unread.len() < CIRCUITS
            && let Ok((Ok(mut conn), Ok(accepted))) =
                timeout(MEETING_TIME_MAX, async { tokio::join!(other.dial(&relay), listener.accept()) }).await
        {
            unread.push(accepted);
            writing.spawn(async move { while conn.writer.write_all(&[7; 65_536]).await.is_ok() {} });
        }
        // The relay lets go of some.
        while writing.join_next().await.is_some() {}
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no text")
}

/// What the relay may keep, and what 300 connections with TLS and bodies that are still coming may take besides; half of it
/// is usual.
const BUDGET_MIB: u64 = 32;
const BESIDES_MIB: u64 = 96;
/// How many there are of each kind.
const CROWD: usize = 24;
const OPENERS: u8 = 4;
const OPENS: u32 = 200;
const DEAF: u8 = 12;
const CIRCUITS: usize = 32;
/// If one of the two is let go of meanwhile, the other waits in vain.
const MEETING_TIME_MAX: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(300);

//! Two and three relays behind one name: one is killed, and its peers are back within seconds.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use anypath_interop::folder::{Plan, expect_same, generate, list};
use anypath_interop::front::{Front, Fronting};
use anypath_interop::{Anypath, skip};
use anypath_wire::Address;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::TempDir;

#[test]
fn two_relays_behind_nginx() -> Result<()> {
    one_dies(Front::Nginx, 2, "KILL")
}

#[test]
fn three_relays_behind_nginx() -> Result<()> {
    one_dies(Front::Nginx, 3, "KILL")
}

#[test]
fn two_relays_behind_haproxy() -> Result<()> {
    one_dies(Front::Haproxy, 2, "KILL")
}

#[test]
fn three_relays_behind_haproxy() -> Result<()> {
    one_dies(Front::Haproxy, 3, "KILL")
}

#[test]
fn a_relay_behind_nginx_may_retire() -> Result<()> {
    one_dies(Front::Nginx, 2, "TERM")
}

/// Ends the relay at which two meet, and looks how long it takes until what the one changes is at the other's.
fn one_dies(front: Front, count: usize, signal: &str) -> Result<()> {
    let Some(house) = House::new(front, count)? else { return Ok(()) };
    let (source, target) = (house.path("source"), house.path("target"));
    generate(&source, Plan { seed: 5, files: 10, large_bytes: 1 << 20 })?;
    let mut share = house.run("shares", &["share", text(&source)?, "--watch", "--listen", "tcp://127.0.0.1:0"])?;
    let key = share.wait_for("shared")?["key"].as_str().context("no key")?.to_owned();
    let mut clone = house.run("clones", &["clone", &key, text(&target)?, "--live"])?;
    clone.wait_for("done")?;
    expect_same(&list(&source)?, &list(&target)?)?;
    // Who does not know yet over how many tags topics are spread opens a session elsewhere first, and leaves.
    let busy = || house.relays.iter().filter(|relay| relay.sessions().is_ok_and(|count| count > 0)).collect::<Vec<_>>();
    let began = Instant::now();
    while busy().len() > 1 {
        ensure!(began.elapsed() < Duration::from_secs(60), "both come to the same one: {}", busy().len());
        sleep(Duration::from_millis(50));
    }
    let busy = busy();
    ensure!(busy.len() == 1, "nobody is anywhere");
    let began = Instant::now();
    busy[0].program.signal(signal)?;
    fs::write(source.join("after"), "back")?;
    while fs::read(target.join("after")).ok().as_deref() != Some(b"back") {
        ensure!(began.elapsed() < BACK_TIME_MAX, "not back after {:?}\n{}", began.elapsed(), clone.stderr());
        std::thread::sleep(Duration::from_millis(20));
    }
    ensure!(share.is_running() && clone.is_running(), "nobody was started again");
    Ok(())
}

/// Some relays, and what stands in front of them.
struct House {
    folder: TempDir,
    address: String,
    relays: Vec<Running>,
    _front: Fronting,
}

struct Running {
    program: Anypath,
    port: u16,
    metrics: u16,
}

impl House {
    /// Starts all; nothing, after saying so, if the program in front is not installed.
    fn new(front: Front, count: usize) -> Result<Option<Self>> {
        let folder = TempDir::new()?;
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()])?;
        fs::write(folder.path().join("cert.pem"), cert.pem())?;
        fs::write(folder.path().join("key.pem"), signing_key.serialize_pem())?;
        let (first, named) = Running::start(folder.path(), 0)?;
        let mut relays = vec![first];
        for number in 1..count {
            let (relay, address) = Running::start(folder.path(), number)?;
            ensure!(address.key == named.key, "one identity");
            relays.push(relay);
        }
        let ports: Vec<u16> = relays.iter().map(|relay| relay.port).collect();
        let Some(fronting) = front.start(folder.path(), 0, |_| configuration(front, &ports).unwrap_or_default())?
        else {
            let [_, program, package] = front.names();
            skip(&format!("{program} is not installed: apt install {package}"));
            return Ok(None);
        };
        let address = Address { host: "localhost".to_owned(), port: fronting.port, ..named }.to_string();
        Ok(Some(Self { folder, address, relays, _front: fronting }))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, store: &str, words: &[&str]) -> Result<Anypath> {
        let roots = self.path("cert.pem");
        let relay = ["--via", &self.address, "--proxy", "none", "--roots", text(&roots)?];
        Anypath::start(&self.path(store), words.iter().chain(&relay))
    }
}

impl Running {
    /// Starts one with the key of the first.
    fn start(folder: &Path, number: usize) -> Result<(Self, Address)> {
        let store = folder.join(format!("relay{number}"));
        if number > 0 {
            fs::create_dir_all(&store)?;
            fs::copy(folder.join("relay0/keys"), store.join("keys"))?;
        }
        let metrics = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let exposed = format!("127.0.0.1:{metrics}");
        let words = ["relay", "--plain", "--listen", "127.0.0.1:0", "--tags", "16", "--metrics", &exposed];
        let mut program = Anypath::start(&store, words)?;
        let listening = program.first("listening")?;
        let address: Address = listening["address"].as_str().context("no address")?.parse()?;
        Ok((Self { program, port: address.port, metrics }, address))
    }

    /// Returns how many sessions it has.
    fn sessions(&self) -> Result<u64> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.metrics))?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let line = text.lines().find_map(|line| line.strip_prefix("anypath_relay_sessions ")).context("no figure")?;
        Ok(line.parse()?)
    }
}

/// Returns our configuration for several relays, for those at these ports.
fn configuration(front: Front, ports: &[u16]) -> Result<String> {
    let file = if front == Front::Nginx { "nginx-several.conf" } else { "haproxy-several.cfg" };
    let mut text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../relay/deploy").join(file))?;
    for (number, standing) in (0..).zip(["127.0.0.1:8081", "127.0.0.1:8082", "127.0.0.1:8083"]) {
        text = match ports.get(number) {
            Some(port) => text.replace(standing, &format!("127.0.0.1:{port}")),
            None => text.lines().filter(|line| !line.contains(standing)).map(|line| format!("{line}\n")).collect(),
        };
    }
    Ok(text)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no text")
}

/// Half a second is usual; a busy machine may take longer.
const BACK_TIME_MAX: Duration = Duration::from_secs(10);

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

/// Who comes later is led to the relay that has come back, where those must be who were there before.
#[test]
fn a_relay_behind_haproxy_comes_back() -> Result<()> {
    let Some(mut house) = House::new(Front::Haproxy, 2)? else { return Ok(()) };
    let mut met = house.meet()?;
    let home = house.home()?;
    house.relays[home].program.signal("KILL")?;
    met.expect_news("without")?;
    let port = house.relays[home].port;
    house.relays[home] = Running::start(house.folder.path(), home, port)?.0;
    // haproxy asks twice, a second apart, and leads who comes then to where nobody else is yet.
    sleep(Duration::from_secs(3));
    let late = house.path("late");
    let began = Instant::now();
    let mut clone = house.run("late-comers", &["clone", &met.key, text(&late)?])?;
    while !late.join("without").is_file() {
        ensure!(
            began.elapsed() < HOME_TIME_MAX,
            "does not find those who stayed\n{}\n{}",
            met.stderr(),
            clone.stderr()
        );
        sleep(Duration::from_millis(50));
    }
    clone.wait_for("done")?;
    met.expect_news("with")
}

/// Ends the relay at which two meet, and looks how long it takes until what the one changes is at the other's.
fn one_dies(front: Front, count: usize, signal: &str) -> Result<()> {
    let Some(house) = House::new(front, count)? else { return Ok(()) };
    let mut met = house.meet()?;
    house.relays[house.home()?].program.signal(signal)?;
    met.expect_news("after")
}

/// Two who have met, and follow each other.
struct Met {
    key: String,
    source: PathBuf,
    target: PathBuf,
    share: Anypath,
    clone: Anypath,
}

impl Met {
    /// Writes a file at the one's, and waits for it at the other's.
    fn expect_news(&mut self, name: &str) -> Result<()> {
        let began = Instant::now();
        fs::write(self.source.join(name), "back")?;
        while fs::read(self.target.join(name)).ok().as_deref() != Some(b"back") {
            ensure!(began.elapsed() < BACK_TIME_MAX, "not back after {:?}\n{}", began.elapsed(), self.stderr());
            sleep(Duration::from_millis(20));
        }
        ensure!(self.share.is_running() && self.clone.is_running(), "nobody was started again");
        Ok(())
    }

    fn stderr(&self) -> String {
        format!("{}\n{}", self.share.stderr(), self.clone.stderr())
    }
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
        let (first, named) = Running::start(folder.path(), 0, 0)?;
        let mut relays = vec![first];
        for number in 1..count {
            let (relay, address) = Running::start(folder.path(), number, 0)?;
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

    /// Lets two meet.
    fn meet(&self) -> Result<Met> {
        let (source, target) = (self.path("source"), self.path("target"));
        generate(&source, Plan { seed: 5, files: 10, large_bytes: 1 << 20 })?;
        let mut share = self.run("shares", &["share", text(&source)?, "--watch", "--listen", "tcp://127.0.0.1:0"])?;
        let key = share.wait_for("shared")?["key"].as_str().context("no key")?.to_owned();
        let mut clone = self.run("clones", &["clone", &key, text(&target)?, "--live"])?;
        clone.wait_for("done")?;
        expect_same(&list(&source)?, &list(&target)?)?;
        Ok(Met { key, source, target, share, clone })
    }

    /// Waits until all are at one relay, and returns which: who does not know yet over how many tags topics are spread
    /// opens a session elsewhere first, and leaves.
    fn home(&self) -> Result<usize> {
        let began = Instant::now();
        loop {
            let busy = |relay: &Running| relay.sessions().is_ok_and(|count| count > 0);
            let busy: Vec<_> = (0..self.relays.len()).filter(|number| busy(&self.relays[*number])).collect();
            if let [home] = busy[..] {
                return Ok(home);
            }
            ensure!(began.elapsed() < Duration::from_secs(60), "at {} relays", busy.len());
            sleep(Duration::from_millis(50));
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, store: &str, words: &[&str]) -> Result<Anypath> {
        let roots = self.path("cert.pem");
        let relay = ["--via", &self.address, "--proxy", "none", "--roots", text(&roots)?, "-vv"];
        Anypath::start(&self.path(store), words.iter().chain(&relay))
    }
}

impl Running {
    /// Starts one with the key of the first, at a port, or at any for 0.
    fn start(folder: &Path, number: usize, port: u16) -> Result<(Self, Address)> {
        let store = folder.join(format!("relay{number}"));
        if number > 0 {
            fs::create_dir_all(&store)?;
            fs::copy(folder.join("relay0/keys"), store.join("keys"))?;
        }
        let metrics = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let exposed = format!("127.0.0.1:{metrics}");
        let listened = format!("127.0.0.1:{port}");
        let words = ["relay", "--plain", "--listen", &listened, "--tags", "16", "--metrics", &exposed];
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
/// They look for their relay after 2 s, 4 s, and so on; a balancer takes 2 s to believe that one is back.
const HOME_TIME_MAX: Duration = Duration::from_secs(30);

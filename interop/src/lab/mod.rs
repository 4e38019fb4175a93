//! Networks as people have them, rebuilt on one machine: sites of every [`Profile`] behind gateways that run the real
//! programs, and a public network with a relay between them.
//!
//! Everything is made of network namespaces, so nothing here touches the machine's own network, and no site has
//! another way out than its gateway. A lab is gone when it is dropped; what one left behind that was killed is removed
//! by the next.
//!
//! ```text
//! host ── lan ── gateway ── wan ──┐
//! 10.0.1.2      NAT, filter,      ├── bridge 198.51.100.1, relay.lab
//! host ── lan ── proxy ──── wan ──┘
//! 10.0.2.2                 198.51.100.12
//! ```

mod authority;
mod lan;
mod line;
mod namespace;
mod passage;
mod plain;
mod profile;
mod rules;
mod site;

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

pub use self::authority::Authority;
pub use self::lan::Lan;
pub use self::line::Line;
pub use self::namespace::Namespace;
pub use self::passage::Passage;
pub use self::plain::{Plain, Way};
pub use self::profile::Profile;
pub use self::site::{Idle, Site};
use crate::proxy::mitmdump;
use crate::{Anypath, skip};

/// A public network with a relay on it.
#[derive(Debug)]
pub struct Lab {
    folder: TempDir,
    /// Vouches for the relay; every host of the lab trusts it.
    authority: Authority,
    /// None while it is killed.
    relay: RefCell<Option<Anypath>>,
    address: String,
    sites: Cell<u8>,
    public: Namespace,
}

impl Lab {
    /// Makes the public network and starts the relay. Nothing, after saying why, where that cannot be had.
    pub fn open() -> Result<Option<Self>> {
        if let Some(why) = why_not() {
            skip(&why);
            return Ok(None);
        }
        namespace::remove_abandoned()?;
        let folder = TempDir::new()?;
        let public = Namespace::new("public")?;
        public.script(&format!(
            "ip link set lo up\nip link add {BRIDGE} type bridge\nip address add {RELAY_IP}/24 dev {BRIDGE}\nip link set {BRIDGE} up"
        ))?;
        public.write("hosts", &format!("127.0.0.1 localhost\n{RELAY_IP} {RELAY}\n"))?;
        let authority = Authority::new("Lab Root")?;
        let (certificate, key) = authority.issue(RELAY)?;
        std::fs::write(folder.path().join("cert.pem"), certificate)?;
        std::fs::write(folder.path().join("key.pem"), key)?;
        let mut relay = start_relay(folder.path(), &public)?;
        let listening = relay.first("listening")?;
        let address = listening["address"].as_str().context("no address")?.to_owned();
        Ok(Some(Self { folder, authority, relay: RefCell::new(Some(relay)), address, sites: Cell::new(0), public }))
    }

    /// Builds a site, joined to the public network by a wire.
    pub fn site(&self, profile: Profile) -> Result<Site> {
        self.build(profile, None, Idle::default())
    }

    /// Builds a site, joined to the public network by a line that is as slow and lossy as wanted.
    pub fn far_site(&self, profile: Profile, line: Line) -> Result<Site> {
        self.build(profile, Some(line), Idle::default())
    }

    /// Builds a site behind [`Profile::ProxyIdle`] that ends connections at other times than usual.
    pub fn idle_site(&self, idle: Idle) -> Result<Site> {
        self.build(Profile::ProxyIdle, None, idle)
    }

    fn build(&self, profile: Profile, line: Option<Line>, idle: Idle) -> Result<Site> {
        Site::build(self, self.next_number(), profile, line, idle)
    }

    /// Returns a number for a machine on the public network.
    fn next_number(&self) -> u8 {
        self.sites.set(self.sites.get() + 1);
        self.sites.get()
    }

    /// Returns the relay's address, its key included.
    pub fn relay(&self) -> &str {
        &self.address
    }

    /// Kills the relay and starts it again at once.
    pub fn restart_relay(&self) -> Result<()> {
        if let Some(relay) = self.relay.take() {
            relay.kill();
        }
        let mut relay = start_relay(self.folder.path(), &self.public)?;
        relay.first("listening")?;
        self.relay.replace(Some(relay));
        Ok(())
    }

    /// Returns a path for files of the test.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes a command that runs on the public network.
    pub fn command(&self, program: &str) -> Command {
        self.public.command(program)
    }
}

fn start_relay(folder: &Path, public: &Namespace) -> Result<Anypath> {
    let [certificate, key] = ["cert.pem", "key.pem"].map(|name| folder.join(name));
    let words = ["relay", "--listen", "0.0.0.0:443", "--name", RELAY, "--contact", "the lab's own people"];
    let words = words.map(std::ffi::OsStr::new).into_iter();
    let files = ["--tls-cert".as_ref(), certificate.as_os_str(), "--tls-key".as_ref(), key.as_os_str()];
    Anypath::start_in(public, &folder.join("relay"), words.chain(files))
}

/// Says what keeps a lab from being made here, if anything does.
fn why_not() -> Option<String> {
    let lacks = |name: &str| Command::new(name).arg("--version").output().is_err();
    let missing: Vec<_> = ["ip", "nft", "tinyproxy", "curl"].into_iter().filter(|name| lacks(name)).collect();
    if !missing.is_empty() {
        return Some(format!("{} missing: apt install iproute2 nftables tinyproxy curl", missing.join(" and ")));
    }
    let squid = Command::new("squid").arg("-v").output().ok();
    if !squid.is_some_and(|output| String::from_utf8_lossy(&output.stdout).contains("--with-openssl")) {
        return Some("no squid that can look into TLS: apt install squid-openssl".to_owned());
    }
    if mitmdump().is_none() {
        return Some("mitmproxy is not installed: ./test installs it into target/mitmproxy".to_owned());
    }
    if !Path::new("/dev/net/tun").exists() {
        return Some("no /dev/net/tun, by which lines are made slow: modprobe tun".to_owned());
    }
    let refused = Namespace::new("try").err()?;
    Some(format!("network namespaces cannot be made here (root may): {refused}"))
}

/// The relay's name and address.
const RELAY: &str = "relay.lab";
const RELAY_IP: &str = "198.51.100.1";
/// What joins everybody on the public network.
const BRIDGE: &str = "bridge";

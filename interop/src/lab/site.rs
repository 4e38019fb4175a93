//! A site: a host, and the gateway that stands between it and the public network.

use std::cell::{Cell, RefCell};
use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::line::Laid;
use super::plain::{PLAIN, PLAIN_NUMBER};
use super::rules::rules;
use super::{Authority, BRIDGE, Lab, Line, Namespace, Profile, RELAY, RELAY_IP};
use crate::anypath::{Anypath, binary};
use crate::proxy::{Asks, Ground, Mitmproxy, Opens, Proxy, Squid, Tinyproxy, USER};

/// A host somewhere, with what stands between it and everybody else.
#[derive(Debug)]
pub struct Site {
    /// What its gateway does.
    pub profile: Profile,
    number: u8,
    idle: Idle,
    proxy: RefCell<Option<Proxy>>,
    moves: Cell<u8>,
    host: Namespace,
    gateway: Option<Namespace>,
    _line: Option<Laid>,
}

/// When the gateway of [`Profile::ProxyIdle`] ends connections.
#[derive(Debug, Clone, Copy)]
pub struct Idle {
    /// After so many seconds of silence.
    pub silent_s: u32,
    /// After so many seconds in any case.
    pub age_s: u32,
}

impl Default for Idle {
    fn default() -> Self {
        Self { silent_s: 20, age_s: 60 }
    }
}

impl Site {
    pub(super) fn build(lab: &Lab, number: u8, profile: Profile, line: Option<Line>, idle: Idle) -> Result<Self> {
        let host = Namespace::new(&format!("{profile}"))?;
        let gateway = match profile {
            Profile::Open => None,
            _ => Some(Namespace::new(&format!("{profile}-gateway"))?),
        };
        let line = join(&lab.public, gateway.as_ref().unwrap_or(&host), number, line)?;
        let (proxy, moves) = (RefCell::default(), Cell::new(0));
        let site = Self { profile, number, idle, proxy, moves, host, gateway, _line: line };
        site.settle(&lab.authority)?;
        if profile.is_proxied() {
            site.proxy.replace(Some(site.start_proxy(&lab.authority, lab.path(&format!("site{number}")))?));
        }
        Ok(site)
    }

    /// Sets addresses, names and rules.
    fn settle(&self, root: &Authority) -> Result<()> {
        let known = format!("127.0.0.1 localhost\n{RELAY_IP} {RELAY}\n{} {PLAIN}\n", wan(PLAIN_NUMBER));
        self.host.write("ssl/certs/ca-certificates.crt", &root.certificate())?;
        let Some(gateway) = &self.gateway else { return self.host.write("hosts", &known) };
        gateway.write("hosts", &known)?;
        let Self { number, host, .. } = self;
        gateway.script(&format!(
            "ip link set lo up\nip link add lan type veth peer name lan netns {}\n\
             ip address add 10.0.{number}.1/24 dev lan\nip link set lan up\necho {} >/proc/sys/net/ipv4/ip_forward",
            host.name(),
            u8::from(!self.profile.is_proxied()),
        ))?;
        self.readmit()?;
        host.script("ip link set lo up\nip link set lan up")?;
        self.move_host()?;
        if self.profile.is_proxied() { Ok(()) } else { host.write("hosts", &known) }
    }

    /// Gives the host another address of its network; connections from the one before are dead.
    pub fn move_host(&self) -> Result<()> {
        let (number, own) = (self.number, HOST + self.moves.get());
        self.moves.set(self.moves.get() + 1);
        let mut script = format!("ip address flush dev lan\nip address add 10.0.{number}.{own}/24 dev lan");
        if !self.profile.is_proxied() {
            script += &format!("\nip route add default via 10.0.{number}.1");
        }
        self.host.script(&script)
    }

    /// Lets the gateway forget whom it knows, as it would overnight.
    pub fn readmit(&self) -> Result<()> {
        let Some(gateway) = &self.gateway else { return Ok(()) };
        let (number, age_s) = (self.number, self.idle.age_s);
        gateway.filter(&rules(self.profile, &wan(number).to_string(), &format!("10.0.{number}.{HOST}"), age_s))
    }

    /// Returns how many bytes have come from the public network.
    pub fn received(&self) -> Result<u64> {
        let machine = self.gateway.as_ref().unwrap_or(&self.host);
        let output = machine.command("cat").arg("/proc/net/dev").output()?;
        let table = String::from_utf8_lossy(&output.stdout).into_owned();
        let counts = table.lines().find_map(|line| line.trim().strip_prefix("wan:")).context("no device")?;
        Ok(counts.split_whitespace().next().context("no count")?.parse()?)
    }

    fn start_proxy(&self, root: &Authority, files: PathBuf) -> Result<Proxy> {
        let gateway = self.gateway.as_ref().context("a proxy needs a gateway")?;
        let at = SocketAddr::from(([10, 0, self.number, 1], PROXY_PORT));
        let ground = Ground { namespace: Some(gateway), at };
        let opens = || -> Result<Opens> {
            let own = Authority::new(COMPANY)?;
            let both = root.certificate() + &own.certificate();
            self.host.write("ssl/certs/ca-certificates.crt", &both)?;
            std::fs::create_dir_all(&files)?;
            let trusted = files.join("trusted.pem");
            std::fs::write(&trusted, root.certificate())?;
            Ok(Opens { authority: own, trusted, upgrades: self.profile.passes_upgrades() })
        };
        let squid = |asks, opens| Squid { asks, allowed: 443, opens }.start(ground);
        let tinyproxy = |silent_s| Tinyproxy { asks: Asks::Nothing, allowed: 443, silent_s }.start(ground);
        let started = match self.profile {
            Profile::ProxyConnect => tinyproxy(600)?,
            Profile::ProxyIdle => tinyproxy(self.idle.silent_s)?,
            Profile::ProxyAuth => squid(Asks::Basic, None)?,
            Profile::ProxyDigest => squid(Asks::Digest, None)?,
            Profile::TlsIntercept | Profile::TlsInterceptNoWs => squid(Asks::Nothing, Some(opens()?))?,
            _ => Mitmproxy(opens()?).start(ground)?,
        };
        started.context("a proxy that was there a moment ago is not installed")
    }

    /// Kills the proxy, and starts it again at once.
    pub fn restart_proxy(&self) -> Result<()> {
        self.proxy.borrow_mut().as_mut().context("no proxy")?.restart()
    }

    /// Returns what the environment of programs here says about the proxy.
    pub fn proxy_url(&self) -> Option<String> {
        let proxy = self.proxy.borrow();
        let proxy = proxy.as_ref()?;
        let who = match self.profile {
            Profile::ProxyAuth | Profile::ProxyDigest => {
                format!("{USER}:{}@", proxy.password.replace('?', "%3F").replace('>', "%3E"))
            }
            _ => String::new(),
        };
        Some(format!("http://{who}{}", proxy.place()))
    }

    /// Makes a command that runs on the host, with the environment that the site's people have.
    pub fn command(&self, program: &str) -> Command {
        self.equip(self.host.command(program))
    }

    /// Starts the program on the host.
    pub fn anypath<S: AsRef<OsStr>>(&self, store: &Path, words: impl IntoIterator<Item = S>) -> Result<Anypath> {
        Anypath::start_by(store, |binary| self.equip(self.host.command(binary)), words)
    }

    /// Makes a command that runs the program on the host as people do, without events.
    pub fn command_of_people(&self, words: &[&str]) -> Result<Command> {
        let mut command = self.equip(self.host.command(binary()?));
        command.args(words);
        Ok(command)
    }

    fn equip(&self, mut command: Command) -> Command {
        for variable in ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"] {
            command.env_remove(variable);
        }
        if let Some(url) = self.proxy_url() {
            command.env("https_proxy", url);
        }
        command
    }
}

/// Joins a machine to the public network, and gives it its address there.
pub(super) fn join(public: &Namespace, machine: &Namespace, number: u8, line: Option<Line>) -> Result<Option<Laid>> {
    let port = format!("port{number}");
    let laid = match line {
        Some(line) => Some(line.lay([(machine, "wan"), (public, &port)])?),
        None => {
            machine.script(&format!("ip link add wan type veth peer name {port} netns {}", public.name()))?;
            None
        }
    };
    machine.script(&format!("ip link set lo up\nip address add {}/24 dev wan\nip link set wan up", wan(number)))?;
    public.script(&format!("ip link set {port} master {BRIDGE}\nip link set {port} up"))?;
    Ok(laid)
}

/// Returns a site's public address.
pub(super) fn wan(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 100, 10 + number)
}

/// Whom the companies' own authorities say they are.
pub(super) const COMPANY: &str = "Example Corp Inspection";
/// Where proxies listen.
const PROXY_PORT: u16 = 3128;
/// The last part of a host's first address.
const HOST: u8 = 2;

//! Real proxies in front of tests: squid, tinyproxy and mitmproxy, as companies' sites have them.

mod mitmproxy;
mod squid;
mod tinyproxy;

use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tempfile::TempDir;

pub use self::mitmproxy::{Mitmproxy, mitmdump};
pub use self::squid::Squid;
pub use self::tinyproxy::Tinyproxy;
use crate::lab::{Authority, Namespace};
use crate::process::Process;

/// A running proxy; it ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    process: Process,
    name: &'static str,
    command: Command,
    at: SocketAddr,
    folder: TempDir,
    /// What [`USER`] proves to be, in case.
    pub password: &'static str,
}

/// What a proxy wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// Nothing.
    Nothing,
    /// A name and a password, in clear.
    Basic,
    /// Proof of the password.
    Digest,
}

/// How a proxy looks into TLS.
#[derive(Debug)]
pub struct Opens {
    /// In whose name it makes certificates.
    pub authority: Authority,
    /// A file with the authorities that it trusts itself.
    pub trusted: PathBuf,
    /// Whether upgrades pass.
    pub upgrades: bool,
}

/// Where a proxy runs.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'a> {
    /// In which network; none is the machine's own.
    pub namespace: Option<&'a Namespace>,
    /// Where it listens.
    pub at: SocketAddr,
}

impl Ground<'_> {
    /// Returns a free port on loopback.
    pub fn loopback() -> Result<Self> {
        Ok(Self { namespace: None, at: (Ipv4Addr::LOCALHOST, free_port()?).into() })
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        self.namespace.map_or_else(|| Command::new(program.as_ref()), |namespace| namespace.command(program.as_ref()))
    }
}

/// Whom the proxies let through.
pub const USER: &str = "me";

impl Proxy {
    /// Starts it with its files in the folder; nothing if it is not installed.
    fn start(
        name: &'static str,
        mut command: Command,
        at: SocketAddr,
        folder: TempDir,
        password: &'static str,
    ) -> Result<Option<Self>> {
        let mut process = match Process::spawn(name, &mut command) {
            Ok(process) => process,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        await_listening(&mut process, at.port())?;
        Ok(Some(Self { process, name, command, at, folder, password }))
    }

    /// Kills it, and starts it again at once.
    pub fn restart(&mut self) -> Result<()> {
        self.process.kill();
        self.process = Process::spawn(self.name, &mut self.command)?;
        await_listening(&mut self.process, self.at.port())
    }

    /// Returns its address without a scheme.
    pub fn place(&self) -> String {
        self.at.to_string()
    }

    /// Returns what it has written down about requests so far.
    pub fn log(&self) -> Result<String> {
        let path = self.folder.path().join(LOG);
        fs::read_to_string(path).with_context(|| format!("no log: {}", self.process.stderr()))
    }
}

impl Drop for Proxy {
    /// Lets it clear away what it has in shared memory, for which squid takes two seconds if told to TERM.
    fn drop(&mut self) {
        if self.process.signal("INT").is_ok() {
            drop(self.process.wait());
        }
    }
}

/// Waits until a process listens at a port, in whatever network it is.
pub(crate) fn await_listening(process: &mut Process, port: u16) -> Result<()> {
    let (began, table) = (Instant::now(), format!("/proc/{}/net/tcp", process.id()));
    let listens = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let here = words.next().and_then(|place| place.split(':').nth(1));
        here.and_then(|here| u16::from_str_radix(here, 16).ok()) == Some(port) && words.nth(1) == Some("0A")
    };
    while !fs::read_to_string(&table).is_ok_and(|table| table.lines().any(listens)) {
        if !process.is_running() || began.elapsed() > START_TIME_MAX {
            return Err(process.failure("did not begin to listen"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

pub(crate) fn is_missing(error: &anyhow::Error) -> bool {
    error.root_cause().downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::NotFound)
}

pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// What a proxy's log is called in its folder.
const LOG: &str = "access.log";
/// Longer than any proxy takes to start.
const START_TIME_MAX: Duration = Duration::from_secs(30);

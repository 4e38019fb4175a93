//! Real proxies in front of tests: squid and tinyproxy, as a company's site has them.

use std::fs;
use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::process::Process;

/// A running proxy on loopback; it ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    process: Process,
    port: u16,
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

/// Whom the proxies let through.
pub const USER: &str = "me";

impl Proxy {
    /// Starts squid, which allows CONNECT to one port; nothing if it is not installed.
    pub fn squid(asks: Asks, allowed: u16) -> Result<Option<Self>> {
        let (port, folder) = (free_port()?, TempDir::new()?);
        let (config, users) = (folder.path().join("squid.conf"), folder.path().join("users"));
        let users = users.display();
        let (auth, who) = match asks {
            Asks::Nothing => (String::new(), ""),
            Asks::Basic => (format!("auth_param basic program {HELPERS}/basic_ncsa_auth {users}"), "me"),
            Asks::Digest => (
                format!("auth_param digest program {HELPERS}/digest_file_auth {users}\nauth_param digest realm lab"),
                "me",
            ),
        };
        let who = if who.is_empty() { "acl me src all" } else { "acl me proxy_auth REQUIRED" };
        let log = folder.path().join("access.log");
        let text = format!(
            "http_port 127.0.0.1:{port}\n{auth}\n{who}\nacl relay port {allowed}\nhttp_access deny !relay\n\
             http_access allow me\nhttp_access deny all\naccess_log stdio:{} squid\ncache_log /dev/null\n\
             cache_store_log none\ncache deny all\npid_filename none\nshutdown_lifetime 0 seconds\n\
             visible_hostname lab\nnetdb_filename none\npinger_enable off\n",
            log.display()
        );
        fs::write(&config, text)?;
        fs::write(folder.path().join("users"), users_file(asks))?;
        // Begun as root, squid becomes another user, who writes the log.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777))?;
        Self::start(
            "squid",
            Command::new("squid").args(["-N", "-d1", "-n", &format!("lab{port}"), "-f"]).arg(&config),
            port,
            folder,
            PASSWORD,
        )
    }

    /// Starts tinyproxy, which allows CONNECT to one port; nothing if it is not installed.
    pub fn tinyproxy(asks: Asks, allowed: u16) -> Result<Option<Self>> {
        let (port, folder) = (free_port()?, TempDir::new()?);
        let config = folder.path().join("tinyproxy.conf");
        let auth = match asks {
            Asks::Nothing => String::new(),
            Asks::Basic => format!("BasicAuth {USER} {PASSWORD_PLAIN}"),
            Asks::Digest => bail!("tinyproxy knows no digest"),
        };
        let log = folder.path().join("access.log");
        let text = format!(
            "Port {port}\nListen 127.0.0.1\nTimeout 600\nMaxClients 100\nLogLevel Connect\nLogFile \"{}\"\n\
             ConnectPort {allowed}\n{auth}\n",
            log.display()
        );
        fs::write(&config, text)?;
        Self::start(
            "tinyproxy",
            Command::new("tinyproxy").arg("-d").arg("-c").arg(&config),
            port,
            folder,
            PASSWORD_PLAIN,
        )
    }

    fn start(
        name: &str,
        command: &mut Command,
        port: u16,
        folder: TempDir,
        password: &'static str,
    ) -> Result<Option<Self>> {
        let mut process = match Process::spawn(name, command) {
            Ok(process) => process,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if !process.is_running() || began.elapsed() > START_TIME_MAX {
                return Err(process.failure("did not begin to listen"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Some(Self { process, port, folder, password }))
    }

    /// Returns its address without a scheme.
    pub fn place(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Returns what it has written down about requests so far.
    pub fn log(&self) -> Result<String> {
        let path: PathBuf = self.log_path();
        fs::read_to_string(&path).with_context(|| format!("no log: {}", self.process.stderr()))
    }

    fn log_path(&self) -> PathBuf {
        Path::new(self.folder.path()).join("access.log")
    }
}

impl Drop for Proxy {
    /// Lets it clear away what it has in shared memory.
    fn drop(&mut self) {
        if self.process.signal("TERM").is_ok() {
            drop(self.process.wait());
        }
    }
}

fn users_file(asks: Asks) -> String {
    match asks {
        // Made by `openssl passwd -apr1`.
        Asks::Basic => format!("{USER}:{PASSWORD_APR1}\n"),
        _ => format!("{USER}:{PASSWORD}\n"),
    }
}

pub(crate) fn is_missing(error: &anyhow::Error) -> bool {
    error.root_cause().downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::NotFound)
}

pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The password at squid; some of it must be encoded in URLs, and gives + and / in base64.
const PASSWORD: &str = "s3cret??>>~~";
/// The password at tinyproxy, whose configuration takes letters and digits.
const PASSWORD_PLAIN: &str = "s3cret";
/// Where Debian has squid's helpers.
const HELPERS: &str = "/usr/lib/squid";
/// The password as `htpasswd` keeps it.
const PASSWORD_APR1: &str = "$apr1$anypath1$AypVuev0cNtQe2PGtSZIa1";
/// Longer than any proxy takes to start.
const START_TIME_MAX: Duration = Duration::from_secs(30);

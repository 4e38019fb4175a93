//! tinyproxy: small, and different enough from squid.

use std::fs;

use anyhow::{Result, bail};
use tempfile::TempDir;

use super::{Asks, Ground, LOG, Proxy, USER};

/// tinyproxy, which allows CONNECT to one port.
#[derive(Debug)]
pub struct Tinyproxy {
    /// What it wants to know.
    pub asks: Asks,
    /// The port.
    pub allowed: u16,
    /// After how many seconds of silence it ends a connection.
    pub silent_s: u32,
}

impl Tinyproxy {
    /// Starts it; nothing if it is not installed.
    pub fn start(&self, ground: Ground<'_>) -> Result<Option<Proxy>> {
        let folder = TempDir::new()?;
        let config = folder.path().join("tinyproxy.conf");
        let auth = match self.asks {
            Asks::Nothing => String::new(),
            Asks::Basic => format!("BasicAuth {USER} {PASSWORD}"),
            Asks::Digest => bail!("tinyproxy knows no digest"),
        };
        let Self { allowed, silent_s, .. } = self;
        let text = format!(
            "Port {}\nListen {}\nTimeout {silent_s}\nMaxClients 100\nLogLevel Connect\nLogFile \"{}\"\n\
             ConnectPort {allowed}\n{auth}\n",
            ground.at.port(),
            ground.at.ip(),
            folder.path().join(LOG).display()
        );
        fs::write(&config, text)?;
        let mut command = ground.command("tinyproxy");
        command.arg("-d").arg("-c").arg(&config);
        Proxy::start("tinyproxy", command, ground.at, folder, PASSWORD)
    }
}

/// Its configuration takes letters and digits.
const PASSWORD: &str = "s3cret";

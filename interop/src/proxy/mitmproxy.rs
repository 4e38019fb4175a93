//! mitmproxy: looks into TLS, and passes on only what is whole.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use tempfile::TempDir;

use super::{Ground, Opens, Proxy};

/// mitmproxy, which keeps requests and answers until they are whole.
#[derive(Debug)]
pub struct Mitmproxy(pub Opens);

impl Mitmproxy {
    /// Starts it; nothing if it is not installed.
    pub fn start(&self, ground: Ground<'_>) -> Result<Option<Proxy>> {
        let (folder, Opens { authority, trusted, upgrades }) = (TempDir::new()?, &self.0);
        fs::write(folder.path().join("mitmproxy-ca.pem"), authority.key() + &authority.certificate())?;
        let Some(mitmdump) = mitmdump() else { return Ok(None) };
        let mut command = ground.command(mitmdump);
        command.args(["--quiet", "--listen-host", &ground.at.ip().to_string()]);
        command.args(["--listen-port", &ground.at.port().to_string()]);
        for option in [
            format!("confdir={}", folder.path().display()),
            format!("ssl_verify_upstream_trusted_ca={}", trusted.display()),
            "http2=false".to_owned(),
        ] {
            command.args(["--set", &option]);
        }
        if !upgrades {
            command.args(["--modify-headers", "/~q/Upgrade/"]);
        }
        Proxy::start("mitmproxy", command, ground.at, folder, "")
    }
}

/// Returns the program, if `./test` has installed it.
pub fn mitmdump() -> Option<PathBuf> {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/mitmproxy/bin/mitmdump");
    ours.exists().then_some(ours)
}

//! A plain HTTPS server on the public network, nginx: by it is measured what a line and a proxy bear at all.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::site::join;
use super::{Lab, Namespace, Site};
use crate::process::Process;
use crate::proxy::await_listening;

/// A running server; it ends when dropped.
#[derive(Debug)]
pub struct Plain {
    _process: Process,
    folder: TempDir,
    _machine: Namespace,
}

/// Which way bytes go, seen from a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To the public network.
    Up,
    /// From there.
    Down,
}

impl Lab {
    /// Starts a plain HTTPS server on a machine of its own, on port 443; a lab has one at a time.
    pub fn plain(&self) -> Result<Plain> {
        let machine = Namespace::new("plain")?;
        join(&self.public, &machine, PLAIN_NUMBER, None)?;
        let folder = TempDir::new()?;
        // Its workers are another user.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777))?;
        let (certificate, key) = self.authority.issue(PLAIN)?;
        let path = |name: &str| folder.path().join(name);
        fs::write(path("cert.pem"), certificate)?;
        fs::write(path("key.pem"), key)?;
        fs::write(path("nginx.conf"), CONFIG)?;
        let mut command = machine.command("nginx");
        let mut process =
            Process::spawn("nginx", command.arg("-p").arg(folder.path()).arg("-c").arg(path("nginx.conf")))?;
        await_listening(&mut process, 443)?;
        Ok(Plain { _process: process, folder, _machine: machine })
    }
}

impl Plain {
    /// Opens a secure connection by curl from a site, and returns how many seconds that took, TCP and TLS and what a
    /// proxy asks, and how many a request on it.
    pub fn connect(&self, site: &Site) -> Result<(f64, f64)> {
        let mut curl = site.command("curl");
        curl.args(["--silent", "--show-error", "--head", "--output", "/dev/null", "--http1.1", "--proxy-anyauth"]);
        let write = "%{time_pretransfer} %{time_starttransfer}";
        let output = curl.args(["--write-out", write, &format!("https://{PLAIN}/")]).output()?;
        ensure!(output.status.success(), "curl: {}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let (secure, answered) = said.split_once(' ').context("curl tells too little")?;
        let (secure, answered): (f64, f64) = (secure.parse()?, answered.parse()?);
        Ok((secure, answered - secure))
    }

    /// Moves so many bytes by curl between it and a site, and returns how many seconds the bytes took, without what
    /// opens the connection.
    pub fn move_bytes(&self, site: &Site, way: Way, bytes: u64) -> Result<f64> {
        let file = self.folder.path().join("file");
        let made = fs::File::create(&file)?;
        made.set_permissions(fs::Permissions::from_mode(0o666))?;
        made.set_len(bytes)?;
        let url = format!("https://{PLAIN}/file");
        let mut curl = site.command("curl");
        curl.args(["--silent", "--show-error", "--fail", "--http1.1", "--output", "/dev/null", "--proxy-anyauth"]);
        let write = "%{time_total} %{time_starttransfer} %{time_pretransfer}";
        curl.args(["--write-out", write, "--header", "Expect:", &url]);
        if way == Way::Up {
            // With a length, squid that looks into TLS drops some uploads of more than 16 MiB.
            curl.args(["--header", "Transfer-Encoding: chunked", "--upload-file"]).arg(&file);
        }
        let output = curl.output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "curl: {}", String::from_utf8_lossy(&output.stderr));
        let mut times = said.split(' ').map(str::parse::<f64>);
        let mut time = || times.next().context("curl tells too little")?.context("no time");
        let (total, first, began) = (time()?, time()?, time()?);
        Ok(total - if way == Way::Up { began } else { first })
    }
}

/// Its name, which every site knows, and its number among the machines of the public network: above all sites'.
pub(super) const PLAIN: &str = "plain.lab";
pub(super) const PLAIN_NUMBER: u8 = 200;

/// All its files lie in one folder.
const CONFIG: &str = "\
daemon off;
master_process off;
pid nginx.pid;
error_log stderr;
events {}
http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {
        listen 443 ssl;
        ssl_protocols TLSv1.3;
        ssl_certificate cert.pem;
        ssl_certificate_key key.pem;
        location / {
            root .;
            dav_methods PUT;
            client_max_body_size 0;
        }
    }
}
";

//! What stands in front of a relay and has the certificate: nginx, haproxy, Apache and Caddy, each by the configuration
//! that the relay comes with.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::Process;
use crate::proxy::{await_listening, free_port, is_missing};

/// A program that may stand in front of a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Front {
    /// nginx.
    Nginx,
    /// haproxy.
    Haproxy,
    /// Apache's httpd, with the event MPM.
    Apache,
    /// Caddy.
    Caddy,
}

/// One that runs; it ends when dropped.
#[derive(Debug)]
pub struct Fronting {
    process: Process,
    /// Where it listens, by TLS, on loopback.
    pub port: u16,
}

impl Front {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Nginx, Self::Haproxy, Self::Apache, Self::Caddy];

    /// Starts it in front of a port on loopback, with `cert.pem` and `key.pem` of the folder and our configuration as
    /// `edit` leaves it; nothing if it is not installed.
    pub fn start(self, folder: &Path, relay: u16, edit: impl Fn(String) -> String) -> Result<Option<Fronting>> {
        let port = free_port()?;
        let [file, program, package] = self.names();
        let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../relay/deploy").join(file);
        let ours = fs::read_to_string(ours).with_context(|| format!("the relay's configuration for {package}"))?;
        let path = |name: &str| folder.join(name).display().to_string();
        let ours = edit(ours)
            .replace("127.0.0.1:8080", &format!("127.0.0.1:{relay}"))
            .replace("/etc/ssl/relay.example/fullchain.pem", &path("cert.pem"))
            .replace("/etc/ssl/relay.example/privkey.pem", &path("key.pem"));
        let config = self.complete(&ours, port, &path);
        // Begun as root, some become another user, who keeps long bodies there.
        fs::set_permissions(folder, fs::Permissions::from_mode(0o777))?;
        let both = fs::read_to_string(path("cert.pem"))? + &fs::read_to_string(path("key.pem"))?;
        fs::write(path("both.pem"), both)?;
        fs::write(path(file), config)?;
        let mut command = Command::new(program);
        command.env("HOME", folder).env("XDG_DATA_HOME", folder).env("XDG_CONFIG_HOME", folder);
        match self {
            Self::Nginx => command.arg("-p").arg(folder).arg("-c").arg(path(file)),
            Self::Haproxy => command.arg("-db").arg("-f").arg(path(file)),
            Self::Apache => command.arg("-DFOREGROUND").arg("-d").arg(folder).arg("-f").arg(path(file)),
            Self::Caddy => command.args(["run", "--adapter", "caddyfile", "--config"]).arg(path(file)),
        };
        let mut process = match Process::spawn(program, &mut command) {
            Ok(process) => process,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        await_listening(&mut process, port)?;
        Ok(Some(Fronting { process, port }))
    }

    /// Returns what its configuration, its program and its package are called.
    pub fn names(self) -> [&'static str; 3] {
        match self {
            Self::Nginx => ["nginx.conf", "nginx", "nginx-light"],
            Self::Haproxy => ["haproxy.cfg", "haproxy", "haproxy"],
            Self::Apache => ["apache.conf", "apache2", "apache2"],
            Self::Caddy => ["Caddyfile", "caddy", "caddy"],
        }
    }

    /// Makes our part of a configuration a whole one, which listens at a port on loopback.
    fn complete(self, ours: &str, port: u16, path: &impl Fn(&str) -> String) -> String {
        match self {
            Self::Nginx => {
                let ours = ours.replace("listen 443 ssl", &format!("listen 127.0.0.1:{port} ssl"));
                let places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
                let places = places.map(|kind| format!("{kind}_temp_path {};\n", path(kind))).concat();
                format!(
                    "daemon off;\nmaster_process off;\npid {};\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{places}{ours}}}\n",
                    path("nginx.pid"),
                )
            }
            Self::Haproxy => {
                let ours = ours.replace("bind :443", &format!("bind 127.0.0.1:{port}"));
                format!(
                    "global\n    maxconn 1000\n{}",
                    ours.replace("/etc/haproxy/relay.example.pem", &path("both.pem"))
                )
            }
            Self::Apache => {
                let modules =
                    APACHE_MODULES.map(|name| format!("LoadModule {name}_module {APACHE_FOLDER}/mod_{name}.so\n"));
                let ours = ours.replace("*:443", &format!("127.0.0.1:{port}"));
                format!(
                    "{}ServerName localhost\nListen 127.0.0.1:{port}\nPidFile {}\nErrorLog /dev/stderr\nDefaultRuntimeDir {}\n\
                     User nobody\nGroup nogroup\nSSLSessionCache none\n{ours}",
                    modules.concat(),
                    path("apache.pid"),
                    path("."),
                )
            }
            Self::Caddy => {
                let files = format!("tls {} {}", path("cert.pem"), path("key.pem"));
                let ours = ours
                    .replace("relay.example {", &format!("https://localhost:{port} {{\n\tbind 127.0.0.1\n\t{files}"));
                format!(
                    "{{\n\tadmin off\n\tauto_https disable_redirects\n\tservers {{\n\t\tprotocols h1 h2\n\t}}\n}}\n{ours}"
                )
            }
        }
    }
}

impl Drop for Fronting {
    fn drop(&mut self) {
        // Apache's children end with it only if it is told.
        if self.process.signal("TERM").is_ok() {
            drop(self.process.wait());
        }
    }
}

/// What our configuration for Apache, and its being started at all, needs.
const APACHE_MODULES: [&str; 6] = ["mpm_event", "authz_core", "ssl", "proxy", "proxy_http", "proxy_wstunnel"];
/// Where Debian has them.
const APACHE_FOLDER: &str = "/usr/lib/apache2/modules";

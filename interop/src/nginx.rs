//! nginx in front of a relay, by the configuration that the relay comes with.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::process::Process;
use crate::proxy::{free_port, is_missing};

/// A running nginx; it ends when dropped.
#[derive(Debug)]
pub struct Nginx {
    process: Process,
    /// Where it listens, by TLS, on loopback.
    pub port: u16,
}

impl Nginx {
    /// Starts it in front of a port on loopback, with `cert.pem` and `key.pem` of the folder and our configuration as
    /// `edit` leaves it; nothing if it is not installed.
    pub fn start(folder: &Path, relay: u16, edit: impl Fn(String) -> String) -> Result<Option<Self>> {
        let port = free_port()?;
        let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../relay/deploy/nginx.conf");
        let ours = fs::read_to_string(&ours).context("the relay's configuration for nginx")?;
        let path = |name: &str| folder.join(name).display().to_string();
        let ours = edit(ours)
            .replace("127.0.0.1:8080", &format!("127.0.0.1:{relay}"))
            .replace("listen 443 ssl", &format!("listen 127.0.0.1:{port} ssl"))
            .replace("/etc/ssl/relay.example/fullchain.pem", &path("cert.pem"))
            .replace("/etc/ssl/relay.example/privkey.pem", &path("key.pem"));
        let places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let places = places.map(|kind| format!("{kind}_temp_path {};\n", path(kind))).concat();
        let config = format!(
            "daemon off;\nmaster_process off;\npid {};\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{places}{ours}}}\n",
            path("nginx.pid"),
        );
        // Begun as root, it becomes another user, who keeps long bodies there.
        fs::set_permissions(folder, fs::Permissions::from_mode(0o777))?;
        fs::write(folder.join("nginx.conf"), config)?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(folder).arg("-c").arg(folder.join("nginx.conf"));
        let mut process = match Process::spawn("nginx", &mut command) {
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
        Ok(Some(Self { process, port }))
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.process.kill();
    }
}

/// Longer than it takes to start.
const START_TIME_MAX: Duration = Duration::from_secs(30);

//! squid: asks who somebody is in every way, and looks into TLS if it is told to.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::{Asks, Ground, LOG, Opens, Proxy, USER};

/// squid, which allows CONNECT to one port.
#[derive(Debug)]
pub struct Squid {
    /// What it wants to know.
    pub asks: Asks,
    /// The port.
    pub allowed: u16,
    /// How it looks into TLS, if it does.
    pub opens: Option<Opens>,
}

impl Squid {
    /// Starts it; nothing if it is not installed.
    pub fn start(&self, ground: Ground<'_>) -> Result<Option<Proxy>> {
        let folder = TempDir::new()?;
        let path = |name: &str| folder.path().join(name).display().to_string();
        let (who, Self { allowed, .. }) = (self.who(&path("users")), self);
        let listens = format!("http_port {}", ground.at);
        let listens = match &self.opens {
            None => listens,
            Some(opens) => format!("{listens}{}", bumping(opens, folder.path())?),
        };
        let text = format!(
            "{listens}\n{who}\nacl relay port {allowed}\nhttp_access deny !relay\nhttp_access allow me\n\
             http_access deny all\naccess_log stdio:{} squid\ncache_log /dev/null\ncache_store_log none\n\
             cache deny all\npid_filename none\nshutdown_lifetime 0 seconds\nvisible_hostname lab\n\
             netdb_filename none\npinger_enable off\n",
            path(LOG)
        );
        fs::write(path("squid.conf"), text)?;
        fs::write(path("users"), users_file(self.asks))?;
        // Begun as root, squid becomes another user, who writes the log.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777))?;
        // What it has in shared memory is named so.
        let service: String = path("").chars().filter(char::is_ascii_alphanumeric).collect();
        let mut command = ground.command("squid");
        command.args(["-N", "-d1", "-n", &service, "-f", &path("squid.conf")]);
        Proxy::start("squid", command, ground.at, folder, PASSWORD)
    }

    fn who(&self, users: &str) -> String {
        match self.asks {
            Asks::Nothing => "acl me src all".to_owned(),
            Asks::Basic => {
                format!("auth_param basic program {HELPERS}/basic_ncsa_auth {users}\nacl me proxy_auth REQUIRED")
            }
            Asks::Digest => format!(
                "auth_param digest program {HELPERS}/digest_file_auth {users}\nauth_param digest realm lab\n\
                 acl me proxy_auth REQUIRED"
            ),
        }
    }
}

/// Returns the end of the line that says where squid listens, and the lines that make it open TLS.
fn bumping(opens: &Opens, folder: &Path) -> Result<String> {
    let (own, certificates) = (folder.join("own.pem"), folder.join("certificates"));
    fs::write(&own, opens.authority.certificate() + &opens.authority.key())?;
    let maker = format!("{HELPERS}/security_file_certgen");
    let made = Command::new(&maker).args(["-c", "-s"]).arg(&certificates).args(["-M", "4MB"]).output();
    let made = made.context("squid's maker of certificates")?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let owned = Command::new("chmod").args(["-R", "a+rwX"]).arg(&certificates).arg(&own).status()?;
    ensure!(owned.success(), "chmod {owned}");
    // As browsers write it: squid minds the case.
    let upgrades = if opens.upgrades { "http_upgrade_request_protocols websocket allow all\n" } else { "" };
    Ok(format!(
        " ssl-bump generate-host-certificates=on tls-cert={}\nsslcrtd_program {maker} -s {} -M 4MB\n\
         ssl_bump bump all\ntls_outgoing_options cafile={}\n{upgrades}",
        own.display(),
        certificates.display(),
        opens.trusted.display()
    ))
}

fn users_file(asks: Asks) -> String {
    match asks {
        // Made by `openssl passwd -apr1`.
        Asks::Basic => format!("{USER}:{PASSWORD_APR1}\n"),
        _ => format!("{USER}:{PASSWORD}\n"),
    }
}

/// Some of it must be encoded in URLs, and gives + and / in base64.
const PASSWORD: &str = "s3cret??>>~~";
/// The password as `htpasswd` keeps it.
const PASSWORD_APR1: &str = "$apr1$anypath1$AypVuev0cNtQe2PGtSZIa1";
/// Where Debian has squid's helpers.
const HELPERS: &str = "/usr/lib/squid";

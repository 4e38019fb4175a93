//! The configuration file: what would otherwise be said on the command line each time, which goes before it.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result};
use anypath_transports::https::Rungs;
use anypath_wire::{Address, ListenAt};
use directories::ProjectDirs;
use serde::Deserialize;
use serde::de::{Deserializer, Error};

use crate::args::Network;
use crate::exit::USAGE;
use crate::relays::{ProxyChoice, RELAY_SCHEME, Relays};
use crate::ways::Ways;
use crate::{Args, Command, Failure};

/// A configuration file, `anypath.toml`. Everything may be left out; a relative path begins at the file's folder.
///
/// ```toml
/// transports = ["tcp", "https"]               # leave one out and it is never used
///
/// [identity]
/// file = "node.key"                           # the seed of this node's key, 64 hex digits; made if it is not there
///
/// [transport.tcp]
/// listen = ["0.0.0.0:3282-3299"]              # accept peers here; [] listens nowhere
/// peers = ["192.0.2.7:3282"]                  # dial these
///
/// [transport.https]
/// relays = ["https://relay.example#…"]        # meet peers there
/// proxy = "auto"                              # or "none", or http://[USER:PASSWORD@]HOST:PORT
/// roots = "corporate.pem"                     # trust these authorities as well
/// token_file = "token"                        # what relays are shown
/// deny_intercepted = false                    # whether who opens TLS on the way is refused
/// rungs = ["ws", "h2", "stream", "poll"]      # what may carry a session, best first
/// ```
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    #[serde(deserialize_with = "listed")]
    transports: Option<Ways>,
    identity: Identity,
    transport: Transports,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Identity {
    file: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Transports {
    tcp: Tcp,
    https: Https,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Tcp {
    #[serde(deserialize_with = "each_over_tcp")]
    listen: Option<Vec<ListenAt>>,
    #[serde(deserialize_with = "each_over_tcp")]
    peers: Option<Vec<Address>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Https {
    #[serde(deserialize_with = "each_relay")]
    relays: Option<Vec<Address>>,
    #[serde(deserialize_with = "parsed")]
    proxy: Option<ProxyChoice>,
    roots: Option<PathBuf>,
    token_file: Option<PathBuf>,
    deny_intercepted: Option<bool>,
    #[serde(deserialize_with = "listed")]
    rungs: Option<Rungs>,
}

impl Config {
    /// Reads the file that is named, or else the one at the usual place, if there is one.
    ///
    /// # Errors
    /// If it cannot be read, or something in it is wrong: then the sentence says in which line.
    pub(crate) fn load(named: Option<&Path>) -> Result<Self> {
        let Some(path) = named.map(Path::to_owned).or_else(usual) else { return Ok(Self::default()) };
        let text = fs::read_to_string(&path).map_err(|error| wrong(&path, &error.to_string()))?;
        tracing::info!(file = %path.display(), "the configuration is read");
        let mut config = Self::parse(&text).map_err(|error| wrong(&path, &error))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let https = &mut config.transport.https;
        for file in [&mut config.identity.file, &mut https.roots, &mut https.token_file].into_iter().flatten() {
            *file = folder.join(&*file);
        }
        if https.proxy.as_ref().is_some_and(ProxyChoice::has_password) {
            check_private(&path)?;
        }
        Ok(config)
    }

    fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            format!("line {line}: {}", error.message().replace('\n', " "))
        })
    }

    /// Fills in what the command line leaves open.
    pub(crate) fn apply(self, args: &mut Args) {
        let Self { transports, identity, transport: Transports { tcp, https } } = self;
        let network = match &mut args.command {
            Command::Share(share) => &mut share.network,
            Command::Clone(clone) => &mut clone.network,
            Command::Seed(seed) => &mut seed.network,
            Command::Doctor(doctor) => {
                if doctor.via.is_empty() {
                    doctor.via = https.relays.clone().unwrap_or_default();
                }
                return https.fill(&mut doctor.relays);
            }
            Command::Relay(_) | Command::Dht(_) | Command::Verify(_) | Command::Demo => return,
        };
        let Network { listen, via, relays, ways, identity: key, nowhere, .. } = network;
        *key = identity.file;
        *ways = ways.take().or(transports);
        if listen.is_empty() {
            *nowhere = tcp.listen.as_ref().is_some_and(Vec::is_empty);
            *listen = tcp.listen.unwrap_or_default();
        }
        if via.is_empty() {
            *via = [tcp.peers, https.relays.clone()].into_iter().flatten().flatten().collect();
        }
        https.fill(relays);
    }
}

impl Https {
    fn fill(self, relays: &mut Relays) {
        let Relays { proxy, roots, deny_intercepted, relay_token_file, rungs } = relays;
        *proxy = proxy.take().or(self.proxy);
        *roots = roots.take().or(self.roots);
        *relay_token_file = relay_token_file.take().or(self.token_file);
        *deny_intercepted |= self.deny_intercepted.unwrap_or_default();
        *rungs = rungs.take().or(self.rungs);
    }
}

/// Returns the file at the usual place, if it is there.
fn usual() -> Option<PathBuf> {
    let path = ProjectDirs::from("", "", "anypath")?.config_dir().join("anypath.toml");
    path.is_file().then_some(path)
}

/// Fails if others of this machine may read a file.
///
/// # Errors
/// If they may, or if that cannot be found out.
pub(crate) fn check_private(path: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        let cannot = || format!("cannot look at {}", path.display());
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).with_context(cannot)?.permissions());
        if mode & 0o077 != 0 {
            let message = format!("others may read {0}, which holds a secret: chmod 600 {0}", path.display());
            return Err(Failure::new(USAGE, message).into());
        }
    }
    Ok(())
}

fn wrong(path: &Path, why: &str) -> Failure {
    Failure::new(USAGE, format!("the configuration {} is wrong: {why}", path.display()))
}

/// Reads a value that is written in a string.
fn parsed<'de, D: Deserializer<'de>, T: FromStr<Err: std::fmt::Display>>(from: D) -> Result<Option<T>, D::Error> {
    String::deserialize(from)?.parse().map(Some).map_err(Error::custom)
}

/// Reads a list of names as a whole.
fn listed<'de, D: Deserializer<'de>, T: FromStr<Err: std::fmt::Display>>(from: D) -> Result<Option<T>, D::Error> {
    Vec::<String>::deserialize(from)?.join(",").parse().map(Some).map_err(Error::custom)
}

/// Reads a list of addresses, without their scheme.
fn each_over_tcp<'de, D, T>(from: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: std::fmt::Display>,
{
    let places = Vec::<String>::deserialize(from)?;
    let each = places.iter().map(|place| format!("tcp://{place}").parse().map_err(Error::custom));
    each.collect::<Result<_, _>>().map(Some)
}

fn each_relay<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<Address>>, D::Error> {
    let relays = Vec::<String>::deserialize(from)?;
    let each = relays.iter().map(|relay| {
        let address: Address = relay.parse().map_err(Error::custom)?;
        let no_relay = || Error::custom(format!("{address} is no relay: they are named https://HOST[:PORT][#KEY]"));
        if address.scheme == RELAY_SCHEME { Ok(address) } else { Err(no_relay()) }
    });
    each.collect::<Result<_, _>>().map(Some)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn applied(text: &str, words: &str) -> Args {
        let mut args = Args::parse_from(words.split(' '));
        Config::parse(text).unwrap().apply(&mut args);
        args
    }

    const EXAMPLE: &str = r#"
        transports = ["https", "tcp"]
        [identity]
        file = "node.key"
        [transport.tcp]
        listen = ["127.0.0.1:4000-4009"]
        peers = ["192.0.2.7:3282"]
        [transport.https]
        relays = ["https://relay.example"]
        proxy = "http://proxy.example:3128"
        deny_intercepted = true
        rungs = ["stream", "poll"]
    "#;

    #[test]
    fn the_file_says_what_the_command_line_leaves_open() {
        let Command::Share(share) = applied(EXAMPLE, "anypath share .").command else { panic!("another command") };
        let Network { listen, via, relays, ways, identity, .. } = share.network;
        assert_eq!(listen[0].to_string(), "tcp://127.0.0.1:4000-4009");
        assert_eq!(
            via.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["tcp://192.0.2.7:3282", "https://relay.example:443"]
        );
        assert_eq!((ways.unwrap().to_string(), identity), ("https,tcp".to_owned(), Some("node.key".into())));
        assert!(relays.deny_intercepted && matches!(relays.proxy, Some(ProxyChoice::This(_))));
        assert_eq!(relays.rungs.unwrap().to_string(), "stream,poll");
    }

    #[test]
    fn the_command_line_goes_before_it() {
        let words =
            "anypath share . --listen tcp://[::1]:5 --via tcp://[::1]:6 --proxy none --rungs poll --transports tcp";
        let Command::Share(share) = applied(EXAMPLE, words).command else { panic!("another command") };
        let Network { listen, via, relays, ways, .. } = share.network;
        assert_eq!((listen[0].to_string(), via.len(), via[0].port), ("tcp://[::1]:5".to_owned(), 1, 6));
        assert!(matches!(relays.proxy, Some(ProxyChoice::None)) && ways.unwrap().to_string() == "tcp");
        assert_eq!(relays.rungs.unwrap().to_string(), "poll");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, why) in [
            ("transports = [\"tcp\"]\nport = 3", "line 2: unknown field `port`"),
            ("[transport.tcp]\n\nlisten = [\"nowhere\"]", "line 3: "),
            ("[transport.https]\nrungs = [\"udp\"]", "line 2: \"udp\" carries nothing"),
            ("[transport.https]\nrelays = [\"tcp://a.example:1\"]", "line 2: tcp://a.example:1 is no relay"),
            ("transports = [\"tcp\",", "line 1: "),
        ] {
            let error = Config::parse(text).unwrap_err();
            assert!(error.starts_with(why), "{error}");
        }
    }
}

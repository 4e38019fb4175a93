//! What may be said to `anypath dht`, and the help that explains it.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use anyhow::Result;
use anypath_swarm::discover::{InvalidPlace, Place, Serves, SourceConfig, SourceKind};
use clap::Subcommand;

use crate::finding::config;
use crate::{Failure, USAGE};

/// Run a node of a DHT, or ask one question of it.
#[derive(Debug, clap::Args)]
pub struct Dht {
    /// What to do.
    #[command(subcommand)]
    pub what: What,
}

/// What to do with a DHT.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Run a node until interrupted.
    Run(Run),
    /// Ask who announced a key's topic.
    Lookup(Lookup),
    /// Announce that the data of a key is to be had from this machine.
    Announce(Announce),
}

/// Run a node until interrupted.
///
/// It prints its address, at which others may begin. Ctrl-C and SIGTERM end it, with exit code 0.
#[derive(Debug, clap::Args)]
#[command(after_help = RUN_EXAMPLES)]
pub struct Run {
    /// Serve others from the start: the first node of a network, or one that is known to be reached. Otherwise a node of
    /// Hyperswarm's DHT first shows for 20 minutes that it is reached and stays.
    #[arg(long)]
    pub persistent: bool,

    /// Which DHT, and where.
    #[command(flatten)]
    pub network: DhtNetwork,
}

/// Ask who announced a key's topic.
///
/// Exit code 0 if somebody did, 1 if nobody did, 3 if no node answers.
#[derive(Debug, clap::Args)]
#[command(after_help = LOOKUP_EXAMPLES)]
pub struct Lookup {
    /// The key, or a link with it.
    #[command(flatten)]
    pub subject: Subject,

    /// Which DHT, and where.
    #[command(flatten)]
    pub network: DhtNetwork,
}

/// Announce that the data of a key is to be had from this machine.
///
/// Nodes forget it after 15 to 30 minutes. Exit code 0 if some took it, 3 if none did.
#[derive(Debug, clap::Args)]
#[command(after_help = ANNOUNCE_EXAMPLES)]
pub struct Announce {
    /// The key, or a link with it.
    #[command(flatten)]
    pub subject: Subject,

    /// The TCP port to be reached at.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub at: u16,

    /// Renew it until interrupted, then take it back.
    #[arg(long)]
    pub keep: bool,

    /// Which DHT, and where.
    #[command(flatten)]
    pub network: DhtNetwork,
}

/// What a question is about.
#[derive(Debug, Clone, clap::Args)]
pub struct Subject {
    /// A link or a key, whose topic is its discovery key; with --topic, a topic.
    #[arg(value_name = "KEY")]
    pub key: String,

    /// KEY is the topic itself, in 64 hexadecimal digits, or an infohash of BitTorrent's DHT in 40.
    #[arg(long)]
    pub topic: bool,
}

/// Which DHT, and where.
#[derive(Debug, Clone, clap::Args)]
pub struct DhtNetwork {
    /// Hyperswarm's (hyperswarm) or BitTorrent's (classic); a question may be asked on the same network (lan) or at
    /// trackers (tracker) instead.
    #[arg(long, value_name = "DIALECT", default_value = "hyperswarm")]
    pub dialect: SourceKind,

    /// Begin at these nodes instead of the public ones; none begins a network of one's own. Repeatable, or with commas.
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    pub bootstrap: Vec<Begin>,

    /// Use this address of the machine.
    #[arg(long, value_name = "IP", default_value = "0.0.0.0")]
    pub bind: IpAddr,

    /// Use this UDP port [default: the usual one for run, any for a question].
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
}

/// Where to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begin {
    /// Nowhere.
    Nowhere,
    /// There.
    At(Place),
}

impl FromStr for Begin {
    type Err = InvalidPlace;

    fn from_str(text: &str) -> Result<Self, InvalidPlace> {
        if text == "none" { Ok(Self::Nowhere) } else { text.parse().map(Self::At) }
    }
}

impl DhtNetwork {
    /// Returns how to start a node, at this port unless another was named.
    ///
    /// # Errors
    /// If the system gives no randomness, or nobody could tell the node its address.
    pub(crate) fn config(&self, port: u16, serves: Serves) -> Result<SourceConfig> {
        let places = self.bootstrap.iter().filter_map(|begin| match begin {
            Begin::Nowhere => None,
            Begin::At(place) => Some(place.clone()),
        });
        let bootstrap = if self.bootstrap.is_empty() { self.dialect.bootstrap() } else { places.collect() };
        let is_lost = bootstrap.is_empty() && self.bind.is_unspecified() && self.dialect == SourceKind::Hyperswarm;
        if is_lost && serves == Serves::AtOnce {
            let message = "the first node of a network must know its address: name it with --bind IP";
            return Err(Failure::new(USAGE, message).into());
        }
        let bind = SocketAddr::new(self.bind, self.port.unwrap_or(port));
        Ok(SourceConfig { bind, serves, ..config(self.dialect, bootstrap)? })
    }
}

const RUN_EXAMPLES: &str = "\
Examples:
  anypath dht run                                                              a node of Hyperswarm's DHT
  anypath dht run --bootstrap none --persistent --bind 192.0.2.7               the first node of a network of one's own
  anypath dht run --bootstrap 192.0.2.7:49737 --persistent --bind 192.0.2.8    the next one
  anypath dht run --dialect classic --port 0 --json                            BitTorrent's, any port, told in JSON";

const LOOKUP_EXAMPLES: &str = "\
Examples:
  anypath dht lookup hyper://KEY                                  who has it, in Hyperswarm's DHT
  anypath dht lookup KEY --dialect classic                        in BitTorrent's
  anypath dht lookup --topic INFOHASH --dialect classic --json    who has that torrent";

const ANNOUNCE_EXAMPLES: &str = "\
Examples:
  anypath dht announce KEY --at 3282            once
  anypath dht announce KEY --at 3282 --keep     until interrupted, then taken back";

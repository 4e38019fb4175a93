//! The command line: what may be said, and the help that explains it.

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, BufRead, Read};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use anypath_transports::https::TAGS_MAX;
use anypath_wire::{Address, Link, ListenAt};
use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Parser, Subcommand};

use crate::{Dht, Finding, Relays, Ways};

/// Share a folder, clone it, byte for byte, whatever the network lets through.
#[derive(Debug, Parser)]
#[command(name = "anypath", version, after_help = EXIT_CODES, after_long_help = EXAMPLES_AND_EXIT_CODES)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// Where the program's own data is, and how safe.
    #[command(flatten)]
    pub storage: Storage,

    /// Read the configuration from this file [default: anypath.toml in the platform's folder for them, if it is there].
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Write one JSON object a line to standard output for each event.
    #[arg(long, global = true)]
    pub json: bool,

    /// Log what happens inside to standard error; twice for more.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
}

/// Where the program's own data is, and how safe.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Storage {
    /// Keep the program's own data here [default: one folder for each shared or cloned one, in the platform's data folder].
    #[arg(long, global = true, value_name = "DIR")]
    pub store: Option<PathBuf>,

    /// Wait for the disk at each step, so that a power cut costs nothing that was told; slower.
    #[arg(long, global = true)]
    pub durable: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Share a folder: print its link and serve it until interrupted.
    Share(Share),
    /// Fetch a shared folder, verify it to the last byte, write it.
    Clone(Clone),
    /// Keep what links name and serve it to others, without writing files.
    Seed(Seed),
    /// Run a relay, where peers meet whose networks let nothing but HTTPS through.
    Relay(Relay),
    /// Find out what this network lets through, why not, and what to tell those who run it.
    Doctor(Doctor),
    /// Run a node of a DHT, or ask one question of it.
    Dht(Dht),
    /// Check a file of evidence that somebody signed two histories, with nothing else.
    Verify(Verify),
    /// Show it all on this machine: one process shares a folder, another clones it.
    Demo,
}

/// Share a folder: print its link and serve it until interrupted.
///
/// The folder becomes a Hyperdrive that JavaScript peers can read too. Shared again, only what changed is read.
/// Nothing is written into the folder. Named pipes, sockets, devices, links that leave the folder and names that
/// other systems cannot hold are left out, each named.
#[derive(Debug, clap::Args)]
#[command(after_help = SHARE_EXAMPLES)]
pub struct Share {
    /// The folder.
    #[arg(value_name = "DIR", default_value = ".")]
    pub folder: PathBuf,

    /// Follow changes in the folder while serving.
    #[arg(long)]
    pub watch: bool,

    /// Encrypt the drive: only who has the whole link can read it. Once made so, it stays so without this option.
    #[arg(long)]
    pub encrypt: bool,

    /// Leave addresses out of the link.
    #[arg(long)]
    pub no_hints: bool,

    /// Where peers meet.
    #[command(flatten)]
    pub network: Network,
}

/// Fetch a shared folder, verify it to the last byte, write it.
///
/// Run again into its own folder it goes on where it ended, applies deletions to files it wrote, leaves other files
/// alone, and names files that were changed here instead of overwriting them. Nothing is ever written outside the
/// folder: entries whose names or links would lead out are refused by name, the others are cloned, exit code 1.
#[derive(Debug, clap::Args)]
#[command(after_help = CLONE_EXAMPLES)]
pub struct Clone {
    /// The link that `share` printed, or a bare key; - reads it from standard input.
    #[arg(value_name = "LINK", value_parser = LinkParser)]
    pub link: Link,

    /// The folder to write into [default: one named by the key, here].
    #[arg(value_name = "DIR")]
    pub folder: Option<PathBuf>,

    /// Keep following new versions until interrupted.
    #[arg(long)]
    pub live: bool,

    /// Write into a folder that is not empty, and over files that were changed here.
    #[arg(long)]
    pub force: bool,

    /// Trust no size and no time: read every file here again, hash every block kept, name and mend what differs.
    #[arg(long)]
    pub verify: bool,

    /// Give up after so long without a peer that has the data.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub timeout: Duration,

    /// Where peers meet.
    #[command(flatten)]
    pub network: Network,
}

/// Keep what links name and serve it to others, without writing files.
#[derive(Debug, clap::Args)]
#[command(after_help = SEED_EXAMPLES)]
pub struct Seed {
    /// The links, or bare keys; - reads one from standard input. Encrypted drives are kept with or without the key.
    #[arg(value_name = "LINK", required = true, value_parser = LinkParser)]
    pub links: Vec<Link>,

    /// Where peers meet.
    #[command(flatten)]
    pub network: Network,
}

/// Run a relay, where peers meet whose networks let nothing but HTTPS through.
///
/// It passes on what peers send each other and can read none of it. Others name it by --via https://NAME, best with the
/// key behind a #, as it is told at the start. SIGHUP makes it read its files again, SIGTERM or Ctrl-C end it, with exit
/// code 0; a second one ends it at once.
#[derive(Debug, clap::Args)]
#[command(after_help = RELAY_EXAMPLES)]
pub struct Relay {
    /// Listen here.
    #[arg(long, value_name = "ADDR:PORT", default_value = "0.0.0.0:443")]
    pub listen: SocketAddr,

    /// The name by which others reach it, for what it tells about itself.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// The file with its certificate and those above it (PEM); read again when it changes.
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "plain",
        requires = "tls_key",
        conflicts_with = "plain"
    )]
    pub tls_cert: Option<PathBuf>,

    /// The file with its certificate's key (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Speak plain HTTP: something in front of it has the certificate.
    #[arg(long)]
    pub plain: bool,

    /// Who stands in front, and is believed when it says by X-Forwarded-For for whom it speaks; repeatable [default: this
    /// machine, with --plain].
    #[arg(long, value_name = "ADDR")]
    pub front: Vec<IpAddr>,

    /// Let each address open so many sessions in a minute: whole offices come from one.
    #[arg(long, value_name = "COUNT", default_value = "600")]
    pub opens_per_minute: NonZeroU32,

    /// Let in only who shows what this file holds; read again when it changes.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// Let in only who has one of the keys in this file, one a line; read again when it changes. A program that is not
    /// let in says which key to add.
    #[arg(long, value_name = "FILE", conflicts_with = "token_file")]
    pub allow_file: Option<PathBuf>,

    /// Behind one name there are several relays: spread topics over so many tags, by which what is in front tells them
    /// apart; the same number at all of them, with copies of one file `keys`.
    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = clap::value_parser!(u64).range(1..=TAGS_MAX))]
    pub tags: u64,

    /// Tell Prometheus figures here, at /metrics, without TLS.
    #[arg(long, value_name = "ADDR:PORT")]
    pub metrics: Option<SocketAddr>,

    /// Keep so much at most of what peers send each other; beyond, whoever takes nothing for the longest is let go.
    #[arg(long, value_name = "MIB", default_value = "1024", value_parser = clap::value_parser!(u32).range(16..))]
    pub memory: u32,

    /// At the end, let nobody in at once, and take so long to send the others away, one after the other.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub drain: Duration,

    /// Answer nobody by UDP who asks how it is seen from here; otherwise the same port does so, and another one.
    #[arg(long)]
    pub no_echo: bool,

    /// Whom to ask about this relay, for its page.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub contact: String,
}

/// Find out what this network lets through, why not, and what to tell those who run it.
///
/// Each way to the relay is tried, in both directions where they may differ; then it is said what the program will use
/// there, and what could be asked of the network's own people. Nobody but the relay's host, and the proxy that leads
/// there, is contacted. Exit code 0 if there is a way, 3 if there is none.
#[derive(Debug, clap::Args)]
#[command(after_help = DOCTOR_EXAMPLES)]
pub struct Doctor {
    /// The relay (https://NAME[#KEY]); repeatable. Without one nobody is contacted.
    #[arg(long, value_name = "URL")]
    pub via: Vec<Address>,

    /// Watch for so long how connections are ended that are silent or old; 70 finds what is usual.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub patient: Option<Duration>,

    /// How relays are reached.
    #[command(flatten)]
    pub relays: Relays,
}

/// Check a file of evidence that somebody signed two histories, with nothing else.
///
/// Whoever signs for a drive and shows different versions of it to different people, as one version, can be held to it:
/// when `clone`, `seed` or `share` meets both, it keeps them in a file of its store. Exit code 0 if the file proves it, 1
/// if it does not.
#[derive(Debug, clap::Args)]
#[command(after_help = VERIFY_EXAMPLES)]
pub struct Verify {
    /// The file.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Where peers meet.
#[derive(Debug, Default, clap::Args)]
pub struct Network {
    /// Accept peers here; repeatable [default: tcp://0.0.0.0:3282-3299 for share and seed, nothing for clone].
    #[arg(long, value_name = "URL")]
    pub listen: Vec<ListenAt>,

    /// Dial the peer here, or meet peers at a relay (https://NAME[#KEY]); repeatable.
    #[arg(long, value_name = "URL")]
    pub via: Vec<Address>,

    /// Use these transports alone, of tcp and https.
    #[arg(long = "transports", value_name = "NAME,…")]
    pub ways: Option<Ways>,

    /// The file with the seed of this node's key, as the configuration names it; otherwise it is in the store.
    #[arg(skip)]
    pub identity: Option<PathBuf>,

    /// The configuration wants that nobody is listened to.
    #[arg(skip)]
    pub nowhere: bool,

    /// Where peers are found by the key alone.
    #[command(flatten)]
    pub finding: Finding,

    /// How relays are reached.
    #[command(flatten)]
    pub relays: Relays,
}

/// Reads a link, from standard input if it is `-`: other users of the machine may see the words of a command line.
/// Its errors do not repeat the whole of it, as those of other arguments do: it may hold a secret.
#[derive(Debug, std::clone::Clone, Copy)]
struct LinkParser;

impl TypedValueParser for LinkParser {
    type Value = Link;

    fn parse_ref(&self, command: &clap::Command, _: Option<&Arg>, text: &OsStr) -> Result<Link, clap::Error> {
        let refuse = |why: &dyn fmt::Display| {
            clap::Error::raw(ErrorKind::ValueValidation, format!("not a link: {why}\n")).with_cmd(command)
        };
        let text = text.to_str().ok_or_else(|| refuse(&"it is not UTF-8"))?;
        let mut line = String::new();
        if text == "-" {
            let mut input = io::stdin().lock().take(LINK_BYTES_MAX);
            input.read_line(&mut line).map_err(|error| refuse(&error))?;
        }
        let link = if text == "-" { &line } else { text };
        link.parse().map_err(|error| refuse(&error))
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().map_err(|_| "expected a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// How long a link on standard input may be, in bytes: hundreds of hints.
const LINK_BYTES_MAX: u64 = 64 << 10;

/// Where `share` and `seed` listen unless told otherwise.
pub const LISTEN_DEFAULT: &str = "tcp://0.0.0.0:3282-3299";

const SHARE_EXAMPLES: &str = "\
Examples:
  anypath share ~/photos                                  serve a folder, print its link
  anypath share --watch                                   serve this folder as it changes
  anypath share ~/photos --encrypt                        so that only who has the whole link can read it
  anypath share ~/photos --listen tcp://192.0.2.7:4000    accept peers at one address only
  anypath share ~/photos --discover hyperswarm,lan        so that others find it by its key alone";

const CLONE_EXAMPLES: &str = "\
Examples:
  anypath clone 'hyper://…?via=tcp://192.0.2.7:3282' photos      fetch a folder
  anypath clone KEY photos --via tcp://192.0.2.7:3282            the same, address given apart
  anypath clone KEY photos --discover hyperswarm,classic         the same, peers found by the key
  anypath clone LINK photos --live                               fetch it and follow changes
  anypath clone LINK photos --verify                             read all of it again, mend what differs";

const SEED_EXAMPLES: &str = "\
Example:
  anypath seed 'hyper://…?via=tcp://192.0.2.7:3282' --listen tcp://0.0.0.0:4000";

const RELAY_EXAMPLES: &str = "\
Examples:
  anypath relay --name relay.example --tls-cert fullchain.pem --tls-key privkey.pem    on a machine of its own
  anypath relay --plain --listen 127.0.0.1:8080                                        behind nginx and the like
  anypath relay --plain --listen 127.0.0.1:8080 --allow-file keys --metrics 127.0.0.1:9090    for these keys alone";

const DOCTOR_EXAMPLES: &str = "\
Examples:
  anypath doctor --via https://relay.example                   what passes, what does not, and why
  anypath doctor --via https://relay.example --patient 70      and for how long connections may be silent, or last
  anypath doctor --via https://relay.example --json            the same for scripts, an object a line";

const VERIFY_EXAMPLES: &str = "\
Example:
  anypath verify conflict-8stpjn….evidence";

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    failed, or some names were left out (each is named)
  2    the command line or the configuration is wrong
  3    nobody who has the data was reached in time
  130  interrupted; the same command goes on from there";

const EXAMPLES_AND_EXIT_CODES: &str = "\
Examples:
  anypath share ~/photos        on one machine; prints a link
  anypath clone LINK photos     on another
  anypath demo                  both on this machine, to see it work

Exit codes:
  0    done
  1    failed, or some names were left out (each is named)
  2    the command line or the configuration is wrong
  3    nobody who has the data was reached in time
  130  interrupted; the same command goes on from there";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
        assert!(LISTEN_DEFAULT.parse::<ListenAt>().is_ok());
    }

    #[test]
    fn what_is_wrong_is_a_usage_error() {
        let key = "y".repeat(52);
        let bad: &[&[&str]] = &[
            &["anypath"],
            &["anypath", "clone"],
            &["anypath", "clone", "nonsense"],
            &["anypath", "clone", "https://example.org"],
            &["anypath", "clone", &key, "--timeout", "-1"],
            &["anypath", "clone", &key, "--timeout", "soon"],
            &["anypath", "share", ".", "--listen", "3282"],
            &["anypath", "share", ".", "--discover", "luck"],
            &["anypath", "share", ".", "--bootstrap", "127.0.0.1:1"],
            &["anypath", "share", ".", "--discover", "classic", "--bootstrap", "127.0.0.1"],
            &["anypath", "seed"],
            &["anypath", "dht"],
            &["anypath", "dht", "run", "--dialect", "latin"],
            &["anypath", "dht", "run", "--bootstrap", "nowhere"],
            &["anypath", "dht", "announce", &key],
            &["anypath", "relay"],
            &["anypath", "relay", "--tls-cert", "x"],
            &["anypath", "relay", "--plain", "--tls-cert", "x", "--tls-key", "y"],
            &["anypath", "relay", "--plain", "--token-file", "x", "--allow-file", "y"],
            &["anypath", "share", "--proxy", "socks5://x:1"],
            &["anypath", "doctor", "--via", "relay.example"],
            &["anypath", "doctor", "--patient", "-1"],
            &["anypath", "fly"],
        ];
        for words in bad {
            assert_eq!(Args::try_parse_from(*words).unwrap_err().exit_code(), 2, "{words:?}");
        }
    }

    #[test]
    fn a_wrong_link_is_not_repeated() {
        let secret = "9".repeat(51);
        for rest in [format!("#encryption={secret}"), format!("#{secret}"), format!("?via=x#encryption={secret}y")] {
            let link = format!("hyper://{}{rest}", "y".repeat(52));
            for command in ["clone", "seed"] {
                let error = Args::try_parse_from(["anypath", command, &link]).unwrap_err();
                assert_eq!(error.exit_code(), 2);
                assert!(error.to_string().contains("not a link: ") && !error.to_string().contains(&secret), "{error}");
            }
        }
    }

    #[test]
    fn everything_in_the_examples_is_understood() {
        let key = "y".repeat(52);
        let link = format!("hyper://{key}?via=tcp%3A%2F%2F192.0.2.7%3A3282");
        let words = ["anypath", "clone", &link, "photos", "--live", "--json", "-vv", "--timeout", "0.5"];
        let args = Args::try_parse_from(words).unwrap();
        let Command::Clone(clone) = args.command else { panic!("{:?}", args.command) };
        assert_eq!((args.json, args.verbose, clone.live), (true, 2, true));
        assert_eq!(clone.timeout, Duration::from_millis(500));
        assert_eq!(clone.link.via.len(), 1);
        assert!(!args.storage.durable);
        let words =
            ["anypath", "--store", "s", "share", "--durable", "--watch", "--listen", "tcp://0.0.0.0:1-9", "--no-hints"];
        let args = Args::try_parse_from(words).unwrap();
        assert_eq!((args.storage.store, args.storage.durable), (Some("s".into()), true));
    }
}

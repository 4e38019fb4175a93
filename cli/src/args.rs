//! The command line: what may be said, and the help that explains it.

use std::path::PathBuf;
use std::time::Duration;

use anypath_wire::{Address, Link, ListenAt};
use clap::{ArgAction, Parser, Subcommand};

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
    /// The link that `share` printed, or a bare key.
    #[arg(value_name = "LINK")]
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
    /// The links, or bare keys.
    #[arg(value_name = "LINK", required = true)]
    pub links: Vec<Link>,

    /// Where peers meet.
    #[command(flatten)]
    pub network: Network,
}

/// Where peers meet.
#[derive(Debug, Default, clap::Args)]
pub struct Network {
    /// Accept peers here; repeatable [default: tcp://0.0.0.0:3282-3299 for share and seed, nothing for clone].
    #[arg(long, value_name = "URL")]
    pub listen: Vec<ListenAt>,

    /// Dial the peer here; repeatable.
    #[arg(long, value_name = "URL")]
    pub via: Vec<Address>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().map_err(|_| "expected a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// Where `share` and `seed` listen unless told otherwise.
pub const LISTEN_DEFAULT: &str = "tcp://0.0.0.0:3282-3299";

const SHARE_EXAMPLES: &str = "\
Examples:
  anypath share ~/photos                                  serve a folder, print its link
  anypath share --watch                                   serve this folder as it changes
  anypath share ~/photos --listen tcp://192.0.2.7:4000    accept peers at one address only";

const CLONE_EXAMPLES: &str = "\
Examples:
  anypath clone 'hyper://…?via=tcp://192.0.2.7:3282' photos      fetch a folder
  anypath clone KEY photos --via tcp://192.0.2.7:3282            the same, address given apart
  anypath clone LINK photos --live                               fetch it and follow changes
  anypath clone LINK photos --verify                             read all of it again, mend what differs";

const SEED_EXAMPLES: &str = "\
Example:
  anypath seed 'hyper://…?via=tcp://192.0.2.7:3282' --listen tcp://0.0.0.0:4000";

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
            &["anypath", "seed"],
            &["anypath", "fly"],
        ];
        for words in bad {
            assert_eq!(Args::try_parse_from(*words).unwrap_err().exit_code(), 2, "{words:?}");
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

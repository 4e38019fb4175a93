//! `anypath dht lookup` and `announce`: one question each.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use anypath_dht::{Announcement, Ask, Event as Told, Outcome};
use anypath_swarm::discover::{ANNOUNCE_INTERVAL, Serves, Source};
use anypath_wire::{Address, Hash, KeyPair, Link, PublicKey};
use data_encoding::HEXLOWER_PERMISSIVE;
use tokio::runtime::Runtime;
use tokio::time::sleep;

use super::unanswered;
use crate::dht::{Announce, DhtNetwork, Lookup, Subject};
use crate::{Event, Exit, Failure, Interrupt, Interrupted, Report, USAGE};

/// Tells of everybody who announced the topic.
///
/// # Errors
/// If nobody did, no node answers, or on interruption.
pub(super) fn lookup(args: &Lookup, runtime: &Runtime, report: &Report, interrupt: &Interrupt) -> Result<Exit> {
    let topic = args.subject.topic()?;
    let asker = Asker::start(&args.network, runtime, report, interrupt)?;
    let (outcome, found) = asker.ask("lookup", Ask::Lookup { topic })?;
    if outcome.answers == 0 {
        return Err(unanswered(&asker.source).into());
    }
    if found == 0 {
        let message = format!("nobody announced it, say the {} nodes that answered", outcome.answers);
        return Err(Failure::new("not_found", message).into());
    }
    Ok(Exit::Done)
}

/// Announces this machine under the topic, once or for as long as it takes.
///
/// # Errors
/// If no node takes it, or on interruption before one did.
pub(super) fn announce(args: &Announce, runtime: &Runtime, report: &Report, interrupt: &Interrupt) -> Result<Exit> {
    let topic = args.subject.topic()?;
    let asker = Asker::start(&args.network, runtime, report, interrupt)?;
    let listen = Address { scheme: "tcp".to_owned(), host: args.network.bind.to_string(), port: args.at, key: None };
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).context("the system gives no random numbers")?;
    let key_pair = KeyPair::from_seed(&seed);
    loop {
        asker.wait(asker.source.record(&key_pair, std::slice::from_ref(&listen)))??;
        let announcement = Announcement { port: Some(args.at), ..Announcement::new(topic, key_pair.clone()) };
        let (outcome, _) = asker.ask("announce", Ask::Announce(announcement))?;
        if outcome.stored == 0 {
            return Err(unanswered(&asker.source).into());
        }
        if !args.keep {
            return Ok(Exit::Done);
        }
        if asker.wait(async { sleep(ANNOUNCE_INTERVAL).await }).is_err() {
            let forget = asker.ask_to_the_end("unannounce", Ask::Unannounce { topic, key_pair });
            runtime.block_on(async { tokio::time::timeout(FORGET_TIME_MAX, forget).await }).ok();
            return Ok(Exit::Done);
        }
    }
}

/// A node that asks, and whoever is told.
struct Asker<'a> {
    source: Source,
    runtime: &'a Runtime,
    report: &'a Report,
    interrupt: &'a Interrupt,
}

impl<'a> Asker<'a> {
    fn start(network: &DhtNetwork, runtime: &'a Runtime, report: &'a Report, interrupt: &'a Interrupt) -> Result<Self> {
        let source = until(runtime, interrupt, Source::start(network.config(0, Serves::Nobody)?))?
            .map_err(|error| Failure::new("dht_start", error.to_string()))?;
        Ok(Self { source, runtime, report, interrupt })
    }

    /// Asks, and tells what comes of it; returns how many peers were found too.
    fn ask(&self, what: &str, ask: Ask) -> Result<(Outcome, usize)> {
        self.wait(self.ask_to_the_end(what, ask))?
    }

    async fn ask_to_the_end(&self, what: &str, ask: Ask) -> Result<(Outcome, usize)> {
        let (began, mut keys, mut found) = (Instant::now(), BTreeSet::new(), 0);
        let mut answers = self.source.ask(ask).await?;
        let outcome = loop {
            match answers.recv().await.context("the node ended")? {
                Told::Peer { key, relays, .. } => {
                    found += 1;
                    keys.insert(key);
                    let relays: Vec<_> = relays.iter().map(ToString::to_string).collect();
                    self.tell(Some(key), None, &relays);
                }
                Told::Address { address, .. } => {
                    found += 1;
                    self.tell(None, Some(format!("tcp://{address}")), &[]);
                }
                Told::Done { outcome, .. } => break outcome,
                _ => {}
            }
        };
        for key in keys {
            for address in self.source.addresses(key).await? {
                self.tell(Some(key), Some(address.to_string()), &[]);
            }
        }
        let Outcome { asked, answers, errors, stored } = outcome;
        let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let dialect = self.source.kind().name();
        self.report.event(&Event::Outcome { dialect, what, asked, answers, errors, stored, found, ms });
        Ok((outcome, found))
    }

    fn tell(&self, key: Option<PublicKey>, address: Option<String>, relays: &[String]) {
        let (key, source) = (key.map(|key| key.to_string()), self.source.kind().name());
        self.report.event(&Event::Peer { source, key: key.as_deref(), address: address.as_deref(), relays });
    }

    fn wait<T>(&self, future: impl Future<Output = T>) -> Result<T> {
        until(self.runtime, self.interrupt, future)
    }
}

impl Subject {
    /// Returns the topic.
    ///
    /// # Errors
    /// If it is neither a key nor, where that is said, a topic.
    fn topic(&self) -> Result<Hash> {
        let usage = |message: String| Failure::new(USAGE, message);
        if !self.topic {
            let link: Link = self.key.parse().map_err(|error| usage(format!("not a link or key: {error}")))?;
            return Ok(link.key.discovery_key().0);
        }
        let bytes = HEXLOWER_PERMISSIVE.decode(self.key.as_bytes()).unwrap_or_default();
        if ![INFOHASH_BYTES, TOPIC_BYTES].contains(&bytes.len()) {
            return Err(usage("a topic is 64 hexadecimal digits, an infohash 40".to_owned()).into());
        }
        Ok(std::array::from_fn(|at| bytes.get(at).copied().unwrap_or_default()))
    }
}

/// Waits for something unless the person interrupts.
fn until<T>(runtime: &Runtime, interrupt: &Interrupt, future: impl Future<Output = T>) -> Result<T> {
    runtime.block_on(async {
        let interrupted = async {
            while !interrupt.is_asked() {
                sleep(LOOK_EVERY).await;
            }
        };
        tokio::select! {
            outcome = future => Ok(outcome),
            () = interrupted => Err(Interrupted.into()),
        }
    })
}

const TOPIC_BYTES: usize = 32;
const INFOHASH_BYTES: usize = 20;
/// How long an interruption may go unnoticed.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long taking an announcement back may take.
const FORGET_TIME_MAX: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stands_for_its_discovery_key_and_a_topic_for_itself() {
        let topic = |key: &str, topic| Subject { key: key.to_owned(), topic }.topic();
        let key = KeyPair::from_seed(&[1; 32]).public();
        assert_eq!(topic(&key.to_string(), false).unwrap(), key.discovery_key().0);
        assert_eq!(topic(&format!("hyper://{key}?via=tcp://a:1"), false).unwrap(), key.discovery_key().0);
        assert_eq!(topic(&"Ab".repeat(32), true).unwrap(), [0xab; 32]);
        assert_eq!(topic(&"01".repeat(20), true).unwrap()[..21], [[1; 20].as_slice(), &[0]].concat());
        assert!(topic("ab", true).is_err() && topic("nonsense", false).is_err());
    }
}

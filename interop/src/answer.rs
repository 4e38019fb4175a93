//! What a node of a DHT makes of a wish, waited for.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use anypath_dht::{Ask, Discovery, Event, Outcome};
use anypath_swarm::Finder;
use tokio::time::timeout;

/// What came of a wish.
#[derive(Debug)]
pub struct Answer {
    /// What was found on the way.
    pub found: Vec<Event>,
    /// What it took.
    pub outcome: Outcome,
}

/// Lets a node do something, and waits until it is done.
pub async fn ask<N: Discovery + Send + 'static>(node: &Finder<N>, ask: Ask) -> Result<Answer> {
    let mut answers = node.ask(ask).await?;
    let mut found = Vec::new();
    loop {
        let event = timeout(PATIENCE, answers.recv()).await.context("it is never done")?;
        match event.context("the node ended")? {
            Event::Done { outcome, .. } => return Ok(Answer { found, outcome }),
            event => found.push(event),
        }
    }
}

impl Answer {
    /// Returns the keys that were found, in hexadecimal, sorted.
    pub fn keys(&self) -> Vec<String> {
        let key = |event: &Event| match event {
            Event::Peer { key, .. } => Some(crate::content::hex(&key.0)),
            _ => None,
        };
        let mut keys: Vec<_> = self.found.iter().filter_map(key).collect();
        keys.sort();
        keys
    }

    /// Returns the addresses that were found, sorted.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let address = |event: &Event| match event {
            Event::Address { address, .. } => Some(*address),
            _ => None,
        };
        let mut addresses: Vec<_> = self.found.iter().filter_map(address).collect();
        addresses.sort();
        addresses
    }

    /// Returns the values that were found with their numbers.
    pub fn values(&self) -> Vec<(u64, String)> {
        let value = |event: &Event| match event {
            Event::Value { seq, value, .. } => Some((*seq, String::from_utf8_lossy(value).into_owned())),
            _ => None,
        };
        self.found.iter().filter_map(value).collect()
    }
}

/// What is waited for takes milliseconds; a machine that is busy with something else gets much longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

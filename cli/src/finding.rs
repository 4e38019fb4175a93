//! Where peers are found by the key alone: which sources, and where each begins.

use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use anypath_swarm::discover::{BIND_DEFAULT, InvalidPlace, Place, Serves, SourceConfig, SourceKind};

/// Where peers are found by the key alone.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Finding {
    /// Find peers, and be found, by the key alone: in Hyperswarm's DHT (hyperswarm), in BitTorrent's, as Dat did (classic),
    /// on the same network by multicast DNS (lan), at the DNS trackers of old Dat programs (tracker); repeatable, or with commas. Without it nobody is asked.
    #[arg(long, value_name = "SOURCE", value_delimiter = ',')]
    pub discover: Vec<SourceKind>,

    /// Begin at this node of a DHT instead of the public ones; repeatable. A source's word and = in front limit it to that
    /// source. With lan= it is the multicast group to speak in, with tracker= a
    /// tracker.
    #[arg(long, value_name = "[SOURCE=]HOST:PORT", value_delimiter = ',', requires = "discover")]
    pub bootstrap: Vec<Bootstrap>,
}

/// A node to begin at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bootstrap {
    /// The source it is for; all, if there is none.
    pub source: Option<SourceKind>,
    /// Where it is.
    pub place: Place,
}

impl FromStr for Bootstrap {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (source, place) = text.split_once('=').map_or((None, text), |(source, place)| (Some(source), place));
        let source = source.map(str::parse::<SourceKind>).transpose().map_err(|error| error.to_string())?;
        Ok(Self { source, place: place.parse().map_err(|error: InvalidPlace| error.to_string())? })
    }
}

impl Finding {
    /// Returns the sources that are asked, each once.
    pub(crate) fn sources(&self) -> Vec<SourceKind> {
        let mut sources = self.discover.clone();
        sources.sort();
        sources.dedup();
        sources
    }

    /// Returns how to start a source that asks on behalf of a program.
    ///
    /// # Errors
    /// If the system gives no randomness.
    pub(crate) fn config(&self, kind: SourceKind) -> Result<SourceConfig> {
        // A node of a DHT is no multicast group and no tracker.
        let is_dht = [SourceKind::Hyperswarm, SourceKind::Classic].contains(&kind);
        let meant = |source: Option<SourceKind>| source.map_or(is_dht, |source| source == kind);
        let named = self.bootstrap.iter().filter(|named| meant(named.source));
        let named: Vec<Place> = named.map(|named| named.place.clone()).collect();
        let bootstrap = if named.is_empty() { kind.bootstrap() } else { named };
        config(kind, bootstrap)
    }
}

/// Returns how to start a source that only asks, at any port.
///
/// # Errors
/// If the system gives no randomness.
pub(crate) fn config(kind: SourceKind, bootstrap: Vec<Place>) -> Result<SourceConfig> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).context("the system gives no random numbers")?;
    // Before 1970 no clock is right; then what is said later does not replace what was said before.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let epoch_ms = u64::try_from(since.as_millis()).unwrap_or_default();
    Ok(SourceConfig { kind, bind: BIND_DEFAULT, bootstrap, seed, epoch_ms, serves: Serves::Nobody })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_to_begin_at_may_be_for_one_source_alone() {
        let finding = Finding {
            discover: vec![SourceKind::Classic, SourceKind::Hyperswarm, SourceKind::Classic],
            bootstrap: ["classic=a.example:1", "127.0.0.1:2"].map(|text| text.parse().unwrap()).into(),
        };
        assert_eq!(finding.sources(), [SourceKind::Hyperswarm, SourceKind::Classic]);
        let places =
            |kind| -> Vec<String> { finding.config(kind).unwrap().bootstrap.iter().map(ToString::to_string).collect() };
        assert_eq!(places(SourceKind::Classic), ["a.example:1", "127.0.0.1:2"]);
        assert_eq!(places(SourceKind::Hyperswarm), ["127.0.0.1:2"]);
        assert_eq!(places(SourceKind::Lan), ["224.0.0.251:5353"]);
        assert!("luck=a:1".parse::<Bootstrap>().is_err() && "classic=a".parse::<Bootstrap>().is_err());
    }
}

//! Networks of a hundred nodes, half ours and half unmodified JavaScript, in both dialects: whatever either half announces,
//! both halves find, and nothing else.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use anypath_dht::classic::Mapping;
use anypath_dht::{Announcement, Ask, Discovery};
use anypath_interop::content::hex;
use anypath_interop::{JsPeer, ask, classic, hyperswarm, skip};
use anypath_swarm::Finder;
use anypath_wire::{Hash, KeyPair, hash};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Nodes of each half.
const HALF: usize = 50;
/// Nodes that are there before the others come, so that these come all at once.
const FIRST: usize = 5;
/// Topics that each half announces.
const TOPICS: usize = 6;

/// JavaScript's half: nodes of one program.
struct Theirs {
    js: JsPeer,
    dialect: &'static str,
    _folder: TempDir,
}

impl Theirs {
    /// Starts them; `None` where JavaScript cannot run.
    fn start(dialect: &'static str, bootstrap: SocketAddr) -> Result<Option<Self>> {
        if let Some(reason) = JsPeer::missing() {
            skip(&reason);
            return Ok(None);
        }
        let folder = tempfile::tempdir()?;
        let mut theirs = Self { js: JsPeer::spawn(folder.path())?, dialect, _folder: folder };
        let start = |number| json!({ "dht": name(number), "bootstrap": [bootstrap], "persistent": true });
        let verb = format!("{dialect}.start");
        let begun = (0..HALF).map(|number| theirs.js.begin(&verb, start(number))).collect::<Result<Vec<_>>>()?;
        begun.into_iter().try_for_each(|id| theirs.js.finish(id).map(drop))?;
        Ok(Some(theirs))
    }

    fn ask(&mut self, verb: &str, number: usize, mut fields: Value) -> Result<Value> {
        fields["dht"] = json!(name(number % HALF));
        self.js.ask(&format!("{}.{verb}", self.dialect), fields).with_context(|| format!("{verb} by {number}"))
    }
}

fn name(number: usize) -> String {
    format!("theirs {number}")
}

fn topic(whose: &str, number: usize) -> Hash {
    hash(format!("{whose} {number}").as_bytes())
}

fn infohash(topic: &Hash) -> String {
    hex(&Mapping::Truncated.infohash(topic))
}

fn port(number: usize) -> u16 {
    7_000 + number as u16
}

/// Lets the announcer announce a topic of ours at a port; the key pair comes from the topic.
async fn announce<N: Discovery + Send + 'static>(node: &Finder<N>, topic: Hash, port: u16) -> Result<()> {
    let announcement = Announcement::new(topic, KeyPair::from_seed(&topic));
    let answer = ask(node, Ask::Announce(Announcement { port: Some(port), ..announcement })).await?;
    ensure!(answer.outcome.stored > 0, "{answer:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_nodes_of_hyperswarms_dht() -> Result<()> {
    let mut ours = hyperswarm::Network::start(FIRST).await?;
    let bootstrap = ours.bootstrap()[0];
    let Some(mut theirs) = Theirs::start("hyperswarm", bootstrap.into())? else { return Ok(()) };
    ours.grow(HALF).await?;
    ensure!(ours.nodes().len() == HALF);
    for number in 0..TOPICS {
        let seed = json!({ "topic": hex(&topic("theirs", number)), "seed": format!("seed {number}") });
        theirs.ask("announce", 7 * number, seed)?;
        announce(&ours.nodes()[7 * number], topic("ours", number), port(number)).await?;
    }
    for number in 0..TOPICS {
        let (by, their_key) =
            (HALF - 1 - 7 * number, theirs.ask("key", 0, json!({ "seed": format!("seed {number}") }))?);
        let our_key = hex(&KeyPair::from_seed(&topic("ours", number)).public().0);
        let expected = [("theirs", their_key.as_str().context("no key")?.to_owned()), ("ours", our_key)];
        for (whose, key) in expected {
            let topic = topic(whose, number);
            let found = ask(&ours.nodes()[by], Ask::Lookup { topic }).await?.keys();
            ensure!(found == [key.clone()], "ours find {found:?} for {whose} {number}");
            let found = theirs.ask("lookup", by, json!({ "topic": hex(&topic) }))?;
            ensure!(found.as_array().map(Vec::len) == Some(1) && found[0]["key"] == key, "theirs find {found}");
        }
    }
    let nobody = topic("nobody", 0);
    ensure!(ask(&ours.nodes()[1], Ask::Lookup { topic: nobody }).await?.keys().is_empty());
    ensure!(theirs.ask("lookup", 1, json!({ "topic": hex(&nobody) }))? == json!([]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_nodes_of_bittorrents_dht() -> Result<()> {
    let mut ours = classic::start_network(FIRST).await?;
    let bootstrap = ours[0].address();
    let Some(mut theirs) = Theirs::start("classic", bootstrap)? else { return Ok(()) };
    while ours.len() < HALF {
        ours.push(classic::start_node(&[bootstrap]).await?);
    }
    for number in 0..TOPICS {
        let infohash = infohash(&topic("theirs", number));
        theirs.ask("announce", 7 * number, json!({ "infohash": infohash, "port": port(number) }))?;
        announce(&ours[7 * number], topic("ours", number), port(number)).await?;
    }
    for number in 0..TOPICS {
        let (by, at) = (HALF - 1 - 7 * number, SocketAddr::from(([127, 0, 0, 1], port(number))));
        for whose in ["theirs", "ours"] {
            let topic = topic(whose, number);
            let found = ask(&ours[by], Ask::Lookup { topic }).await?.addresses();
            ensure!(found == [at], "ours find {found:?} for {whose} {number}");
            let found = theirs.ask("lookup", by, json!({ "infohash": infohash(&topic) }))?;
            ensure!(found == json!([at]), "theirs find {found} for {whose} {number}");
        }
    }
    let nobody = topic("nobody", 0);
    ensure!(ask(&ours[1], Ask::Lookup { topic: nobody }).await?.addresses().is_empty());
    ensure!(theirs.ask("lookup", 1, json!({ "infohash": infohash(&nobody) }))? == json!([]));
    Ok(())
}

//! `anypath dht` as its users run it: a network of nodes that are programs, announcements and questions, and JavaScript
//! among them.

use anyhow::{Context, Result, ensure};
use anypath_dht::classic::Mapping;
use anypath_interop::content::hex;
use anypath_interop::{Anypath, Finished, JsPeer, skip};
use anypath_wire::KeyPair;
use serde_json::{Value, json};
use tempfile::TempDir;

const NODES: usize = 4;

/// A network of running programs.
struct Programs {
    folder: TempDir,
    dialect: &'static str,
    nodes: Vec<Anypath>,
    bootstrap: String,
}

impl Programs {
    fn start(dialect: &'static str, count: usize) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut programs = Self { folder, dialect, nodes: Vec::new(), bootstrap: "none".to_owned() };
        for number in 0..count {
            let words = ["dht", "run", "--persistent", "--bind", "127.0.0.1", "--port", "0", "--dialect", dialect];
            let begin = ["--bootstrap", &programs.bootstrap];
            let store = programs.folder.path().join(format!("node {number}"));
            let mut node = Anypath::start(&store, words.into_iter().chain(begin))?;
            let serving = node.wait_until("node", |event| event["state"] == "serving")?;
            ensure!(serving["id"].as_str().is_some(), "{serving}");
            ensure!(number == 0 || serving["nodes"].as_u64() > Some(0), "{serving}");
            if number == 0 {
                programs.bootstrap = serving["address"].as_str().context("no address")?.to_owned();
            }
            programs.nodes.push(node);
        }
        Ok(programs)
    }

    /// Starts a command of this dialect, which begins here.
    fn begin(&self, name: &str, words: &[&str]) -> Result<Anypath> {
        let network = ["--dialect", self.dialect, "--bootstrap", &self.bootstrap];
        Anypath::start(&self.folder.path().join(name), ["dht"].iter().chain(words).chain(&network))
    }

    /// Looks something up; returns the run and everybody it told of, without the nodes that forward to them.
    fn lookup(&self, words: &[&str]) -> Result<(Finished, Vec<Value>)> {
        let finished = self.begin("lookup", &[&["lookup"], words].concat())?.finish()?;
        let found = finished.events.iter().filter(|event| event["event"] == "peer");
        let found = found.map(|peer| json!([peer["key"].is_string(), peer["address"]])).collect();
        Ok((finished, found))
    }

    /// Fails unless nobody is found though nodes answer.
    fn expect_nobody(&self, words: &[&str]) -> Result<()> {
        let (finished, found) = self.lookup(words)?;
        finished.expect_sentence(1)?;
        ensure!(finished.event("error")?["code"] == "not_found" && found.is_empty(), "{:?}", finished.events);
        ensure!(finished.event("outcome")?["answers"].as_u64() > Some(0), "{:?}", finished.events);
        Ok(())
    }

    /// Ends all nodes, which must be in order.
    fn stop(self) -> Result<()> {
        for node in self.nodes {
            node.interrupt()?;
            node.finish()?.expect_code(0)?;
        }
        Ok(())
    }
}

fn key() -> String {
    KeyPair::from_seed(&[7; 32]).public().to_string()
}

#[test]
fn programs_make_a_network_of_hyperswarms_dht() -> Result<()> {
    let (network, other) = (Programs::start("hyperswarm", NODES)?, Programs::start("hyperswarm", 1)?);
    network.expect_nobody(&[&key()])?;
    let mut announcer = network.begin("announcer", &["announce", &key(), "--at", "7777", "--keep"])?;
    let told = announcer.wait_for("outcome")?;
    ensure!(told["what"] == "announce" && told["stored"] == NODES, "{told}");
    let (finished, found) = network.lookup(&[&key()])?;
    finished.expect_code(0)?;
    ensure!(found[0] == json!([true, null]), "{found:?}");
    ensure!(found.contains(&json!([true, "tcp://127.0.0.1:7777"])), "{found:?}");
    other.expect_nobody(&[&key()])?;
    announcer.interrupt()?;
    let finished = announcer.finish()?;
    finished.expect_code(0)?;
    ensure!(finished.event("outcome")?["what"] == "unannounce", "{:?}", finished.events);
    network.expect_nobody(&[&key()])?;
    network.stop()
}

#[test]
fn programs_make_a_network_of_bittorrents_dht() -> Result<()> {
    let (network, other) = (Programs::start("classic", NODES)?, Programs::start("classic", 2)?);
    let announced = network.begin("announcer", &["announce", &key(), "--at", "7777"])?.finish()?;
    announced.expect_code(0)?;
    let topic = KeyPair::from_seed(&[7; 32]).public().discovery_key().0;
    let infohash = hex(&Mapping::Truncated.infohash(&topic));
    for words in [vec![key()], vec![infohash.clone(), "--topic".to_owned()]] {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (finished, found) = network.lookup(&words)?;
        finished.expect_code(0)?;
        ensure!(found == [json!([false, "tcp://127.0.0.1:7777"])], "{found:?}");
        other.expect_nobody(&words)?;
    }
    network.stop()
}

#[test]
fn javascript_uses_a_network_of_programs() -> Result<()> {
    if let Some(reason) = JsPeer::missing() {
        skip(&reason);
        return Ok(());
    }
    let network = Programs::start("hyperswarm", NODES)?;
    let folder = tempfile::tempdir()?;
    let mut js = JsPeer::spawn(folder.path())?;
    let topic = hex(&KeyPair::from_seed(&[7; 32]).public().discovery_key().0);
    js.ask("hyperswarm.start", json!({ "dht": "theirs", "bootstrap": [network.bootstrap] }))?;
    js.ask("hyperswarm.announce", json!({ "dht": "theirs", "topic": topic, "seed": "theirs" }))?;
    let (finished, found) = network.lookup(&[&topic, "--topic"])?;
    finished.expect_code(0)?;
    ensure!(found == [json!([true, null])], "{found:?}");
    ensure!(network.begin("announcer", &["announce", &key(), "--at", "7777"])?.finish()?.code == Some(0));
    let both = js.ask("hyperswarm.lookup", json!({ "dht": "theirs", "topic": topic }))?;
    ensure!(both.as_array().map(Vec::len) == Some(2), "{both}");
    Ok(())
}

#[test]
fn a_network_that_does_not_answer_is_told_from_one_that_knows_nobody() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // A port that is taken by somebody who says nothing.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0")?;
    let nowhere = silent.local_addr()?.to_string();
    let (key, mut asking) = (key(), Vec::new());
    for dialect in ["hyperswarm", "classic"] {
        for words in [&["lookup"][..], &["announce", "--at", "1"]] {
            let store = folder.path().join(format!("store {}", asking.len()));
            let network = ["--dialect", dialect, "--bootstrap", &nowhere, &key];
            asking.push(Anypath::start(&store, ["dht"].iter().chain(words).chain(&network))?);
        }
    }
    for asking in asking {
        asking.finish()?.expect_sentence(3)?;
    }
    for (words, code) in [
        (vec!["dht", "lookup", "nonsense", "--bootstrap", &nowhere], 2),
        (vec!["dht", "run", "--persistent", "--bootstrap", "none", "--port", "0"], 2),
        (vec!["dht", "run", "--bootstrap", &nowhere, "--bind", "127.0.0.1", "--port", port(&nowhere)], 1),
    ] {
        Anypath::run(&folder.path().join("store"), words)?.expect_sentence(code)?;
    }
    Ok(())
}

fn port(address: &str) -> &str {
    address.rsplit(':').next().unwrap_or_default()
}

//! Two programs find each other by one source alone, with nothing in common but a key and where a network begins; and not
//! without it, and not in another network. The networks are ours, or JavaScript's, on this machine's loopback.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use anypath_dht::Ask;
use anypath_dht::classic::Mapping;
use anypath_interop::content::hex;
use anypath_interop::folder::{Plan, expect_same, generate, list};
use anypath_interop::hyperswarm::{Network, start_node};
use anypath_interop::{Anypath, Finished, JsPeer, Share, ask, classic, skip};
use anypath_wire::{Link, PublicKey};
use serde_json::{Value, json};
use tempfile::TempDir;

const NODES: usize = 6;

/// A folder that is shared so that it can be found.
struct Stage {
    folder: TempDir,
    share: Share,
    key: PublicKey,
    source: &'static str,
}

impl Stage {
    /// Shares a folder by a source that begins there, and waits until it is announced.
    fn share(source: &'static str, bootstrap: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let original = folder.path().join("original");
        generate(&original, Plan { seed: 5, files: 9, large_bytes: 300_000 })?;
        let options = ["--no-hints", "--discover", source, "--bootstrap", bootstrap];
        let mut share = Share::start(&folder.path().join("share store"), &original, &options)?;
        let announced = share.program.wait_until("source", |event| event["state"] == "announced")?;
        ensure!(announced["source"] == source && announced["nodes"].as_u64() > Some(0), "{announced}");
        let link: Link = share.link.parse()?;
        ensure!(link.via.is_empty(), "the link leads there: {}", share.link);
        Ok(Self { folder, share, key: link.key, source })
    }

    /// Clones it by the key and so many options; returns the run.
    fn clone(&self, name: &str, options: &[&str]) -> Result<Finished> {
        let target = self.path(name);
        let key = self.key.to_string();
        let words = ["clone", &key, text(&target)?];
        Anypath::run(&self.path(&format!("{name} store")), words.iter().chain(options))
    }

    /// Clones it by the source, and fails unless that is how it was found.
    fn clone_by_source(&self, name: &str, bootstrap: &str) -> Result<()> {
        let done = self.clone(name, &["--discover", self.source, "--bootstrap", bootstrap])?;
        done.expect_code(0)?;
        expect_same(&list(&self.path("original"))?, &list(&self.path(name))?)?;
        let found = done.event("found")?;
        let at = format!("tcp://127.0.0.1:{}", self.share.port);
        ensure!(found == &json!({ "event": "found", "source": self.source, "address": at }), "{found}");
        Ok(())
    }

    /// Fails unless nothing is found in the network that begins there, though it answers.
    fn expect_nothing_by_source(&self, name: &str, bootstrap: &str) -> Result<()> {
        let options = ["--discover", self.source, "--bootstrap", bootstrap, "--timeout", "5"];
        let missed = self.clone(name, &options)?;
        missed.expect_code(3)?;
        ensure!(missed.event("found").is_err(), "{:?}", missed.events);
        let asked = missed.event("source")?;
        ensure!(asked["state"] == "asked" && asked["nodes"].as_u64() > Some(0), "the other network is deaf: {asked}");
        let rungs = &missed.event("error")?["rungs"];
        ensure!(rungs[0]["transport"] == self.source, "{rungs}");
        Ok(())
    }

    /// Fails unless nothing is found where nobody is asked.
    fn expect_nothing_without(&self) -> Result<()> {
        let missed = self.clone("without", &["--timeout", "1"])?;
        missed.expect_code(3)?;
        ensure!(missed.event("found").is_err() && missed.event("source").is_err(), "{:?}", missed.events);
        Ok(())
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a test's folder is UTF-8")
}

fn js(folder: &TempDir) -> Result<Option<JsPeer>> {
    if let Some(reason) = JsPeer::missing() {
        skip(&reason);
        return Ok(None);
    }
    JsPeer::spawn(folder.path()).map(Some)
}

#[tokio::test(flavor = "multi_thread")]
async fn by_hyperswarms_dht_among_our_nodes() -> Result<()> {
    let (network, other) = (Network::start(NODES).await?, Network::start(2).await?);
    let [bootstrap, elsewhere] = [&network, &other].map(|network| network.bootstrap()[0].to_string());
    let stage = Stage::share("hyperswarm", &bootstrap)?;
    stage.clone_by_source("copy", &bootstrap)?;
    stage.expect_nothing_by_source("elsewhere", &elsewhere)?;
    stage.expect_nothing_without()?;
    let (topic, client) = (stage.key.discovery_key().0, start_node(&network.bootstrap(), false).await?);
    ensure!(ask(&client, Ask::Lookup { topic }).await?.keys().len() == 1);
    let ended = stage.share.stop()?;
    ensure!(ended.event("source")?["state"] == "forgotten", "{:?}", ended.events);
    ensure!(ask(&client, Ask::Lookup { topic }).await?.keys().is_empty(), "still announced");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn by_hyperswarms_dht_among_javascript_nodes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let Some(mut js) = js(&folder)? else { return Ok(()) };
    let mut network = |size: usize| -> Result<String> {
        let bootstrap = js.ask("hyperswarm.testnet", json!({ "size": size }))?;
        Ok(bootstrap[0].as_str().context("no address")?.to_owned())
    };
    let (bootstrap, elsewhere) = (network(NODES)?, network(3)?);
    let stage = Stage::share("hyperswarm", &bootstrap)?;
    stage.clone_by_source("copy", &bootstrap)?;
    stage.expect_nothing_by_source("elsewhere", &elsewhere)
}

#[tokio::test(flavor = "multi_thread")]
async fn by_bittorrents_dht_among_our_nodes() -> Result<()> {
    let (network, other) = (classic::start_network(NODES).await?, classic::start_network(2).await?);
    let [bootstrap, elsewhere] = [&network, &other].map(|network| network[0].address().to_string());
    let stage = Stage::share("classic", &bootstrap)?;
    stage.clone_by_source("copy", &bootstrap)?;
    stage.expect_nothing_by_source("elsewhere", &elsewhere)?;
    stage.expect_nothing_without()
}

#[tokio::test(flavor = "multi_thread")]
async fn by_bittorrents_dht_among_javascript_nodes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let Some(mut js) = js(&folder)? else { return Ok(()) };
    let mut network = |name: &str, size: usize| -> Result<String> {
        let mut bootstrap: Vec<Value> = Vec::new();
        for number in 0..size {
            let start = json!({ "dht": format!("{name} {number}"), "bootstrap": bootstrap });
            let address = js.ask("classic.start", start)?;
            bootstrap = vec![bootstrap.first().cloned().unwrap_or(address)];
        }
        Ok(bootstrap[0].as_str().context("no address")?.to_owned())
    };
    let (bootstrap, elsewhere) = (network("theirs", NODES)?, network("others", 2)?);
    let stage = Stage::share("classic", &bootstrap)?;
    stage.clone_by_source("copy", &bootstrap)?;
    stage.expect_nothing_by_source("elsewhere", &elsewhere)?;
    // JavaScript finds it as well, where Dat's programs look.
    let infohash = hex(&Mapping::Truncated.infohash(&stage.key.discovery_key().0));
    let found = js.ask("classic.lookup", json!({ "dht": "theirs 1", "infohash": infohash }))?;
    ensure!(found == json!([format!("127.0.0.1:{}", stage.share.port)]), "{found}");
    Ok(())
}

#[test]
fn at_the_tracker_of_old_dat_programs() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let Some(mut js) = js(&folder)? else { return Ok(()) };
    let mut tracker = |name: &str| -> Result<String> {
        let port = js.ask("dns.start", json!({ "dns": name, "multicast": false, "serve": true }))?;
        Ok(format!("127.0.0.1:{port}"))
    };
    let (at, elsewhere) = (tracker("tracker")?, tracker("other tracker")?);
    let (bootstrap, other) = (format!("tracker={at}"), format!("tracker={elsewhere}"));
    let stage = Stage::share("tracker", &bootstrap)?;
    stage.clone_by_source("copy", &bootstrap)?;
    stage.expect_nothing_by_source("elsewhere", &other)?;
    let infohash = hex(&Mapping::Truncated.infohash(&stage.key.discovery_key().0));
    let mut found = |client: &str, at: &str, wait: u64| -> Result<Value> {
        js.ask("dns.start", json!({ "dns": client, "multicast": false, "server": at }))?;
        js.ask("dns.lookup", json!({ "dns": client, "infohash": infohash, "wait": wait }))
    };
    ensure!(found("client", &at, 60_000)? == json!([format!("127.0.0.1:{}", stage.share.port)]));
    ensure!(found("client elsewhere", &elsewhere, 2_000)? == json!([]));
    let ended = stage.share.stop()?;
    ensure!(ended.event("source")?["state"] == "forgotten", "{:?}", ended.events);
    ensure!(found("client behind it", &at, 2_000)? == json!([]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_are_merged_and_one_that_fails_stops_no_other() -> Result<()> {
    let (hyperswarm, classic) = (Network::start(NODES).await?, classic::start_network(NODES).await?);
    let folder = tempfile::tempdir()?;
    let original = folder.path().join("original");
    generate(&original, Plan { seed: 6, files: 3, large_bytes: 0 })?;
    let begin = format!("hyperswarm={},classic={}", hyperswarm.bootstrap()[0], classic[0].address());
    let options = ["--no-hints", "--discover", "hyperswarm,classic", "--bootstrap", &begin];
    let mut share = Share::start(&folder.path().join("share store"), &original, &options)?;
    for _ in 0..2 {
        share.program.wait_until("source", |event| event["state"] == "announced")?;
    }
    let clone = |name: &str, begin: &str| -> Result<Finished> {
        let target = folder.path().join(name);
        let words = ["clone", &share.key, text(&target)?, "--discover", "hyperswarm,classic", "--bootstrap", begin];
        Anypath::run(&folder.path().join(format!("{name} store")), words)
    };
    let count = |done: &Finished, name: &str| done.events.iter().filter(|event| event["event"] == name).count();
    let done = clone("copy", &begin)?;
    done.expect_code(0)?;
    ensure!(count(&done, "found") == 1 && count(&done, "connected") == 1, "{:?}", done.events);
    let nowhere = format!("hyperswarm=name.invalid:1,classic={}", classic[0].address());
    let done = clone("second copy", &nowhere)?;
    done.expect_code(0)?;
    let failed = done.events.iter().find(|event| event["state"] == "failed").context("no source failed")?;
    ensure!(failed["source"] == "hyperswarm" && failed["reason"].as_str().is_some(), "{failed}");
    ensure!(done.event("found")?["source"] == "classic", "{:?}", done.events);
    Ok(())
}

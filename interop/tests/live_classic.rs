//! BitTorrent's DHT with unmodified npm bittorrent-dht and libtorrent on this machine's loopback: their nodes in a network
//! that is all ours, and ours in one that is all theirs. What is found there is not found in another network.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use anypath_dht::classic::{Item, Mapping, Node};
use anypath_dht::{Announcement, Ask};
use anypath_interop::classic::{start_network, start_node};
use anypath_interop::content::hex;
use anypath_interop::{JsPeer, Libtorrent, ask, skip};
use anypath_swarm::Finder;
use anypath_wire::{Hash, KeyPair, hash};
use serde_json::{Value, json};
use tempfile::TempDir;

const NODES: usize = 8;

/// A JavaScript program, in which several nodes may run.
struct Js {
    peer: JsPeer,
    _folder: TempDir,
}

impl Js {
    /// Starts it; `None` where there is none.
    fn start() -> Result<Option<Self>> {
        if let Some(reason) = JsPeer::missing() {
            skip(&reason);
            return Ok(None);
        }
        let folder = tempfile::tempdir()?;
        Ok(Some(Self { peer: JsPeer::spawn(folder.path())?, _folder: folder }))
    }

    fn ask(&mut self, verb: &str, fields: Value) -> Result<Value> {
        self.peer.ask(&format!("classic.{verb}"), fields).with_context(|| verb.to_owned())
    }

    fn node(&mut self, name: &str, bootstrap: &[SocketAddr]) -> Result<SocketAddr> {
        address(&self.ask("start", json!({ "dht": name, "bootstrap": bootstrap }))?)
    }

    fn lookup(&mut self, dht: &str, topic: &Hash) -> Result<Vec<SocketAddr>> {
        let found = self.ask("lookup", json!({ "dht": dht, "infohash": infohash(topic) }))?;
        found.as_array().into_iter().flatten().map(address).collect()
    }
}

fn address(value: &Value) -> Result<SocketAddr> {
    Ok(value.as_str().with_context(|| format!("no address: {value}"))?.parse()?)
}

fn topic(name: &str) -> Hash {
    hash(name.as_bytes())
}

fn infohash(topic: &Hash) -> String {
    hex(&Mapping::Truncated.infohash(topic))
}

fn pair(name: &str) -> KeyPair {
    KeyPair::from_seed(&hash(name.as_bytes()))
}

fn announcement(topic: Hash, port: Option<u16>) -> Ask {
    Ask::Announce(Announcement { port, ..Announcement::new(topic, pair("nobody")) })
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Returns where a network begins.
fn beginning(nodes: &[Finder<Node>]) -> [SocketAddr; 1] {
    [nodes[0].address()]
}

/// Returns where bytes lie, as a target.
fn immutable_target(value: &[u8]) -> Hash {
    let mut target = [0; 32];
    target[..20].copy_from_slice(&Item::of_bytes(value).target());
    target
}

async fn lookup(node: &Finder<Node>, topic: Hash) -> Result<Vec<SocketAddr>> {
    Ok(ask(node, Ask::Lookup { topic }).await?.addresses())
}

async fn immutable(node: &Finder<Node>, value: &str) -> Result<Vec<(u64, String)>> {
    Ok(ask(node, Ask::GetImmutable { target: immutable_target(value.as_bytes()) }).await?.values())
}

#[tokio::test(flavor = "multi_thread")]
async fn javascript_finds_and_is_found_through_our_network() -> Result<()> {
    let Some(mut js) = Js::start()? else { return Ok(()) };
    let (ours, elsewhere) = (start_network(NODES).await?, start_network(3).await?);
    let announcer = js.node("announcer", &beginning(&ours))?;
    js.node("seeker", &beginning(&ours))?;
    js.node("stranger", &beginning(&elsewhere))?;
    let client = start_node(&beginning(&ours)).await?;
    let (explicit, implied) = (topic("at a port"), topic("at the port it is seen at"));
    for (topic, port, found) in [(explicit, 7_777, local(7_777)), (implied, 0, announcer)] {
        js.ask("announce", json!({ "dht": "announcer", "infohash": infohash(&topic), "port": port }))?;
        ensure!(js.lookup("seeker", &topic)? == [found]);
        ensure!(lookup(&client, topic).await? == [found]);
        ensure!(js.lookup("stranger", &topic)? == []);
        ensure!(lookup(&elsewhere[1], topic).await? == []);
    }

    let target = js.ask("putImmutable", json!({ "dht": "announcer", "text": "a value" }))?;
    ensure!(target == hex(&Item::of_bytes(b"a value").target()));
    ensure!(js.ask("get", json!({ "dht": "seeker", "target": target }))?["text"] == "a value");
    ensure!(js.ask("get", json!({ "dht": "stranger", "target": target }))?.is_null());
    ensure!(immutable(&client, "a value").await? == [(0, "a value".to_owned())]);
    let key = js.ask("key", json!({ "seed": "owner" }))?.as_str().context("no key")?.parse()?;
    for (seq, text) in [(1, "one"), (2, "two")] {
        let put = json!({ "dht": "announcer", "seed": "owner", "seq": seq, "text": text });
        let target = js.ask("putMutable", put)?;
        let found = js.ask("get", json!({ "dht": "seeker", "target": target }))?;
        ensure!(found == json!({ "seq": seq, "text": text }), "{found}");
        let found = ask(&client, Ask::GetMutable { key, seq: 0 }).await?.values();
        ensure!(found == [(seq, text.to_owned())], "{found:?}");
    }
    let old = json!({ "dht": "announcer", "seed": "owner", "seq": 1, "text": "old" });
    ensure!(js.ask("putMutable", old).is_err(), "an older value was taken");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ours_find_and_are_found_through_a_javascript_network() -> Result<()> {
    let Some(mut js) = Js::start()? else { return Ok(()) };
    let first = js.node("0", &[])?;
    for name in 1..NODES {
        js.node(&name.to_string(), &[first])?;
    }
    let elsewhere = js.node("elsewhere", &[])?;
    let [announcer, seeker] = [start_node(&[first]).await?, start_node(&[first]).await?];
    let stranger = start_node(&[elsewhere]).await?;
    let (explicit, implied) = (topic("at a port"), topic("at the port it is seen at"));
    for (topic, port, found) in [(explicit, Some(7_777), local(7_777)), (implied, None, announcer.address())] {
        let stored = ask(&announcer, announcement(topic, port)).await?.outcome.stored;
        ensure!(stored == NODES, "{stored} nodes stored");
        ensure!(lookup(&seeker, topic).await? == [found]);
        ensure!(js.lookup("3", &topic)? == [found]);
        ensure!(lookup(&stranger, topic).await? == []);
    }
    let value = b"a value".to_vec();
    ensure!(ask(&announcer, Ask::PutImmutable { value }).await?.outcome.stored == NODES);
    ensure!(immutable(&seeker, "a value").await? == [(0, "a value".to_owned())]);
    ensure!(immutable(&stranger, "a value").await? == []);
    let key_pair = pair("owner");
    let key = key_pair.public();
    for seq in [1, 2] {
        let put = Ask::PutMutable { key_pair: key_pair.clone(), seq, value: seq.to_string().into_bytes() };
        ensure!(ask(&announcer, put).await?.outcome.stored == NODES);
        ensure!(ask(&seeker, Ask::GetMutable { key, seq: 0 }).await?.values() == [(seq, seq.to_string())]);
    }
    let old = Ask::PutMutable { key_pair, seq: 1, value: b"old".to_vec() };
    ensure!(ask(&announcer, old).await?.outcome.stored == 0, "an older value was taken");
    Ok(())
}

fn libtorrent() -> Result<Option<Libtorrent>> {
    if let Some(reason) = Libtorrent::missing() {
        skip(&reason);
        return Ok(None);
    }
    Libtorrent::spawn().map(Some)
}

/// Returns the peers that a libtorrent node finds.
fn peers(libtorrent: &mut Libtorrent, dht: &str, topic: &Hash) -> Result<Vec<SocketAddr>> {
    let found = libtorrent.ask("lookup", json!({ "dht": dht, "infohash": infohash(topic) }))?;
    found.as_array().into_iter().flatten().map(address).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn libtorrent_finds_and_is_found_through_our_network() -> Result<()> {
    let Some(mut libtorrent) = libtorrent()? else { return Ok(()) };
    let (ours, elsewhere) = (start_network(NODES).await?, start_network(3).await?);
    for (name, bootstrap) in [("a", &ours), ("b", &ours), ("stranger", &elsewhere)] {
        libtorrent.ask("start", json!({ "dht": name, "bootstrap": beginning(bootstrap) }))?;
    }
    let client = start_node(&beginning(&ours)).await?;
    let (theirs, own) = (topic("theirs"), topic("ours"));
    libtorrent.ask("announce", json!({ "dht": "a", "infohash": infohash(&theirs), "port": 7_777 }))?;
    ask(&client, announcement(own, Some(8_888))).await?;
    // It does not say when it has announced.
    let until = Instant::now() + Duration::from_secs(30);
    while lookup(&client, theirs).await?.is_empty() && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for (topic, found) in [(theirs, local(7_777)), (own, local(8_888))] {
        let seen = peers(&mut libtorrent, "b", &topic)?;
        ensure!(seen == [found], "{seen:?} instead of {found}");
        ensure!(lookup(&client, topic).await? == [found]);
        ensure!(peers(&mut libtorrent, "stranger", &topic)? == []);
    }
    let target = libtorrent.ask("put_immutable", json!({ "dht": "a", "text": "a value" }))?;
    ensure!(libtorrent.ask("get_immutable", json!({ "dht": "b", "target": target }))? == "a value");
    ensure!(libtorrent.ask("get_immutable", json!({ "dht": "stranger", "target": target }))?.is_null());
    ensure!(immutable(&client, "a value").await? == [(0, "a value".to_owned())]);
    let key = pair("owner").public();
    let words = json!({ "dht": "a", "seed": hex(&hash(b"owner")), "key": hex(&key.0), "text": "signed" });
    libtorrent.ask("put_mutable", words)?;
    let found = ask(&client, Ask::GetMutable { key, seq: 0 }).await?.values();
    ensure!(found == [(1, "signed".to_owned())], "{found:?}");
    let found = libtorrent.ask("get_mutable", json!({ "dht": "b", "key": hex(&key.0) }))?;
    ensure!(found == json!({ "seq": 1, "text": "signed" }), "{found}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ours_find_and_are_found_through_a_libtorrent_network() -> Result<()> {
    let Some(mut libtorrent) = libtorrent()? else { return Ok(()) };
    let first = address(&libtorrent.ask("start", json!({ "dht": "0", "bootstrap": [] }))?)?;
    for name in 1..NODES {
        libtorrent.ask("start", json!({ "dht": name.to_string(), "bootstrap": [first] }))?;
    }
    let elsewhere = address(&libtorrent.ask("start", json!({ "dht": "elsewhere", "bootstrap": [] }))?)?;
    let [announcer, seeker] = [start_node(&[first]).await?, start_node(&[first]).await?];
    let stranger = start_node(&[elsewhere]).await?;
    let topic = topic("ours");
    let stored = ask(&announcer, announcement(topic, Some(7_777))).await?.outcome;
    ensure!(stored.stored > 0, "{stored:?}");
    ensure!(lookup(&seeker, topic).await? == [local(7_777)]);
    ensure!(lookup(&stranger, topic).await? == []);
    let seen = peers(&mut libtorrent, "3", &topic)?;
    ensure!(seen == [local(7_777)], "{seen:?}");

    let value = b"a value".to_vec();
    ensure!(ask(&announcer, Ask::PutImmutable { value }).await?.outcome.stored > 0);
    ensure!(immutable(&seeker, "a value").await? == [(0, "a value".to_owned())]);
    let target = hex(&Item::of_bytes(b"a value").target());
    ensure!(libtorrent.ask("get_immutable", json!({ "dht": "3", "target": target }))? == "a value");
    let (key_pair, key) = (pair("owner"), pair("owner").public());
    ensure!(ask(&announcer, Ask::PutMutable { key_pair, seq: 4, value: b"signed".to_vec() }).await?.outcome.stored > 0);
    ensure!(ask(&seeker, Ask::GetMutable { key, seq: 0 }).await?.values() == [(4, "signed".to_owned())]);
    let found = libtorrent.ask("get_mutable", json!({ "dht": "3", "key": hex(&key.0) }))?;
    ensure!(found == json!({ "seq": 4, "text": "signed" }), "{found}");
    Ok(())
}

//! Hyperswarm's DHT with unmodified npm hyperdht on this machine's loopback: JavaScript nodes in a network that is all
//! ours, and ours in one that is all theirs. What is found there is not found in another network.

use std::net::SocketAddrV4;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use anypath_dht::hyperswarm::Node;
use anypath_dht::{Announcement, Ask, Event};
use anypath_interop::content::hex;
use anypath_interop::hyperswarm::{Network, start_node};
use anypath_interop::{JsPeer, ask, skip};
use anypath_swarm::Finder;
use anypath_wire::{Hash, KeyPair, PublicKey, hash};
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
        self.peer.ask(&format!("hyperswarm.{verb}"), fields).with_context(|| verb.to_owned())
    }

    fn node(&mut self, name: &str, bootstrap: &[SocketAddrV4], persistent: bool) -> Result<Value> {
        self.ask("start", json!({ "dht": name, "bootstrap": bootstrap, "persistent": persistent }))
    }

    fn key(&mut self, seed: &str) -> Result<String> {
        text(&self.ask("key", json!({ "seed": seed }))?)
    }

    /// Looks a topic up and returns the keys, sorted.
    fn lookup(&mut self, dht: &str, topic: &Hash) -> Result<Vec<String>> {
        let found = self.ask("lookup", json!({ "dht": dht, "topic": hex(topic) }))?;
        let mut keys: Vec<_> =
            found.as_array().into_iter().flatten().map(|peer| text(&peer["key"])).collect::<Result<_>>()?;
        keys.sort();
        Ok(keys)
    }
}

fn text(value: &Value) -> Result<String> {
    value.as_str().map(str::to_owned).with_context(|| format!("no text: {value}"))
}

fn topic(name: &str) -> Hash {
    hash(name.as_bytes())
}

fn pair(name: &str) -> KeyPair {
    KeyPair::from_seed(&hash(name.as_bytes()))
}

fn key(hexadecimal: &str) -> Result<PublicKey> {
    Ok(hexadecimal.parse()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn javascript_announces_and_looks_up_through_our_network() -> Result<()> {
    let Some(mut js) = Js::start()? else { return Ok(()) };
    let (ours, elsewhere) = (Network::start(NODES).await?, Network::start(3).await?);
    for name in ["announcer", "seeker"] {
        js.node(name, &ours.bootstrap(), false)?;
    }
    js.node("stranger", &elsewhere.bootstrap(), false)?;
    let (key, topic) = (js.key("announcer")?, topic("a topic"));
    let (announcer, relays) = (json!("announcer"), ["127.0.0.1:7777"]);
    let fields = json!({ "dht": announcer, "topic": hex(&topic), "seed": announcer, "relays": relays, "bump": 5 });
    let announced = js.ask("announce", fields)?;
    ensure!(announced["nodes"] == NODES, "every node stores, in a network of so few: {announced}");

    let found = js.ask("lookup", json!({ "dht": "seeker", "topic": hex(&topic) }))?;
    ensure!(found == json!([{ "key": key, "relays": relays, "bump": 5 }]), "{found}");
    ensure!(js.lookup("stranger", &topic)? == [""; 0], "found in another network");
    ensure!(js.lookup("seeker", &self::topic("another"))? == [""; 0]);
    // Ours find it as well.
    let client = start_node(&ours.bootstrap(), false).await?;
    ensure!(ask(&client, Ask::Lookup { topic }).await?.keys() == std::slice::from_ref(&key));

    js.ask("unannounce", json!({ "dht": "announcer", "topic": hex(&topic), "seed": "seeker" }))?;
    ensure!(js.lookup("seeker", &topic)? == [key], "somebody else took it back");
    js.ask("unannounce", json!({ "dht": "announcer", "topic": hex(&topic), "seed": "announcer" }))?;
    ensure!(js.lookup("seeker", &topic)? == [""; 0], "still there");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn javascript_puts_and_gets_through_our_network() -> Result<()> {
    let Some(mut js) = Js::start()? else { return Ok(()) };
    let (ours, elsewhere) = (Network::start(NODES).await?, Network::start(3).await?);
    js.node("a", &ours.bootstrap(), false)?;
    js.node("b", &ours.bootstrap(), false)?;
    js.node("stranger", &elsewhere.bootstrap(), false)?;

    let put = js.ask("putImmutable", json!({ "dht": "a", "text": "a value" }))?;
    ensure!(put["nodes"] == NODES, "{put}");
    let immutable = |dht: &str| json!({ "dht": dht, "hash": put["hash"] });
    ensure!(js.ask("getImmutable", immutable("b"))?["text"] == "a value");
    ensure!(js.ask("getImmutable", immutable("stranger"))?.is_null());

    let key = js.key("owner")?;
    for (seq, value) in [(1, "one"), (2, "two")] {
        let put = js.ask("putMutable", json!({ "dht": "a", "seed": "owner", "seq": seq, "text": value }))?;
        ensure!(put["nodes"] == NODES, "{put}");
    }
    let mutable = |dht: &str, seq: u64| json!({ "dht": dht, "key": key, "seq": seq });
    ensure!(js.ask("getMutable", mutable("b", 0))? == json!({ "seq": 2, "text": "two" }));
    ensure!(js.ask("getMutable", mutable("b", 3))?.is_null());
    ensure!(js.ask("getMutable", mutable("stranger", 0))?.is_null());
    // One that is older is refused by all, of which the reference tells nothing.
    js.ask("putMutable", json!({ "dht": "a", "seed": "owner", "seq": 1, "text": "old" }))?;
    ensure!(js.ask("getMutable", mutable("b", 0))?["text"] == "two");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn javascript_peers_connect_by_way_of_our_network() -> Result<()> {
    let Some(mut js) = Js::start()? else { return Ok(()) };
    let ours = Network::start(NODES).await?;
    for name in ["server", "client", "puncher"] {
        js.node(name, &ours.bootstrap(), false)?;
    }
    let nobody = js.key("server")?;
    let refused = js.ask("connect", json!({ "dht": "client", "key": nobody, "text": "?" }));
    ensure!(refused.is_err(), "connected to somebody who does not listen");
    ensure!(ours.carried().await? == (0, 0));

    let listening = js.ask("listen", json!({ "dht": "server", "seed": "server" }))?;
    ensure!(listening["relays"].as_array().is_some_and(|relays| relays.len() == 3), "{listening}");
    let found = js.ask("findPeer", json!({ "dht": "client", "key": listening["key"] }))?;
    ensure!(found["key"] == listening["key"], "{found}");

    let back = js.ask("connect", json!({ "dht": "client", "key": listening["key"], "text": "hello" }))?;
    ensure!(back == "hello", "{back}");
    let (handshakes, _) = ours.carried().await?;
    ensure!(handshakes >= 2, "there and back: {handshakes}");
    // Without the short way over the local network both ends punch, and agree on it through our nodes.
    let fields = json!({ "dht": "puncher", "key": listening["key"], "text": "hello again", "lan": false });
    ensure!(js.ask("connect", fields)? == "hello again");
    let (more, holepunches) = ours.carried().await?;
    ensure!(more > handshakes && holepunches >= 2, "{more} {holepunches}");

    js.ask("unlisten", json!({ "seed": "server" }))?;
    ensure!(js.ask("findPeer", json!({ "dht": "client", "key": listening["key"] }))?.is_null(), "still announced");
    Ok(())
}

/// A network of JavaScript nodes, and one of ours in it.
async fn among_javascript(js: &mut Js, persistent: bool) -> Result<(Vec<SocketAddrV4>, Finder<Node>)> {
    let bootstrap = js.ask("testnet", json!({ "size": NODES }))?;
    let bootstrap: Vec<SocketAddrV4> = serde_json::from_value(bootstrap)?;
    let node = start_node(&bootstrap, persistent).await?;
    Ok((bootstrap, node))
}

#[tokio::test(flavor = "multi_thread")]
async fn our_client_announces_and_looks_up_in_a_javascript_network() -> Result<()> {
    let Some(mut js) = Js::start()? else { return Ok(()) };
    let (bootstrap, client) = among_javascript(&mut js, false).await?;
    js.node("seeker", &bootstrap, false)?;
    let elsewhere = start_node(&Network::start(3).await?.bootstrap(), false).await?;
    let (topic, ours) = (topic("a topic"), pair("ours"));
    let relays = vec!["127.0.0.1:7777".parse()?];
    let announce = Ask::Announce(Announcement { relays, bump: 7, ..Announcement::new(topic, ours.clone()) });
    let outcome = ask(&client, announce).await?.outcome;
    // The first node of the reference's testnets never learns its address, and so stores nothing.
    ensure!(outcome.stored == NODES - 1, "{outcome:?}");
    let found = js.ask("lookup", json!({ "dht": "seeker", "topic": hex(&topic) }))?;
    let our_key = hex(&ours.public().0);
    ensure!(found == json!([{ "key": our_key, "relays": ["127.0.0.1:7777"], "bump": 7 }]), "{found}");

    js.ask("announce", json!({ "dht": "seeker", "topic": hex(&topic), "seed": "theirs" }))?;
    let mut both = vec![our_key.clone(), js.key("theirs")?];
    both.sort();
    ensure!(ask(&client, Ask::Lookup { topic }).await?.keys() == both);
    ensure!(ask(&elsewhere, Ask::Lookup { topic }).await?.keys() == [""; 0], "found in another network");

    let outcome = ask(&client, Ask::Unannounce { topic, key_pair: ours }).await?.outcome;
    ensure!(outcome.stored == NODES - 1, "{outcome:?}");
    ensure!(js.lookup("seeker", &topic)? == [js.key("theirs")?]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn our_client_puts_and_gets_in_a_javascript_network() -> Result<()> {
    let Some(mut js) = Js::start()? else { return Ok(()) };
    let (bootstrap, client) = among_javascript(&mut js, false).await?;
    js.node("theirs", &bootstrap, false)?;
    let value = b"our value".to_vec();
    let stored = ask(&client, Ask::PutImmutable { value: value.clone() }).await?.outcome.stored;
    ensure!(stored == NODES - 1, "{stored}");
    let got = js.ask("getImmutable", json!({ "dht": "theirs", "hash": hex(&hash(&value)) }))?;
    ensure!(got["text"] == "our value", "{got}");
    js.ask("putImmutable", json!({ "dht": "theirs", "text": "their value" }))?;
    let theirs = ask(&client, Ask::GetImmutable { target: hash(b"their value") }).await?;
    ensure!(theirs.values() == [(0, "their value".to_owned())]);
    ensure!(ask(&client, Ask::GetImmutable { target: hash(b"nobody's") }).await?.values() == []);

    let owner = pair("owner");
    let put = Ask::PutMutable { key_pair: owner.clone(), seq: 4, value: b"four".to_vec() };
    ensure!(ask(&client, put).await?.outcome.stored == NODES - 1);
    let got = js.ask("getMutable", json!({ "dht": "theirs", "key": hex(&owner.public().0), "seq": 0 }))?;
    ensure!(got == json!({ "seq": 4, "text": "four" }), "{got}");
    js.ask("putMutable", json!({ "dht": "theirs", "seed": "theirs", "seq": 2, "text": "two" }))?;
    let theirs = key(&js.key("theirs")?)?;
    for (seq, found) in [(0, vec![(2, "two".to_owned())]), (3, Vec::new())] {
        ensure!(ask(&client, Ask::GetMutable { key: theirs, seq }).await?.values() == found);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn our_node_stores_for_javascript_in_its_own_network() -> Result<()> {
    let Some(mut js) = Js::start()? else { return Ok(()) };
    let (bootstrap, node) = among_javascript(&mut js, true).await?;
    js.node("theirs", &bootstrap, false)?;
    let before = node.read(Node::stored).await?;
    let topic = topic("a topic");
    let announced = js.ask("announce", json!({ "dht": "theirs", "topic": hex(&topic), "seed": "theirs" }))?;
    ensure!(announced["nodes"] == NODES, "ours and all of theirs but the first: {announced}");
    js.ask("putImmutable", json!({ "dht": "theirs", "text": "a value" }))?;
    let after = node.read(Node::stored).await?;
    ensure!((before, after) == (0, 2), "{before} {after}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn our_peer_that_listens_is_found_by_javascript_until_it_ends() -> Result<()> {
    let Some(mut js) = Js::start()? else { return Ok(()) };
    let (bootstrap, client) = among_javascript(&mut js, false).await?;
    js.node("seeker", &bootstrap, false)?;
    let ours = pair("ours");
    let our_key = hex(&ours.public().0);
    let mut listening = client.ask(Ask::Listen { key_pair: ours.clone() }).await?;
    let told = listening.recv().await.context("the node ended")?;
    let Event::Listening { relays, .. } = told else { bail!("{told:?}") };
    ensure!(relays.len() == 3, "{relays:?}");
    let find = json!({ "dht": "seeker", "key": our_key });
    ensure!(js.ask("findPeer", find.clone())? == json!({ "key": our_key, "relays": [] }));
    // Pings keep it so; the nodes answer them.
    tokio::time::sleep(Duration::from_secs(4)).await;
    ensure!(js.ask("findPeer", find.clone())?["key"] == our_key);
    let outcome = ask(&client, Ask::Unlisten { key: ours.public() }).await?.outcome;
    ensure!(outcome.stored == 3, "{outcome:?}");
    ensure!(js.ask("findPeer", find)?.is_null(), "still announced");
    Ok(())
}

//! A protocol of one's own between our node and a JavaScript peer, on a connection that carries a core as well.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use anypath_interop::content::{content, hex};
use anypath_interop::{JsPeer, skip};
use anypath_replicate::mux::{Channel, CloseReason, Event, Protocol};
use anypath_replicate::replicator::PeerId;
use anypath_replicate::store::MemoryStore;
use anypath_swarm::{Channels, Config, Event as NodeEvent, Node};
use anypath_transports::{Tcp, Transport};
use anypath_wire::{KeyPair, PublicKey};
use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread")]
async fn over_a_connection_that_javascript_dialled() -> Result<()> {
    play(Dials::Js).await
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_connection_that_we_dialled() -> Result<()> {
    play(Dials::Rust).await
}

#[derive(PartialEq)]
enum Dials {
    Js,
    Rust,
}

async fn play(dials: Dials) -> Result<()> {
    let Some(mut stage) = Stage::set(dials).await? else { return Ok(()) };
    stage.we_open_first().await?;
    stage.they_open_first().await?;
    stage.both_open_at_once().await?;
    stage.large_messages_and_batches().await?;
    stage.rejects().await?;
    stage.closes().await?;
    stage.the_core_came_too().await
}

/// Our node and a JavaScript peer, connected, which replicate a core of a hundred blocks meanwhile.
struct Stage {
    _folder: tempfile::TempDir,
    js: JsPeer,
    node: Node,
    channels: Channels,
    peer: PeerId,
    core: PublicKey,
}

impl Stage {
    async fn set(dials: Dials) -> Result<Option<Self>> {
        if let Some(reason) = JsPeer::missing() {
            skip(&reason);
            return Ok(None);
        }
        let folder = tempfile::tempdir()?;
        let mut js = JsPeer::spawn(&folder.path().join("peer"))?;
        let core = js.ask("core.open", json!({ "core": "c", "name": "c" }))?;
        js.ask("core.append", json!({ "core": "c", "seed": 1, "count": 100, "size": 50_000 }))?;
        js.ask("channel.pair", json!({ "protocol": "test", "handshake": "from js" }))?;
        js.ask("channel.pair", json!({ "protocol": "refused" }))?;
        let core: PublicKey = core["key"].as_str().context("no key")?.parse()?;

        let (identity, store) = (KeyPair::from_seed(&[7; 32]), Arc::new(MemoryStore::default()));
        let transports: Vec<Arc<dyn Transport>> = vec![Arc::new(Tcp::default())];
        let node = Node::start(Config { identity, store, transports })?;
        let channels = node.speak(Protocol::new("test", "").alias("other name")).await?;
        let copy = node.call(move |replicator| replicator.open(&core)).await??;
        node.call(move |replicator| replicator.want(copy, 0..u64::MAX)).await??;
        let mut events = node.subscribe();
        if dials == Dials::Js {
            let address = node.listen(&"tcp://127.0.0.1:0".parse()?).await?;
            js.ask("dial", json!({ "port": address.port }))?;
        } else {
            let port = js.ask("listen", json!({}))?["port"].as_u64().context("no port")?;
            node.connect(format!("tcp://127.0.0.1:{port}").parse()?);
        }
        let peer = loop {
            if let NodeEvent::Connected(info) = events.recv().await? {
                break info.peer;
            }
        };
        js.wait_event("connected", &json!({ "conn": 0 }))?;
        Ok(Some(Self { _folder: folder, js, node, channels, peer, core }))
    }

    /// Messages follow our open at once, and are handed over behind the handshake.
    async fn we_open_first(&mut self) -> Result<()> {
        let channel = self.channels.open(self.peer, "a", "from rust").await?;
        self.channels.send_all(self.peer, channel, vec![(0, body(1, 10)), (2, body(2, 0))]).await?;
        self.js.wait_event("offered", &json!({ "protocol": "test", "tag": "a" }))?;
        let theirs = self.js_opened("a", "from rust")?;
        self.js_hears(theirs, 0, 1, 10)?;
        self.js_hears(theirs, 2, 2, 0)?;
        self.hears(&Event::Opened { channel, handshake: "from js".into() }).await?;
        let again = self.channels.open(self.peer, "a", "").await;
        ensure!(again.is_err(), "a second channel for the same id");
        Ok(())
    }

    async fn they_open_first(&mut self) -> Result<()> {
        let messages = json!([{ "kind": 1, "seed": 3, "size": 10 }, { "kind": 0, "seed": 4, "size": 20_000 }]);
        let open = json!({ "protocol": "test", "tag": "b", "handshake": "js asks" });
        let theirs = self.js_opens(open, messages)?;
        self.hears(&Event::Offered { protocol: "test".into(), id: "b".into() }).await?;
        let channel = self.channels.open(self.peer, "b", "rust answers").await?;
        self.hears(&Event::Opened { channel, handshake: "js asks".into() }).await?;
        self.hears(&Event::Message { channel, kind: 1, body: body(3, 10) }).await?;
        self.hears(&Event::Message { channel, kind: 0, body: body(4, 20_000) }).await?;
        ensure!(self.js_opened("b", "rust answers")? == theirs, "the answer belongs to another channel");
        Ok(())
    }

    /// Neither has seen the other's open; and an alias is as good as the name.
    async fn both_open_at_once(&mut self) -> Result<()> {
        let open = json!({ "protocol": "other name", "aliases": ["test"], "tag": "both", "handshake": "js" });
        self.js_opens(open, json!([]))?;
        let channel = self.channels.open(self.peer, "both", "rust").await?;
        self.js_opened("both", "rust")?;
        loop {
            match self.next().await? {
                Event::Offered { protocol, .. } => ensure!(protocol == "other name", "offered {protocol}"),
                event => {
                    ensure!(event == Event::Opened { channel, handshake: "js".into() }, "{event:?}");
                    return Ok(());
                }
            }
        }
    }

    async fn large_messages_and_batches(&mut self) -> Result<()> {
        let (channel, theirs) = self.pair("large").await?;
        for size in [1 << 20, 15 << 20, 1] {
            self.channels.send(self.peer, channel, 1, body(5, size)).await?;
            self.js_hears(theirs, 1, 5, size)?;
            self.js.ask(
                "channel.send",
                json!({ "channel": theirs, "messages": [{ "kind": 2, "seed": 6, "size": size }] }),
            )?;
            self.hears(&Event::Message { channel, kind: 2, body: body(6, size) }).await?;
        }
        let sizes = |index: u32| (index as usize * 37) % 2_000;
        let batch = (0..1_000).map(|index| (u64::from(index % 3), body(index, sizes(index)))).collect();
        self.channels.send_all(self.peer, channel, batch).await?;
        for index in 0..1_000 {
            self.js_hears(theirs, index % 3, index, sizes(index))?;
        }
        let message = |index| json!({ "kind": index % 3, "seed": index, "size": sizes(index) });
        let batch: Vec<Value> = (0..1_000).map(message).collect();
        self.js.ask("channel.send", json!({ "channel": theirs, "messages": batch }))?;
        for index in 0..1_000 {
            let (kind, body) = (u64::from(index % 3), body(index, sizes(index)));
            self.hears(&Event::Message { channel, kind, body }).await?;
        }
        Ok(())
    }

    async fn rejects(&mut self) -> Result<()> {
        // A protocol nobody here speaks, and one that we do speak under an id that we do not want.
        let unspoken = self.js_opens(json!({ "protocol": "unspoken", "handshake": "" }), json!([]))?;
        self.js.wait_event("closed", &json!({ "channel": unspoken, "opened": false }))?;
        let messages = json!([{ "kind": 0, "seed": 1, "size": 100_000 }]);
        let unwanted = json!({ "protocol": "test", "tag": "unwanted", "handshake": "" });
        let unwanted = self.js_opens(unwanted, messages)?;
        self.hears(&Event::Offered { protocol: "test".into(), id: "unwanted".into() }).await?;
        self.channels.reject(self.peer, "test".into(), "unwanted".into()).await?;
        self.js.wait_event("closed", &json!({ "channel": unwanted, "opened": false }))?;

        // The same the other way.
        for protocol in ["refused", "never heard of"] {
            let mut channels = self.node.speak(Protocol::new(protocol, "")).await?;
            let channel = channels.open(self.peer, "", "").await?;
            channels.send(self.peer, channel, 0, body(1, 10)).await?;
            let event = timeout(PATIENCE, channels.recv()).await?;
            let rejected = Event::Closed { channel, why: CloseReason::Rejected };
            ensure!(event == Some((self.peer, rejected)), "{event:?}");
        }
        self.js.wait_event("offered", &json!({ "protocol": "refused" })).map(drop)
    }

    async fn closes(&mut self) -> Result<()> {
        let (ours, theirs) = self.pair("we close").await?;
        self.channels.send(self.peer, ours, 0, body(1, 10)).await?;
        self.channels.close(self.peer, ours).await?;
        self.js_hears(theirs, 0, 1, 10)?;
        self.js.wait_event("closed", &json!({ "channel": theirs, "opened": true }))?;

        let (ours, theirs) = self.pair("they close").await?;
        self.js.ask("channel.close", json!({ "channel": theirs }))?;
        self.hears(&Event::Closed { channel: ours, why: CloseReason::Closed }).await?;
        let late = self.channels.send(self.peer, ours, 0, "too late").await;
        ensure!(late.is_err(), "sent on a channel that is closed");
        // The same again: ids are free again on both sides.
        for _ in 0..3 {
            let (ours, theirs) = self.pair("they close").await?;
            self.channels.close(self.peer, ours).await?;
            self.js.wait_event("closed", &json!({ "channel": theirs, "opened": true }))?;
        }
        let (ours, _) = self.pair("until the end").await?;
        self.js.ask("disconnect", json!({}))?;
        loop {
            let event = self.next().await?;
            if event == (Event::Closed { channel: ours, why: CloseReason::Disconnected }) {
                return Ok(());
            }
            ensure!(matches!(event, Event::Closed { why: CloseReason::Disconnected, .. }), "{event:?}");
        }
    }

    async fn the_core_came_too(&self) -> Result<()> {
        let key = self.core;
        let copy = self.node.call(move |replicator| replicator.open(&key)).await??;
        let held = self.node.read(move |replicator| replicator.core(copy).contiguous_length()).await?;
        ensure!(held == 100, "{held} of 100 blocks");
        self.node.stop().await.map_err(Into::into)
    }

    /// Opens a channel from our side and returns it with its number at the other.
    async fn pair(&mut self, id: &str) -> Result<(Channel, u64)> {
        let channel = self.channels.open(self.peer, id, "from rust").await?;
        let theirs = self.js_opened(id, "from rust")?;
        self.hears(&Event::Opened { channel, handshake: "from js".into() }).await?;
        Ok((channel, theirs))
    }

    fn js_opens(&mut self, mut open: Value, messages: Value) -> Result<u64> {
        open["conn"] = 0.into();
        open["messages"] = messages;
        self.js.ask("channel.open", open)?["channel"].as_u64().context("no channel")
    }

    fn js_opened(&mut self, id: &str, handshake: &str) -> Result<u64> {
        let opened = self.js.wait_event("opened", &json!({ "tag": id }))?;
        ensure!(opened["handshake"] == handshake, "{opened}");
        opened["channel"].as_u64().context("no channel")
    }

    /// Waits for the next message at the other side, which must be this one.
    fn js_hears(&mut self, channel: u64, kind: u32, seed: u32, size: usize) -> Result<()> {
        let heard = self.js.wait_event("message", &json!({}))?;
        let sha256 = hex(&Sha256::digest(body(seed, size)));
        let expected = json!({ "event": "message", "channel": channel, "kind": kind, "bytes": size, "sha256": sha256 });
        ensure!(heard == expected, "heard {heard}, not {expected}");
        Ok(())
    }

    async fn hears(&mut self, expected: &Event) -> Result<()> {
        let event = self.next().await?;
        ensure!(event == *expected, "heard {event:.200?}, not {expected:.200?}");
        Ok(())
    }

    async fn next(&mut self) -> Result<Event> {
        match timeout(PATIENCE, self.channels.recv()).await.context("nothing is heard")? {
            Some((peer, event)) if peer == self.peer => Ok(event),
            other => bail!("heard {other:?}"),
        }
    }
}

fn body(seed: u32, size: usize) -> Bytes {
    content(seed, 0, size).into()
}

/// Long beyond doubt: only a test that fails waits for so long.
const PATIENCE: Duration = Duration::from_secs(60);

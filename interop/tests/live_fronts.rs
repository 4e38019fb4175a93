//! What may stand in front of a relay: each program by the configuration that the relay comes with, and as it comes.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use anypath_interop::folder::{Plan, expect_same, generate, list};
use anypath_interop::front::{Front, Fronting};
use anypath_interop::{Anypath, Finished, skip};
use anypath_wire::Address;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::TempDir;

#[test]
fn nginx_may_stand_in_front() -> Result<()> {
    stands_in_front(Front::Nginx)
}

#[test]
fn haproxy_may_stand_in_front() -> Result<()> {
    stands_in_front(Front::Haproxy)
}

#[test]
fn apache_may_stand_in_front() -> Result<()> {
    stands_in_front(Front::Apache)
}

#[test]
fn caddy_may_stand_in_front() -> Result<()> {
    stands_in_front(Front::Caddy)
}

/// As it comes, nginx strips upgrades, keeps requests until they are whole, and refuses bodies over 1 MiB.
#[test]
fn nginx_may_stand_in_front_as_it_comes() -> Result<()> {
    let plainly = |config: String| {
        let (head, rest) = config.split_once("location / {").expect("a location");
        let ours = ["proxy_pass", "}"];
        let kept = rest.lines().take_while(|line| !line.contains("# WebSockets"));
        let kept: Vec<_> = kept.filter(|line| ours.iter().any(|word| line.trim().starts_with(word))).collect();
        format!("{head}location / {{\n{}\n}}\n", kept.join("\n"))
    };
    let Some(house) = House::new(Front::Nginx, plainly)? else { return Ok(()) };
    ensure!(house.examine()?["uses"] == "https/stream");
    let done = house.share_and_clone()?;
    ensure!(done.event("done")?["transport"] != "https/ws", "{:?}", done.events);
    let (key, target) = ("y".repeat(52), house.folder.path().join("never"));
    let words = ["clone", &key, text(&target)?, "--rungs", "ws", "--timeout", "3"];
    let done = house.run("pinned", &words)?.finish()?;
    done.expect_code(3)?;
    let reasons = done.events.last().context("no event")?["rungs"].to_string();
    ensure!(reasons.contains("no WebSocket passes"), "{reasons}");
    Ok(())
}

/// As it comes, Apache strips upgrades; answers wait for up to 60 s.
#[test]
fn apache_may_stand_in_front_as_it_comes() -> Result<()> {
    let plainly = |config: String| {
        let ours = ["ProxyTimeout", "KeepAliveTimeout", "ProxyPass \"/v1/w/\""];
        let kept = config.lines().filter(|line| !ours.iter().any(|word| line.trim().starts_with(word)));
        kept.collect::<Vec<_>>().join("\n").replace(" flushpackets=on", "") + "\n"
    };
    let Some(house) = House::new(Front::Apache, plainly)? else { return Ok(()) };
    ensure!(house.examine()?["uses"] == "https/stream");
    house.share_and_clone()?;
    Ok(())
}

/// Nothing that the doctor looks at is in the way, and a folder goes there and back.
fn stands_in_front(front: Front) -> Result<()> {
    let Some(house) = House::new(front, |config| config)? else { return Ok(()) };
    let diagnosis = house.examine()?;
    ensure!(diagnosis["uses"] == "https/ws", "{diagnosis}");
    let causes = diagnosis["causes"].to_string();
    ensure!(!causes.contains("upgrades_stripped") && !causes.contains("bodies_refused"), "{causes}");
    let done = house.share_and_clone()?;
    ensure!(done.event("done")?["transport"].to_string().contains("https/"), "{:?}", done.events);
    Ok(())
}

/// A relay, and what stands in front of it.
struct House {
    folder: TempDir,
    address: String,
    _relay: Anypath,
    _front: Fronting,
}

impl House {
    /// Starts both; nothing, after saying so, if the program in front is not installed.
    fn new(front: Front, edit: impl Fn(String) -> String) -> Result<Option<Self>> {
        let folder = TempDir::new()?;
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()])?;
        std::fs::write(folder.path().join("cert.pem"), cert.pem())?;
        std::fs::write(folder.path().join("key.pem"), signing_key.serialize_pem())?;
        let mut relay = Anypath::start(&folder.path().join("relay"), ["relay", "--plain", "--listen", "127.0.0.1:0"])?;
        let listening = relay.first("listening")?;
        let behind = listening["address"].as_str().context("no address")?.parse::<Address>()?;
        let Some(fronting) = front.start(folder.path(), behind.port, edit)? else {
            let [_, program, package] = front.names();
            skip(&format!("{program} is not installed: apt install {package}"));
            return Ok(None);
        };
        let address = Address { host: "localhost".to_owned(), port: fronting.port, ..behind }.to_string();
        Ok(Some(Self { folder, address, _relay: relay, _front: fronting }))
    }

    fn run(&self, store: &str, words: &[&str]) -> Result<Anypath> {
        let roots = self.folder.path().join("cert.pem");
        let relay = ["--via", &self.address, "--proxy", "none", "--roots", text(&roots)?];
        Anypath::start(&self.folder.path().join(store), words.iter().chain(&relay))
    }

    /// Returns what the doctor finds.
    fn examine(&self) -> Result<serde_json::Value> {
        let done = self.run("doctor", &["doctor"])?.finish()?;
        done.expect_code(0)?;
        Ok(done.event("diagnosis")?.clone())
    }

    /// Shares a folder at the relay alone, and clones it from there.
    fn share_and_clone(&self) -> Result<Finished> {
        let (source, target) = (self.folder.path().join("source"), self.folder.path().join("target"));
        generate(&source, Plan { seed: 11, files: 60, large_bytes: 8 << 20 })?;
        let mut share = self.run("shares", &["share", text(&source)?])?;
        share.wait_until("listening", |event| event["transport"] == "https")?;
        let key = share.wait_for("shared")?["key"].as_str().context("no key")?.to_owned();
        let clone = self.run("clones", &["clone", &key, text(&target)?])?.finish()?;
        clone.expect_code(0)?;
        expect_same(&list(&source)?, &list(&target)?)?;
        Ok(clone)
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no text")
}

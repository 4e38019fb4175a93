//! The program through a relay: two peers with nothing in common but its name, directly and behind squid.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use anypath_interop::folder::{Plan, expect_same, generate, list};
use anypath_interop::proxy::{Asks, Ground, Proxy, Squid, USER};
use anypath_interop::{Anypath, Finished, skip};
use anypath_wire::{Address, Link};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::TempDir;

#[test]
fn a_folder_goes_through_a_relay() -> Result<()> {
    let lab = Lab::new()?;
    let done = lab.share_and_clone(&[], &[])?;
    ensure!(transport(&done)?.starts_with("https/"), "{:?}", done.events);
    Ok(())
}

#[test]
fn requests_alone_carry_it_too() -> Result<()> {
    let lab = Lab::new()?;
    let done = lab.share_and_clone(&["--rungs", "poll"], &["--rungs", "poll"])?;
    ensure!(transport(&done)? == "https/poll", "{:?}", done.events);
    Ok(())
}

/// What is forbidden is not used, and what carries a peer is told as it changes.
#[test]
fn it_climbs_to_what_is_allowed() -> Result<()> {
    for only in ["ws", "h2", "stream"] {
        let done = Lab::new()?.share_and_clone(&["--rungs", only], &["--rungs", only])?;
        ensure!(transport(&done)? == format!("https/{only}"), "{:?}", done.events);
    }
    let lab = Lab::new()?;
    for (rungs, best) in [("ws,stream,poll", "https/ws"), ("stream,ws,poll", "https/stream"), ("h2,poll", "https/h2")] {
        let (source, target) = (lab.folder.path().join(rungs), lab.folder.path().join(format!("{rungs} cloned")));
        generate(&source, Plan { seed: 13, files: 3, large_bytes: 1 << 10 })?;
        let certificate = lab.certificate();
        let relay = ["--via", &lab.address, "--roots", text(&certificate)?, "--rungs", rungs];
        let words = ["share", text(&source)?, "--listen", "tcp://127.0.0.1:0"];
        let mut share = Anypath::start(&source.with_extension("store"), words.iter().chain(&relay))?;
        let key = share.wait_for("shared")?["key"].as_str().context("no key")?.to_owned();
        let words = ["clone", &key, text(&target)?, "--live"];
        let mut clone = Anypath::start(&target.with_extension("store"), words.iter().chain(&relay))?;
        let connected = clone.wait_for("connected")?;
        if connected["transport"] != best {
            let path = clone.wait_until("path", |event| event["to"] == best)?;
            ensure!(path["from"] == "https/poll" && path["peer"] == connected["peer"], "{path}");
        }
    }
    Ok(())
}

#[test]
fn both_may_sit_behind_proxies_that_ask_for_passwords() -> Result<()> {
    let lab = Lab::new()?;
    let squid = |asks| Squid { asks, allowed: lab.port, opens: None }.start(Ground::loopback()?);
    let (Some(digest), Some(basic)) = (squid(Asks::Digest)?, squid(Asks::Basic)?) else {
        skip("squid is not installed: apt install squid");
        return Ok(());
    };
    let by = |proxy: &Proxy| {
        let password = proxy.password.replace('?', "%3f").replace('>', "%3E");
        format!("http://{USER}:{password}@{}", proxy.place())
    };
    lab.share_and_clone(&["--proxy", &by(&digest)], &["--proxy", &by(&basic)])?;
    for proxy in [digest, basic] {
        ensure!(proxy.log()?.contains("/407 "), "it asked who we are: {}", proxy.log()?);
    }
    Ok(())
}

#[test]
fn a_relay_that_is_not_trusted_or_is_another_is_named() -> Result<()> {
    let lab = Lab::new()?;
    let key = "y".repeat(52);
    let attempt = |via: &str, options: &[&str]| {
        let target = lab.folder.path().join("never");
        let words = ["clone", &key, text(&target)?, "--timeout", "2", "--via", via];
        Anypath::run(&lab.folder.path().join("never store"), words.iter().chain(options))
    };
    let rungs = |finished: &Finished| -> Result<String> {
        ensure!(finished.code == Some(3), "{finished:?}");
        Ok(finished.events.last().context("no event")?["rungs"].to_string())
    };
    let untrusted = attempt(&lab.address, &[])?;
    ensure!(rungs(&untrusted)?.contains("is not trusted: it was issued by"), "{untrusted:?}");
    let roots = text(&lab.certificate())?.to_owned();
    let denied = attempt(&lab.address, &["--roots", &roots, "--deny-intercepted"])?;
    ensure!(rungs(&denied)?.contains("no public authority"), "{denied:?}");
    let (place, _) = lab.address.split_once('#').context("no key")?;
    let another = attempt(&format!("{place}#{}", "b".repeat(51) + "y"), &["--roots", &roots])?;
    ensure!(rungs(&another)?.contains("another key"), "{another:?}");
    let nobody = attempt(&lab.address, &["--roots", &roots])?;
    ensure!(rungs(&nobody)?.contains("nobody who has it is at this relay"), "{nobody:?}");
    Ok(())
}

/// Neither the sharing program nor the cloning one is started again.
#[test]
fn a_relay_may_be_killed_and_come_back_in_the_middle() -> Result<()> {
    let mut lab = Lab::new()?;
    let (source, target) = (lab.folder.path().join("source"), lab.folder.path().join("target"));
    generate(&source, Plan { seed: 12, files: 40, large_bytes: 60 << 20 })?;
    let certificate = lab.certificate();
    let address = lab.address.clone();
    let relay = ["--via", &address, "--roots", text(&certificate)?];
    let words = ["share", text(&source)?, "--listen", "tcp://127.0.0.1:0"];
    let mut share = Anypath::start(&lab.folder.path().join("share store"), words.iter().chain(&relay))?;
    let key = share.wait_for("shared")?["key"].as_str().context("no key")?.to_owned();
    let words = ["clone", &key, text(&target)?];
    let mut clone = Anypath::start(&lab.folder.path().join("clone store"), words.iter().chain(&relay))?;
    clone.wait_until("progress", |event| event["bytes"].as_u64() > Some(1 << 20))?;
    let port = lab.port;
    lab.relay.take().context("no relay")?.kill();
    ensure!(clone.is_running(), "it was over too soon to tell anything");
    lab.relay = Some(start_relay(&lab.folder, port)?);
    clone.finish()?.expect_code(0)?;
    expect_same(&list(&source)?, &list(&target)?)
}

/// A relay, and a folder to share.
struct Lab {
    folder: TempDir,
    address: String,
    port: u16,
    /// None while it is killed.
    relay: Option<Anypath>,
}

impl Lab {
    fn new() -> Result<Self> {
        let folder = certified()?;
        let mut relay = start_relay(&folder, 0)?;
        let listening = relay.first("listening")?;
        let address = listening["address"].as_str().context("no address")?.to_owned();
        let port = address.parse::<Address>()?.port;
        Ok(Self { folder, address, port, relay: Some(relay) })
    }

    fn certificate(&self) -> std::path::PathBuf {
        self.folder.path().join("cert.pem")
    }

    /// Shares a folder at the relay alone, and clones it from there.
    fn share_and_clone(&self, shares: &[&str], clones: &[&str]) -> Result<Finished> {
        let (source, target) = (self.folder.path().join("source"), self.folder.path().join("target"));
        generate(&source, Plan { seed: 11, files: 60, large_bytes: 8 << 20 })?;
        let certificate = self.certificate();
        let relay = ["--via", &self.address, "--roots", text(&certificate)?];
        let words = ["share", text(&source)?, "--listen", "tcp://127.0.0.1:0"];
        let mut share =
            Anypath::start(&self.folder.path().join("share store"), words.iter().chain(&relay).chain(shares))?;
        let shared = share.wait_for("shared")?;
        let link = shared["link"].as_str().context("no link")?;
        ensure!(link.parse::<Link>()?.via.iter().any(|via| via.to_string() == self.address), "{link}");
        // By its key alone, so that nothing but the relay leads there.
        let key = shared["key"].as_str().context("no key")?;
        let words = ["clone", key, text(&target)?];
        let clone = Anypath::run(&self.folder.path().join("clone store"), words.iter().chain(&relay).chain(clones))?;
        clone.expect_code(0)?;
        expect_same(&list(&source)?, &list(&target)?)?;
        Ok(clone)
    }
}

/// Starts a relay with the folder's certificate and key of its own, at a port of 127.0.0.1; 0 is any.
fn start_relay(folder: &TempDir, port: u16) -> Result<Anypath> {
    let [certificate, secret] = ["cert.pem", "key.pem"].map(|name| folder.path().join(name));
    let at = format!("127.0.0.1:{port}");
    let words = ["relay", "--listen", &at, "--name", "localhost"];
    let files = ["--tls-cert", text(&certificate)?, "--tls-key", text(&secret)?];
    Anypath::start(&folder.path().join("relay"), words.iter().chain(&files))
}

/// Makes a folder with a certificate for localhost.
fn certified() -> Result<TempDir> {
    let folder = TempDir::new()?;
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()])?;
    std::fs::write(folder.path().join("cert.pem"), cert.pem())?;
    std::fs::write(folder.path().join("key.pem"), signing_key.serialize_pem())?;
    Ok(folder)
}

fn transport(done: &Finished) -> Result<String> {
    let event = done.events.iter().rev().find(|event| event["event"] == "done").context("not done")?;
    Ok(event["transport"].as_str().context("no transport")?.to_owned())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no text")
}

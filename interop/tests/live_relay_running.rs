//! A relay as whoever runs it has it: its lists and certificates change while it runs, and it ends when it is told.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use anypath_interop::{Anypath, Finished};
use anypath_wire::Address;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::TempDir;

#[test]
fn who_is_not_listed_learns_its_key_and_is_let_in_after_sighup() -> Result<()> {
    let house = House::new()?;
    fs::write(house.path("list"), "# nobody yet\n")?;
    let (relay, address) = house.relay(&["--allow-file", text(&house.path("list"))?])?;
    let refused = house.clone_nothing(&address)?;
    let told = refused.event("error")?["rungs"].to_string();
    let (_, rest) = told.split_once("ask for ").with_context(|| format!("no key is named: {told}"))?;
    let key = rest.split_whitespace().next().context("no key")?;
    fs::write(house.path("list"), format!("{key}  # the one who asked\n"))?;
    relay.signal("HUP")?;
    house.until(&address, "nobody who has it is at this relay")
}

#[test]
fn another_certificate_is_taken_after_sighup() -> Result<()> {
    let house = House::new()?;
    let (relay, address) = house.relay(&[])?;
    house.until(&address, "nobody who has it is at this relay")?;
    // The same files, another authority: those who trust the first one see it at once.
    let trusted = fs::read(house.path("cert.pem"))?;
    house.certify()?;
    fs::write(house.path("roots.pem"), trusted)?;
    relay.signal("HUP")?;
    house.until(&address, "is not trusted")
}

#[test]
fn a_relay_that_is_told_to_ends_with_0() -> Result<()> {
    let house = House::new()?;
    for signal in ["TERM", "INT"] {
        let (relay, _) = house.relay(&[])?;
        relay.signal(signal)?;
        let began = Instant::now();
        let finished = relay.finish()?;
        finished.expect_code(0)?;
        ensure!(began.elapsed() < Duration::from_secs(4), "nobody was there to be sent away");
        let lines = finished.stderr.lines().map(serde_json::from_str::<serde_json::Value>);
        let log: Vec<_> = lines.collect::<Result<_, _>>().context("a line of the log is no object")?;
        ensure!(
            log.iter().any(|line| line["fields"]["message"].to_string().contains("nobody new is let in")),
            "{log:?}"
        );
    }
    Ok(())
}

#[test]
fn a_list_with_a_mistake_is_named_by_its_line() -> Result<()> {
    let house = House::new()?;
    fs::write(house.path("list"), "\nnonsense\n")?;
    let list = house.path("list");
    let words = ["relay", "--plain", "--listen", "127.0.0.1:0", "--allow-file", text(&list)?];
    let finished = Anypath::run(&house.path("relay"), words)?;
    finished.expect_code(1)?;
    ensure!(finished.event("error")?["message"].to_string().contains("line 2"), "{:?}", finished.events);
    Ok(())
}

/// A folder with a certificate for localhost, which clients trust.
struct House(TempDir);

impl House {
    fn new() -> Result<Self> {
        let house = Self(TempDir::new()?);
        house.certify()?;
        fs::copy(house.path("cert.pem"), house.path("roots.pem"))?;
        Ok(house)
    }

    fn certify(&self) -> Result<()> {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()])?;
        fs::write(self.path("cert.pem"), cert.pem())?;
        Ok(fs::write(self.path("key.pem"), signing_key.serialize_pem())?)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn relay(&self, more: &[&str]) -> Result<(Anypath, String)> {
        let [certificate, secret] = ["cert.pem", "key.pem"].map(|name| self.path(name));
        let words = ["relay", "--listen", "127.0.0.1:0", "--name", "localhost"];
        let files = ["--tls-cert", text(&certificate)?, "--tls-key", text(&secret)?];
        let mut relay = Anypath::start(&self.path("relay"), words.iter().chain(&files).chain(more))?;
        let listening = relay.first("listening")?;
        let address: Address = listening["address"].as_str().context("no address")?.parse()?;
        Ok((relay, address.to_string()))
    }

    /// Asks the relay for what nobody has.
    fn clone_nothing(&self, address: &str) -> Result<Finished> {
        let (key, target, roots) = ("y".repeat(52), self.path("never"), self.path("roots.pem"));
        let words = ["clone", &key, text(&target)?, "--timeout", "2", "--proxy", "none"];
        let relay = ["--via", address, "--roots", text(&roots)?];
        let finished = Anypath::run(&self.path("client"), words.iter().chain(&relay))?;
        finished.expect_code(3)?;
        Ok(finished)
    }

    /// Asks again until the answer says that.
    fn until(&self, address: &str, expected: &str) -> Result<()> {
        let began = Instant::now();
        loop {
            let told = self.clone_nothing(address)?.event("error")?["rungs"].to_string();
            if told.contains(expected) {
                return Ok(());
            }
            ensure!(began.elapsed() < Duration::from_secs(30), "{told}");
        }
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no text")
}

//! The configuration file, as a user of the program meets it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use anypath_interop::folder::{Plan, expect_same, generate, list};
use anypath_interop::{Anypath, Finished};
use anypath_wire::Address;
use tempfile::TempDir;

#[test]
fn two_meet_as_their_files_say() -> Result<()> {
    let desk = Desk::new()?;
    let (source, target) = (desk.path("source"), desk.path("target"));
    generate(&source, Plan { seed: 21, files: 5, large_bytes: 1 << 16 })?;
    let shares = "[identity]\nfile = \"node.key\"\n[transport.tcp]\nlisten = [\"127.0.0.1:0\"]\n";
    let shares = desk.file("shares.toml", shares)?;
    let mut seen = Vec::new();
    for store in ["one", "two"] {
        let words = ["share", text(&source)?, "--config", text(&shares)?];
        let mut share = Anypath::start(&desk.path(store), words)?;
        let place: Address = share.first("listening")?["address"].as_str().context("no address")?.parse()?;
        let key = share.wait_for("shared")?["key"].as_str().context("no key")?.to_owned();
        let clones = format!("transports = [\"tcp\"]\n[transport.tcp]\npeers = [\"127.0.0.1:{}\"]\n", place.port);
        // At the usual place: the test's home is beside the store.
        let home = desk.path(&format!("{store}-clone.home"));
        fs::create_dir_all(home.join("anypath"))?;
        fs::write(home.join("anypath/anypath.toml"), clones)?;
        let clone = Anypath::run(&desk.path(&format!("{store}-clone")), ["clone", &key, text(&target)?, "--force"])?;
        clone.expect_code(0)?;
        expect_same(&list(&source)?, &list(&target)?)?;
        seen.push(clone.event("connected")?["peer"].clone());
        fs::remove_dir_all(&target)?;
    }
    ensure!(seen[0] == seen[1], "one key in two stores: {seen:?}");
    Ok(())
}

#[test]
fn a_transport_that_is_left_out_is_never_used() -> Result<()> {
    let desk = Desk::new()?;
    let config = desk.file("https.toml", "transports = [\"https\"]\n")?;
    let done = desk.clone(&["--config", text(&config)?, "--via", "tcp://127.0.0.1:9", "--timeout", "2"])?;
    done.expect_code(3)?;
    let reasons = done.events.last().context("no event")?["rungs"].to_string();
    ensure!(reasons.contains("no transport here speaks tcp://127.0.0.1:9"), "{reasons}");
    Ok(())
}

#[test]
fn what_is_wrong_in_it_is_one_sentence() -> Result<()> {
    let desk = Desk::new()?;
    for (written, told) in [
        ("[transport.https]\nrung = []\n", "wrong.toml is wrong: line 2: unknown field `rung`"),
        ("transports = [\"tcp\", \"carrier pigeon\"]", "\"carrier pigeon\" is no transport"),
        ("[transport.https]\nproxy = \"http://ann:s3cret@127.0.0.1:1\"\n", "chmod 600"),
    ] {
        let config = desk.file("wrong.toml", written)?;
        let message = desk.clone(&["--config", text(&config)?])?.expect_sentence(2)?;
        ensure!(message.contains(told) && !message.contains("s3cret"), "{message}");
    }
    let message = desk.clone(&["--config", text(&desk.path("nowhere.toml"))?])?.expect_sentence(2)?;
    ensure!(message.contains("nowhere.toml"), "{message}");
    Ok(())
}

/// A folder for a test's files.
struct Desk(TempDir);

impl Desk {
    fn new() -> Result<Self> {
        Ok(Self(TempDir::new()?))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path(name);
        fs::create_dir_all(path.parent().context("a path without a folder")?)?;
        fs::write(&path, text)?;
        Ok(path)
    }

    /// Clones what nobody has.
    fn clone(&self, more: &[&str]) -> Result<Finished> {
        let (key, target) = ("y".repeat(52), self.path("never"));
        let words = ["clone", &key, text(&target)?];
        Anypath::run(&self.path("never store"), words.iter().chain(more))
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no text")
}

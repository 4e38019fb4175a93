//! Writers whose store was copied, so that they sign two histories: found out by the program and by JavaScript, kept as
//! evidence, checked with nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use anypath_interop::{Anypath, Finished, JsPeer, Share, listening_address, skip};
use serde_json::{Value, json};
use tempfile::TempDir;

/// JavaScript's writer, twice: the second history is met with the first one's clone at hand.
#[test]
fn a_copied_js_writer_is_found_out_by_clone() -> Result<()> {
    let Some(stage) = stage()? else { return Ok(()) };
    let (one, other) = (stage.twin("one", &["/a"])?, stage.twin("other", &["/a", "/b"])?);
    ensure!(one.key == other.key, "two writers, not one");
    stage.clone(&one.link)?.expect_code(0)?;

    let frozen = stage.clone(&other.link)?;
    let conflict = expect_frozen(&frozen)?;
    ensure!(conflict["key"] == one.text()? && conflict["peer"].is_string(), "{conflict}");
    let file = evidence(&conflict)?;
    ensure!(file.parent() == Some(&stage.path("clone store").canonicalize()?), "not in the store: {}", file.display());
    ensure!(fs::read_to_string(stage.path("target/a"))? == "one", "the second history was written");
    ensure!(!stage.path("target/b").exists(), "the second history was written");

    let proven = verify(&stage, &file)?.expect_code(0)?.event("proven")?.clone();
    ensure!(proven["key"] == one.text()? && proven["fork"] == 0 && proven["signers"] == json!([0]), "{proven}");
    let heads = &proven["heads"];
    ensure!(heads[0]["length"] == 2 && heads[1]["length"] == 3, "{proven}");
    ensure!(heads[0]["tree_hash"] != heads[1]["tree_hash"] && heads[0]["signers"] == json!([0]), "{proven}");

    // Opened again, with nobody there, it says so at once; the file is written again if it is gone.
    fs::remove_file(&file)?;
    let again = stage.clone(&format!("hyper://{}", one.text()?))?;
    let conflict = expect_frozen(&again)?;
    ensure!(conflict["peer"].is_null() && evidence(&conflict)? == file, "{conflict}");
    verify(&stage, &file)?.expect_code(0)?;

    // The way out that the sentence names.
    fs::remove_dir_all(stage.path("clone store"))?;
    fs::remove_dir_all(stage.path("target"))?;
    stage.clone(&other.link)?.expect_code(0)?;
    ensure!(fs::read_to_string(stage.path("target/a"))? == "other", "the history that is served");
    Ok(())
}

/// What proves nothing is told with the reason.
#[test]
fn a_file_that_proves_nothing() -> Result<()> {
    let Some(stage) = stage()? else { return Ok(()) };
    let (one, other) = (stage.twin("one", &["/a"])?, stage.twin("other", &["/a", "/b"])?);
    stage.clone(&one.link)?.expect_code(0)?;
    let good = fs::read(evidence(&expect_frozen(&stage.clone(&other.link)?)?)?)?;
    let mut forged = good.clone();
    forged[good.len() - 20] ^= 1;
    let file = stage.path("file");
    let cases =
        [(&forged[..], "signature"), (&good[..100], "damaged"), (b"hello", "no evidence"), (b"", "no evidence")];
    for (bytes, reason) in cases {
        fs::write(&file, bytes)?;
        let refused = verify(&stage, &file)?;
        let message = refused.expect_sentence(1)?;
        ensure!(message.contains(reason) && refused.event("error")?["code"] == "not_proven", "{message}");
    }
    verify(&stage, &stage.path("nothing"))?.expect_sentence(1)?;
    verify(&stage, Path::new("/dev/zero"))?.expect_sentence(1).map(drop)
}

/// The other way round: a JavaScript reader holds one history and is served the other by a copy of our store.
#[test]
fn a_copied_store_of_ours_is_found_out_by_js() -> Result<()> {
    let Some(stage) = stage()? else { return Ok(()) };
    let folder = stage.path("folder");
    fs::create_dir(&folder)?;
    Share::start(&stage.path("store"), &folder, &[])?.stop()?;
    copy(&stage.path("store"), &stage.path("copy"))?;

    fs::write(folder.join("a"), "one")?;
    let share = Share::start(&stage.path("store"), &folder, &[])?;
    let mut reader = stage.js("reader")?;
    reader.drive_fetch("drive", &share.key, share.port)?;
    reader.ask("disconnect", json!({}))?;
    let key = share.key.clone();
    share.stop()?;

    fs::write(folder.join("a"), "other")?;
    fs::write(folder.join("b"), "more")?;
    let mut share = Share::start(&stage.path("copy"), &folder, &[])?;
    ensure!(share.key == key, "another drive");
    reader.ask("dial", json!({ "port": share.port }))?;
    reader.begin("drive.update", json!({ "drive": "drive" }))?;
    reader.wait_event("conflict", &json!({}))?;
    let file = evidence(&share.program.wait_for("conflict")?)?;
    let ended = share.program.finish()?;
    expect_frozen(&ended)?;
    verify(&stage, &file)?.expect_code(0)?.event("proven")?;

    let folder = folder.to_str().context("a test's folder is UTF-8")?;
    let again = Anypath::run(&stage.path("copy"), ["share", folder, "--listen", "tcp://127.0.0.1:0"])?;
    expect_frozen(&again).map(drop)
}

/// A seed of several drives leaves out the frozen one, serves the others, and does not serve that one.
#[test]
fn a_seed_goes_on_with_its_other_drives() -> Result<()> {
    let Some(stage) = stage()? else { return Ok(()) };
    let (one, other) = (stage.twin("one", &["/a"])?, stage.twin("other", &["/a", "/b"])?);
    let honest = stage.writer("honest", "honest", &["/c"])?;
    let start = |via: &Twin| {
        let links = [via.link.as_str(), honest.link.as_str()];
        Anypath::start(&stage.path("seeds"), ["seed", "--listen", "tcp://127.0.0.1:0"].into_iter().chain(links))
    };
    let mut seed = start(&one)?;
    seed.wait_for("done")?;
    seed.interrupt()?;
    seed.finish()?.expect_code(130)?;
    let mut seed = start(&other)?;
    let conflict = seed.wait_for("conflict")?;
    ensure!(conflict["key"] == one.text()?, "{conflict}");
    let at = listening_address(&mut seed, 0)?;
    let target = stage.path("target");
    let target = target.to_str().context("a test's folder is UTF-8")?;
    let clone = |key: String| {
        Anypath::run(&stage.path(&key), ["clone", &key, target, "--via", &at.to_string(), "--timeout", "2"])
    };
    clone(one.text()?)?.expect_code(3)?;
    clone(honest.text()?)?.expect_code(0)?;
    seed.interrupt()?;
    seed.finish()?.expect_code(130).map(drop)
}

/// Where one test plays.
struct Stage {
    root: TempDir,
}

/// A JavaScript writer and what it serves.
struct Twin {
    key: String,
    link: String,
    _js: JsPeer,
}

impl Twin {
    fn text(&self) -> Result<String> {
        Ok(self.key.parse::<anypath_wire::PublicKey>()?.to_string())
    }
}

impl Stage {
    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn js(&self, name: &str) -> Result<JsPeer> {
        JsPeer::spawn(&self.path(name))
    }

    /// Starts the writer of this name with files that hold the name; all twins have the same keys.
    fn twin(&self, name: &str, files: &[&str]) -> Result<Twin> {
        self.writer(name, "twins", files)
    }

    fn writer(&self, name: &str, seed: &str, files: &[&str]) -> Result<Twin> {
        let mut js = self.js(name)?;
        js.ask("seed", json!({ "seed": seed }))?;
        let key = js.drive_open("drive", None)?.key;
        files.iter().try_for_each(|file| js.drive_put("drive", file, name).map(drop))?;
        let port = js.ask("listen", json!({}))?["port"].clone();
        let link = format!("hyper://{key}?via=tcp://127.0.0.1:{port}");
        Ok(Twin { key, link, _js: js })
    }

    fn clone(&self, link: &str) -> Result<Finished> {
        let target = self.path("target");
        let target = target.to_str().context("a test's folder is UTF-8")?;
        Anypath::run(&self.path("clone store"), ["clone", link, target, "--timeout", "20"])
    }
}

fn stage() -> Result<Option<Stage>> {
    if let Some(reason) = JsPeer::missing() {
        skip(&reason);
        return Ok(None);
    }
    Ok(Some(Stage { root: tempfile::tempdir()? }))
}

/// Fails unless that was the end of a run whose drive is frozen; returns the event that told of it.
fn expect_frozen(finished: &Finished) -> Result<Value> {
    let message = finished.expect_sentence(1)?;
    ensure!(finished.event("error")?["code"] == "frozen", "{message}");
    ensure!(message.contains("two histories") && message.contains("anypath verify"), "{message}");
    let told = finished.events.iter().filter(|event| event["event"] == "conflict");
    let told: Vec<_> = told.map(|event| event["key"].to_string()).collect();
    ensure!(told.iter().collect::<BTreeSet<_>>().len() == told.len(), "told more than once: {told:?}");
    Ok(finished.event("conflict")?.clone())
}

fn evidence(conflict: &Value) -> Result<PathBuf> {
    Ok(PathBuf::from(conflict["file"].as_str().with_context(|| format!("no file: {conflict}"))?))
}

fn verify(stage: &Stage, file: &Path) -> Result<Finished> {
    Anypath::run(&stage.path("no store"), [Path::new("verify"), file])
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() { copy(&entry.path(), &to)? } else { fs::copy(entry.path(), to).map(drop)? }
    }
    Ok(())
}

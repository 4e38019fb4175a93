//! Encrypted drives through the program: shared, cloned, kept by those who cannot read them, and read by JavaScript.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use anypath_interop::folder::{Plan, expect_same, generate, list, totals};
use anypath_interop::{Anypath, Finished, JsPeer, Share, listening_address, skip};
use anypath_wire::{EncryptionKey, Link};
use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use tempfile::TempDir;

#[test]
fn shared_and_cloned_by_ours() -> Result<()> {
    let Some(stage) = stage()? else { return Ok(()) };
    let mut share = Share::start(&stage.path("store"), &stage.folder(), &["--encrypt"])?;
    ensure!(share.program.first("shared")?["encrypted"] == true);
    stage.clone(&share.link, &[])?.expect_code(0)?;
    expect_same(&list(&stage.folder())?, &list(&stage.target())?)?;
    let target = stage.path("from standard input");
    let mut clone = Anypath::start(&stage.path("other store"), ["clone", "-", text(&target)?])?;
    clone.say(&share.link)?;
    clone.finish()?.expect_code(0)?;
    expect_same(&list(&stage.folder())?, &list(&target)?)?;
    share.stop().map(drop)
}

/// JavaScript reads our drive with the key, and finds the same offsets in it as it would have written.
#[test]
fn shared_to_js() -> Result<()> {
    let Some(stage) = stage()? else { return Ok(()) };
    let share = Share::start(&stage.path("store"), &stage.folder(), &["--encrypt"])?;
    let mut reader = stage.js("reader")?;
    reader.drive_open_encrypted("drive", Some(&share.key), &hex(&secret(&share.link)?))?;
    reader.drive_pull("drive", share.port)?;
    expect_same(&list(&stage.folder())?, &reader.drive_list("drive", None)?)?;
    expect_plain_offsets(&mut reader)?;
    share.stop().map(drop)
}

#[test]
fn cloned_from_js() -> Result<()> {
    let Some(stage) = stage()? else { return Ok(()) };
    let (mut writer, link) = stage.js_drive()?;
    expect_plain_offsets(&mut writer)?;
    let finished = stage.clone(&link, &[])?;
    let (files, bytes) = totals(&list(&stage.folder())?);
    let done = finished.expect_code(0)?.event("done")?;
    ensure!(done["files"] == files && done["bytes"] == bytes, "{done}, expected {files} files, {bytes} bytes");
    expect_same(&list(&stage.folder())?, &list(&stage.target())?)
}

/// Without the key, with another one, with a damaged one, and with one where there is none to be: each has its own
/// sentence, nothing is written, and the right link still works in the same store.
#[test]
fn what_cannot_be_read_is_told() -> Result<()> {
    let Some(stage) = stage()? else { return Ok(()) };
    let (_writer, link) = stage.js_drive()?;
    let (public, key) = link.split_once('#').context("no fragment")?;
    let other = format!("{public}#encryption={}", EncryptionKey::new([9; 32]).to_text());
    for (link, code) in [(public, "encrypted"), (other.as_str(), "wrong_key")] {
        let finished = stage.clone(link, &[])?;
        let message = finished.expect_sentence(1)?;
        ensure!(finished.event("error")?["code"] == code && message.contains('#'), "{message}");
        ensure!(!stage.target().exists(), "a folder was left behind");
    }
    let damaged = stage.clone(&link[..link.len() - 1], &[])?;
    damaged.expect_sentence(2)?;
    ensure!(!damaged.stderr.contains(&key[..key.len() - 1]), "the damaged key is repeated: {}", damaged.stderr);
    stage.clone(&link, &[])?.expect_code(0)?;

    let plain = Share::start(&stage.path("plain store"), &stage.folder(), &[])?;
    let keyed = format!("{}#{key}", plain.link);
    let finished = Anypath::run(&stage.path("other store"), ["clone", &keyed, text(&stage.path("other"))?])?;
    finished.expect_sentence(1)?;
    ensure!(finished.event("error")?["code"] == "wrong_key", "{:?}", finished.event("error")?);
    plain.stop().map(drop)
}

/// Blocks that no key made, among the contents of a good drive: files that lie there are named, the others cloned.
#[test]
fn contents_that_do_not_decrypt_are_left_out() -> Result<()> {
    let Some(stage) = stage()? else { return Ok(()) };
    let (mut writer, link) = stage.js_drive()?;
    let contents = writer.ask("drive.info", json!({ "drive": "drive" }))?["contentKey"].clone();
    writer.ask("core.open", json!({ "core": "as stored", "key": contents }))?;
    let blocks = json!([hex(&EncryptionKey::new([3; 32])), "616263"]);
    let appended = writer.ask("core.append", json!({ "core": "as stored", "blocks": blocks }))?;
    let length = appended["length"].as_u64().context("no length")?;
    let entry = |name: &str, block: u64, bytes: u64| {
        let blob = json!({ "blockOffset": block, "byteOffset": 0, "blockLength": 1, "byteLength": bytes });
        json!({ "key": name, "value": { "executable": false, "linkname": null, "blob": blob, "metadata": null } })
    };
    writer.drive_raw("drive", &json!([entry("/foreign", length - 2, 24), entry("/short", length - 1, 3)]))?;
    let finished = stage.clone(&link, &[])?;
    let damaged = |name: &str| (name.to_owned(), "damaged".to_owned());
    let problems = finished.expect_code(1)?.problems();
    ensure!(problems == [damaged("/foreign"), damaged("/short")], "{problems:?}");
    expect_same(&list(&stage.folder())?, &list(&stage.target())?)
}

/// Once encrypted a share stays so, with the same link; once plain it cannot become so in the same store.
#[test]
fn a_share_stays_what_it_is() -> Result<()> {
    let Some(stage) = stage()? else { return Ok(()) };
    let mut links = Vec::new();
    for options in [&["--encrypt"][..], &[], &["--encrypt"]] {
        let mut share = Share::start(&stage.path("store"), &stage.folder(), &[options, &["--no-hints"]].concat())?;
        ensure!(share.program.first("shared")?["encrypted"] == true, "{options:?} is not encrypted");
        links.push(share.link.clone());
        share.stop()?;
        fs::write(stage.folder().join("added"), format!("in run {}", links.len()))?;
    }
    ensure!(links.iter().all(|link| *link == links[0]), "other links: {links:?}");

    fs::remove_dir_all(stage.path("store/cores"))?;
    let again = Share::start(&stage.path("store"), &stage.folder(), &["--no-hints"])?;
    let (before, after) = (links[0].parse::<Link>()?, again.link.parse::<Link>()?);
    ensure!(after.key == before.key, "not the same drive: {}", again.link);
    ensure!(after.encryption.is_some() && after.encryption != before.encryption, "other contents under the same key");
    again.stop()?;

    let plain = Share::start(&stage.path("plain store"), &stage.folder(), &["--no-hints"])?;
    let link = plain.link.clone();
    plain.stop()?;
    let folder = stage.folder();
    let words = ["share", text(&folder)?, "--encrypt", "--listen", "tcp://127.0.0.1:0"];
    let refused = Anypath::run(&stage.path("plain store"), words)?;
    let message = refused.expect_sentence(1)?;
    ensure!(refused.event("error")?["code"] == "shared_unencrypted" && message.contains("--store"), "{message}");
    let plain = Share::start(&stage.path("plain store"), &stage.folder(), &["--no-hints"])?;
    ensure!(plain.link == link && !link.contains('#'), "{} is not {link}", plain.link);
    plain.stop().map(drop)
}

/// One who has no key keeps the drive, and somebody with the whole link gets it from that one alone; also after the
/// keeper was started again. Neither the key nor a word of the contents is anywhere in the keeper's store.
#[test]
fn kept_blindly_and_cloned_from_there() -> Result<()> {
    let Some(stage) = stage()? else { return Ok(()) };
    fs::write(stage.folder().join("marked"), MARK.repeat(100))?;
    let share = Share::start(&stage.path("store"), &stage.folder(), &["--encrypt"])?;
    let (public, key) =
        share.link.split_once('#').map(|(public, key)| (public.to_owned(), key.to_owned())).context("plain")?;
    let secret = secret(&share.link)?;
    let at = "tcp://127.0.0.1:0";
    let mut seed = Anypath::start(&stage.path("seed store"), ["seed", &public, "--listen", at])?;
    let done = seed.wait_for("done")?;
    let (_, bytes) = totals(&list(&stage.folder())?);
    ensure!(done["files"].is_null() && done["bytes"] == bytes, "{done}, expected {bytes} bytes");
    let bare = public.split('?').next().context("no key")?.to_owned();
    share.stop()?;
    for round in 0..2 {
        if round == 1 {
            seed.interrupt()?;
            seed.finish()?.expect_code(130)?;
            seed = Anypath::start(&stage.path("seed store"), ["seed", &bare, "--listen", at])?;
        }
        let via = listening_address(&mut seed, 0)?;
        let link = format!("{bare}?via={via}#{key}");
        let target = stage.path(&format!("target {round}"));
        let store = stage.path(&format!("clone store {round}"));
        let clone = Anypath::run(&store, ["clone", &link, text(&target)?])?;
        clone.expect_code(0)?;
        expect_same(&list(&stage.folder())?, &list(&target)?)?;
        ensure!(!holds_any(&store, &[secret.bytes(), secret.to_text().as_bytes()])?, "the clone's store holds the key");
    }
    seed.interrupt()?;
    seed.finish()?.expect_code(130)?;
    ensure!(!holds_any(&stage.path("seed store"), &[secret.bytes(), MARK.as_bytes()])?, "the keeper can read");
    ensure!(!holds_any(&stage.path("store/cores"), &[secret.bytes(), MARK.as_bytes()])?, "stored in plaintext");
    Ok(())
}

/// JavaScript keeps both cores without the key, and sees ciphertext; ours clones from there alone.
#[test]
fn kept_by_js_without_the_key() -> Result<()> {
    let Some(stage) = stage()? else { return Ok(()) };
    let share = Share::start(&stage.path("store"), &stage.folder(), &["--encrypt"])?;
    let secret = secret(&share.link)?;
    let mut reader = stage.js("reader")?;
    let opened = reader.drive_open_encrypted("drive", Some(&share.key), &hex(&secret))?;
    ensure!(opened.key == share.key);
    let content_key = reader.drive_pull("drive", share.port)?.content_key.context("no blobs")?;
    let plain = reader.ask("core.get", json!({ "core": "drive/blobs", "index": 0 }))?["hex"].clone();

    let mut keeper = stage.js("keeper")?;
    for (handle, key) in [("entries", &share.key), ("contents", &content_key)] {
        keeper.ask("core.open", json!({ "core": handle, "key": key }))?;
        keeper.ask("core.follow", json!({ "core": handle }))?;
    }
    keeper.ask("dial", json!({ "port": share.port }))?;
    for (handle, of) in [("entries", "drive/db"), ("contents", "drive/blobs")] {
        let length = reader.ask("core.info", json!({ "core": of }))?["length"].clone();
        keeper.ask("core.wait", json!({ "core": handle, "length": length, "contiguous": length }))?;
    }
    let kept = keeper.ask("core.get", json!({ "core": "contents", "index": 0 }))?["hex"].clone();
    let (kept, plain) = (kept.as_str().context("no block")?, plain.as_str().context("no block")?);
    ensure!(kept.len() == plain.len() + 16 && !kept.contains(&plain[..plain.len().min(32)]), "{kept} for {plain}");
    share.stop()?;

    let port = keeper.ask("listen", json!({}))?["port"].clone();
    let link = format!("hyper://{}?via=tcp://127.0.0.1:{port}#encryption={}", opened.key, secret.to_text());
    stage.clone(&link, &[])?.expect_code(0)?;
    expect_same(&list(&stage.folder())?, &list(&stage.target())?)
}

/// The key is in the link that `share` prints and in its store's own file, which nobody else may read; it is in no log,
/// however much is logged.
#[test]
fn the_key_stays_where_it_belongs() -> Result<()> {
    let Some(stage) = stage()? else { return Ok(()) };
    let share = Share::start(&stage.path("store"), &stage.folder(), &["--encrypt", "-vvv"])?;
    let link: Link = share.link.parse()?;
    let secret = secret(&share.link)?;
    ensure!(!Link { encryption: None, ..link }.to_string().contains('#'), "more than one fragment in {}", share.link);
    let clone = stage.clone(&share.link, &["-vvv"])?;
    clone.expect_code(0)?;
    let shared = share.stop()?;
    for log in [&clone.stderr, &shared.stderr] {
        ensure!(log.contains("INFO"), "nothing was logged: {log}");
        ensure!(!log.contains(&secret.to_text()) && !log.contains(&hex(&secret)), "the key is in a log");
    }
    let told = clone.events.iter().map(Value::to_string).collect::<String>();
    ensure!(!told.contains(&secret.to_text()), "clone tells the key: {told}");
    let keys = stage.path("store/keys");
    ensure!(holds_any(&keys, &[secret.bytes()])?, "the key is not kept");
    ensure!(
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&keys)?.permissions()) & 0o077 == 0,
        "others may read it"
    );
    fs::remove_file(keys)?;
    let elsewhere = holds_any(&stage.path("store"), &[secret.bytes(), secret.to_text().as_bytes()])?;
    ensure!(!elsewhere, "the key is in a second place");
    Ok(())
}

struct Stage {
    root: TempDir,
}

impl Stage {
    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn folder(&self) -> PathBuf {
        self.path("folder")
    }

    fn target(&self) -> PathBuf {
        self.path("target")
    }

    fn js(&self, name: &str) -> Result<JsPeer> {
        JsPeer::spawn(&self.path(name))
    }

    fn clone(&self, link: &str, options: &[&str]) -> Result<Finished> {
        let target = self.target();
        Anypath::run(&self.path("clone store"), ["clone", link, text(&target)?].iter().chain(options))
    }

    /// An encrypted drive of JavaScript with the folder in it, being served, and its link.
    fn js_drive(&self) -> Result<(JsPeer, String)> {
        let mut writer = self.js("writer")?;
        let secret = EncryptionKey::new([0xe7; 32]);
        let key = writer.drive_open_encrypted("drive", None, &hex(&secret))?.key;
        writer.drive_import("drive", &self.folder())?;
        let port = writer.ask("listen", json!({}))?["port"].clone();
        Ok((writer, format!("hyper://{key}?via=tcp://127.0.0.1:{port}#encryption={}", secret.to_text())))
    }
}

/// Makes the folder to share; `None` where JavaScript peers cannot run.
fn stage() -> Result<Option<Stage>> {
    if let Some(reason) = JsPeer::missing() {
        skip(&reason);
        return Ok(None);
    }
    let stage = Stage { root: tempfile::tempdir()? };
    generate(&stage.folder(), Plan { seed: 9, files: 150, large_bytes: 3 << 20 })?;
    Ok(Some(stage))
}

/// Byte offsets in entries count plaintext: each file starts where the one before it ended.
fn expect_plain_offsets(peer: &mut JsPeer) -> Result<()> {
    let entries: Vec<Value> = serde_json::from_value(peer.ask("drive.list", json!({ "drive": "drive" }))?)?;
    let number = |blob: &Value, field: &str| blob[field].as_u64().context("not a number");
    let blobs = entries.iter().map(|entry| &entry["blob"]).filter(|blob| blob.is_object());
    let place = |blob| Ok((number(blob, "blockOffset")?, number(blob, "byteOffset")?, number(blob, "byteLength")?));
    let mut places = blobs.map(place).collect::<Result<Vec<_>>>()?;
    places.sort_unstable();
    let mut end = 0;
    for (block, offset, length) in places {
        ensure!(offset == end, "the file in block {block} starts at byte {offset}, not {end}");
        end += length;
    }
    ensure!(end > 3 << 20, "only {end} bytes of contents");
    Ok(())
}

fn secret(link: &str) -> Result<EncryptionKey> {
    link.parse::<Link>()?.encryption.with_context(|| format!("no key in {link}"))
}

fn hex(key: &EncryptionKey) -> String {
    HEXLOWER.encode(key.bytes())
}

/// Returns whether any file at or below a path contains one of these byte strings.
fn holds_any(path: &Path, needles: &[&[u8]]) -> Result<bool> {
    if !path.is_dir() {
        let content = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        return Ok(needles.iter().any(|needle| content.windows(needle.len()).any(|window| window == *needle)));
    }
    for entry in fs::read_dir(path)? {
        if holds_any(&entry?.path(), needles)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a test's folder is UTF-8")
}

/// Words that no ciphertext holds.
const MARK: &str = "a marked sentence, to be found wherever it is stored in plaintext; ";

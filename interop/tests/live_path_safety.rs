//! Hostile drives: whatever a stranger names its entries and wherever its links point, `anypath clone` writes nothing
//! outside the target, refuses each such entry by name, brings the rest, and ends with 1.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use anypath_interop::folder::{Listing, expect_same, list};
use anypath_interop::{Anypath, Finished, JsPeer, skip};
use serde_json::{Value, json};
use tempfile::TempDir;

#[test]
fn names_that_lead_out_or_cannot_stand() -> Result<()> {
    let Some(mut stage) = stage()? else { return Ok(()) };
    let long_part = format!("/{}", "n".repeat(256));
    let long_name = format!("/{}", "p".repeat(200)).repeat(30);
    let names = [
        "/../x",
        "/../../../../../../../../tmp/anypath-escaped",
        "/a/../../x",
        "/a/..",
        "/./x",
        "//abs",
        "/a//b",
        "/a/",
        "/a\\b",
        "/..\\..\\x",
        "/C:\\x",
        "/control\u{1}",
        "/new\nline",
        "/escape\u{1b}[2J",
        "/delete\u{7f}",
        "/next line\u{85}",
        "/nul\0byte",
        &long_part,
        &long_name,
    ];
    // Not below the root, so no listing of JavaScript's shows them; naming them is welcome and not required.
    let unlisted = ["", "/", "x", "../x", "a\\b", "C:\\x"];
    let all = names.iter().chain(&unlisted);
    let entries: Vec<Value> = all.map(|name| json!({ "key": name, "text": "hostile" })).collect();
    stage.writer.drive_raw("drive", &entries.into())?;
    stage.writer.drive_raw("drive", &json!([{ "hex": "2fff80", "text": "no utf-8" }]))?;
    let finished = stage.clone(1)?;
    for name in names {
        ensure!(refused(&finished, name), "{name:?} is not among {:?}", finished.problems());
    }
    ensure!(finished.problems().len() > names.len(), "the name that is not UTF-8: {:?}", finished.problems());
    stage.expect_honest_rest(&Listing::new())
}

#[test]
fn links_that_leave() -> Result<()> {
    let Some(mut stage) = stage()? else { return Ok(()) };
    let links = [
        ("/l/absolute", "/etc/passwd"),
        ("/l/up", "../../outside"),
        ("/l/far up", "../../../../../../../../etc/passwd"),
        ("/l/down and up", "a/../../../outside"),
        ("/l/through a link", "folder/../../outside"),
        ("/l/backslash", "..\\..\\outside"),
        ("/l/letter", "C:\\outside"),
        ("/l/empty", ""),
        ("/l/nul", "a\0b"),
        ("/top", ".."),
    ];
    let entries: Vec<Value> = links.iter().map(|(key, target)| json!({ "key": key, "linkname": target })).collect();
    // An empty link name is no link for JavaScript; it may come as an empty file or be refused.
    stage.writer.drive_raw("drive", &entries.into())?;
    stage.writer.drive_raw("drive", &json!([{ "key": "/l/folder", "linkname": "../honest" }]))?;
    let finished = stage.clone(1)?;
    for (name, target) in links.iter().filter(|(_, target)| !target.is_empty()) {
        ensure!(refused(&finished, name), "{name:?} -> {target:?} is not among {:?}", finished.problems());
        ensure!(!stage.target().join(&name[1..]).is_symlink(), "{name:?} -> {target:?} was made");
    }
    let allowed = BTreeMap::from([("l/folder".to_owned(), anypath_interop::folder::Entry::Link("../honest".into()))]);
    fs::remove_file(stage.target().join("l/empty")).ok();
    stage.expect_honest_rest(&allowed)
}

/// A link that stays inside, and entries below it: nothing is written through it, whichever comes first in the drive.
#[test]
fn entries_below_a_link_or_a_file() -> Result<()> {
    let Some(mut stage) = stage()? else { return Ok(()) };
    stage.writer.drive_raw(
        "drive",
        &json!([
            { "key": "/door", "linkname": "honest" },
            { "key": "/door/through", "text": "hostile" },
            { "key": "/door/deep/through", "text": "hostile" },
            { "key": "/file", "text": "a file" },
            { "key": "/file/below", "text": "hostile" },
        ]),
    )?;
    let finished = stage.clone(1)?;
    let below = ["/door/through", "/door/deep/through", "/file/below"];
    for (name, other) in below.iter().zip(["/door", "/door", "/file"]) {
        let either = refused(&finished, name) || refused(&finished, other);
        ensure!(either, "neither {name} nor {other} is among {:?}", finished.problems());
    }
    for path in ["honest/through", "honest/deep/through"] {
        ensure!(!stage.target().join(path).exists(), "{path} was written through a link");
    }
    for name in ["/door", "/file"].iter().chain(&below).map(|name| stage.target().join(&name[1..])) {
        if name.is_dir() && !name.is_symlink() {
            fs::remove_dir_all(name)?
        } else {
            fs::remove_file(name).unwrap_or(())
        }
    }
    stage.expect_honest_rest(&Listing::new())
}

/// A person's own link in the target is not followed either.
#[test]
fn a_link_that_somebody_put_in_the_way() -> Result<()> {
    let Some(mut stage) = stage()? else { return Ok(()) };
    stage.clone(0)?;
    let outside = stage.path("outside");
    fs::create_dir(&outside)?;
    fs::remove_dir_all(stage.target().join("honest"))?;
    std::os::unix::fs::symlink(&outside, stage.target().join("honest"))?;
    stage.writer.drive_put("drive", "/honest/new", "must not arrive outside")?;
    Anypath::run(&stage.path("store"), stage.arguments()?.iter().map(String::as_str).chain(["--force"]))?;
    ensure!(fs::read_dir(&outside)?.next().is_none(), "written through a link in the target");
    Ok(())
}

/// Where the file system tells them apart, both come; where it does not, one is refused by name. Never one's content
/// under the other's name.
#[test]
fn twins_by_case_and_composition() -> Result<()> {
    let Some(mut stage) = stage()? else { return Ok(()) };
    let twins = ["/Twin", "/twin", "/TWIN/inside", "/caf\u{e9}", "/cafe\u{301}", "/stra\u{df}e", "/strasse"];
    let entries: Vec<Value> = twins.iter().map(|name| json!({ "key": name, "text": name })).collect();
    stage.writer.drive_raw("drive", &entries.into())?;
    let finished = Anypath::run(&stage.path("store"), stage.arguments()?)?;
    for name in twins {
        let found = fs::read(stage.target().join(&name[1..])).ok();
        let whole = found.as_deref() == Some(name.as_bytes());
        ensure!(whole || refused(&finished, name), "{name:?} holds {found:?} and is not refused");
    }
    let expected = i32::from(!finished.problems().is_empty());
    finished.expect_code(expected).map(drop)
}

/// Entries whose value is no entry, or claims what the drive does not have: refused by name, soon, without the memory
/// they claim.
#[test]
fn entries_that_claim_what_is_not_there() -> Result<()> {
    let Some(mut stage) = stage()? else { return Ok(()) };
    let blob = |fields: [f64; 4]| {
        let [block_offset, block_length, byte_offset, byte_length] = fields.map(|number| json!(number));
        json!({ "executable": false, "linkname": null, "metadata": null, "blob": {
            "blockOffset": block_offset, "blockLength": block_length,
            "byteOffset": byte_offset, "byteLength": byte_length,
        } })
    };
    let huge = (1u64 << 50) as f64;
    let claims = [
        ("/far", blob([huge, 1.0, huge, 1.0])),
        ("/long", blob([0.0, huge, 0.0, huge])),
        ("/more bytes than blocks", blob([0.0, 1.0, 0.0, 1e9])),
        ("/no blocks", blob([0.0, 0.0, 0.0, 12.0])),
        ("/negative", blob([-1.0, 1.0, -1.0, 1.0])),
        ("/fraction", blob([0.5, 1.0, 0.0, 1.0])),
        ("/number", json!(5)),
        ("/text", json!("text")),
        ("/list", json!([])),
        ("/blob is text", json!({ "executable": false, "linkname": null, "blob": "x", "metadata": null })),
        ("/link is a number", json!({ "executable": false, "linkname": 7, "blob": null, "metadata": null })),
    ];
    let entries: Vec<Value> = claims.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
    stage.writer.drive_raw("drive", &entries.into())?;
    let finished = stage.clone(1)?;
    for (name, value) in &claims {
        ensure!(refused(&finished, name), "{name} = {value} is not among {:?}", finished.problems());
    }
    stage.expect_honest_rest(&Listing::new())
}

/// A folder that is shared may hold such names too: they are named and left out, the rest is shared.
#[test]
fn a_shared_folder_with_names_that_cannot_travel() -> Result<()> {
    let Some(mut stage) = stage()? else { return Ok(()) };
    let folder = stage.path("folder");
    fs::create_dir_all(folder.join("in"))?;
    fs::write(folder.join("in/plain"), "plain")?;
    fs::write(folder.join("new\nline"), "x")?;
    fs::write(folder.join("back\\slash"), "x")?;
    std::os::unix::fs::symlink("/etc/passwd", folder.join("absolute"))?;
    std::os::unix::fs::symlink("plain", folder.join("in/link"))?;
    let share = anypath_interop::Share::start(&stage.path("share store"), &folder, &[])?;
    stage.writer.drive_fetch("shared", &share.key, share.port)?;
    let names: Vec<String> = stage.writer.drive_list("shared", None)?.into_keys().collect();
    ensure!(["in/link", "in/plain"].iter().all(|name| names.iter().any(|other| other == name)), "{names:?}");
    ensure!(!names.iter().any(|name| name.contains(['\n', '\\'])), "{names:?}");
    let problems = share.stop()?.problems();
    for name in ["new\nline", "back\\slash"] {
        ensure!(problems.iter().any(|(problem, _)| problem.ends_with(name)), "{name:?} is not among {problems:?}");
    }
    Ok(())
}

/// A drive of three honest entries at a JavaScript writer, and a folder watched for what does not belong there.
struct Stage {
    root: TempDir,
    writer: JsPeer,
    link: String,
}

impl Stage {
    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join("inner/most/of/all").join(name)
    }

    fn target(&self) -> PathBuf {
        self.path("target")
    }

    fn arguments(&self) -> Result<[String; 3]> {
        let target = self.target().to_str().context("a test's folder is UTF-8")?.to_owned();
        Ok(["clone".to_owned(), self.link.clone(), target])
    }

    fn clone(&mut self, code: i32) -> Result<Finished> {
        let finished = Anypath::run(&self.path("store"), self.arguments()?)?;
        finished.expect_code(code)?;
        ensure!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
        ensure!(!finished.stderr.contains('\u{1b}'), "a stranger's escape sequence on stderr: {:?}", finished.stderr);
        Ok(finished)
    }

    /// Fails unless the target holds the honest entries and `allowed`, and nothing appeared around it.
    fn expect_honest_rest(&self, allowed: &Listing) -> Result<()> {
        let mut expected = Listing::new();
        for (name, content) in HONEST {
            let path = self.path("expected").join(name);
            fs::create_dir_all(path.parent().context("no parent")?)?;
            fs::write(path, content)?;
        }
        expected.extend(list(&self.path("expected"))?);
        expected.extend(allowed.clone());
        expect_same(&expected, &list(&self.target())?)?;
        for folder in self.target().ancestors().skip(2).take(4) {
            let names = entries(folder)?;
            ensure!(names.len() == 1, "something was written into {}: {names:?}", folder.display());
        }
        let around = entries(&self.path(""))?;
        let known = ["writer", "store", "store.home", "target", "expected"];
        ensure!(around.iter().all(|name| known.iter().any(|known| name == known)), "beside the target: {around:?}");
        ensure!(!Path::new("/tmp/anypath-escaped").exists() && !Path::new("/abs").exists(), "written far outside");
        Ok(())
    }
}

fn stage() -> Result<Option<Stage>> {
    if let Some(reason) = JsPeer::missing() {
        skip(&reason);
        return Ok(None);
    }
    let root = tempfile::tempdir()?;
    let inner = root.path().join("inner/most/of/all");
    fs::create_dir_all(&inner)?;
    let mut writer = JsPeer::spawn(&inner.join("writer"))?;
    let key = writer.drive_open("drive", None)?.key;
    for (name, content) in HONEST {
        writer.drive_put("drive", name, content)?;
    }
    let port = writer.ask("listen", json!({}))?["port"].clone();
    Ok(Some(Stage { root, writer, link: format!("hyper://{key}?via=tcp://127.0.0.1:{port}") }))
}

/// Whether a `problem` names the entry.
fn refused(finished: &Finished, name: &str) -> bool {
    finished.problems().iter().any(|(problem, _)| problem == name)
}

fn entries(folder: &Path) -> Result<Vec<std::ffi::OsString>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect()
}

const HONEST: [(&str, &str); 3] = [("honest/a", "first"), ("honest/b", "second"), ("z", "last")];

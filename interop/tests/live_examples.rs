//! The programs in `js/examples` and `swarm/examples` do what the README says of them.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use anypath_interop::content::hex;
use anypath_interop::folder::{expect_same, list};
use anypath_interop::{Anypath, JsPeer, Process, Share, skip};
use serde_json::json;

#[test]
fn javascript_clones_what_anypath_shares() -> Result<()> {
    let Some((root, folder)) = stage()? else { return Ok(()) };
    let share = Share::start(&root.path().join("store"), &folder, &[])?;
    let copy = root.path().join("copy");
    let mut program = example("clone.js", [share.link.as_ref(), copy.as_os_str()])?;
    let status = program.wait()?;
    ensure!(status.success(), program.failure("failed"));
    expect_same(&list(&folder)?, &list(&copy)?)?;
    share.stop().map(drop)
}

#[test]
fn javascript_clones_what_anypath_shares_encrypted() -> Result<()> {
    let Some((root, folder)) = stage()? else { return Ok(()) };
    let share = Share::start(&root.path().join("store"), &folder, &["--encrypt"])?;
    ensure!(share.link.contains("#encryption="), "{}", share.link);
    let copy = root.path().join("copy");
    let mut program = example("clone.js", [share.link.as_ref(), copy.as_os_str()])?;
    let status = program.wait()?;
    ensure!(status.success(), program.failure("failed"));
    expect_same(&list(&folder)?, &list(&copy)?)?;
    share.stop().map(drop)
}

#[test]
fn anypath_clones_what_javascript_serves() -> Result<()> {
    let Some((root, folder)) = stage()? else { return Ok(()) };
    let mut program = example("serve.js", [folder.as_os_str()])?;
    let link = program.line()?.context("serve.js told no link")?;
    let copy = root.path().join("copy");
    let arguments = ["clone".as_ref(), link.as_ref(), copy.as_os_str()];
    Anypath::run(&root.path().join("store"), arguments)?.expect_code(0)?;
    expect_same(&list(&folder)?, &list(&copy)?)
}

#[test]
fn chats_understand_each_other_whoever_dials() -> Result<()> {
    let Some(chat) = our_example("chat")? else { return Ok(()) };
    let rust = |arguments: &[&str]| Process::spawn("chat", Command::new(&chat).args(arguments));
    let js = |arguments: &[&str]| example("chat.js", arguments.iter().map(OsStr::new));
    let mut ann = rust(&["Ann"])?;
    let mut bob = js(&["Bob", &listening(&mut ann)?])?;
    converse(&mut ann, "Ann", &mut bob, "Bob")?;
    let mut bob = js(&["Bob"])?;
    let mut ann = rust(&["Ann", &listening(&mut bob)?])?;
    converse(&mut bob, "Bob", &mut ann, "Ann")?;
    let mut ann = rust(&["Ann"])?;
    let mut bob = rust(&["Bob", &listening(&mut ann)?])?;
    converse(&mut ann, "Ann", &mut bob, "Bob")
}

#[test]
fn json_lines_takes_what_is_json_and_names_the_rest() -> Result<()> {
    let Some(json_lines) = our_example("json_lines")? else { return Ok(()) };
    let root = tempfile::tempdir()?;
    let mut writer = JsPeer::spawn(&root.path().join("writer"))?;
    let key = writer.ask("core.open", json!({ "core": "c", "name": "c" }))?["key"].clone();
    let key = key.as_str().context("no key")?;
    let append = |writer: &mut JsPeer, lines: &[&str]| {
        let blocks: Vec<_> = lines.iter().map(|line| hex(line.as_bytes())).collect();
        writer.ask("core.append", json!({ "core": "c", "blocks": blocks }))
    };
    append(&mut writer, &["{\"a\":1}", "not JSON", "[2]", "{", "null"])?;
    let port = writer.ask("listen", json!({}))?["port"].clone();
    let mut reader =
        Process::spawn("json_lines", Command::new(json_lines).args([key, &format!("tcp://127.0.0.1:{port}")]))?;
    let mut lines = |count| -> Result<Vec<_>> {
        let mut lines = (0..count).map(|_| reader.line()?.context("ended")).collect::<Result<Vec<_>>>()?;
        lines.sort();
        Ok(lines)
    };
    let expected = ["0: {\"a\":1}", "1: not JSON, refused", "2: [2]", "3: not JSON, refused", "4: null"];
    ensure!(lines(5)? == expected);
    append(&mut writer, &["oh", "7"])?;
    ensure!(lines(2)? == ["5: not JSON, refused", "6: 7"]);
    Ok(())
}

/// Two are there, hear each other, and the first takes leave.
fn converse(one: &mut Process, first: &str, other: &mut Process, second: &str) -> Result<()> {
    let hears = |who: &mut Process, expected: &str| -> Result<()> {
        let line = who.line()?.context("ended")?;
        ensure!(line == expected, "heard {line:.200?}, not {expected:.200?}");
        Ok(())
    };
    hears(one, &format!("{second} is here"))?;
    hears(other, &format!("{first} is here"))?;
    for line in ["hello", "", "größer", &"long ".repeat(200_000)] {
        one.send(line)?;
        hears(other, &format!("{first}: {line}"))?;
        other.send(line)?;
        hears(one, &format!("{second}: {line}"))?;
    }
    one.end_input();
    ensure!(one.wait()?.success(), one.failure("failed"));
    hears(other, &format!("{first} left"))
}

fn listening(chat: &mut Process) -> Result<String> {
    let line = chat.line()?.context("no address")?;
    Ok(line.strip_prefix("listening at ").context("no address")?.to_owned())
}

/// Returns an example of the room `swarm`; `None` where it was not built or JavaScript peers cannot run.
fn our_example(name: &str) -> Result<Option<PathBuf>> {
    let test = std::env::current_exe()?;
    let folder = test.ancestors().nth(2).context("no target folder")?;
    let program = folder.join("examples").join(name);
    let unbuilt = || "the examples are not built: run `cargo build -p anypath-swarm --examples`".to_owned();
    if let Some(reason) = JsPeer::missing().or_else(|| (!program.exists()).then(unbuilt)) {
        skip(&reason);
        return Ok(None);
    }
    Ok(Some(program))
}

/// Makes a folder to share; `None` where JavaScript peers cannot run.
fn stage() -> Result<Option<(tempfile::TempDir, PathBuf)>> {
    if let Some(reason) = JsPeer::missing() {
        skip(&reason);
        return Ok(None);
    }
    let root = tempfile::tempdir()?;
    let folder = root.path().join("folder");
    fs::create_dir_all(folder.join("notes"))?;
    fs::write(folder.join("README.txt"), "A folder to be shared.\n")?;
    fs::write(folder.join("empty"), "")?;
    fs::write(folder.join("notes/größe.txt"), vec![b'x'; 200_000])?;
    Ok(Some((root, folder)))
}

fn example<'a>(name: &str, arguments: impl IntoIterator<Item = &'a OsStr>) -> Result<Process> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("js/examples").join(name);
    Process::spawn(name, Command::new("node").arg(script).args(arguments))
}

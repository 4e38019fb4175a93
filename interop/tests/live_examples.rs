//! The JavaScript programs in `js/examples`, which the README shows, do what it says of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use anypath_interop::folder::{expect_same, list};
use anypath_interop::{Anypath, JsPeer, Process, Share, skip};

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

fn example<'a>(name: &str, arguments: impl IntoIterator<Item = &'a std::ffi::OsStr>) -> Result<Process> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("js/examples").join(name);
    Process::spawn(name, Command::new("node").arg(script).args(arguments))
}

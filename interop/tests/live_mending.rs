//! What a disk or a closed terminal may do to a clone, and that the same command mends it.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use anypath_interop::folder::{Plan, expect_same, generate, list};
use anypath_interop::{Anypath, Share, listening_address};
use anypath_wire::Link;

#[test]
fn what_was_spoilt_behind_our_back_is_found_named_and_mended() -> Result<()> {
    let stage = tempfile::tempdir()?;
    let path = |name: &str| stage.path().join(name);
    generate(&path("folder"), Plan { seed: 3, files: 40, large_bytes: 3 << 20 })?;
    fs::write(path("folder/plain"), vec![7; 300_000])?;
    let share = Share::start(&path("share store"), &path("folder"), &[])?;
    let clone = |more: &[&str]| {
        let mut words =
            vec!["clone", &share.link, text(&path("target"))?].into_iter().map(str::to_owned).collect::<Vec<_>>();
        words.extend(more.iter().map(|word| (*word).to_owned()));
        Anypath::run(&path("store"), words)
    };
    clone(&[])?.expect_code(0)?;
    // A bit that flips on the disk changes no time; the block of the same file in the store goes bad as well.
    let times = fs::metadata(path("target/plain"))?.modified()?;
    flip(&path("target/plain"), 1000)?;
    File::options().write(true).open(path("target/plain"))?.set_modified(times)?;
    let blocks = path("store").join("cores/blocks");
    let at = fs::read(&blocks)?.windows(1000).position(|bytes| bytes == [7; 1000]).context("the file is not there")?;
    flip(&blocks, at as u64 + 500)?;

    clone(&[])?.expect_code(0)?;
    ensure!(
        fs::read(path("target/plain"))?[1000] != 7,
        "it was found without being asked for: drop this test's reason"
    );
    let verified = clone(&["--verify"])?;
    let mended = verified.expect_code(0)?.event("mended")?;
    ensure!(mended["name"] == "/plain", "{mended}");
    expect_same(&list(&path("folder"))?, &list(&path("target"))?)?;
    let again = clone(&["--verify"])?;
    ensure!(again.expect_code(0)?.event("mended").is_err(), "it was not mended for good");
    share.stop().map(drop)
}

/// What `--durable` adds shows where power can be cut (`replicate/tests/power_cut`); here, that the commands take it and
/// that what they said holds, however they end.
#[test]
fn what_a_durable_clone_said_is_there_after_a_kill() -> Result<()> {
    let stage = tempfile::tempdir()?;
    let path = |name: &str| stage.path().join(name);
    generate(&path("folder"), Plan { seed: 4, files: 40, large_bytes: 3 << 20 })?;
    let share = Share::start(&path("share store"), &path("folder"), &["--durable"])?;
    let link = share.link.parse::<Link>()?.key.to_string();
    let target = path("target");
    let mut clone = Anypath::start(&path("store"), ["clone", &share.link, text(&target)?, "--durable", "--live"])?;
    clone.wait_for("done")?;
    clone.kill();
    share.stop()?;
    expect_same(&list(&path("folder"))?, &list(&target)?)?;

    let mut seed = Anypath::start(&path("store"), ["seed", &link, "--durable", "--listen", "tcp://127.0.0.1:0"])?;
    let via = listening_address(&mut seed, 0)?.to_string();
    Anypath::run(&path("third store"), ["clone", &link, text(&path("third"))?, "--via", &via])?.expect_code(0)?;
    expect_same(&list(&path("folder"))?, &list(&path("third"))?)?;
    seed.interrupt()?;
    seed.finish()?.expect_code(130).map(drop)
}

#[test]
fn a_closed_terminal_leaves_no_unfinished_file() -> Result<()> {
    let stage = tempfile::tempdir()?;
    let path = |name: &str| stage.path().join(name);
    fs::create_dir(path("folder"))?;
    fs::write(path("folder/large"), vec![1; 200 << 20])?;
    let share = Share::start(&path("share store"), &path("folder"), &[])?;
    let mut clone = Anypath::start(&path("store"), ["clone", &share.link, text(&path("target"))?])?;
    clone.wait_until("progress", |event| event["bytes"].as_u64() > Some(0))?;
    // The shell sends one, and so does the system.
    clone.signal("HUP")?;
    clone.signal("HUP")?;
    clone.finish()?.expect_code(130)?;
    let left = if path("target").exists() { fs::read_dir(path("target"))?.count() } else { 0 };
    ensure!(left == 0, "{left} files were left behind");
    share.stop().map(drop)
}

#[test]
fn a_folder_is_not_cloned_into_itself() -> Result<()> {
    let stage = tempfile::tempdir()?;
    let path = |name: &str| stage.path().join(name);
    fs::create_dir(path("folder"))?;
    fs::write(path("folder/file"), "content")?;
    let share = Share::start(&path("store"), &path("folder"), &[])?;
    let link = share.link.clone();
    share.stop()?;
    let within = path("folder/copy");
    let clone = Anypath::run(&path("store"), ["clone", &link, text(&within)?, "--live", "--force"])?;
    let message = clone.expect_sentence(1)?;
    ensure!(message.contains("lies in") && !within.exists(), "{message}");
    Ok(())
}

fn flip(path: &Path, at: u64) -> Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut byte)?;
    file.seek(SeekFrom::Start(at))?;
    Ok(file.write_all(&[byte[0] ^ 1])?)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a test's folder is UTF-8")
}

//! Encrypted cores between JavaScript and Rust: read with the key, passed on without it.

use anyhow::{Result, ensure};
use anypath_interop::{Blocks, Cast, CoreSpec, JsPeer, Peer, Until, rust_peer, scenarios, skip};
use serde_json::json;

scenarios!(
    read_with_the_key,
    sought_by_byte,
    truncated_and_written_anew,
    reopened_and_continued,
    passed_on_by_one_without_the_key,
    a_bee,
);

/// Every block, empty ones as well, and sizes as those see them who have the key.
fn read_with_the_key(cast: &Cast) -> Result<()> {
    let (mut writer, mut reader) = cast.pair()?;
    let run = Blocks::new(20, 200, &MIXED);
    let written = write(&mut *writer, &run)?;
    let read = connect(&mut *writer, &mut *reader, &written)?;
    ensure!(read.byte_length == 0 && read.length == 0, "{read:?} before anything came");
    receive(&mut *reader, &run)?;
    let (written, read) = (writer.info("core")?, reader.info("core")?);
    ensure!(
        (written.byte_length, &written.tree_hash) == (read.byte_length, &read.tree_hash),
        "{written:?} was written, {read:?} arrived"
    );
    close([writer, reader])
}

/// Positions are those in the plaintext; found without fetching the blocks before them.
fn sought_by_byte(cast: &Cast) -> Result<()> {
    let (mut writer, mut reader) = cast.pair()?;
    let run = Blocks::new(21, 500, &[10, 20, 30]);
    let key = write(&mut *writer, &run)?;
    connect(&mut *writer, &mut *reader, &key)?;
    reader.wait("core", Until::length(500))?;
    for (byte, expected) in [(0, (0, 0)), (9, (0, 9)), (10, (1, 0)), (6_045, (302, 15)), (9_969, (498, 9))] {
        let found = reader.seek("core", byte)?;
        ensure!(found == expected, "byte {byte} is at {found:?}, expected {expected:?}");
        ensure!(writer.seek("core", byte)? == expected, "the writer finds byte {byte} elsewhere");
    }
    ensure!(reader.held("core")?.iter().map(|(start, end)| end - start).sum::<u64>() < 50, "fetched too much");
    close([writer, reader])
}

/// Blocks at indices that were used before are read as well as those that stayed.
fn truncated_and_written_anew(cast: &Cast) -> Result<()> {
    let (mut writer, mut reader) = cast.pair()?;
    let (first, second) = (Blocks::new(22, 60, &MIXED), Blocks::new(23, 80, &MIXED));
    let key = write(&mut *writer, &first)?;
    connect(&mut *writer, &mut *reader, &key)?;
    receive(&mut *reader, &first)?;
    writer.truncate("core", 40, 3)?;
    writer.append("core", &second.range(40, 80), &[])?;
    reader.wait("core", Until { fork: Some(3), ..Until::length(80) })?;
    reader.download("core", 0, 80)?;
    reader.check("core", &first.range(0, 40))?;
    reader.check("core", &second.range(40, 80))?;
    close([writer, reader])
}

/// Both ends closed and opened again, with the key told again; then the writer goes on.
fn reopened_and_continued(cast: &Cast) -> Result<()> {
    let run = Blocks::new(24, 90, &MIXED);
    let (mut writer, mut reader) = cast.pair()?;
    let key = write(&mut *writer, &run.range(0, 30))?;
    connect(&mut *writer, &mut *reader, &key)?;
    receive(&mut *reader, &run.range(0, 30))?;
    close([writer, reader])?;
    let (mut writer, mut reader) = cast.pair()?;
    let info = writer.open("core", &CoreSpec::named("core").encrypted(SECRET))?;
    ensure!(info.writable && info.length == 30, "{info:?}");
    writer.check("core", &run.range(0, 30))?;
    writer.append("core", &run.range(30, 90), &[])?;
    connect(&mut *writer, &mut *reader, &key)?;
    receive(&mut *reader, &run)?;
    close([writer, reader])
}

/// From the writer to one who sees ciphertext, and from that one alone to one with the key.
fn passed_on_by_one_without_the_key(cast: &Cast) -> Result<()> {
    let run = Blocks::new(25, 100, &MIXED);
    let (mut writer, mut blind) = (cast.writer("writer")?, cast.reader("blind")?);
    let key = write(&mut *writer, &run)?;
    let bytes = writer.info("core")?.byte_length;
    blind.open("core", &CoreSpec::keyed(&key))?;
    blind.dial(writer.listen(None)?, None)?;
    blind.wait("core", Until::length(100))?;
    blind.download("core", 0, 100)?;
    ensure!(blind.info("core")?.byte_length == bytes + 100 * 8, "{:?}", blind.info("core")?);
    ensure!(blind.check("core", &run).is_err(), "plaintext without the key");
    writer.close()?;
    let mut reader = cast.writer("reader")?;
    connect(&mut *blind, &mut *reader, &key)?;
    receive(&mut *reader, &run)?;
    close([blind, reader])
}

fn a_bee(cast: &Cast) -> Result<()> {
    let (mut writer, mut reader) = cast.pair()?;
    let key = writer.bee_open("bee", &CoreSpec::named("bee").encrypted(SECRET))?.key;
    let entry = |number: u32| (format!("key {:03}", number * 7 % 300), Some(json!({ "number": number })));
    let version = writer.bee_batch("bee", &(0..300).map(entry).collect::<Vec<_>>())?;
    reader.bee_open("bee", &CoreSpec::keyed(&key).encrypted(SECRET))?;
    reader.dial(writer.listen(None)?, None)?;
    reader.wait("bee", Until::length(version))?;
    ensure!(
        reader.bee_get("bee", "key 007")? == Some(json!({ "number": 1 })),
        "{:?}",
        reader.bee_get("bee", "key 007")?
    );
    ensure!(reader.bee_list("bee", None)? == writer.bee_list("bee", None)?, "the bee reads differently");
    close([writer, reader])
}

/// Blocks of ours are, byte for byte, those of the reference: the same core, key and plaintext on both sides.
#[test]
fn stored_alike() -> Result<()> {
    if let Some(reason) = JsPeer::missing() {
        skip(&reason);
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let run = Blocks::new(26, 30, &MIXED);
    let mut js = JsPeer::spawn(&folder.path().join("js"))?;
    let mut ours = rust_peer(&folder.path().join("rust"))?;
    for compat in [false, true] {
        let handle = if compat { "compat" } else { "core" };
        let spec = CoreSpec { compat, ..CoreSpec::signed("encrypted").encrypted(SECRET) };
        let mut hashes = Vec::new();
        for peer in [&mut js as &mut dyn Peer, &mut *ours] {
            peer.open(handle, &spec)?;
            peer.append(handle, &run.range(0, 20), &[])?;
            peer.truncate(handle, 10, 7)?;
            hashes.push(peer.append(handle, &run.range(10, 30), &[])?.tree_hash);
        }
        ensure!(hashes[0] == hashes[1], "compat {compat}: other blocks than those of JavaScript");
    }
    ours.close()
}

fn write(peer: &mut dyn Peer, run: &Blocks) -> Result<String> {
    peer.open("core", &CoreSpec::named("core").encrypted(SECRET))?;
    Ok(peer.append("core", run, &[])?.key)
}

/// Opens the core with the key at the reader, whose store then dials the writer's.
fn connect(writer: &mut dyn Peer, reader: &mut dyn Peer, key: &str) -> Result<anypath_interop::CoreInfo> {
    let info = reader.open("core", &CoreSpec::keyed(key).encrypted(SECRET))?;
    reader.dial(writer.listen(None)?, None)?;
    Ok(info)
}

fn receive(reader: &mut dyn Peer, run: &Blocks) -> Result<()> {
    let length = u64::from(run.start + run.count);
    reader.wait("core", Until::length(length))?;
    reader.download("core", 0, length)?;
    reader.check("core", run)
}

fn close<const N: usize>(peers: [Box<dyn Peer>; N]) -> Result<()> {
    peers.into_iter().try_for_each(Peer::close)
}

const MIXED: [usize; 5] = [1, 1_024, 65_536, 0, 3_000];
/// What the cores are encrypted with.
const SECRET: &str = "8d1f8d1f8d1f8d1f8d1f8d1f8d1f8d1f8d1f8d1f8d1f8d1f8d1f8d1f8d1f8d1f";

//! Hypercores between JavaScript and Rust: every kind of core, live, forked, with holes, several peers at once.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use anypath_interop::{Blocks, Cast, CoreInfo, CoreSpec, Manifest, Peer, Until, scenarios};

scenarios!(
    plain_core,
    plain_core_dialled_by_the_writer,
    corestore_of_fifty_cores,
    live_append,
    truncate_and_fork,
    fork_while_apart,
    sparse_with_holes,
    cleared_blocks_are_not_offered,
    seek_by_byte,
    compat_core,
    manifests_of_every_version,
    several_signers,
    three_peers_at_once,
    passed_on_by_a_reader,
    one_byte_blocks,
    large_blocks,
    empty_blocks,
    reconnect_and_resume,
    reopened_from_disk,
    opened_after_it_was_asked_for,
    many_holes,
    fork_found_by_sparse_peers,
    fork_passed_on_between_old_and_new,
);

/// One core outside any corestore, replicated alone, as `hypercore.replicate` does.
fn plain_core(cast: &Cast) -> Result<()> {
    let (mut writer, mut reader) = cast.pair()?;
    let run = Blocks::new(1, 300, &MIXED);
    let key = write(&mut *writer, "core", &CoreSpec::signed("plain").plain(), &run)?.key;
    reader.open("core", &CoreSpec::keyed(&key).plain())?;
    let port = writer.listen(Some("core"))?;
    reader.dial(port, Some("core"))?;
    receive_all(&mut *reader, "core", &run)?;
    same(&mut *writer, &mut *reader, "core")?;
    close([writer, reader])
}

/// The same with the roles of the handshake exchanged.
fn plain_core_dialled_by_the_writer(cast: &Cast) -> Result<()> {
    let (mut writer, mut reader) = cast.pair()?;
    let run = Blocks::new(2, 50, &MIXED);
    let key = write(&mut *writer, "core", &CoreSpec::signed("plain").plain(), &run)?.key;
    reader.open("core", &CoreSpec::keyed(&key).plain())?;
    let port = reader.listen(Some("core"))?;
    writer.dial(port, Some("core"))?;
    receive_all(&mut *reader, "core", &run)?;
    close([writer, reader])
}

/// Fifty cores on one connection, of which half are opened before it and half while it lives.
fn corestore_of_fifty_cores(cast: &Cast) -> Result<()> {
    let (mut writer, mut reader) = cast.pair()?;
    let run = |core: u32| Blocks::new(core, 20 + core, &MIXED_SMALL);
    let name = |core: u32| format!("core {core}");
    let mut keys = Vec::new();
    for core in 0..50 {
        keys.push(write(&mut *writer, &name(core), &CoreSpec::named(&name(core)), &run(core))?.key);
    }
    ensure!(keys.iter().collect::<BTreeSet<_>>().len() == 50, "each name has a key of its own");
    for core in 0..25 {
        reader.open(&name(core), &CoreSpec::keyed(&keys[core as usize]))?;
    }
    let port = writer.listen(None)?;
    reader.dial(port, None)?;
    for core in 25..50 {
        reader.open(&name(core), &CoreSpec::keyed(&keys[core as usize]))?;
    }
    for core in 0..50 {
        receive_all(&mut *reader, &name(core), &run(core))?;
        same(&mut *writer, &mut *reader, &name(core))?;
    }
    close([writer, reader])
}

/// Blocks appended while connected arrive without being asked for again.
fn live_append(cast: &Cast) -> Result<()> {
    let (mut writer, mut reader) = cast.pair()?;
    let run = Blocks::new(3, 200, &MIXED_SMALL);
    let key = write(&mut *writer, "core", &CoreSpec::named("live"), &run.range(0, 0))?.key;
    connect(&mut *writer, &mut *reader, "core", &key)?;
    reader.follow("core")?;
    for start in (0..200).step_by(10) {
        writer.append("core", &run.range(start, start + 10), &[])?;
        reader.wait("core", Until::contiguous(u64::from(start) + 10))?;
    }
    reader.check("core", &run)?;
    same(&mut *writer, &mut *reader, "core")?;
    close([writer, reader])
}

/// A reader that is connected follows the writer back and forth on another fork.
fn truncate_and_fork(cast: &Cast) -> Result<()> {
    let (mut writer, mut reader) = cast.pair()?;
    let (old, new) = (Blocks::new(4, 100, &MIXED_SMALL), Blocks::new(5, 80, &MIXED_SMALL));
    let key = write(&mut *writer, "core", &CoreSpec::named("forked"), &old)?.key;
    connect(&mut *writer, &mut *reader, "core", &key)?;
    receive_all(&mut *reader, "core", &old)?;
    writer.truncate("core", 37, 1)?;
    let cut = reader.wait("core", Until { fork: Some(1), ..Until::default() })?;
    ensure!(cut.length >= 37, "cut too far: {cut:?}");
    writer.append("core", &new.range(37, 80), &[])?;
    reader.wait("core", Until { length: 80, fork: Some(1), ..Until::default() })?;
    reader.download("core", 0, 80)?;
    reader.check("core", &old.range(0, 37))?;
    reader.check("core", &new.range(37, 80))?;
    same(&mut *writer, &mut *reader, "core")?;
    close([writer, reader])
}

/// A fork made while nobody was connected: the reader finds the common ancestors when it comes back.
fn fork_while_apart(cast: &Cast) -> Result<()> {
    let (mut writer, mut reader) = cast.pair()?;
    let (old, new) = (Blocks::new(6, 100, &MIXED_SMALL), Blocks::new(7, 150, &MIXED_SMALL));
    let key = write(&mut *writer, "core", &CoreSpec::named("apart"), &old)?.key;
    let port = connect(&mut *writer, &mut *reader, "core", &key)?;
    receive_all(&mut *reader, "core", &old)?;
    reader.disconnect()?;
    writer.truncate("core", 61, 1)?;
    writer.truncate("core", 13, 2)?;
    writer.append("core", &new.range(13, 150), &[])?;
    reader.dial(port, None)?;
    reader.wait("core", Until { length: 150, fork: Some(2), ..Until::default() })?;
    reader.download("core", 0, 150)?;
    reader.check("core", &old.range(0, 13))?;
    reader.check("core", &new.range(13, 150))?;
    same(&mut *writer, &mut *reader, "core")?;
    close([writer, reader])
}

/// Ranges here and there; what was not asked for is not fetched.
fn sparse_with_holes(cast: &Cast) -> Result<()> {
    let (mut writer, mut reader) = cast.pair()?;
    let run = Blocks::new(8, 1_000, &MIXED_SMALL);
    let key = write(&mut *writer, "core", &CoreSpec::named("sparse"), &run)?.key;
    connect(&mut *writer, &mut *reader, "core", &key)?;
    reader.wait("core", Until::length(1_000))?;
    let wanted = [(3, 4), (100, 164), (511, 513), (998, 1_000)];
    for (start, end) in wanted {
        reader.download("core", start, end)?;
        reader.check("core", &run.range(start as u32, end as u32))?;
    }
    ensure!(reader.held("core")? == wanted, "held: {:?}", reader.held("core")?);
    same(&mut *writer, &mut *reader, "core")?;
    receive_all(&mut *reader, "core", &run)?;
    close([writer, reader])
}

/// A writer without some of its own blocks serves the rest, and the reader waits for the others without failing.
fn cleared_blocks_are_not_offered(cast: &Cast) -> Result<()> {
    let (mut writer, mut reader) = cast.pair()?;
    let run = Blocks::new(9, 100, &MIXED_SMALL);
    let key = write(&mut *writer, "core", &CoreSpec::named("cleared"), &run)?.key;
    writer.clear("core", 20, 40)?;
    ensure!(writer.held("core")? == [(0, 20), (40, 100)], "held: {:?}", writer.held("core")?);
    connect(&mut *writer, &mut *reader, "core", &key)?;
    reader.wait("core", Until::length(100))?;
    reader.follow("core")?;
    reader.download("core", 0, 20)?;
    reader.download("core", 40, 100)?;
    reader.check("core", &run.range(40, 100))?;
    ensure!(reader.held("core")? == [(0, 20), (40, 100)], "held: {:?}", reader.held("core")?);
    close([writer, reader])
}

/// Bytes are found without fetching the blocks before them.
fn seek_by_byte(cast: &Cast) -> Result<()> {
    let (mut writer, mut reader) = cast.pair()?;
    let run = Blocks::new(10, 500, &[10, 20, 30]);
    let key = write(&mut *writer, "core", &CoreSpec::named("seek"), &run)?.key;
    connect(&mut *writer, &mut *reader, "core", &key)?;
    reader.wait("core", Until::length(500))?;
    for (byte, expected) in [(0, (0, 0)), (9, (0, 9)), (10, (1, 0)), (6_045, (302, 15)), (9_969, (498, 9))] {
        let found = reader.seek("core", byte)?;
        ensure!(found == expected, "byte {byte} is at {found:?}, expected {expected:?}");
        ensure!(writer.seek("core", byte)? == expected, "the writer finds byte {byte} elsewhere");
    }
    ensure!(reader.held("core")?.iter().map(|(start, end)| end - start).sum::<u64>() < 50, "fetched too much");
    close([writer, reader])
}

/// A core of hypercore 10 and older, whose key is the public key.
fn compat_core(cast: &Cast) -> Result<()> {
    for spec in [CoreSpec::signed("compat").compat(), CoreSpec::signed("compat").compat().plain()] {
        let (mut writer, mut reader) = cast.pair()?;
        let alone = spec.plain.then_some("core");
        let run = Blocks::new(11, 64, &MIXED_SMALL);
        let key = write(&mut *writer, "core", &spec, &run)?.key;
        ensure!(key == COMPAT_KEY, "the key is not the public key: {key}");
        reader.open("core", &CoreSpec { plain: spec.plain, ..CoreSpec::keyed(&key) })?;
        let port = writer.listen(alone)?;
        reader.dial(port, alone)?;
        receive_all(&mut *reader, "core", &run)?;
        same(&mut *writer, &mut *reader, "core")?;
        close([writer, reader])?;
    }
    Ok(())
}

/// One signer under manifests 0, 1 and 2, the last with user data.
fn manifests_of_every_version(cast: &Cast) -> Result<()> {
    let (mut writer, mut reader) = cast.pair()?;
    let run = Blocks::new(12, 33, &MIXED_SMALL);
    let port = writer.listen(None)?;
    reader.dial(port, None)?;
    for version in 0..3 {
        let core = format!("v{version}");
        let mut manifest = Manifest::new(version, 1, &["alone"]);
        manifest.user_data = (version == 2).then(|| "c0ffee".to_owned());
        let spec = CoreSpec { signer: Some("alone".to_owned()), ..CoreSpec::manifested(manifest) };
        let key = write(&mut *writer, &core, &spec, &run)?.key;
        reader.open(&core, &CoreSpec::keyed(&key))?;
        receive_all(&mut *reader, &core, &run)?;
        same(&mut *writer, &mut *reader, &core)?;
    }
    close([writer, reader])
}

/// Two of three sign, under manifests 0 and 1; another two sign the next append.
fn several_signers(cast: &Cast) -> Result<()> {
    let (mut writer, mut reader) = cast.pair()?;
    let run = Blocks::new(13, 40, &MIXED_SMALL);
    let port = writer.listen(None)?;
    reader.dial(port, None)?;
    for version in 0..2 {
        let core = format!("quorum v{version}");
        let spec = CoreSpec::manifested(Manifest::new(version, 2, &["alice", "bob", "carol"]));
        let key = writer.open(&core, &spec)?.key;
        writer.append(&core, &run.range(0, 25), &["alice", "carol"])?;
        reader.open(&core, &CoreSpec::keyed(&key))?;
        receive_all(&mut *reader, &core, &run.range(0, 25))?;
        writer.append(&core, &run.range(25, 40), &["carol", "bob"])?;
        receive_all(&mut *reader, &core, &run)?;
        same(&mut *writer, &mut *reader, &core)?;
    }
    close([writer, reader])
}

/// Two writers' copies with different halves and one reader: it takes from both. The second copy is made by the reader's
/// kind, so that both kinds serve and both receive.
fn three_peers_at_once(cast: &Cast) -> Result<()> {
    let (mut writer, mut reader) = cast.pair()?;
    let mut copy = cast.reader("copy")?;
    let run = Blocks::new(14, 400, &MIXED);
    let key = write(&mut *writer, "core", &CoreSpec::named("three"), &run)?.key;
    let port = connect(&mut *writer, &mut *copy, "core", &key)?;
    copy.download("core", 200, 400)?;
    copy.disconnect()?;
    writer.clear("core", 200, 400)?;

    reader.open("core", &CoreSpec::keyed(&key))?;
    let other_port = copy.listen(None)?;
    reader.dial(port, None)?;
    reader.dial(other_port, None)?;
    reader.wait("core", Until { peers: 2, ..Until::default() })?;
    receive_all(&mut *reader, "core", &run)?;
    same(&mut *writer, &mut *reader, "core")?;
    close([writer, reader, copy])
}

/// What a reader received it passes on, also live; the writer and the last reader never meet.
fn passed_on_by_a_reader(cast: &Cast) -> Result<()> {
    let (mut writer, mut reader) = cast.pair()?;
    let mut last = cast.writer("last")?;
    let run = Blocks::new(15, 120, &MIXED_SMALL);
    let key = write(&mut *writer, "core", &CoreSpec::named("passed on"), &run.range(0, 100))?.key;
    connect(&mut *writer, &mut *reader, "core", &key)?;
    reader.follow("core")?;
    connect(&mut *reader, &mut *last, "core", &key)?;
    last.follow("core")?;
    last.wait("core", Until::contiguous(100))?;
    writer.append("core", &run.range(100, 120), &[])?;
    last.wait("core", Until::contiguous(120))?;
    last.check("core", &run)?;
    same(&mut *writer, &mut *last, "core")?;
    close([writer, reader, last])
}

fn one_byte_blocks(cast: &Cast) -> Result<()> {
    blocks_of(cast, &Blocks::new(16, 10_000, &[1]))
}

/// Around 64 KiB, where frames and batches meet their limits, and far above it.
fn large_blocks(cast: &Cast) -> Result<()> {
    let sizes = [65_535, 65_536, 65_537, 70_000, 131_072, 1_000_000, 4_194_304, 8_000_000];
    blocks_of(cast, &Blocks::new(17, 32, &sizes))
}

fn empty_blocks(cast: &Cast) -> Result<()> {
    blocks_of(cast, &Blocks::new(18, 50, &[0, 0, 5, 0]))
}

/// The connection is cut in the middle of a download, several times; nothing is lost, nothing fetched twice is needed.
fn reconnect_and_resume(cast: &Cast) -> Result<()> {
    let (mut writer, mut reader) = cast.pair()?;
    let run = Blocks::new(19, 2_000, &[1_000, 30_000]);
    let key = write(&mut *writer, "core", &CoreSpec::named("cut"), &run)?.key;
    let port = connect(&mut *writer, &mut *reader, "core", &key)?;
    reader.follow("core")?;
    for part in 1..4 {
        reader.wait("core", Until::contiguous(part * 300))?;
        reader.disconnect()?;
        reader.dial(port, None)?;
    }
    reader.wait("core", Until::contiguous(2_000))?;
    reader.check("core", &run)?;
    close([writer, reader])
}

/// Both stores are closed and opened again: the same cores, and replication goes on where it was.
fn reopened_from_disk(cast: &Cast) -> Result<()> {
    let (mut writer, mut reader) = cast.pair()?;
    let run = Blocks::new(20, 300, &MIXED_SMALL);
    let spec = CoreSpec::named("reopened");
    let key = write(&mut *writer, "core", &spec, &run.range(0, 200))?.key;
    connect(&mut *writer, &mut *reader, "core", &key)?;
    reader.wait("core", Until::length(200))?;
    reader.download("core", 50, 150)?;
    close([writer, reader])?;

    let (mut writer, mut reader) = cast.pair()?;
    ensure!(writer.open("core", &spec)?.key == key, "the name gives another key");
    writer.append("core", &run.range(200, 300), &[])?;
    let kept = reader.open("core", &CoreSpec::keyed(&key))?;
    ensure!(kept.length == 200 && reader.held("core")? == [(50, 150)], "kept {kept:?}");
    connect(&mut *writer, &mut *reader, "core", &key)?;
    reader.wait("core", Until::length(300))?;
    receive_all(&mut *reader, "core", &run)?;
    same(&mut *writer, &mut *reader, "core")?;
    close([writer, reader])
}

/// The reader is connected, and asks, before the writer has the core at all.
fn opened_after_it_was_asked_for(cast: &Cast) -> Result<()> {
    let (mut writer, mut reader) = cast.pair()?;
    let run = Blocks::new(21, 20, &MIXED_SMALL);
    connect(&mut *writer, &mut *reader, "core", COMPAT_KEY)?;
    write(&mut *writer, "other", &CoreSpec::named("other"), &run)?;
    write(&mut *writer, "core", &CoreSpec::signed("compat").compat(), &run)?;
    receive_all(&mut *reader, "core", &run)?;
    close([writer, reader])
}

/// A core over several pages of a bitfield, of which the writer kept hardly anything whole.
fn many_holes(cast: &Cast) -> Result<()> {
    let (mut writer, mut reader) = cast.pair()?;
    let run = Blocks::new(22, 70_000, &[1]);
    let key = write(&mut *writer, "core", &CoreSpec::named("holes"), &run)?.key;
    let mut left = Vec::new();
    for start in (0..70_000).step_by(1_000) {
        writer.clear("core", start, start + 500 + start / 200)?;
        left.push((start + 500 + start / 200, start + 1_000));
    }
    ensure!(writer.held("core")? == left, "the writer holds {:?}", writer.held("core")?);
    connect(&mut *writer, &mut *reader, "core", &key)?;
    reader.wait("core", Until::length(70_000))?;
    reader.follow("core")?;
    for (start, end) in left.iter().rev() {
        reader.download("core", *start, *end)?;
        reader.check("core", &run.range(*start as u32, *end as u32))?;
    }
    ensure!(reader.held("core")? == left, "the reader holds {:?}", reader.held("core")?);
    close([writer, reader])
}

/// Writer and reader hold different parts of a core, and of the fork that replaces it.
fn fork_found_by_sparse_peers(cast: &Cast) -> Result<()> {
    let (mut writer, mut reader) = cast.pair()?;
    let (old, new) = (Blocks::new(23, 1_000, &MIXED_SMALL), Blocks::new(24, 1_200, &MIXED_SMALL));
    let key = write(&mut *writer, "core", &CoreSpec::named("sparse fork"), &old)?.key;
    let port = connect(&mut *writer, &mut *reader, "core", &key)?;
    reader.wait("core", Until::length(1_000))?;
    reader.download("core", 0, 10)?;
    reader.download("core", 700, 900)?;
    reader.disconnect()?;
    writer.truncate("core", 777, 1)?;
    writer.append("core", &new.range(777, 1_200), &[])?;
    writer.clear("core", 100, 600)?;
    writer.clear("core", 800, 1_000)?;
    reader.dial(port, None)?;
    let after = reader.wait("core", Until { length: 1_200, fork: Some(1), ..Until::default() })?;
    ensure!(after.fork == 1, "another fork: {after:?}");
    reader.download("core", 700, 800)?;
    reader.download("core", 1_000, 1_200)?;
    reader.check("core", &old.range(0, 10))?;
    reader.check("core", &old.range(700, 777))?;
    reader.check("core", &new.range(777, 800))?;
    reader.check("core", &new.range(1_000, 1_200))?;
    same(&mut *writer, &mut *reader, "core")?;
    close([writer, reader])
}

/// A reader between a copy of the old fork and the writer of two newer ones: it follows, and so does the copy through it.
fn fork_passed_on_between_old_and_new(cast: &Cast) -> Result<()> {
    let (mut writer, mut reader) = cast.pair()?;
    let mut copy = cast.writer("copy")?;
    let (old, new) = (Blocks::new(25, 90, &MIXED_SMALL), Blocks::new(26, 120, &MIXED_SMALL));
    let key = write(&mut *writer, "core", &CoreSpec::named("between"), &old)?.key;
    let port = connect(&mut *writer, &mut *copy, "core", &key)?;
    receive_all(&mut *copy, "core", &old)?;
    copy.disconnect()?;
    writer.truncate("core", 50, 1)?;
    writer.append("core", &new.range(50, 70), &[])?;

    copy.follow("core")?;
    connect(&mut *copy, &mut *reader, "core", &key)?;
    reader.follow("core")?;
    reader.wait("core", Until::contiguous(90))?;
    reader.dial(port, None)?;
    for peer in [&mut reader, &mut copy] {
        peer.wait("core", Until { contiguous: 70, fork: Some(1), ..Until::default() })?;
        peer.check("core", &old.range(0, 50))?;
        peer.check("core", &new.range(50, 70))?;
    }
    writer.truncate("core", 60, 2)?;
    writer.append("core", &new.range(60, 120), &[])?;
    for peer in [&mut reader, &mut copy] {
        peer.wait("core", Until { contiguous: 120, fork: Some(2), ..Until::default() })?;
        peer.check("core", &new.range(50, 120))?;
        same(&mut *writer, &mut **peer, "core")?;
    }
    close([writer, reader, copy])
}

fn blocks_of(cast: &Cast, run: &Blocks) -> Result<()> {
    let (mut writer, mut reader) = cast.pair()?;
    let key = write(&mut *writer, "core", &CoreSpec::named("blocks"), run)?.key;
    connect(&mut *writer, &mut *reader, "core", &key)?;
    receive_all(&mut *reader, "core", run)?;
    same(&mut *writer, &mut *reader, "core")?;
    close([writer, reader])
}

fn write(peer: &mut dyn Peer, core: &str, spec: &CoreSpec, run: &Blocks) -> Result<CoreInfo> {
    peer.open(core, spec)?;
    peer.append(core, run, &[])
}

/// Opens the core at the reader, whose store then dials the writer's; returns the port for another dial.
fn connect(writer: &mut dyn Peer, reader: &mut dyn Peer, core: &str, key: &str) -> Result<u16> {
    reader.open(core, &CoreSpec::keyed(key))?;
    let port = writer.listen(None)?;
    reader.dial(port, None)?;
    Ok(port)
}

fn receive_all(reader: &mut dyn Peer, core: &str, run: &Blocks) -> Result<()> {
    let length = u64::from(run.start + run.count);
    reader.wait(core, Until::length(length))?;
    reader.download(core, 0, length)?;
    ensure!(reader.held(core)? == [(0, length)], "{core} has holes: {:?}", reader.held(core)?);
    reader.check(core, run)
}

fn same(writer: &mut dyn Peer, reader: &mut dyn Peer, core: &str) -> Result<()> {
    let state =
        |info: CoreInfo| (info.key, info.discovery_key, info.length, info.byte_length, info.fork, info.tree_hash);
    let (written, read) = (state(writer.info(core)?), state(reader.info(core)?));
    ensure!(written == read, "{core} differs: {written:?} was written, {read:?} arrived");
    Ok(())
}

fn close<const N: usize>(peers: [Box<dyn Peer>; N]) -> Result<()> {
    peers.into_iter().try_for_each(Peer::close)
}

const MIXED: [usize; 5] = [1, 1_024, 65_536, 0, 3_000];
const MIXED_SMALL: [usize; 4] = [7, 0, 300, 1];

/// The public key of the key pair whose seed is SHA-256 of "compat".
const COMPAT_KEY: &str = "284647128549d995690ad414e4de02ab7fd9d679aea1e0c4bc86956b1005a4ce";

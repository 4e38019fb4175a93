//! What is beside plain fetching: urgent blocks, blocks pushed unasked, extension messages, peers that each hold a part.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};
use anypath_interop::{Blocks, Cast, CoreSpec, Kind, Peer, Until, scenarios};
use serde_json::json;

scenarios!(extensions_both_ways, pushed_unasked, parts_of_a_core_at_three_peers, seeks_among_sparse_peers,);

/// Names are told once and then left out: they must be remembered, each way.
fn extensions_both_ways(cast: &Cast) -> Result<()> {
    let (mut writer, mut reader) = cast.pair()?;
    connected(&mut *writer, &mut *reader, &Blocks::new(1, 3, &[10]))?;
    for peer in [&mut writer, &mut reader] {
        ["first", "second"].iter().try_for_each(|name| peer.hear("core", name))?;
    }
    let said = [("first", "1"), ("first", "2"), ("second", ""), ("second", "3"), ("first", "ä")];
    for (name, text) in said {
        writer.say("core", name, text)?;
        reader.say("core", name, text)?;
    }
    for peer in [&mut writer, &mut reader] {
        for (name, text) in said {
            let heard = peer.heard("core")?;
            ensure!(heard == (name.to_owned(), text.to_owned()), "heard {heard:?}, not {name} {text}");
        }
    }
    close([writer, reader])
}

/// A reader that wants no block gets those that are pushed, if it takes them.
fn pushed_unasked(cast: &Cast) -> Result<()> {
    let (mut writer, mut reader) = cast.pair()?;
    let run = Blocks::new(2, 60, &[100]);
    connected(&mut *writer, &mut *reader, &run.range(0, 20))?;
    writer.append("core", &run.range(20, 21), &[])?;
    writer.push("core", 20)?;
    reader.wait("core", Until::length(21))?;
    sleep(Duration::from_millis(200));
    ensure!(reader.held("core")?.is_empty(), "it was not to be pushed: {:?}", reader.held("core")?);
    reader.allow_push("core")?;
    // Which of them comes first depends on when the writer hears that they may.
    for index in 21..60 {
        writer.append("core", &run.range(index, index + 1), &[])?;
        writer.push("core", index.into())?;
        reader.wait("core", Until::length(u64::from(index) + 1))?;
        sleep(Duration::from_millis(50));
        if let Some((start, end)) = reader.held("core")?.last() {
            ensure!(*start > 20, "held {:?}", reader.held("core")?);
            reader.check("core", &run.range(*start as u32, *end as u32))?;
            return close([writer, reader]);
        }
    }
    anyhow::bail!("nothing is pushed")
}

/// Three copies with other parts each, of which some overlap; the writer is not there.
fn parts_of_a_core_at_three_peers(cast: &Cast) -> Result<()> {
    let run = Blocks::new(3, 900, &[300, 1, 2_000]);
    let (copies, mut reader, ports) = scattered(cast, &run, &[&[(0, 350), (800, 900)], &[(300, 500)], &[(450, 820)]])?;
    for port in ports {
        reader.dial(port, None)?;
    }
    reader.wait("core", Until { length: 900, peers: 3, ..Until::default() })?;
    reader.download("core", 0, 900)?;
    reader.check("core", &run)?;
    close(copies)?;
    reader.close()
}

/// Bytes are found although no peer has a block anywhere near some of them.
fn seeks_among_sparse_peers(cast: &Cast) -> Result<()> {
    let run = Blocks::new(4, 600, &[100]);
    let (copies, mut reader, ports) = scattered(cast, &run, &[&[(0, 100)], &[(200, 300)], &[(500, 600)]])?;
    for port in ports {
        reader.dial(port, None)?;
    }
    reader.wait("core", Until { length: 600, peers: 3, ..Until::default() })?;
    for block in [0, 50, 99, 200, 250, 299, 500, 550, 599] {
        let found = reader.seek("core", block * 100 + 7)?;
        ensure!(found == (block, 7), "byte {} is at {found:?}", block * 100 + 7);
    }
    close(copies)?;
    reader.close()
}

/// Our request for what somebody waits for says so.
#[test]
fn a_block_somebody_waits_for_is_asked_for_with_priority() -> Result<()> {
    Cast::play(Kind::Js, Kind::Rust, |cast| {
        let (mut writer, mut reader) = (cast.js("writer")?, cast.reader("reader")?);
        let run = Blocks::new(5, 40, &[50]);
        connected(&mut writer, &mut *reader, &run)?;
        writer.ask("core.trace", json!({ "core": "core" }))?;
        reader.fetch_now("core", 33)?;
        writer.wait_event("request", &json!({ "core": "core", "block": 33, "priority": 1 }))?;
        reader.download("core", 7, 8)?;
        writer.wait_event("request", &json!({ "core": "core", "block": 7, "priority": 0 }))?;
        close([Box::new(writer), reader])
    })
}

/// Makes a core of which three copies hold those parts, lets the writer go, and opens the core at a reader.
#[expect(clippy::type_complexity, reason = "said above")]
fn scattered(
    cast: &Cast,
    run: &Blocks,
    parts: &[&[(u64, u64)]; 3],
) -> Result<([Box<dyn Peer>; 3], Box<dyn Peer>, [u16; 3])> {
    let mut writer = cast.writer("writer")?;
    writer.open("core", &CoreSpec::named("scattered"))?;
    let key = writer.append("core", run, &[])?.key;
    let port = writer.listen(None)?;
    let mut copies = [cast.writer("one")?, cast.writer("two")?, cast.writer("three")?];
    let mut ports = [0; 3];
    for ((copy, parts), at) in copies.iter_mut().zip(parts).zip(&mut ports) {
        copy.open("core", &CoreSpec::keyed(&key))?;
        copy.dial(port, None)?;
        copy.wait("core", Until::length(u64::from(run.count)))?;
        parts.iter().try_for_each(|(start, end)| copy.download("core", *start, *end))?;
        copy.disconnect()?;
        *at = copy.listen(None)?;
    }
    writer.close()?;
    let mut reader = cast.reader("reader")?;
    reader.open("core", &CoreSpec::keyed(&key))?;
    Ok((copies, reader, ports))
}

/// Writes a core and lets a reader follow it.
fn connected(writer: &mut dyn Peer, reader: &mut dyn Peer, run: &Blocks) -> Result<()> {
    writer.open("core", &CoreSpec::named("beside"))?;
    let key = writer.append("core", run, &[])?.key;
    reader.open("core", &CoreSpec::keyed(&key))?;
    let port = writer.listen(None)?;
    reader.dial(port, None)?;
    reader.wait("core", Until { length: u64::from(run.count), peers: 1, ..Until::default() })?;
    Ok(())
}

fn close<const N: usize>(peers: [Box<dyn Peer>; N]) -> Result<()> {
    peers.into_iter().try_for_each(Peer::close)
}

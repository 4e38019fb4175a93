//! What carries a clone may die in the middle: it completes without a restart, and fetches nothing again that it had.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use anypath_interop::folder::{Plan, expect_same, generate, list, totals};
use anypath_interop::lab::{Lab, Line, Profile, Site};
use serde_json::{Map, Value};

#[test]
fn a_proxy_may_be_killed_and_come_back() -> Result<()> {
    survives(Profile::ProxyDigest, |_, site| site.restart_proxy())
}

#[test]
fn a_proxy_that_only_passes_what_is_whole_may_too() -> Result<()> {
    survives(Profile::ProxyBuffering, |_, site| site.restart_proxy())
}

#[test]
fn the_relay_may_be_killed_and_come_back() -> Result<()> {
    survives(Profile::TlsInterceptNoWs, |lab, _| lab.restart_relay())
}

#[test]
fn a_host_may_get_another_address() -> Result<()> {
    survives(Profile::Cone, |_, site| site.move_host())
}

#[test]
fn a_host_behind_a_proxy_may_get_another_address() -> Result<()> {
    survives(Profile::ProxyConnect, |_, site| site.move_host())
}

#[test]
fn what_is_learnt_of_a_network_is_kept_for_the_next_run() -> Result<()> {
    let Some(lab) = Lab::open()? else { return Ok(()) };
    let (site, store, source) = (lab.site(Profile::ProxyBuffering)?, lab.path("store"), lab.path("source"));
    generate(&source, Plan { seed: 42, files: 2, large_bytes: 1 << 10 })?;
    let words = ["share".as_ref(), source.as_os_str(), "--via".as_ref(), lab.relay().as_ref()];
    let share = || -> Result<_> {
        let mut share = site.anypath(&store, words)?;
        share.wait_until("listening", |event| event["transport"] == "https")?;
        Ok(share)
    };
    let first = share()?;
    let file = store.join("networks.json");
    let began = Instant::now();
    let (way, mut kept) = loop {
        match lesson(&file).filter(|(_, lesson)| lesson["streams_down"].is_boolean()) {
            Some(kept) => break kept,
            None => ensure!(began.elapsed() < Duration::from_secs(30), "what was learnt is not written"),
        }
        sleep(Duration::from_millis(50));
    };
    ensure!(["relay.lab", "through http://"].iter().all(|part| way.contains(part)), "{way}");
    ensure!(kept["streams_down"] == false, "answers come whole here: {kept}");
    drop(first);
    // Whoever asks the network again writes what it says; whoever believes the file leaves it alone.
    kept["hold_ms"] = 7_000.into();
    fs::write(&file, serde_json::json!({ way: kept }).to_string())?;
    let _second = share()?;
    sleep(Duration::from_secs(3));
    let now = lesson(&file).context("it is gone")?.1;
    ensure!(now == kept, "{now} after {kept}");
    Ok(())
}

/// Returns the one lesson of a file, and of which way it is.
fn lesson(file: &Path) -> Option<(String, Value)> {
    let ways: Map<String, Value> = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
    ways.into_iter().next()
}

/// Clones over a line of 4 MiB/s, does that in the middle, and looks at the end and at how much went over the line.
fn survives(profile: Profile, disturb: impl FnOnce(&Lab, &Site) -> Result<()>) -> Result<()> {
    let Some(lab) = Lab::open()? else { return Ok(()) };
    let line = Line { delay: Duration::from_millis(10), lost_per_10_000: 0, rate: 4 << 20 };
    let (sharing, cloning) = (lab.site(Profile::Open)?, lab.far_site(profile, line)?);
    let (source, target) = (lab.path("source"), lab.path("target"));
    generate(&source, Plan { seed: 41, files: 20, large_bytes: 24 << 20 })?;
    let (listing, via) = (list(&source)?, ["--via".as_ref(), lab.relay().as_ref()]);
    let words = ["share".as_ref(), source.as_os_str()].into_iter().chain(via);
    let mut share = sharing.anypath(&lab.path("shares"), words)?;
    let key = share.wait_for("shared")?["key"].as_str().context("no key")?.to_owned();
    let words = ["clone".as_ref(), key.as_ref(), target.as_os_str()].into_iter().chain(via);
    let mut clone = cloning.anypath(&lab.path("clones"), words)?;
    clone.wait_until("progress", |event| event["bytes"].as_u64() > Some(8 << 20))?;
    disturb(&lab, &cloning)?;
    ensure!(clone.is_running(), "it was over too soon to tell anything");
    let done = clone.finish()?;
    done.expect_code(0)?;
    expect_same(&listing, &list(&target)?)?;
    // What was under way is lost, and headers are sent: far less than what had come before.
    let (came, (_, bytes)) = (cloning.received()?, totals(&listing));
    ensure!(came < bytes + SPARE_BYTES, "{came} bytes came over the line for {bytes}");
    Ok(())
}

/// What may come beside the content: windows under way, handshakes, headers, proofs.
const SPARE_BYTES: u64 = 7 << 20;

//! A folder goes from every kind of network to every other, through a relay on port 443.
//!
//! In every run each kind shares once and clones once. `ANYPATH_LONG=1` tries every ordered pair, and writes the table
//! of them into the file that `ANYPATH_REPORT` names.

use std::env;
use std::fmt::Write;
use std::fs;

use anyhow::{Result, ensure};
use anypath_interop::folder::Plan;
use anypath_interop::lab::{Lab, Passage, Profile, Site};

#[test]
fn a_folder_goes_from_every_kind_of_network_to_another() -> Result<()> {
    let Some(lab) = Lab::open()? else { return Ok(()) };
    let sites = sites(&lab)?;
    for (index, from) in sites.iter().enumerate() {
        let to = &sites[(index + STEP) % sites.len()];
        from.readmit()?;
        check(&Passage::make(&lab, from, to, Plan { seed: 21, files: 40, large_bytes: 1 << 20 })?)?;
    }
    Ok(())
}

#[test]
fn every_pair_of_networks_passes() -> Result<()> {
    if env::var_os("ANYPATH_LONG").is_none() {
        return Ok(());
    }
    let Some(lab) = Lab::open()? else { return Ok(()) };
    let [sharing, cloning] = [sites(&lab)?, sites(&lab)?];
    let (mut table, mut failures) = (String::new(), Vec::new());
    for (from, to) in sharing.iter().flat_map(|from| cloning.iter().map(move |to| (from, to))) {
        from.readmit()?;
        to.readmit()?;
        let passage = Passage::make(&lab, from, to, Plan { seed: 22, files: 60, large_bytes: 16 << 20 });
        match passage.and_then(|passage| check(&passage).map(|()| passage)) {
            Ok(passage) => row(&mut table, &passage)?,
            Err(error) => failures.push(format!("{} to {}: {error:#}", from.profile, to.profile)),
        }
    }
    if let Some(path) = env::var_os("ANYPATH_REPORT") {
        fs::write(path, format!("{HEAD}{table}"))?;
    }
    ensure!(failures.is_empty(), "{} pairs failed:\n{}", failures.len(), failures.join("\n"));
    Ok(())
}

fn sites(lab: &Lab) -> Result<Vec<Site>> {
    Profile::ALL.iter().map(|profile| lab.site(*profile)).collect()
}

/// Where no WebSocket passes, requests carry it.
fn check(passage: &Passage) -> Result<()> {
    ensure!(passage.to.passes_upgrades() || passage.carrier != "https/ws", "{passage:?}");
    Ok(())
}

fn row(table: &mut String, passage: &Passage) -> Result<()> {
    let Passage { from, to, carrier, registered, connected, .. } = passage;
    let [registered, connected] = [registered, connected].map(|time| time.as_millis());
    writeln!(table, "| {from} | {to} | {carrier} | {registered} | {connected} | {:.1} |", passage.rate())?;
    Ok(())
}

/// How far on in the list the other end is: no kind meets its neighbour, which is much the same.
const STEP: usize = 5;
const HEAD: &str = "\
# Every kind of network to every other

A folder of 60 small files and one of 16 MiB is shared at a site of one kind and cloned at one of another, through a
relay on port 443, equal byte for byte. The sites are those of `interop/src/lab`, with real proxies, on one machine
without delay. Neither side knows more than the relay and the folder's key. Times are from the start of the program:
until the sharing one is found at the relay, and until the cloning one has a peer that has proven its key. The rate is
that of the whole clone from there, verifying and writing included, with both programs, the relay and the proxies on the
same two processors (2026-11-26, release build). The carrier is what the clone told at its end: the one that it was given its circuit on.

```sh
cargo build --release -p anypath-cli
ANYPATH_LONG=1 ANYPATH_REPORT=$PWD/interop/reports/pairs.md cargo test --release -p anypath-interop --test live_pairs
```

| shared at | cloned at | carrier | registered, ms | connected, ms | MiB/s |
|---|---|---|---|---|---|
";

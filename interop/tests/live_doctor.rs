//! The doctor names what is in the way, in every kind of network.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use anypath_interop::lab::{Idle, Lab, Profile, Site};
use anypath_interop::{Anypath, Finished};

/// What it finds in each: the words for it, and what the program will use.
const FINDINGS: [(Profile, &[&str], &str); 13] = [
    (Profile::Open, &[], "https/ws"),
    (Profile::FullCone, &["nat_fullcone"], "https/ws"),
    (Profile::Cone, &["nat_cone"], "https/ws"),
    (Profile::Symmetric, &["nat_symmetric"], "https/ws"),
    (Profile::UdpBlocked, &["udp_blocked"], "https/ws"),
    (Profile::UdpBlocked443, &["udp_blocked", "ports_blocked"], "https/ws"),
    (Profile::ProxyConnect, &["proxy_only"], "https/ws"),
    (Profile::ProxyAuth, &["proxy_only", "proxy_basic"], "https/ws"),
    (Profile::ProxyDigest, &["proxy_only", "proxy_digest"], "https/ws"),
    (Profile::TlsIntercept, &["proxy_only", "tls_opened"], "https/ws"),
    (Profile::TlsInterceptNoWs, &["proxy_only", "tls_opened", "upgrades_stripped"], "https/stream"),
    (Profile::ProxyBuffering, &["proxy_only", "tls_opened", "upgrades_stripped", "answers_buffered"], "https/poll"),
    (Profile::Captive, &["first_refused", "nat_cone"], "https/ws"),
];

#[test]
fn it_names_what_is_in_the_way() -> Result<()> {
    let Some(lab) = Lab::open()? else { return Ok(()) };
    for (profile, causes, uses) in FINDINGS {
        let done = examine(&lab, &lab.site(profile)?, &[])?;
        finds(&done, causes, uses).with_context(|| format!("{profile}: {:#?}", done.events))?;
        if profile.is_intercepted() {
            let text = done.event("diagnosis")?.to_string();
            ensure!(text.contains("CN=Example Corp Inspection"), "{profile}: who looks inside is named: {text}");
        }
    }
    Ok(())
}

#[test]
fn with_patience_it_finds_how_long_connections_last() -> Result<()> {
    let Some(lab) = Lab::open()? else { return Ok(()) };
    let site = lab.idle_site(Idle { silent_s: 3, age_s: 7 })?;
    let done = examine(&lab, &site, &["--patient", "12"])?;
    finds(&done, &["proxy_only", "silence_cut", "age_cut"], "https/ws").with_context(|| format!("{:#?}", done.events))
}

#[test]
fn where_nothing_leads_it_says_so() -> Result<()> {
    let Some(lab) = Lab::open()? else { return Ok(()) };
    let site = lab.site(Profile::ProxyDigest)?;
    let words = ["doctor", "--via", lab.relay(), "--proxy", "none"];
    let done = site.anypath(&lab.path("doctor"), words)?.finish()?;
    done.expect_code(3)?;
    ensure!(done.event("diagnosis")?["uses"].is_null());
    let output = site.command_of_people(&["doctor", "--via", lab.relay(), "--proxy", "none"])?.output()?;
    let told = String::from_utf8(output.stdout)?;
    ensure!(told.contains("Nothing leads there.") && !told.contains("Nothing is in the way"), "{told}");
    let wrong = site.proxy_url().context("no proxy")?.replace("s3cret", "wrong");
    let done = site.anypath(&lab.path("doctor"), ["doctor", "--via", lab.relay(), "--proxy", &wrong])?.finish()?;
    done.expect_code(3)?;
    ensure!(format!("{:?}", done.events).contains("refuses the name and the password"), "{:?}", done.events);
    Ok(())
}

#[test]
fn a_person_reads_a_table_and_a_paragraph() -> Result<()> {
    let Some(lab) = Lab::open()? else { return Ok(()) };
    let site = lab.site(Profile::Open)?;
    let output = site.command_of_people(&["doctor", "--via", lab.relay()])?.output()?;
    let told = String::from_utf8(output.stdout)?;
    for line in
        ["websocket    yes  opens", "The program will use https/ws.", "Please allow HTTPS to relay.lab, port 443"]
    {
        ensure!(told.contains(line), "{line}: {told}");
    }
    Ok(())
}

#[test]
fn what_is_no_relay_is_a_wrong_command_line() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let done = Anypath::run(&folder.path().join("store"), ["doctor", "--via", "tcp://192.0.2.1:1"])?;
    ensure!(done.expect_sentence(2)?.contains("is no relay"));
    Anypath::run(&folder.path().join("store"), ["doctor"])?.expect_code(0)?;
    Ok(())
}

fn examine(lab: &Lab, site: &Site, more: &[&str]) -> Result<Finished> {
    let words = ["doctor", "--via", lab.relay()];
    let done = site.anypath(&lab.path("doctor"), words.iter().chain(more))?.finish()?;
    done.expect_code(0)?;
    Ok(done)
}

fn finds(done: &Finished, causes: &[&str], uses: &str) -> Result<()> {
    let diagnosis = done.event("diagnosis")?;
    let found = diagnosis["causes"].as_array().context("no causes")?;
    let found: BTreeSet<_> = found.iter().filter_map(|cause| cause["code"].as_str()).collect();
    ensure!(found == causes.iter().copied().collect(), "{found:?} instead of {causes:?}");
    ensure!(diagnosis["uses"] == uses, "{} instead of {uses}", diagnosis["uses"]);
    Ok(())
}

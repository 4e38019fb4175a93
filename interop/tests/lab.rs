//! The lab is what it says: each site lets through what its profile names and nothing else.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use anypath_interop::lab::{Lab, Line, Profile, Site};

#[test]
fn a_site_behind_a_proxy_has_no_other_way_out() -> Result<()> {
    let Some(lab) = Lab::open()? else { return Ok(()) };
    for profile in [Profile::UdpBlocked443, Profile::ProxyAuth, Profile::ProxyBuffering] {
        let site = lab.site(profile)?;
        fetch(&site, &["https://relay.lab/"])?;
        let directly = ["--noproxy", "*", "--resolve", "relay.lab:443:198.51.100.1", "https://relay.lab/"];
        ensure!(fetch(&site, &directly).is_err() == profile.is_proxied(), "{profile}: directly");
        ensure!(fetch(&site, &["https://relay.lab:8443/"]).is_err(), "{profile}: another port");
    }
    Ok(())
}

#[test]
fn a_far_site_is_as_far_as_wanted() -> Result<()> {
    let Some(lab) = Lab::open()? else { return Ok(()) };
    let line = Line { delay: Duration::from_millis(40), lost_per_10_000: 0, rate: 1_000_000 };
    let site = lab.far_site(Profile::Cone, line)?;
    let told = fetch(&site, &["--write-out", "%{stderr}%{time_connect}", "https://relay.lab/"])?;
    let took: f64 = told.trim().parse()?;
    ensure!((0.08..0.2).contains(&took), "a round trip of 80 ms took {took} s");
    Ok(())
}

#[test]
fn nothing_is_left_of_it() -> Result<()> {
    let Some(lab) = Lab::open()? else { return Ok(()) };
    let site = lab.site(Profile::ProxyDigest)?;
    let ours = format!("anypath-{}-", std::process::id());
    let count = |ours: &str| -> Result<usize> {
        let names = Command::new("ip").args(["netns", "list"]).output()?.stdout;
        Ok(String::from_utf8_lossy(&names).lines().filter(|line| line.contains(ours)).count())
    };
    let before = count(&ours)?;
    ensure!(before >= 3);
    drop((site, lab));
    ensure!(count(&ours)? <= before - 3);
    Ok(())
}

/// Runs curl at a site; returns what it writes to stderr.
fn fetch(site: &Site, words: &[&str]) -> Result<String> {
    let mut curl = site.command("curl");
    curl.args(["--silent", "--show-error", "--fail", "--output", "/dev/null", "--max-time", "2"]).args(words);
    let output = curl.output()?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{}: {told}", site.profile);
    Ok(told)
}

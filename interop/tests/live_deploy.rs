//! The files that a relay is installed by: the commands in them start it, and systemd has nothing to say about its unit.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use anypath_interop::{Anypath, skip};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::TempDir;

#[test]
fn the_units_command_starts_a_relay() -> Result<()> {
    let unit = deploy("anypath-relay.service")?;
    let line =
        unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/anypath ")).context("no command")?;
    starts(line.split(' '))
}

#[test]
fn the_containers_command_starts_a_relay() -> Result<()> {
    let file = deploy("Containerfile")?;
    let words = file.lines().find_map(|line| line.strip_prefix("CMD ")).context("no command")?;
    let words: Vec<String> = serde_json::from_str(words)?;
    starts(words.iter().map(String::as_str))
}

#[test]
fn systemd_understands_the_unit() -> Result<()> {
    let folder = TempDir::new()?;
    let unit = deploy("anypath-relay.service")?.replace("/usr/local/bin/anypath", "/bin/true");
    let path = folder.path().join("anypath-relay.service");
    fs::write(&path, unit)?;
    let Ok(output) = Command::new("systemd-analyze").arg("verify").arg("--man=no").arg(&path).output() else {
        skip("systemd-analyze is not installed: apt install systemd");
        return Ok(());
    };
    // Other units of the machine may be wrong as well.
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let ours: Vec<_> = told.lines().filter(|line| line.contains("anypath-relay")).collect();
    ensure!(ours.is_empty(), "{ours:#?}");
    Ok(())
}

/// Starts the program by these words, at another port and with files of a folder.
fn starts<'a>(words: impl Iterator<Item = &'a str>) -> Result<()> {
    let folder = TempDir::new()?;
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["relay.example".to_owned()])?;
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("fullchain.pem"), cert.pem())?;
    fs::write(path("privkey.pem"), signing_key.serialize_pem())?;
    let words: Vec<_> = words
        .map(|word| {
            word.replace("/etc/ssl/relay.example", &folder.path().display().to_string())
                .replace("0.0.0.0:443", "127.0.0.1:0")
                .replace("0.0.0.0:8080", "127.0.0.1:0")
        })
        .collect();
    // The store is an option of ours, and of the one who starts it here.
    let at = words.iter().position(|word| word == "--store").context("no store")?;
    let words: Vec<_> = words[..at].iter().chain(&words[at + 2..]).collect();
    let mut relay = Anypath::start(&folder.path().join("store"), words)?;
    let address = relay.first("listening")?["address"].as_str().context("no address")?.to_owned();
    ensure!(address.starts_with("https://"), "{address}");
    relay.kill();
    Ok(())
}

fn deploy(name: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../relay/deploy").join(name);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

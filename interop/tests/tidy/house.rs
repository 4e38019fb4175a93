//! What every room and the workspace must have: lints, bans with their reasons, pinned features.

use crate::doors::PURE;

/// What nobody in a pure room may call or name. Each ban carries its reason in the room's clippy.toml.
const PURE_BANS: &[&str] = &[
    "std::time::Instant::now",
    "std::time::SystemTime::now",
    "std::thread::spawn",
    "std::thread::sleep",
    "std::env::var",
    "std::net::UdpSocket",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::collections::HashMap",
    "std::collections::HashSet",
];
/// What the rooms that have a runtime but leave peers' sockets to transports may not name.
const SOCKET_BANS: &[&str] = &["tokio::net::TcpStream", "tokio::net::TcpListener", "tokio::net::UdpSocket"];
/// Rooms with a runtime and without peers' sockets.
const SOCKETLESS: &[&str] = &["swarm", "cli"];
/// Features a room may have. One that is not here is one more program to test: add it with its test.
const FEATURES: &[(&str, &[&str])] = &[];
/// Lines of the root manifest that others count on.
const PINNED: &[&str] = &[
    "resolver = \"3\"",
    "edition = \"2024\"",
    "license = \"MIT OR Apache-2.0\"",
    "missing_docs = \"warn\"",
    "unsafe_code = \"deny\"",
    "disallowed_methods = \"deny\"",
    "disallowed_types = \"deny\"",
    "unwrap_used = \"warn\"",
    "[profile.dev.package.\"*\"]",
];
/// Crates whose default features bring in what we do not want, and why.
const WITHOUT_DEFAULTS: &[(&str, &str)] = &[
    ("tokio", "each room names what it uses of the runtime"),
    ("ed25519-dalek", "keys are made from entropy that is an argument"),
];

/// Crates that never enter, not even through others; deny.toml says the same to those who have cargo-deny.
const BANNED: &[&str] = &["openssl", "openssl-sys", "native-tls"];

/// Returns the rooms the root manifest lists.
pub(crate) fn members(root: &str) -> Vec<String> {
    list(root, "members")
}

/// Returns the crates the root manifest keeps out of the workspace.
pub(crate) fn excluded(root: &str) -> Vec<String> {
    list(root, "exclude")
}

fn list(root: &str, name: &str) -> Vec<String> {
    let start = format!("\n{name} = [");
    let list = root.split_once(&start).and_then(|(_, rest)| rest.split_once(']')).map_or("", |(list, _)| list);
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Returns what is wrong with a room's manifest.
pub(crate) fn manifest(room: &str, manifest: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    if !manifest.contains("[lints]\nworkspace = true") {
        complaints.push(format!("{room}/Cargo.toml: does not take the workspace's lints ([lints] workspace = true)"));
    }
    let mut section = "";
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        } else if section.ends_with("dependencies]") && line.contains('=') && !line.contains("workspace = true") {
            complaints.push(format!("{room}/Cargo.toml: versions live in the root manifest: {line}"));
        } else if section == "[features]" && !feature_is_known(room, line) {
            complaints.push(format!("{room}/Cargo.toml: a feature that FEATURES does not list: {line}"));
        }
    }
    complaints
}

fn feature_is_known(room: &str, line: &str) -> bool {
    let Some((name, _)) = line.split_once('=') else { return true };
    FEATURES.iter().any(|(owner, names)| *owner == room && names.contains(&name.trim()))
}

/// Returns what is wrong with a room's clippy.toml; empty text stands for a missing one.
pub(crate) fn bans(room: &str, clippy: &str) -> Vec<String> {
    if clippy.is_empty() {
        return vec![format!("{room}: no clippy.toml (it replaces the root's, so each is complete in itself)")];
    }
    let mut complaints = Vec::new();
    let pure = PURE_BANS.iter().filter(|_| PURE.contains(&room));
    let socketless = SOCKET_BANS.iter().filter(|_| SOCKETLESS.contains(&room));
    for ban in pure.chain(socketless) {
        if !clippy.contains(&format!("path = \"{ban}\"")) {
            complaints.push(format!("{room}/clippy.toml: does not ban {ban}"));
        }
    }
    for line in clippy.lines().filter(|line| line.contains("path = ") && !line.contains("reason = \"")) {
        complaints.push(format!("{room}/clippy.toml: a ban without a reason: {}", line.trim()));
    }
    if !clippy.contains("allow-unwrap-in-tests = true") {
        complaints.push(format!("{room}/clippy.toml: tests may unwrap (allow-unwrap-in-tests = true)"));
    }
    complaints
}

/// Returns what is wrong with the root manifest.
pub(crate) fn workspace(root: &str) -> Vec<String> {
    let lines: Vec<_> = root.lines().map(str::trim).collect();
    let missing = PINNED.iter().filter(|pinned| !lines.contains(pinned));
    let mut complaints: Vec<_> = missing.map(|pinned| format!("Cargo.toml: no longer says {pinned}")).collect();
    for (name, why) in WITHOUT_DEFAULTS {
        let sound = |line: &&str| line.starts_with(&format!("{name} = ")) && line.contains("default-features = false");
        if !lines.iter().any(sound) {
            complaints.push(format!("Cargo.toml: {name} without default features: {why}"));
        }
    }
    complaints
}

/// Returns the crates in the lock file that must not be there.
pub(crate) fn lock(lock: &str) -> Vec<String> {
    let locked = |name: &&&str| lock.lines().any(|line| line == format!("name = \"{name}\""));
    BANNED.iter().filter(locked).map(|name| format!("Cargo.lock: {name} is banned (see deny.toml)")).collect()
}

#[test]
fn a_banned_crate_is_named() {
    assert_eq!(lock("[[package]]\nname = \"openssl-sys\"\n").len(), 1);
    assert_eq!(lock("[[package]]\nname = \"openssl-probe\"\n"), [""; 0]);
}

#[test]
fn members_are_read() {
    assert_eq!(members("[workspace]\nmembers = [\"a\", \"b\"]\n"), ["a", "b"]);
}

#[test]
fn a_manifest_without_lints_or_with_its_own_versions_is_named() {
    let sound = "[dependencies]\na.workspace = true\n[lints]\nworkspace = true\n";
    assert_eq!(manifest("wire", sound), [""; 0]);
    assert_eq!(manifest("wire", "[dependencies]\na.workspace = true\n").len(), 1);
    assert_eq!(manifest("wire", &format!("[dev-dependencies]\na = \"1\"\n{sound}")).len(), 1);
    assert_eq!(manifest("wire", &format!("[features]\nmagic = []\n{sound}")).len(), 1);
}

#[test]
fn a_missing_ban_or_reason_is_named() {
    let ban = |path: &&str| format!("  {{ path = \"{path}\", reason = \"r\" }},\n");
    let complete: String =
        ["allow-unwrap-in-tests = true\n".to_owned()].into_iter().chain(PURE_BANS.iter().map(ban)).collect();
    assert_eq!(bans("wire", &complete), [""; 0]);
    let lacking = complete.replace("std::collections::HashSet", "other");
    assert_eq!(bans("wire", &lacking), ["wire/clippy.toml: does not ban std::collections::HashSet"]);
    assert_eq!(bans("cli", &complete).len(), 3);
    assert_eq!(bans("benches", "allow-unwrap-in-tests = true\n  { path = \"a\" },").len(), 1);
    assert_eq!(bans("benches", "").len(), 1);
}

#[test]
fn a_workspace_that_forgets_is_named() {
    assert_eq!(workspace("").len(), PINNED.len() + WITHOUT_DEFAULTS.len());
}

//! Which room may import which: siblings are strangers, the parent introduces them.

/// Who may import whom, and nobody else.
const DOORS: &[(&str, &[&str])] = &[
    ("wire", &[]),
    ("transports", &["wire"]),
    ("dht", &["wire"]),
    ("replicate", &["wire"]),
    ("swarm", &["wire", "transports", "dht", "replicate"]),
    ("relay", &["wire", "transports", "dht", "replicate"]),
    ("cli", &["wire", "transports", "dht", "replicate", "swarm", "relay"]),
    ("interop", &["wire", "transports", "dht", "replicate", "swarm", "relay", "cli", "benches"]),
    ("benches", &["wire", "transports", "dht", "replicate", "swarm", "relay", "cli", "interop"]),
];
/// Rooms without clock, socket, task or randomness of their own.
pub(crate) const PURE: &[&str] = &["wire", "dht", "replicate"];
/// Crates that would bring those in.
const IMPURE_CRATES: &[&str] = &["tokio", "mio", "async-std", "smol", "socket2", "rand", "getrandom", "chrono", "time"];

/// Returns what is wrong with a room's imports, those of its tests included.
pub(crate) fn complaints(room: &str, manifest: &str) -> Vec<String> {
    let Some((_, allowed)) = DOORS.iter().find(|(name, _)| *name == room) else {
        return vec![format!("{room}: a room without an entry in DOORS (interop/tests/tidy/doors.rs)")];
    };
    let mut complaints = Vec::new();
    for (line, text) in lines(manifest) {
        for other in rooms_named(text).filter(|other| *other != room && !allowed.contains(other)) {
            complaints.push(format!("{room}/Cargo.toml:{line}: {room} must not import {other}"));
        }
        if text.contains("path = \"..") {
            complaints.push(format!("{room}/Cargo.toml:{line}: import rooms by `workspace = true`, not by path"));
        }
    }
    if PURE.contains(&room) {
        complaints.extend(impure(room, manifest));
    }
    complaints
}

/// Returns the impure crates a pure room depends on; its tests may.
fn impure(room: &str, manifest: &str) -> Vec<String> {
    let mut for_tests = false;
    let mut complaints = Vec::new();
    for (line, text) in lines(manifest) {
        if text.starts_with('[') {
            for_tests = text.contains("dev-dependencies");
        }
        let name = dependency(text);
        if !for_tests && IMPURE_CRATES.contains(&name) {
            complaints.push(format!("{room}/Cargo.toml:{line}: {room} is pure and must not depend on {name}"));
        }
    }
    complaints
}

/// Returns the crate that a line of a manifest is about, be it `x = …`, `x.workspace = …` or `[dependencies.x]`.
fn dependency(text: &str) -> &str {
    let inside = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).and_then(|rest| rest.rsplit_once('.'));
    inside.map_or_else(|| text.split(['.', '=', ' ']).next().unwrap_or(""), |(_, name)| name)
}

/// Returns the rooms a line names by their crates.
fn rooms_named(text: &str) -> impl Iterator<Item = &str> {
    let names = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    names.filter_map(|name| name.strip_prefix("anypath-"))
}

/// Returns the lines that say something, numbered from 1, without comments.
fn lines(manifest: &str) -> impl Iterator<Item = (usize, &str)> {
    manifest.lines().zip(1..).map(|(text, line)| (line, text.split_once('#').map_or(text, |(said, _)| said).trim()))
}

#[test]
fn a_closed_door_is_named_however_it_is_opened() {
    for opened in [
        "[dependencies]\nanypath-swarm.workspace = true",
        "[dependencies]\nanypath-swarm = { version = \"1\" }",
        "[dev-dependencies.anypath-swarm]\nworkspace = true",
        "[dependencies]\nother = { package = \"anypath-swarm\" }",
        "[target.'cfg(unix)'.dependencies]\nanypath-swarm.workspace = true",
    ] {
        let complaints = complaints("replicate", opened);
        assert_eq!(complaints.len(), 1, "{opened}: {complaints:?}");
        assert!(complaints[0].ends_with("replicate must not import swarm"), "{complaints:?}");
    }
    assert_eq!(complaints("relay", "anypath-swarm.workspace = true").len(), 1);
    assert_eq!(complaints("cli", "anypath-interop.workspace = true").len(), 1);
    assert_eq!(complaints("wire", "wire = { path = \"../swarm\" }").len(), 1);
    assert_eq!(complaints("cellar", "").len(), 1);
}

#[test]
fn an_open_door_and_a_comment_are_no_complaint() {
    let manifest =
        "[package]\nname = \"anypath-replicate\"\n[dependencies]\nanypath-wire.workspace = true # not anypath-swarm";
    assert_eq!(complaints("replicate", manifest), [""; 0]);
}

#[test]
fn a_pure_room_has_no_runtime_except_in_its_tests() {
    for manifest in [
        "[dependencies]\ntokio = { workspace = true }",
        "[dependencies.tokio]",
        "[dependencies]\nrand.workspace = true",
    ] {
        assert_eq!(complaints("replicate", manifest).len(), 1, "{manifest}");
    }
    assert_eq!(complaints("replicate", "[dev-dependencies]\ntokio.workspace = true"), [""; 0]);
    assert_eq!(complaints("swarm", "[dependencies]\ntokio.workspace = true"), [""; 0]);
}

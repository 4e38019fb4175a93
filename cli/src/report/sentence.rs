//! Events in people's words.

use indicatif::HumanBytes;

use super::event::{Event, ProvenHead};

/// Returns what a person is told about an event, if it is worth a line.
///
/// Whatever a stranger named is printed escaped, so that it cannot write to the terminal.
pub(super) fn sentence(event: &Event<'_>) -> Option<String> {
    Some(match event {
        Event::Listening { address, .. } => format!("Listening at {address}."),
        Event::Shared { files, bytes, encrypted, again, .. } => {
            let hint = match (again, encrypted) {
                (true, _) => "",
                (false, false) => " Pass on this link; Ctrl-C ends.",
                (false, true) => " Whoever shall read them needs the whole link; Ctrl-C ends.",
            };
            let encrypted = if *encrypted { ", encrypted" } else { "" };
            format!("Sharing {} ({}){encrypted}.{hint}", count(*files), HumanBytes(*bytes))
        }
        Event::Connected { peer, transport, via, .. } => {
            format!("Connected to {} over {transport} ({via}).", short(peer))
        }
        Event::Disconnected { peer, reason } => format!("{} is gone: {}.", short(peer), reason.escape_debug()),
        Event::Unreachable { address, reason } => {
            format!("No peer at {address} yet: {}. Trying again.", reason.escape_debug())
        }
        Event::Source { source, state, nodes, reason } => source_fares(source, state, *nodes, *reason),
        Event::Found { source, address } => format!("Found a peer at {address} by {source}."),
        Event::Node { dialect, state: "starting", .. } => {
            format!("A node of {dialect} is here; it looks for its neighbours. Ctrl-C ends.")
        }
        Event::Node { state, nodes, stored, .. } => {
            format!("It knows {nodes} nodes and keeps {stored} records ({state}).")
        }
        Event::Outcome { asked, answers, stored, what, ms, .. } => answered(*asked, *answers, *stored, what, *ms),
        Event::Peer { .. } | Event::Progress { .. } | Event::Check { .. } | Event::Diagnosis { .. } => return None,
        Event::Path { peer, from, to } => format!("{} now comes over {to} instead of {from}.", short(peer)),
        Event::Problem { name, message, .. } => format!("{name:?}: {message}"),
        Event::Mended { name } => format!("{name:?}: was not what the drive holds; written again"),
        Event::Conflict { key, file, .. } => {
            let file = file.map(|file| format!(" The evidence is in {file}."));
            let told = format!("Whoever signs for {key} signed two histories: nothing more of it is taken or served.");
            told + file.as_deref().unwrap_or_default()
        }
        Event::Proven { key, fork, heads, blocks: [first, last], signers, .. } => {
            let heads = heads.iter().map(|ProvenHead { length, tree_hash, signers }| {
                format!("\n  {length} blocks with the tree hash {tree_hash}, signed by {}", places(signers))
            });
            let both = match &signers[..] {
                [] => "Nobody signed both.".to_owned(),
                signers => format!("Signed both: {}.", places(signers)),
            };
            let blocks =
                if first == last { format!("in block {first}") } else { format!("among blocks {first} to {last}") };
            format!(
                "Proven: two histories of hyper://{key}, fork {fork}, were signed that contradict each other:{}\n\
                 They differ {blocks}. {both}",
                heads.collect::<String>()
            )
        }
        Event::Step { message } => (*message).to_owned(),
        Event::Done { files, bytes, seconds, problems, .. } => {
            let files = files.map_or_else(|| "encrypted files".to_owned(), count);
            let done = format!("{files}, {}, verified, in {seconds:.1} s", HumanBytes(*bytes));
            match problems {
                0 => format!("Done: {done}."),
                1 => format!("Done but for the name told above: {done}."),
                problems => format!("Done but for the {problems} names told above: {done}."),
            }
        }
        Event::Error { message, rungs, .. } => {
            let rungs = rungs.iter().map(|rung| format!("\n  {}: {}", rung.address, rung.reason));
            format!("anypath: {message}{}", rungs.collect::<String>())
        }
    })
}

fn answered(asked: usize, answers: usize, stored: usize, what: &str, ms: u64) -> String {
    let stored = match (what, stored) {
        (_, 0) => String::new(),
        ("unannounce", nodes) => format!(", {nodes} forgot it"),
        (_, nodes) => format!(", {nodes} stored it"),
    };
    format!("Asked {asked} nodes, {answers} answered{stored}, {ms} ms.")
}

fn source_fares(source: &str, state: &str, nodes: Option<usize>, reason: Option<&str>) -> String {
    let nodes = nodes.unwrap_or_default();
    match state {
        "announced" if source == "lan" => "Announced on this network.".to_owned(),
        "forgotten" if source == "lan" => "Taken back from this network.".to_owned(),
        "asked" if source == "lan" => format!("{nodes} answered on this network."),
        "announced" => format!("Announced to {nodes} nodes by {source}."),
        "asked" => format!("Asked {nodes} nodes by {source}."),
        "forgotten" => format!("Taken back from {nodes} nodes by {source}."),
        "unanswered" => format!("Nobody answers by {source} yet. Trying again."),
        _ => format!("No peers are found by {source}: {}.", reason.unwrap_or("it ended").escape_debug()),
    }
}

fn count(files: u64) -> String {
    if files == 1 { "1 file".to_owned() } else { format!("{files} files") }
}

/// Names signers by their places in the manifest.
fn places(signers: &[u64]) -> String {
    let places: Vec<_> = signers.iter().map(u64::to_string).collect();
    format!("{} {}", if signers.len() == 1 { "signer" } else { "signers" }, places.join(", "))
}

fn short(key: &str) -> &str {
    key.get(..SHORT_CHARS).unwrap_or(key)
}

/// How much of a key people are shown, in characters: enough to tell peers apart.
const SHORT_CHARS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strangers_names_cannot_write_to_the_terminal() {
        let told = sentence(&Event::Problem { code: "bad_name", name: "/a\u{1b}[2J\n", message: "refused" });
        assert_eq!(told.unwrap(), r#""/a\u{1b}[2J\n": refused"#);
    }

    #[test]
    fn people_get_the_link_once_and_scripts_each_time() {
        let shared = |again| Event::Shared { link: "hyper://", key: "", files: 1, bytes: 2, encrypted: false, again };
        assert_eq!([shared(false).output(), shared(true).output()], [Some("hyper://".to_owned()), None]);
        assert_eq!(sentence(&shared(false)).unwrap(), "Sharing 1 file (2 B). Pass on this link; Ctrl-C ends.");
        assert_eq!(sentence(&shared(true)).unwrap(), "Sharing 1 file (2 B).");
        let json = |again| serde_json::to_string(&shared(again)).unwrap();
        assert_eq!(json(true), json(false));
    }
}

//! The events that scripts may rely on.

use anypath_replicate::core::{Claim, Contradiction};
use data_encoding::HEXLOWER;
use serde::Serialize;

use crate::Rung;
use crate::diagnosis::Cause;

/// Something that happened, as written on one line: `{"event":"…", …}`.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event<'a> {
    /// Peers may dial this address now.
    Listening {
        /// The ladder's word for the transport: `tcp`.
        transport: &'a str,
        /// The address, with the port that was taken.
        address: &'a str,
    },
    /// A folder is in its drive and is served.
    Shared {
        /// What others pass to `clone`; of an encrypted drive it holds the key to read it.
        link: &'a str,
        /// The drive's key alone, in z-base-32.
        key: &'a str,
        /// Files and links in the drive.
        files: u64,
        /// Their bytes.
        bytes: u64,
        /// Whether the drive is encrypted.
        encrypted: bool,
        /// Whether the link was told before: people need it once.
        #[serde(skip)]
        again: bool,
    },
    /// A peer is there, its key proven.
    Connected {
        /// The peer's own key, in z-base-32.
        peer: &'a str,
        /// What carries it: `tcp`, `https/poll`.
        transport: &'a str,
        /// The address dialled or accepted from.
        via: &'a str,
        /// How long it took, in milliseconds.
        ms: u64,
    },
    /// A peer is gone.
    Disconnected {
        /// The peer's own key, in z-base-32.
        peer: &'a str,
        /// Why, in words.
        reason: &'a str,
    },
    /// Nobody answers there, or not a peer; it is tried again. Told once for each reason.
    Unreachable {
        /// The address dialled.
        address: &'a str,
        /// Why, in words.
        reason: &'a str,
    },
    /// How a source of peers fares, when that is another way than before.
    Source {
        /// Its word: `hyperswarm`, `classic`.
        source: &'a str,
        /// `unanswered`, `asked`, `announced`, `forgotten`, `failed`.
        state: &'a str,
        /// How many of its nodes that is about.
        nodes: Option<usize>,
        /// Why it failed, in words.
        reason: Option<&'a str>,
    },
    /// A peer was found that was not known before, and is dialled.
    Found {
        /// The source that was first.
        source: &'a str,
        /// Where it takes connections.
        address: &'a str,
    },
    /// How a node of a DHT stands.
    Node {
        /// Its dialect: `hyperswarm`, `classic`.
        dialect: &'a str,
        /// `starting`, `ephemeral`, `serving`.
        state: &'a str,
        /// Where its socket is.
        address: &'a str,
        /// Where most others see it, if they agree; port 0 if on the host alone.
        seen_at: Option<&'a str>,
        /// Its id, in hexadecimal, if others may rely on it.
        id: Option<&'a str>,
        /// Nodes it knows.
        nodes: usize,
        /// Records and values it keeps for others.
        stored: usize,
    },
    /// Somebody announced the topic: a key, an address, or the address of a key that was told before.
    Peer {
        /// The DHT's word.
        source: &'a str,
        /// The peer's key, in z-base-32.
        key: Option<&'a str>,
        /// Where it takes connections.
        address: Option<&'a str>,
        /// Nodes that forward to it.
        relays: &'a [String],
    },
    /// A question to a DHT is answered.
    Outcome {
        /// The DHT's word.
        dialect: &'a str,
        /// `lookup`, `announce`, `unannounce`.
        what: &'a str,
        /// Nodes asked.
        asked: usize,
        /// Nodes that answered.
        answers: usize,
        /// Nodes that did not, or would not.
        errors: usize,
        /// Nodes that stored, or forgot.
        stored: usize,
        /// Peers that were found.
        found: usize,
        /// How long it took, in milliseconds.
        ms: u64,
    },
    /// How far the work is, in bytes.
    Progress {
        /// Done, the resumed ones included.
        bytes: u64,
        /// All there are.
        total: u64,
        /// Those that an earlier run had done.
        resumed: u64,
    },
    /// A peer is reached by another way from now on.
    Path {
        /// The peer's own key, in z-base-32.
        peer: &'a str,
        /// The transport so far.
        from: &'a str,
        /// The transport from now on.
        to: &'a str,
    },
    /// A name was left out; the others go on.
    Problem {
        /// The word for why.
        code: &'a str,
        /// The name, as its owner wrote it.
        name: &'a str,
        /// Why, in words.
        message: &'a str,
    },
    /// A file that clone wrote had lost its content, though nothing shows that it was changed; it is written again.
    Mended {
        /// The name, as its owner wrote it.
        name: &'a str,
    },
    /// Two histories of a core were met, signed by the same: it is frozen.
    Conflict {
        /// The core's key, in z-base-32.
        key: &'a str,
        /// Where the evidence lies, if it could be kept.
        file: Option<&'a str>,
        /// The key of the peer that showed it, in z-base-32; `None` if it was known before.
        peer: Option<&'a str>,
    },
    /// A piece of evidence holds.
    Proven {
        /// The core's key, in z-base-32.
        key: String,
        /// Its discovery key, in hexadecimal.
        discovery_key: String,
        /// The fork of both heads.
        fork: u64,
        /// The two heads.
        heads: [ProvenHead; 2],
        /// The first and the last of the fewest blocks among which they are known to differ.
        blocks: [u64; 2],
        /// Who signed both, by their places in the manifest.
        signers: Vec<u64>,
    },
    /// What the demonstration does next.
    Step {
        /// In words.
        message: &'a str,
    },
    /// What the network does with one way to a relay.
    Check {
        /// The word for the way: `tcp`, `udp`, `websocket`.
        check: &'a str,
        /// Whether it passes; `None` if that is not what was asked.
        passes: Option<bool>,
        /// What was seen, or why not.
        detail: &'a str,
    },
    /// What the network is like on the way to a relay, and what follows.
    Diagnosis {
        /// The relay.
        relay: &'a str,
        /// What the program will use there: `https/ws`, `https/poll`; `None` if nothing passes.
        uses: Option<&'a str>,
        /// What is in the way.
        causes: &'a [Cause],
        /// What to send to the network's own people.
        for_it: &'a str,
    },
    /// What was asked for is done, up to the newest version known.
    Done {
        /// Files and links of the version; unknown of a drive that is kept without being read.
        files: Option<u64>,
        /// Their bytes.
        bytes: u64,
        /// How long it took.
        seconds: f64,
        /// What carried it, if a peer was needed.
        transport: Option<&'a str>,
        /// Names that were left out, each told before.
        problems: u64,
    },
    /// The program ends without having done what was asked.
    Error {
        /// The word for why.
        code: &'a str,
        /// Why and what to do, in a sentence.
        message: &'a str,
        /// What each way of reaching a peer answered.
        rungs: &'a [Rung],
    },
}

/// A head that was signed.
#[derive(Debug, Clone, Serialize)]
pub struct ProvenHead {
    /// Its blocks.
    pub length: u64,
    /// The hash of its roots, in hexadecimal.
    pub tree_hash: String,
    /// Who signed it, by their places in the manifest.
    pub signers: Vec<u64>,
}

impl<'a> Event<'a> {
    /// Returns what a piece of evidence proves.
    pub(crate) fn proven(contradiction: &Contradiction) -> Self {
        let Contradiction { key, discovery_key, fork, heads, blocks } = contradiction;
        let head = |head: &Claim| ProvenHead {
            length: head.length,
            tree_hash: HEXLOWER.encode(&head.tree_hash),
            signers: head.signers.clone(),
        };
        Self::Proven {
            key: key.to_string(),
            discovery_key: HEXLOWER.encode(&discovery_key.0),
            fork: *fork,
            heads: heads.each_ref().map(head),
            blocks: [blocks.start, blocks.end - 1],
            signers: contradiction.signers_of_both(),
        }
    }

    /// Returns what people get on standard output: what they asked for, a link or what the doctor finds.
    pub(super) fn output(&self) -> Option<String> {
        match self {
            Self::Shared { link, again: false, .. } => Some((*link).to_owned()),
            Self::Node { state: "starting", address, .. } => Some((*address).to_owned()),
            Self::Peer { key: Some(key), address: Some(address), .. } => Some(format!("{key} {address}")),
            Self::Peer { key, address, .. } => key.or(*address).map(str::to_owned),
            Self::Check { check, passes, detail } => {
                let passes = passes.map_or("", |passes| if passes { "yes" } else { "NO" });
                Some(format!("{check:<12} {passes:<4} {}", detail.escape_debug()))
            }
            Self::Diagnosis { relay, uses, causes, for_it } => {
                let causes: String =
                    causes.iter().map(|cause| format!("- {}.\n", cause.detail.escape_debug())).collect();
                let causes = match (causes.is_empty(), uses) {
                    (false, _) => causes,
                    (true, Some(_)) => "Nothing is in the way.\n".to_owned(),
                    (true, None) => "- Why is said above.\n".to_owned(),
                };
                let uses =
                    uses.map_or("Nothing leads there.".to_owned(), |uses| format!("The program will use {uses}."));
                Some(format!(
                    "\n{relay}: what this network is like\n{causes}{uses}\n\nFor whoever runs this network:\n{for_it}"
                ))
            }
            _ => None,
        }
    }
}

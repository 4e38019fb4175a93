//! Answers that are not what was asked for: every field of a proof bent, or the whole of it forged.

use anypath_replicate::core::{Core, Manifest, Signer};
use anypath_replicate::messages::{DataMessage, Message, RequestMessage, SyncState};
use anypath_replicate::{Node, Proof, Request, UpgradeProof, UpgradeRequest};
use anypath_wire::KeyPair;
use bytes::Bytes;

use crate::foe::state;
use crate::world::Chance;

/// Makes an answer to a request.
pub(super) type Bend = fn(&mut Chance, &Core, &RequestMessage) -> Message;

/// Answers as it is.
pub(super) fn none(_: &mut Chance, core: &Core, asked: &RequestMessage) -> Message {
    let proof = (asked.fork == core.fork()).then(|| core.prove(&asked.request).ok()).flatten();
    match proof {
        Some(proof) => Message::Data(DataMessage { request: asked.id, proof }),
        None => Message::NoData { request: asked.id, reason: 1 },
    }
}

/// Says that there is nothing.
pub(super) fn nothing(chance: &mut Chance, _: &Core, asked: &RequestMessage) -> Message {
    Message::NoData { request: asked.id, reason: chance.below(4) }
}

/// Answers with one field bent.
pub(super) fn mutate(chance: &mut Chance, core: &Core, asked: &RequestMessage) -> Message {
    match none(chance, core, asked) {
        Message::Data(DataMessage { request, mut proof }) => {
            bend(chance, core, &mut proof);
            Message::Data(DataMessage { request, proof })
        }
        _ => {
            let request =
                Request { upgrade: Some(UpgradeRequest { start: 0, length: core.length() }), ..asked.request };
            let mut proof = core.prove(&request).unwrap_or_default();
            proof.fork = asked.fork;
            Message::Data(DataMessage { request: asked.id, proof })
        }
    }
}

/// Claims a head that may not be.
pub(super) fn sync(chance: &mut Chance, core: &Core) -> SyncState {
    let far = |chance: &mut Chance, near: u64| match chance.below(4) {
        0 => near,
        1 => near + chance.below(4),
        2 => near.saturating_sub(chance.below(20)),
        _ => chance.next() >> 11,
    };
    let (fork, length) = (far(chance, core.fork()), far(chance, core.length()));
    let mut sync = state(core, fork, length);
    sync.remote_length = far(chance, core.length());
    sync.can_upgrade = chance.below(4) > 0;
    sync.uploading = chance.below(8) > 0;
    sync.downloading = chance.below(2) > 0;
    sync.has_manifest = chance.below(4) > 0;
    sync.allow_push = chance.below(4) == 0;
    sync
}

fn bend(chance: &mut Chance, core: &Core, proof: &mut Proof) {
    match chance.below(9) {
        0 => proof.fork = number(chance, proof.fork),
        1 => proof.manifest = Some(Manifest::single(Signer::new(KeyPair::from_seed(&[9; 32]).public()))),
        2 => proof.manifest = None,
        3 => forge(core, proof),
        4 => *proof = Proof { fork: proof.fork, ..Proof::default() },
        _ => bend_part(chance, proof),
    }
}

fn bend_part(chance: &mut Chance, proof: &mut Proof) {
    let which = chance.below(3);
    if let Some(block) = &mut proof.block {
        return match which {
            0 => block.index = number(chance, block.index),
            1 => block.value = bytes(chance, &block.value),
            _ => nodes(chance, &mut block.nodes),
        };
    }
    if let Some(hash) = &mut proof.hash {
        return match which {
            0 => hash.index = number(chance, hash.index),
            1 => nodes(chance, &mut hash.nodes),
            _ => proof.seek = None,
        };
    }
    if let Some(seek) = &mut proof.seek {
        match which {
            0 => seek.bytes = number(chance, seek.bytes),
            _ => nodes(chance, &mut seek.nodes),
        }
    }
    if let Some(UpgradeProof { start, length, nodes: listed, additional_nodes, signature }) = &mut proof.upgrade {
        match chance.below(5) {
            0 => *start = number(chance, *start),
            1 => *length = number(chance, *length),
            2 => nodes(chance, listed),
            3 => nodes(chance, additional_nodes),
            _ => *signature = bytes(chance, signature).to_vec(),
        }
    }
}

/// Signs an upgrade by a key of its own.
fn forge(core: &Core, proof: &mut Proof) {
    let pair = KeyPair::from_seed(&[8; 32]);
    if let Some(upgrade) = &mut proof.upgrade {
        upgrade.signature = pair.sign(&core.tree().hash()).to_vec();
    }
}

fn nodes(chance: &mut Chance, nodes: &mut Vec<Node>) {
    let extra = Node { index: chance.next() >> 12, size: chance.next() >> 12, hash: [chance.next() as u8; 32] };
    if nodes.is_empty() || chance.below(6) == 0 {
        return nodes.push(extra);
    }
    let at = chance.below(nodes.len() as u64) as usize;
    match chance.below(5) {
        0 => nodes[at].hash[chance.below(32) as usize] ^= 1,
        1 => nodes[at].size = number(chance, nodes[at].size),
        2 => nodes[at].index = number(chance, nodes[at].index),
        3 => drop(nodes.remove(at)),
        _ => nodes.reverse(),
    }
}

fn bytes(chance: &mut Chance, bytes: &[u8]) -> Bytes {
    let mut bent = bytes.to_vec();
    match (bent.len() as u64, chance.below(3)) {
        (0, _) => bent.push(1),
        (length, 0) => bent.truncate(chance.below(length) as usize),
        (length, 1) => bent[chance.below(length) as usize] ^= 1,
        _ => bent.push(0),
    }
    bent.into()
}

fn number(chance: &mut Chance, number: u64) -> u64 {
    match chance.below(4) {
        0 => number + 1,
        1 => number.saturating_sub(1),
        2 => number ^ (1 << chance.below(53)),
        _ => (1 << 53) - 1,
    }
}

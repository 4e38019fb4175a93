//! Wrong answers of every kind.

use anypath_replicate::messages::{DataMessage, Message};
use anypath_replicate::{BlockProof, Node, Proof, UpgradeProof};
use bytes::Bytes;

/// Returns a wrong answer to a request.
pub(super) fn wrong(kind: u32, message: &Message) -> Option<Message> {
    let Message::Request(asked) = message else { return None };
    let index = asked.request.block.map_or(0, |block| block.index);
    let node = Node { index: 2 * index + 2, size: 5, hash: [9; 32] };
    let block = |index, nodes| Some(BlockProof { index, value: Bytes::from_static(b"wrong"), nodes });
    let upgrade = |start, length, nodes: Vec<Node>| {
        let (additional_nodes, signature) = (nodes.clone(), vec![1; 64]);
        Some(UpgradeProof { start, length, nodes, additional_nodes, signature })
    };
    let (fork, proof) = (asked.fork, Proof::default());
    let proof = match kind {
        0 => return Some(Message::NoData { request: asked.id, reason: 1 }),
        1 => Proof { fork: fork + 5, block: block(index, vec![]), ..proof },
        2 => Proof { fork, block: block(index, vec![]), ..proof },
        3 => Proof { fork, block: block(index + 1, vec![]), ..proof },
        4 => Proof { fork, block: block(index, vec![node; 3_000]), ..proof },
        5 => Proof { fork, upgrade: upgrade(0, (1 << 53) - 1, vec![node]), ..proof },
        6 => Proof { fork, block: block((1 << 53) - 1, vec![]), upgrade: upgrade((1 << 53) - 1, 9, vec![]), ..proof },
        7 => Proof { fork, ..proof },
        _ => Proof { fork: 0, ..proof },
    };
    Some(Message::Data(DataMessage { request: if kind == 8 { 0 } else { asked.id }, proof }))
}

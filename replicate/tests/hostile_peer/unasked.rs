//! What a peer says or sends without having been asked.

use anypath_replicate::messages::{DataMessage, Message};
use anypath_replicate::replicator::{Event, Misbehaviour};
use anypath_replicate::{BlockRequest, Request};
use bytes::Bytes;

use super::{Scene, events};

#[test]
fn an_extension_is_known_by_a_name_told_before_anybody_listened() {
    let mut scene = Scene::new();
    let said = |name: &str, message: &'static str| Message::Extension {
        name: Bytes::copy_from_slice(name.as_bytes()),
        message: Bytes::from_static(message.as_bytes()),
    };
    scene.attack(&[said("late", "unheard")]).unwrap();
    scene.victim.hear(scene.copy, "late");
    scene.attack(&[said("", "heard"), said(&"x".repeat(5_000), "too long"), said("", "of no name")]).unwrap();
    let heard: Vec<_> = events(&mut scene.victim)
        .into_iter()
        .filter_map(|event| match event {
            Event::Extension { message, .. } => Some(message),
            _ => None,
        })
        .collect();
    assert_eq!(heard, ["heard"]);
    scene.finish();
}

#[test]
fn what_is_pushed_is_taken_if_that_is_allowed_and_it_is_true() {
    let mut scene = Scene::new();
    let push = |scene: &Scene, index| {
        let block = Some(BlockRequest { index, nodes: 9 });
        let nodes = (0..9).rev().find_map(|nodes| {
            let block = block.map(|block| BlockRequest { nodes, ..block });
            scene.writer.core(scene.source).prove(&Request { block, ..Request::default() }).ok()
        });
        nodes.unwrap()
    };
    let data = |proof| Message::Data(DataMessage { request: 0, proof });
    let proof = push(&scene, 200);
    scene.attack(&[data(proof.clone())]).unwrap();
    assert!(!scene.victim.core(scene.copy).has(200), "it was not allowed");
    scene.victim.allow_push(scene.copy, true);
    scene.attack(&[data(proof)]).unwrap();
    assert!(scene.victim.core(scene.copy).has(200));
    let mut wrong = push(&scene, 100);
    wrong.block.as_mut().unwrap().value = Bytes::from_static(b"wrong");
    scene.attack(&[data(wrong)]).unwrap();
    let named = events(&mut scene.victim).into_iter().any(|event| {
        matches!(event, Event::Refused { peer, misbehaviour: Misbehaviour::InvalidData, .. } if peer == scene.foe.id)
    });
    assert!(named && !scene.victim.core(scene.copy).has(100));
    scene.finish();
}

#[test]
fn what_is_appended_is_pushed_once_it_is_committed() {
    let mut scene = Scene::new();
    scene.victim.allow_push(scene.copy, true);
    scene.settle();
    let index = scene.writer.append(scene.source, &[Bytes::from_static(b"new")]).unwrap() - 1;
    scene.writer.push(scene.source, &(index..index + 1));
    scene.settle();
    assert!(scene.victim.core(scene.copy).has(index), "nobody asked for it, and yet it is here");
    scene.victim.allow_push(scene.copy, false);
    scene.settle();
    let index = scene.writer.append(scene.source, &[Bytes::from_static(b"newer")]).unwrap() - 1;
    scene.writer.push(scene.source, &(index..index + 1));
    scene.settle();
    assert!(!scene.victim.core(scene.copy).has(index) && scene.victim.core(scene.copy).length() == index + 1);
    scene.finish();
}

//! Whole heads that prove nothing, or prove it at length.

use anypath_replicate::UpgradeProof;

use super::*;

#[test]
fn heads_that_do_not_verify_freeze_nothing() {
    let (own, other) = (head(0), head(1));
    let wrong: [fn(&mut UpgradeProof); 6] = [
        |upgrade| upgrade.signature[9] ^= 1,
        |upgrade| upgrade.signature.clear(),
        |upgrade| upgrade.nodes[0].hash[0] ^= 1,
        |upgrade| upgrade.nodes[0].index += 2,
        |upgrade| upgrade.nodes.clear(),
        |upgrade| upgrade.start = 1,
    ];
    for proof in [&own, &other] {
        let mut scene = Scene::new();
        for spoil in wrong {
            let mut proof = proof.clone();
            spoil(proof.upgrade.as_mut().unwrap());
            scene.attack(&[Message::Data(DataMessage { request: 0, proof })]).unwrap();
        }
        let later = Proof { fork: 1, ..proof.clone() };
        scene.attack(&[Message::Data(DataMessage { request: 0, proof: later })]).unwrap();
        assert!(!scene.victim.core(scene.copy).is_frozen());
        scene.finish();
    }
    let mut scene = Scene::new();
    scene.attack(&[Message::Data(DataMessage { request: 0, proof: own })]).unwrap();
    assert!(!scene.victim.core(scene.copy).is_frozen());
    scene.attack(&[Message::Data(DataMessage { request: 0, proof: other })]).unwrap();
    assert!(scene.victim.conflict(scene.copy).is_some(), "what the others were taken for");
}

#[test]
fn evidence_costs_what_it_needs_whatever_comes_with_it() {
    let mut proof = head(1);
    let upgrade = proof.upgrade.as_mut().unwrap();
    upgrade.signature.resize(10 << 20, 0);
    let mut scene = Scene::new();
    let before = held();
    scene.attack(&[Message::Data(DataMessage { request: 0, proof })]).unwrap();
    let evidence = scene.victim.conflict(scene.copy).unwrap().evidence.clone().unwrap();
    assert!(evidence.encode().len() < 2_000, "{} bytes", evidence.encode().len());
    assert!(held() - before < 1 << 20, "{} bytes", held() - before);
}

/// Returns the whole head of a history of 300 blocks; the first is the one that the honest writer has.
fn head(history: u64) -> Proof {
    let mut replicator = Replicator::new(Arc::new(MemoryStore::default()));
    let pair = KeyPair::from_seed(&[1; 32]);
    let core = replicator.open_writable(Manifest::single(Signer::new(pair.public())), pair).unwrap();
    let blocks: Vec<_> = (0..300).map(|index| block(index + history)).collect();
    replicator.append(core, &blocks).unwrap();
    let upgrade = Some(UpgradeRequest { start: 0, length: 300 });
    replicator.core(core).prove(&Request { upgrade, ..Request::default() }).unwrap()
}

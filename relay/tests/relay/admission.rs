//! Whom a relay lets in, and who meets whom by a token.

use std::collections::BTreeSet;
use std::time::Duration;

use anypath_relay::{Access, Config};
use anypath_transports::Transport;
use anypath_transports::https::session::{Command, Event};
use anypath_transports::https::{Target, reason};
use anypath_wire::{DiscoveryKey, KeyPair, PublicKey, Time};
use bytes::Bytes;
use tokio::time::timeout;

use crate::hand::{Hand, hub};
use crate::lab::{exchange, lab, meet};

fn keys(seeds: &[u8]) -> Access {
    Access::Keys(seeds.iter().map(|seed| KeyPair::from_seed(&[*seed; 32]).public()).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_a_listed_key_is_let_in_and_others_are_told_theirs() {
    let lab = lab(Config { access: keys(&[1, 2]), ..Config::default() }).await;
    let mut listener = lab.peer(1, 7).listen(&lab.at()).await.unwrap();
    let (a, b) = meet(&lab, &mut listener, &lab.peer(2, 7)).await;
    exchange(a, b, 100_000).await;
    let stranger = KeyPair::from_seed(&[3; 32]).public();
    let refused = [
        lab.peer(3, 7).listen(&lab.at()).await.err().unwrap().to_string(),
        lab.peer(3, 7).dial(&lab.address()).await.err().unwrap().to_string(),
    ];
    assert!(refused.iter().all(|refused| refused.contains(&format!("ask for {stranger} to be added"))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_may_change_while_the_relay_runs() {
    let lab = lab(Config { access: keys(&[1]), ..Config::default() }).await;
    let _listener = lab.peer(1, 7).listen(&lab.at()).await.unwrap();
    assert!(lab.peer(2, 7).listen(&lab.at()).await.is_err());
    lab.relay.admit(keys(&[2])).await;
    let _other = lab.peer(2, 7).listen(&lab.at()).await.unwrap();
    let gone = async {
        while lab.relay.size().await[1] != 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(10), gone).await.expect("who is no longer listed is sent away");
}

#[test]
fn without_a_listed_key_nothing_is_done_in_a_session() {
    let (listed, topic) = (KeyPair::from_seed(&[1; 32]), DiscoveryKey([7; 32]));
    let access = Access::Keys(BTreeSet::from([listed.public()]));
    let mut hub = hub(Config { access, ..Config::default() });
    let mut hand = Hand::open(&mut hub, 5).unwrap();
    let own = KeyPair::from_seed(&[5; 32]);
    let forged = Target::Prove { key: listed.public(), signature: [3; 64] };
    assert_eq!(hand.ask(&mut hub, forged), Err(reason::UNPROVEN));
    for target in [
        Target::prove(&own, &hand.hash),
        Target::register(&own, &hand.hash),
        Target::LookUp(topic),
        Target::Peer(PublicKey([0; 32])),
        Target::Announce { key: listed.public(), topic },
        Target::Meet([1; 32]),
    ] {
        assert_eq!(hand.ask(&mut hub, target), Err(reason::NOT_ADMITTED), "{target:?}");
    }
    let proof = Target::prove(&listed, &hand.hash);
    assert_eq!(hand.ask(&mut hub, proof), Ok(()));
    assert_eq!(hand.ask(&mut hub, Target::Peer(PublicKey([0; 32]))), Err(reason::NOBODY));
    assert_eq!(hub.size()[1], 0, "who proves a key is not found by it");
    hub.admit(Time::ZERO, Access::Keys(BTreeSet::new()));
    assert!(hand.hears(&mut hub).iter().any(|event| matches!(event, Event::Closed(_))));
}

#[test]
fn two_who_have_a_token_are_joined_and_a_third_waits() {
    let mut hub = hub(Config::default());
    let [mut one, mut other, mut third] = [1, 2, 3].map(|seed| Hand::open(&mut hub, seed).unwrap());
    let circuit = one.begin(Target::Meet([8; 32]));
    assert_eq!(one.hears(&mut hub), []);
    assert_eq!(other.ask(&mut hub, Target::Meet([8; 32])), Ok(()));
    assert_eq!(one.hears(&mut hub), [Event::Accepted { circuit }]);
    let bytes = Bytes::from_static(b"unseen");
    one.command(Command::Send { circuit, bytes: bytes.clone() });
    one.hears(&mut hub);
    assert!(
        other.hears(&mut hub).iter().any(|event| matches!(event, Event::Data { bytes: came, .. } if *came == bytes))
    );
    let late = third.begin(Target::Meet([8; 32]));
    assert_eq!(third.hears(&mut hub), [], "a token is good for one pair");
    // What is said before there is anybody to hear it ends the circuit.
    third.command(Command::Send { circuit: late, bytes });
    assert_eq!(third.hears(&mut hub), [Event::Reset { circuit: late, reason: reason::UNKNOWN }]);
    assert_eq!(hub.size()[3], 1);
}

//! Peers meet at a relay over real sockets, and streams between them are whole.

use std::time::Duration;

use anypath_relay::{Access, Config, Relay};
use anypath_transports::{DialError, Transport};
use anypath_wire::{Address, DiscoveryKey, KeyPair};
use tokio::time::{sleep, timeout};

use crate::lab::{Lab, exchange, lab, meet};

#[tokio::test(flavor = "multi_thread")]
async fn two_peers_meet_under_a_topic_and_exchange_streams() {
    let lab = lab(Config::default()).await;
    let mut listener = lab.peer(1, 7).listen(&lab.at()).await.unwrap();
    assert_eq!(listener.address(), lab.address());
    let dials = lab.peer(2, 7);
    for bytes in [0, 1, 3_000_000] {
        let (a, b) = meet(&lab, &mut listener, &dials).await;
        exchange(a, b, bytes).await;
    }
    let (a, b) = meet(&lab, &mut listener, &dials).await;
    let (c, d) = meet(&lab, &mut listener, &dials).await;
    tokio::join!(exchange(a, b, 1_000_000), exchange(c, d, 1_000_000));
    assert_eq!(lab.relay.size().await, [2, 1, 1, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_alone_are_enough() {
    let lab = Lab { rungs: "poll".parse().unwrap(), ..lab(Config::default()).await };
    let mut listener = lab.peer(1, 7).listen(&lab.at()).await.unwrap();
    let dials = lab.peer(2, 7);
    for _ in 0..2 {
        let (a, b) = meet(&lab, &mut listener, &dials).await;
        assert_eq!((a.transport, b.transport), ("https/poll", "https/poll"));
        exchange(a, b, 3_000_000).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_takes_over_as_soon_as_it_has_proven_itself() {
    let lab = lab(Config::default()).await;
    let mut listener = lab.peer(1, 7).listen(&lab.at()).await.unwrap();
    let dials = lab.peer(2, 7);
    let climb = async {
        loop {
            let (a, b) = meet(&lab, &mut listener, &dials).await;
            if (a.transport, b.transport) == ("https/ws", "https/ws") {
                return (a, b);
            }
            exchange(a, b, 1_000_000).await;
        }
    };
    let (a, b) = timeout(Duration::from_secs(20), climb).await.expect("both on a WebSocket");
    exchange(a, b, 20_000_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_gone_is_no_longer_found() {
    let lab = lab(Config::default()).await;
    let listener = lab.peer(1, 7).listen(&lab.at()).await.unwrap();
    let dials = lab.peer(2, 7);
    drop(listener);
    while lab.relay.size().await[1] > 0 {
        sleep(Duration::from_millis(20)).await;
    }
    let error = dials.dial(&lab.address()).await.unwrap_err();
    assert!(error.to_string().contains("nobody who has it is at this relay"), "{error}");
    let other = lab.peer(3, 8).listen(&lab.at()).await.unwrap();
    assert!(matches!(dials.dial(&lab.address()).await, Err(DialError::Relay { .. })));
    drop(other);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_comes_later_is_announced_as_well() {
    let lab = lab(Config::default()).await;
    let shares = lab.peer(1, 7);
    let mut listener = shares.listen(&lab.at()).await.unwrap();
    let dials = lab.peer(2, 8);
    assert!(dials.dial(&lab.address()).await.is_err());
    shares.meet(DiscoveryKey([8; 32]));
    let address = lab.address();
    let dialling = async {
        loop {
            match dials.dial(&address).await {
                Ok(conn) => return conn,
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let (a, b) = tokio::join!(dialling, listener.accept());
    exchange(a, b.unwrap(), 1_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_with_another_key_is_refused() {
    let lab = lab(Config::default()).await;
    let named = Address { key: Some(KeyPair::from_seed(&[8; 32]).public()), ..lab.address() };
    let error = lab.peer(2, 7).dial(&named).await.unwrap_err();
    assert!(
        error.to_string().contains("another key") && error.to_string().contains(&lab.relay.key().to_string()),
        "{error}"
    );
    let nameless = Address { key: None, ..lab.address() };
    let error = lab.peer(2, 7).dial(&nameless).await.unwrap_err();
    assert!(error.to_string().contains("nobody"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_asked_for() {
    let lab = lab(Config { access: Access::Token(b"open sesame".to_vec()), ..Config::default() }).await;
    let error = lab.peer(1, 7).listen(&lab.at()).await.err().unwrap();
    assert!(error.to_string().contains("right token"), "{error}");
    let mut listener = lab.peer_with(1, 7, b"open sesame".to_vec()).listen(&lab.at()).await.unwrap();
    let (a, b) = meet(&lab, &mut listener, &lab.peer_with(2, 7, b"open sesame".to_vec())).await;
    exchange(a, b, 1_000).await;
}

/// The listener registers at a relay that has forgotten everything.
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_restarted_is_found_again() {
    let Lab { relay, root, tls, rungs } = lab(Config::default()).await;
    let at = relay.address();
    let lab = Lab { relay, root, tls, rungs };
    let mut listener = lab.peer(1, 7).listen(&lab.at()).await.unwrap();
    let dials = lab.peer(2, 7);
    let (a, b) = meet(&lab, &mut listener, &dials).await;
    exchange(a, b, 100_000).await;
    let Lab { relay, root, tls, rungs } = lab;
    drop(relay);
    let relay = loop {
        match Relay::start(at, KeyPair::from_seed(&[9; 32]), Some(tls.clone()), Config::default()).await {
            Ok(relay) => break relay,
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    };
    let lab = Lab { relay, root, tls, rungs };
    let address = lab.address();
    let dialling = async {
        loop {
            match dials.dial(&address).await {
                Ok(conn) => return conn,
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
    };
    let met = timeout(Duration::from_secs(30), async { tokio::join!(dialling, listener.accept()) }).await;
    let (a, b) = met.expect("they meet again");
    exchange(a, b.unwrap(), 100_000).await;
}

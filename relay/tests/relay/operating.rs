//! What whoever runs a relay sees of it, and how it ends without hurting anybody.

use std::net::SocketAddr;
use std::time::Duration;

use anypath_relay::{Access, Config, Relay};
use anypath_transports::Transport;
use anypath_wire::KeyPair;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::lab::{Lab, exchange, lab, meet};

async fn ask(at: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Returns what a line of figures says, 0 if there is none.
fn figure(text: &str, name: &str) -> u64 {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok()).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_are_told_at_an_address_of_their_own() {
    let metrics = Some("127.0.0.1:0".parse().unwrap());
    let lab = lab(Config { metrics, access: Access::Token(b"sesame".to_vec()), ..Config::default() }).await;
    let peer = |seed| lab.peer_with(seed, 7, b"sesame".to_vec());
    let mut listener = peer(1).listen(&lab.at()).await.unwrap();
    let dials = peer(2);
    let (a, b) = meet(&lab, &mut listener, &dials).await;
    exchange(a, b, 1_000_000).await;
    assert!(lab.peer(3, 7).dial(&lab.address()).await.is_err());
    let at = lab.relay.metrics_address().unwrap();
    let text = ask(at, "/metrics").await;
    assert!(text.starts_with("HTTP/1.1 200") && text.contains("application/openmetrics-text"), "{text}");
    for (name, expected) in [
        ("anypath_relay_sessions", 2),
        ("anypath_relay_keys", 1),
        ("anypath_relay_topics", 1),
        ("anypath_relay_sessions_opened_total", 2),
        ("anypath_relay_sessions_refused_total{reason=\"not_admitted\"}", 1),
        ("anypath_relay_passed_bytes_total", 1_500_000),
        ("anypath_relay_requests_total{route=\"open\",status=\"200\"}", 3),
    ] {
        assert_eq!(figure(&text, name), expected, "{name} in {text}");
    }
    assert!(figure(&text, "anypath_relay_connections") >= 2);
    let keys = [1, 2, 3].map(|seed| KeyPair::from_seed(&[seed; 32]).public().to_string());
    assert!(keys.iter().all(|key| !text.contains(key)), "nobody is named");
    assert!(ask(at, "/").await.starts_with("HTTP/1.1 404"), "nothing else is there");
}

/// Sessions go on until their turn comes; then their clients are back, at the relay that has come up meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_retires_cuts_nobody_short() {
    let Lab { relay, root, tls, rungs } = lab(Config::default()).await;
    let at = relay.address();
    let lab = Lab { relay, root, tls, rungs };
    let mut listener = lab.peer(1, 7).listen(&lab.at()).await.unwrap();
    let dials = lab.peer(2, 7);
    let (a, b) = meet(&lab, &mut listener, &dials).await;
    let Lab { relay, root, tls, rungs } = lab;
    let began = Instant::now();
    let retiring = tokio::spawn(relay.retire(Duration::from_secs(3)));
    exchange(a, b, 100_000).await;
    assert!(!retiring.is_finished(), "what is open goes on");
    while TcpStream::connect(at).await.is_ok() {
        sleep(Duration::from_millis(10)).await;
    }
    assert!(began.elapsed() < Duration::from_secs(1), "nobody new comes in");
    let relay = Relay::start(at, KeyPair::from_seed(&[9; 32]), Some(tls.clone()), Config::default()).await.unwrap();
    timeout(Duration::from_secs(10), retiring).await.expect("all are gone in time").unwrap();
    assert!(began.elapsed() > Duration::from_secs(2), "they are not sent away all at once");
    let lab = Lab { relay, root, tls, rungs };
    let again = timeout(Duration::from_secs(10), async {
        let address = lab.address();
        let dialling = async {
            loop {
                match dials.dial(&address).await {
                    Ok(conn) => return conn,
                    Err(_) => sleep(Duration::from_millis(50)).await,
                }
            }
        };
        tokio::join!(dialling, listener.accept())
    });
    let (a, b) = again.await.expect("they meet again");
    exchange(a, b.unwrap(), 1_000).await;
}

#[tokio::test]
async fn a_relay_without_sessions_retires_at_once() {
    let lab = lab(Config::default()).await;
    timeout(Duration::from_secs(1), lab.relay.retire(Duration::from_secs(60))).await.expect("at once");
}

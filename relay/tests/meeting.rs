//! Peers meet at a relay over real sockets, with and without TLS, and streams between them are whole.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::sync::Arc;
use std::time::Duration;

use anypath_relay::{Access, Config, Relay, ServerTls};
use anypath_transports::https::{Dialer, DialerConfig, Https, HttpsConfig, Proxies, TlsConfig};
use anypath_transports::{Conn, DialError, Listener, Tcp, Transport};
use anypath_wire::{Address, DiscoveryKey, KeyPair, ListenAt};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

struct Lab {
    relay: Relay,
    root: CertificateDer<'static>,
    tls: ServerTls,
}

async fn lab(config: Config) -> Lab {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let tls = ServerTls::new(cert.pem().as_bytes(), signing_key.serialize_pem().as_bytes()).unwrap();
    let identity = KeyPair::from_seed(&[9; 32]);
    let relay = Relay::start("127.0.0.1:0".parse().unwrap(), identity, Some(tls.clone()), config).await.unwrap();
    Lab { relay, root: cert.der().clone(), tls }
}

impl Lab {
    fn address(&self) -> Address {
        let port = self.relay.address().port();
        Address { scheme: "https".to_owned(), host: "localhost".to_owned(), port, key: Some(self.relay.key()) }
    }

    fn at(&self) -> ListenAt {
        let Address { scheme, host, port, .. } = self.address();
        ListenAt { scheme, host, ports: port..=port }
    }

    fn peer(&self, seed: u8, topic: u8) -> Https {
        self.peer_with(seed, topic, Vec::new())
    }

    fn peer_with(&self, seed: u8, topic: u8, token: Vec<u8>) -> Https {
        let tls = TlsConfig { roots: vec![self.root.clone()], ..TlsConfig::default() };
        let config = DialerConfig { proxies: Proxies::none(), tls, timeout_ms: 0 };
        let dialer = Dialer::new(Arc::new(Tcp::default()), config).unwrap();
        let https = Https::new(dialer, HttpsConfig { identity: KeyPair::from_seed(&[seed; 32]), token });
        https.meet(DiscoveryKey([topic; 32]));
        https
    }
}

/// Sends so many bytes one way and half of them back; both ends check every one.
async fn exchange(mut a: Conn, mut b: Conn, bytes: usize) {
    let content = |seed: u8, count: usize| (0..count).map(move |at| ((at * 31) >> 3) as u8 ^ seed).collect::<Vec<u8>>();
    let (there, back) = (content(1, bytes), content(2, bytes / 2));
    let (expect_there, expect_back) = (there.clone(), back.clone());
    let a = async move {
        let mut came = Vec::new();
        let write = async {
            a.writer.write_all(&there).await.unwrap();
            a.writer.shutdown().await.unwrap();
        };
        let ((), read) = tokio::join!(write, a.reader.read_to_end(&mut came));
        read.unwrap();
        assert!(came == expect_back, "{} of {} came back", came.len(), expect_back.len());
    };
    let b = async move {
        let mut came = Vec::new();
        let write = async {
            b.writer.write_all(&back).await.unwrap();
            b.writer.shutdown().await.unwrap();
        };
        let ((), read) = tokio::join!(write, b.reader.read_to_end(&mut came));
        read.unwrap();
        assert!(came == expect_there, "{} of {} came", came.len(), expect_there.len());
    };
    timeout(Duration::from_secs(60), async { tokio::join!(a, b) }).await.expect("all bytes within a minute");
}

async fn meet(lab: &Lab, listener: &mut Box<dyn Listener>, dials: &Https) -> (Conn, Conn) {
    let address = lab.address();
    let (dialled, accepted) = tokio::join!(dials.dial(&address), listener.accept());
    (dialled.unwrap(), accepted.unwrap())
}

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
    let Lab { relay, root, tls } = lab(Config::default()).await;
    let at = relay.address();
    let lab = Lab { relay, root, tls };
    let mut listener = lab.peer(1, 7).listen(&lab.at()).await.unwrap();
    let dials = lab.peer(2, 7);
    let (a, b) = meet(&lab, &mut listener, &dials).await;
    exchange(a, b, 100_000).await;
    let Lab { relay, root, tls } = lab;
    drop(relay);
    let relay = loop {
        match Relay::start(at, KeyPair::from_seed(&[9; 32]), Some(tls.clone()), Config::default()).await {
            Ok(relay) => break relay,
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    };
    let lab = Lab { relay, root, tls };
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

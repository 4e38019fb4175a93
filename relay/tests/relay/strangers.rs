//! What strangers may try, and that honest sessions go on meanwhile.

use std::net::SocketAddr;
use std::time::Duration;

use anypath_relay::{Config, Relay};
use anypath_transports::Transport;
use anypath_transports::https::session::{Client, ClientConfig, Learnt, Transmit};
use anypath_transports::https::{Descriptor, Target, reason};
use anypath_wire::{DiscoveryKey, KeyPair, PublicKey, Time};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::hand::{Hand, hub};
use crate::lab::{exchange, lab, meet};

async fn plain(config: Config) -> Relay {
    Relay::start("127.0.0.1:0".parse().unwrap(), KeyPair::from_seed(&[9; 32]), None, config).await.unwrap()
}

/// Sends bytes on a connection of its own and returns what comes back, until it is closed or silent for long.
async fn says(relay: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(relay).await.unwrap();
    // Who hangs up early is heard all the same.
    drop(stream.write_all(bytes).await);
    let mut came = Vec::new();
    drop(timeout(Duration::from_secs(5), stream.read_to_end(&mut came)).await);
    String::from_utf8_lossy(&came).into_owned()
}

fn request(method: &str, path: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

#[tokio::test]
async fn people_and_robots_are_told_what_it_is() {
    let relay = plain(Config { contact: "it@example.org <b>".to_owned(), ..Config::default() }).await;
    let at = relay.address();
    let page = says(at, &request("GET", "/", b"")).await;
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("it@example.org &lt;b&gt;"), "{page}");
    let descriptor = says(at, &request("GET", "/.well-known/anypath", b"")).await;
    let (_, body) = descriptor.split_once("\r\n\r\n").unwrap();
    assert_eq!(Descriptor::decode(body.as_bytes()).unwrap().key, relay.key());
    assert!(says(at, &request("GET", "/robots.txt", b"")).await.contains("Disallow: /v1/"));
    for (method, path) in [("GET", "/v1/o"), ("GET", "/x"), ("POST", "/"), ("PUT", "/v1/o"), ("DELETE", "/v1/x/a/1")] {
        assert!(says(at, &request(method, path, b"")).await.starts_with("HTTP/1.1 404"), "{method} {path}");
    }
    assert!(says(at, &request("GET", "/v1/w/a", b"")).await.starts_with("HTTP/1.1 426"));
}

#[tokio::test]
async fn nonsense_opens_nothing_and_costs_nothing() {
    let relay = plain(Config { body_bytes_max: 100_000, ..Config::default() }).await;
    let at = relay.address();
    for body in [&[][..], &[0; 48], &[7; 1000], &[0xff; 70_000]] {
        assert!(says(at, &request("POST", "/v1/o/a", body)).await.starts_with("HTTP/1.1 404"), "{}", body.len());
    }
    let unknown = says(at, &request("POST", "/v1/x/a/1", &[5; 64])).await;
    assert!(unknown.starts_with("HTTP/1.1 200"), "a session that is not known is said to be forgotten: {unknown}");
    assert!(says(at, &request("POST", "/v1/x/a/1", &[5; 3])).await.starts_with("HTTP/1.1 404"));
    let long = b"POST /v1/o/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 100001\r\n\r\n";
    assert!(says(at, long).await.starts_with("HTTP/1.1 413"), "refused by its length alone");
    let head = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(100_000));
    assert!(!says(at, head.as_bytes()).await.contains("HTTP/1.1 200"));
    assert_eq!(relay.size().await, [0; 4]);
}

/// A crowd that fills every place it can does not keep the others from going on.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_that_is_slow_and_silent_does_not_stop_honest_peers() {
    let config = Config { request_ms_max: 1_500, connections_per_address_max: 600, ..Config::default() };
    let lab = lab(config).await;
    let mut listener = lab.peer(1, 7).listen(&lab.at()).await.unwrap();
    let dials = lab.peer(2, 7);
    let (a, b) = meet(&lab, &mut listener, &dials).await;
    let at = lab.relay.address();
    let mut crowd = Vec::new();
    for _ in 0..500 {
        // None of them ever completes a handshake.
        let mut stream = TcpStream::connect(at).await.unwrap();
        drop(stream.write_all(&[22, 3, 1]).await);
        crowd.push(stream);
    }
    exchange(a, b, 3_000_000).await;
    let (a, b) = meet(&lab, &mut listener, &dials).await;
    exchange(a, b, 1_000).await;
    // And they are sent away.
    let gone = timeout(Duration::from_secs(20), async {
        for stream in &mut crowd {
            drop(stream.read_to_end(&mut Vec::new()).await);
        }
    });
    gone.await.expect("slow ones are sent away");
}

#[tokio::test]
async fn one_address_opens_only_so_many_sessions_a_minute() {
    let opens_per_minute_max = 3.try_into().unwrap();
    let fronts = vec!["127.0.0.1".parse().unwrap()];
    for (fronts, believed) in [(Vec::new(), false), (fronts, true)] {
        let relay = plain(Config { opens_per_minute_max, fronts, ..Config::default() }).await;
        let ask = |number: u8| {
            let head = format!("POST /v1/o/a HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.{number}\r\n");
            format!("{head}Connection: close\r\nContent-Length: 0\r\n\r\n").into_bytes()
        };
        for _ in 0..3 {
            assert!(says(relay.address(), &ask(1)).await.starts_with("HTTP/1.1 404"));
        }
        assert!(says(relay.address(), &ask(1)).await.starts_with("HTTP/1.1 429"));
        let another = says(relay.address(), &ask(2)).await;
        assert!(another.starts_with(if believed { "HTTP/1.1 404" } else { "HTTP/1.1 429" }), "{another}");
    }
}

#[tokio::test]
async fn one_address_gets_only_so_many_connections() {
    let relay = plain(Config { connections_per_address_max: 3, ..Config::default() }).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(TcpStream::connect(relay.address()).await.unwrap());
    }
    // They are counted once they are accepted; a page on the last of them shows that they were.
    held[2].write_all(&request("GET", "/", b"").replace_close()).await.unwrap();
    held[2].read_u8().await.unwrap();
    assert_eq!(says(relay.address(), &request("GET", "/", b"")).await, "");
    drop(held);
    while says(relay.address(), &request("GET", "/", b"")).await.is_empty() {
        sleep(Duration::from_millis(20)).await;
    }
}

trait ReplaceClose {
    fn replace_close(self) -> Vec<u8>;
}

impl ReplaceClose for Vec<u8> {
    fn replace_close(self) -> Vec<u8> {
        String::from_utf8(self).unwrap().replace("Connection: close\r\n", "").into_bytes()
    }
}

#[test]
fn nobody_registers_a_key_that_is_not_theirs() {
    let mut hub = hub(Config::default());
    let (victim, topic) = (KeyPair::from_seed(&[1; 32]), DiscoveryKey([7; 32]));
    let mut thief = Hand::open(&mut hub, 5).unwrap();
    let forged = Target::Register { key: victim.public(), signature: [3; 64] };
    assert_eq!(thief.ask(&mut hub, forged), Err(reason::UNPROVEN));
    // Nor with a signature that was made for another session.
    let mut honest = Hand::open(&mut hub, 6).unwrap();
    let genuine = Target::register(&victim, &honest.hash);
    assert_eq!(thief.ask(&mut hub, genuine), Err(reason::UNPROVEN));
    assert_eq!(honest.ask(&mut hub, genuine), Ok(()));
    // Nor is a topic announced for them.
    assert_eq!(thief.ask(&mut hub, Target::Announce { key: victim.public(), topic }), Err(reason::UNPROVEN));
    assert_eq!(thief.ask(&mut hub, Target::From(None)), Err(reason::UNKNOWN));
    assert_eq!(thief.ask(&mut hub, Target::Peer(PublicKey([0; 32]))), Err(reason::NOBODY));
    assert_eq!(hub.size(), [2, 1, 0, 0]);
}

#[test]
fn sessions_are_counted_and_those_without_a_request_forgotten() {
    let mut hub = hub(Config { sessions_max: 20, ..Config::default() });
    assert!((0..50).all(|seed| Hand::open(&mut hub, seed).is_some()));
    assert!((4..=6).contains(&hub.size()[0]), "who only opens pushes out the likes: {:?}", hub.size());
    let mut honest: Vec<_> = (100..130)
        .filter_map(|seed| {
            let mut hand = Hand::open(&mut hub, seed)?;
            let target = Target::register(&KeyPair::from_seed(&[seed; 32]), &hand.hash);
            hand.ask(&mut hub, target).ok().map(|()| hand)
        })
        .collect();
    let kept = honest.len();
    assert!((15..=20).contains(&kept), "{kept} honest ones beside the crowd");
    (0..50).for_each(|seed| drop(Hand::open(&mut hub, seed)));
    assert_eq!(hub.size()[1], kept, "nobody who was there was pushed out");
    let gone = Target::Peer(PublicKey([0; 32]));
    assert!(honest.iter_mut().all(|hand| hand.ask(&mut hub, gone) == Err(reason::NOBODY)));
    let later = hub.poll_deadline().unwrap();
    assert!(later <= Time::from_micros(10_000_000));
    hub.handle_timeout(Time::from_micros(10_000_000));
    assert_eq!(hub.size()[..2], [kept, kept]);
    assert!(kept == 20 || Hand::open(&mut hub, 9).is_some());
}

#[test]
fn a_replayed_opening_gives_nobody_anything() {
    let mut hub = hub(Config::default());
    let mut honest = Hand::open(&mut hub, 1).unwrap();
    let pair = KeyPair::from_seed(&[1; 32]);
    let target = Target::register(&pair, &honest.hash);
    honest.ask(&mut hub, target).unwrap();
    // Whoever repeats what was seen on the way makes a session without keys, which goes by itself.
    let config = ClientConfig {
        relay: hub.key(),
        token: Vec::new(),
        tag: "a".to_owned(),
        seed: [1; 32],
        session: Default::default(),
        learnt: Learnt::default(),
        attempts_max: u64::MAX,
        requests: true,
    };
    let Some(Transmit::Post { body, .. }) = Client::new(Time::ZERO, config).poll_transmit() else { panic!() };
    assert!(hub.open(Time::ZERO, [2; 48], "a", &body.concat(), None).is_some());
    assert_eq!(hub.size(), [2, 1, 0, 0]);
    hub.handle_timeout(Time::from_micros(10_000_000));
    assert_eq!(hub.size(), [1, 1, 0, 0]);
}

//! QUIC's own promises: keys are proven before there is a stream, rubbish and silence harm nobody, and an address may change.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::net::SocketAddr;
use std::time::Duration;

use anypath_transports::{Conn, DialError, Listener, Quic, QuicConfig, Transport};
use anypath_wire::{Address, KeyPair, PublicKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::timeout;

#[tokio::test]
async fn each_end_knows_the_others_key() {
    let (mut listener, dialling) = (listen().await, quic(2));
    let to = listener.address();
    let (dialled, accepted) = tokio::join!(dialling.dial(&to), listener.accept());
    assert_eq!(dialled.unwrap().remote.key, Some(key(1)));
    assert_eq!(accepted.unwrap().remote.key, Some(key(2)));
}

#[tokio::test]
async fn an_address_without_a_key_takes_any() {
    let (mut listener, dialling) = (listen().await, quic(2));
    let to = Address { key: None, ..listener.address() };
    let (dialled, accepted) = tokio::join!(dialling.dial(&to), listener.accept());
    assert_eq!(dialled.unwrap().remote.key, Some(key(1)));
    drop(accepted.unwrap());
}

#[tokio::test]
async fn a_wrong_key_never_gets_a_stream() {
    let mut listener = listen().await;
    let to = Address { key: Some(key(9)), ..listener.address() };
    let accepting = timeout(Duration::from_millis(500), listener.accept());
    let (dialled, accepted) = tokio::join!(async { quic(2).dial(&to).await }, accepting);
    let error = dialled.unwrap_err();
    assert!(matches!(&error, DialError::AnotherKey { found, .. } if *found == key(1)), "{error:?}");
    assert!(error.to_string().ends_with(&format!("has another key: {}", key(1))), "{error}");
    assert!(accepted.is_err(), "the stranger was given a stream");
}

#[tokio::test]
async fn silence_ends_a_dial_and_says_how_long_it_waited() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let to = at(silent.local_addr().unwrap());
    let patient = QuicConfig { dial_timeout_ms: 300, ..QuicConfig::default() };
    let error = Quic::new(patient, identity(2)).dial(&to).await.unwrap_err();
    assert!(matches!(&error, DialError::TimedOut { limit_ms: 300, .. }), "{error:?}");
}

#[tokio::test]
async fn rubbish_is_dropped() {
    let (mut listener, dialling) = (listen().await, quic(2));
    let to = listener.address();
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for length in 0..1400_usize {
        let rubbish: Vec<u8> = (0..length).map(|place| (place * length * 31 + length) as u8 | 0xc0).collect();
        stranger.send_to(&rubbish, ("127.0.0.1", to.port)).await.unwrap();
    }
    let (dialled, accepted) = tokio::join!(dialling.dial(&to), listener.accept());
    exchange(&mut dialled.unwrap(), &mut accepted.unwrap(), b"still here").await;
}

#[tokio::test]
async fn a_stream_outlives_the_address_that_it_came_from() {
    let mut listener = listen().await;
    let nat = Nat::start(listener.address().port).await;
    let to = Address { port: nat.inside.port(), ..listener.address() };
    let dialling = quic(2);
    let (dialled, accepted) = tokio::join!(dialling.dial(&to), listener.accept());
    let (mut dialled, mut accepted) = (dialled.unwrap(), accepted.unwrap());
    exchange(&mut dialled, &mut accepted, &[1; 100_000]).await;
    nat.map_anew();
    exchange(&mut dialled, &mut accepted, &[2; 100_000]).await;
    exchange(&mut accepted, &mut dialled, &[3; 100_000]).await;
}

/// Forwards between one dialler and a port, and gives the dialler another port when told so.
struct Nat {
    inside: SocketAddr,
    mapping: watch::Sender<u32>,
}

impl Nat {
    async fn start(to: u16) -> Self {
        let inside = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let at = inside.local_addr().unwrap();
        let (mapping, mut changes) = watch::channel(0);
        tokio::spawn(async move {
            let outside = || async move {
                let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
                socket.connect(("127.0.0.1", to)).await.unwrap();
                socket
            };
            let mut out = outside().await;
            let (mut there, mut back) = ([0; 2048], [0; 2048]);
            let mut dialler = None;
            loop {
                tokio::select! {
                    changed = changes.changed() => match changed {
                        Ok(()) => out = outside().await,
                        Err(_) => return,
                    },
                    Ok((length, from)) = inside.recv_from(&mut there) => {
                        dialler.get_or_insert(from);
                        // The knock comes from a socket of its own.
                        if dialler == Some(from) || length > 1 {
                            dialler = Some(from);
                            out.send(&there[..length]).await.unwrap();
                        }
                    }
                    Ok(length) = out.recv(&mut back) => {
                        inside.send_to(&back[..length], dialler.unwrap()).await.unwrap();
                    }
                }
            }
        });
        Self { inside: at, mapping }
    }

    fn map_anew(&self) {
        self.mapping.send_modify(|number| *number += 1);
    }
}

async fn exchange(from: &mut Conn, to: &mut Conn, bytes: &[u8]) {
    let mut received = vec![0; bytes.len()];
    let moving = async { tokio::try_join!(from.writer.write_all(bytes), to.reader.read_exact(&mut received)) };
    timeout(PATIENCE, moving).await.expect("the stream stands still").unwrap();
    assert_eq!(received, bytes);
}

async fn listen() -> Box<dyn Listener> {
    quic(1).listen(&"quic://127.0.0.1:0".parse().unwrap()).await.unwrap()
}

fn quic(seed: u8) -> Quic {
    Quic::new(QuicConfig::default(), identity(seed))
}

fn identity(seed: u8) -> KeyPair {
    KeyPair::from_seed(&[seed; 32])
}

fn key(seed: u8) -> PublicKey {
    identity(seed).public()
}

fn at(place: SocketAddr) -> Address {
    format!("quic://{place}").parse().unwrap()
}

/// Long enough for any machine, and short enough to notice that something waits for ever.
const PATIENCE: Duration = Duration::from_secs(30);

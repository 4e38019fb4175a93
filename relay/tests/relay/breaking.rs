//! A line to the relay that breaks again and again: nothing is lost, and nobody starts anew.

use std::time::Duration;

use anypath_relay::Config;
use anypath_transports::Transport;
use anypath_wire::{Address, ListenAt};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::lab::{Lab, exchange, lab};

/// Begins a line to that port that can be cut; returns its port, and what cuts all connections there are.
async fn line(to: u16) -> (u16, watch::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (cutter, cut) = watch::channel(());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut cut = cut.clone();
            cut.mark_unchanged();
            tokio::spawn(async move {
                let Ok(mut onward) = TcpStream::connect(("127.0.0.1", to)).await else { return };
                tokio::select! {
                    _ = copy_bidirectional(&mut stream, &mut onward) => {}
                    _ = cut.changed() => {}
                }
            });
        }
    });
    (port, cutter)
}

async fn survives(rungs: &str) {
    let lab = Lab { rungs: rungs.parse().unwrap(), ..lab(Config::default()).await };
    let (port, cutter) = line(lab.relay.address().port()).await;
    let address = Address { port, ..lab.address() };
    let at = ListenAt { ports: port..=port, ..lab.at() };
    let mut listener = lab.peer(1, 7).listen(&at).await.unwrap();
    let dials = lab.peer(2, 7);
    let (a, b) = tokio::join!(dials.dial(&address), listener.accept());
    let began = Instant::now();
    let cutting = async {
        // Cut while the bytes are under way, then leave them time to come.
        while began.elapsed() < Duration::from_secs(4) {
            sleep(Duration::from_millis(150)).await;
            cutter.send_replace(());
        }
    };
    tokio::join!(exchange(a.unwrap(), b.unwrap(), 24_000_000), cutting);
    assert_eq!(lab.relay.size().await[..2], [2, 1], "the same two sessions");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_cut_lose_nothing() {
    survives("poll").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn websockets_that_are_cut_lose_nothing() {
    survives("ws,poll").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_both_ways_that_are_cut_lose_nothing() {
    survives("h2,poll").await;
}

//! A listener outlasts its process having no descriptor left. Alone in this file, for it lowers the process's limit.
#![cfg(target_os = "linux")]

use std::process::Command;
use std::time::Duration;

use anypath_transports::{Tcp, Transport};
use tokio::net::{TcpSocket, UdpSocket};
use tokio::time::timeout;

#[tokio::test]
async fn a_peer_that_came_while_descriptors_were_short_is_accepted_afterwards() {
    let limit = format!("--nofile={DESCRIPTORS_MAX}:{DESCRIPTORS_MAX}");
    let pid = std::process::id().to_string();
    assert!(Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap().success());

    let mut listener = Tcp::default().listen(&"tcp://127.0.0.1:0".parse().unwrap()).await.unwrap();
    let to = format!("127.0.0.1:{}", listener.address().port).parse().unwrap();
    let dialler = TcpSocket::new_v4().unwrap();
    let mut hoard = Vec::new();
    while let Ok(socket) = UdpSocket::bind("127.0.0.1:0").await {
        hoard.push(socket);
        assert!(hoard.len() <= DESCRIPTORS_MAX, "the limit does not hold");
    }
    let dialled = dialler.connect(to).await.unwrap();
    assert!(timeout(Duration::from_millis(300), listener.accept()).await.is_err(), "there was a descriptor left");

    drop(hoard);
    let accepted = listener.accept().await.unwrap();
    assert_eq!(accepted.remote.port, dialled.local_addr().unwrap().port());
}

/// How many descriptors the process may have: room for a runtime, little more.
const DESCRIPTORS_MAX: usize = 64;

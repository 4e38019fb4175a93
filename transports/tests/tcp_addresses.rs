//! TCP's own promises: names, both families, ranges of ports, and errors that say what to do.

use std::ops::RangeInclusive;

use anypath_transports::{DialError, ListenError, Tcp, TcpConfig, Transport};
use tokio::net::{TcpListener, UdpSocket};

#[tokio::test]
async fn ipv6_carries_or_its_absence_is_named() {
    let tcp = Tcp::default();
    let listening = tcp.listen(&"tcp://[::1]:0".parse().unwrap()).await;
    if !has_ipv6().await {
        assert!(matches!(listening, Err(ListenError::NotHere { .. } | ListenError::Io { .. })));
        return;
    }
    let mut listener = listening.unwrap();
    let to = listener.address();
    assert!(to.to_string().starts_with("tcp://[::1]:"));
    let (dialled, accepted) = tokio::join!(tcp.dial(&to), listener.accept());
    assert_eq!(dialled.unwrap().local, accepted.unwrap().remote);
    drop(listener);
    let error = tcp.dial(&to).await.unwrap_err().to_string();
    assert_eq!(error, format!("connection refused by [::1]:{} (nothing listens there?)", to.port));
}

#[tokio::test]
async fn all_addresses_of_both_families_may_share_a_port() {
    if !has_ipv6().await {
        return; // The test above has said so.
    }
    let tcp = Tcp::default();
    let v6 = tcp.listen(&"tcp://[::]:0".parse().unwrap()).await.unwrap();
    let at = format!("tcp://0.0.0.0:{}", v6.address().port);
    let v4 = tcp.listen(&at.parse().unwrap()).await.unwrap();
    assert_eq!(v4.address().port, v6.address().port);
}

#[tokio::test]
async fn a_name_is_dialled_at_whichever_address_answers() {
    let tcp = Tcp::default();
    let mut listener = tcp.listen(&"tcp://127.0.0.1:0".parse().unwrap()).await.unwrap();
    let to = format!("tcp://localhost:{}", listener.address().port).parse().unwrap();
    let (dialled, accepted) = tokio::join!(tcp.dial(&to), listener.accept());
    assert_eq!(dialled.unwrap().remote, accepted.unwrap().local);
}

#[tokio::test]
async fn a_range_with_every_port_taken_is_named_with_a_way_out() {
    let (_holders, ports) = two_ports_in_a_row().await;
    let at = format!("tcp://127.0.0.1:{}-{}", ports.start(), ports.end()).parse().unwrap();
    let error = Tcp::default().listen(&at).await.err().unwrap().to_string();
    let expected = format!("all ports {}-{} on 127.0.0.1 are in use: ", ports.start(), ports.end());
    assert!(error.starts_with(&expected) && error.ends_with("or 0 for any free one"), "{error}");
}

#[tokio::test]
async fn an_address_of_another_machine_is_named() {
    let error = Tcp::default().listen(&"tcp://192.0.2.1:0".parse().unwrap()).await.err().unwrap();
    assert!(matches!(&error, ListenError::NotHere { ip } if ip.to_string() == "192.0.2.1"), "{error:?}");
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_named() {
    let tcp = Tcp::new(TcpConfig { dial_timeout_ms: 2_000, ..TcpConfig::default() });
    let error = tcp.dial(&"tcp://nobody.invalid:1".parse().unwrap()).await.unwrap_err();
    assert!(matches!(&error, DialError::Name { host, .. } if host == "nobody.invalid"), "{error:?}");
    let error = tcp.listen(&"tcp://nobody.invalid:1".parse().unwrap()).await.err().unwrap();
    assert!(matches!(&error, ListenError::Name { host, .. } if host == "nobody.invalid"), "{error:?}");
}

#[tokio::test]
async fn port_zero_is_not_dialled() {
    let error = Tcp::default().dial(&"tcp://127.0.0.1:0".parse().unwrap()).await.unwrap_err();
    assert!(matches!(error, DialError::NoPort { .. }), "{error:?}");
}

/// Linux answers nothing when a listener's queue is full, as a firewall does that drops what it dislikes.
#[tokio::test]
#[cfg(target_os = "linux")]
async fn silence_ends_a_dial_and_says_how_long_it_waited() {
    let tcp = Tcp::new(TcpConfig { dial_timeout_ms: 200, backlog_max: 1, ..TcpConfig::default() });
    let listener = tcp.listen(&"tcp://127.0.0.1:0".parse().unwrap()).await.unwrap();
    let to = listener.address();
    let mut queued = Vec::new();
    let error = loop {
        match tcp.dial(&to).await {
            Ok(conn) => queued.push(conn),
            Err(error) => break error,
        }
        assert!(queued.len() < 16, "the queue never fills");
    };
    let expected = format!("127.0.0.1:{} did not answer within 200 ms", to.port);
    assert!(error.to_string().starts_with(&expected), "{error}");
}

/// Holds two neighbouring ports.
async fn two_ports_in_a_row() -> ([TcpListener; 2], RangeInclusive<u16>) {
    for port in (24_000..32_000).step_by(2) {
        let first = TcpListener::bind(("127.0.0.1", port)).await;
        let second = TcpListener::bind(("127.0.0.1", port + 1)).await;
        if let (Ok(first), Ok(second)) = (first, second) {
            return ([first, second], port..=port + 1);
        }
    }
    panic!("no two free ports in a row between 24,000 and 32,000");
}

async fn has_ipv6() -> bool {
    UdpSocket::bind("[::1]:0").await.is_ok()
}

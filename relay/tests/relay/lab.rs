//! A relay on loopback, and peers that meet there.

use std::sync::Arc;
use std::time::Duration;

use anypath_relay::{Config, Relay, ServerTls};
use anypath_transports::https::{Dialer, DialerConfig, Https, HttpsConfig, Proxies, Rungs, TlsConfig};
use anypath_transports::{Conn, Listener, Tcp, Transport};
use anypath_wire::{Address, DiscoveryKey, KeyPair, ListenAt};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// A relay on loopback, and peers that know it.
pub(crate) struct Lab {
    pub(crate) relay: Relay,
    pub(crate) root: CertificateDer<'static>,
    pub(crate) tls: ServerTls,
    pub(crate) rungs: Rungs,
}

/// Starts a relay.
pub(crate) async fn lab(config: Config) -> Lab {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let tls = ServerTls::new(cert.pem().as_bytes(), signing_key.serialize_pem().as_bytes()).unwrap();
    let identity = KeyPair::from_seed(&[9; 32]);
    let relay = Relay::start("127.0.0.1:0".parse().unwrap(), identity, Some(tls.clone()), config).await.unwrap();
    Lab { relay, root: cert.der().clone(), tls, rungs: Rungs::default() }
}

impl Lab {
    pub(crate) fn address(&self) -> Address {
        let port = self.relay.address().port();
        Address { scheme: "https".to_owned(), host: "localhost".to_owned(), port, key: Some(self.relay.key()) }
    }

    pub(crate) fn at(&self) -> ListenAt {
        let Address { scheme, host, port, .. } = self.address();
        ListenAt { scheme, host, ports: port..=port }
    }

    pub(crate) fn peer(&self, seed: u8, topic: u8) -> Https {
        self.peer_with(seed, topic, Vec::new())
    }

    pub(crate) fn peer_with(&self, seed: u8, topic: u8, token: Vec<u8>) -> Https {
        let tls = TlsConfig { roots: vec![self.root.clone()], ..TlsConfig::default() };
        let config = DialerConfig { proxies: Proxies::none(), tls, timeout_ms: 0 };
        let dialer = Dialer::new(Arc::new(Tcp::default()), config).unwrap();
        let https = Https::new(
            dialer,
            HttpsConfig { identity: KeyPair::from_seed(&[seed; 32]), token, rungs: self.rungs.clone(), notebook: None },
        );
        https.meet(DiscoveryKey([topic; 32]));
        https
    }
}

/// Sends so many bytes one way and half of them back; both ends check every one.
pub(crate) async fn exchange(mut a: Conn, mut b: Conn, bytes: usize) {
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

pub(crate) async fn meet(lab: &Lab, listener: &mut Box<dyn Listener>, dials: &Https) -> (Conn, Conn) {
    let address = lab.address();
    let (dialled, accepted) = tokio::join!(dials.dial(&address), listener.accept());
    (dialled.unwrap(), accepted.unwrap())
}

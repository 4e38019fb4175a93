//! Certificates: of the system's authorities, of private ones, of nobody.

use std::sync::Arc;

use anypath_transports::Tcp;
use anypath_transports::https::{
    Dialer, DialerConfig, Judgement, Proxies, ReachError, TlsConfig, TlsError, read_roots,
};
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use crate::scripted::{Authority, relay};

fn dialer(tls: TlsConfig) -> Dialer {
    let config = DialerConfig { proxies: Proxies::none(), tls, timeout_ms: 3_000 };
    Dialer::new(Arc::new(Tcp::default()), config).unwrap()
}

fn trusting(authority: &Authority) -> TlsConfig {
    TlsConfig { roots: vec![authority.root.clone()], ..TlsConfig::default() }
}

#[tokio::test]
async fn a_private_authority_that_is_trusted_is_accepted_and_named() {
    let authority = Authority::new("Example Corp Inspection");
    let port = relay(authority.certify("localhost").0).await;
    let seen = dialer(trusting(&authority)).dial("localhost", port).await.unwrap().seen;
    assert!(seen.issuer.contains("Example Corp Inspection") && !seen.public && seen.pinned.is_none(), "{seen:?}");
}

#[tokio::test]
async fn one_that_is_not_trusted_is_refused_by_name() {
    let (authority, other) = (Authority::new("Example Corp Inspection"), Authority::new("Other"));
    let port = relay(authority.certify("localhost").0).await;
    let error = dialer(trusting(&other)).dial("localhost", port).await.err().unwrap();
    assert!(matches!(&error, ReachError::Tls(TlsError::Untrusted { why: Judgement::Untrusted { .. }, .. })), "{error}");
    assert!(error.to_string().contains("Example Corp Inspection"), "{error}");
}

#[tokio::test]
async fn a_certificate_of_another_name_is_refused() {
    let authority = Authority::new("Lab");
    let port = relay(authority.certify("elsewhere.example").0).await;
    let error = dialer(trusting(&authority)).dial("localhost", port).await.err().unwrap();
    assert!(matches!(&error, ReachError::Tls(TlsError::Untrusted { .. })), "{error}");
}

#[tokio::test]
async fn interception_can_be_ruled_out() {
    let authority = Authority::new("Example Corp Inspection");
    let (acceptor, key) = authority.certify("localhost");
    let port = relay(acceptor).await;
    let denying = TlsConfig { deny_intercepted: true, ..trusting(&authority) };
    let error = dialer(denying.clone()).dial("localhost", port).await.err().unwrap();
    assert!(
        matches!(&error, ReachError::Tls(TlsError::Untrusted { why: Judgement::Intercepted { issuer }, .. }) if issuer.contains("Example Corp")),
        "{error}"
    );
    // Whoever has the pinned key is the relay itself.
    let pinned = TlsConfig { pin: Some(Sha256::digest(key).into()), ..denying };
    assert_eq!(dialer(pinned).dial("localhost", port).await.unwrap().seen.pinned, Some(true));
}

#[tokio::test]
async fn a_pinned_key_needs_no_authority_and_another_key_is_told_of() {
    let authority = Authority::new("Lab");
    let (acceptor, key) = authority.certify("another.name");
    let port = relay(acceptor).await;
    let pin: [u8; 32] = Sha256::digest(key).into();
    let roots = vec![Authority::new("Other").root];
    let seen =
        dialer(TlsConfig { pin: Some(pin), roots, ..TlsConfig::default() }).dial("localhost", port).await.unwrap();
    assert_eq!(seen.seen.pinned, Some(true));
    let intercepted = relay(authority.certify("localhost").0).await;
    let dialled = dialer(TlsConfig { pin: Some(pin), ..trusting(&authority) }).dial("localhost", intercepted).await;
    assert_eq!(dialled.unwrap().seen.pinned, Some(false));
}

/// Machines in between stall on a hello that takes two packets: 1,460 bytes fit one.
#[tokio::test]
async fn the_hello_fits_one_packet() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let dialer = dialer(trusting(&Authority::new("Lab")));
    let hello = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 5];
        stream.read_exact(&mut head).await.unwrap();
        5 + usize::from(u16::from_be_bytes([head[3], head[4]]))
    });
    assert!(dialer.dial("localhost", port).await.is_err());
    let bytes = hello.await.unwrap();
    assert!((100..600).contains(&bytes), "{bytes} bytes");
}

#[test]
fn a_file_without_certificates_is_refused() {
    assert!(read_roots(b"").is_err() && read_roots(b"no certificate").is_err());
    let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_eq!(read_roots(pem.as_bytes()).unwrap().len(), 1);
    let tls = TlsConfig { roots: read_roots(pem.as_bytes()).unwrap(), ..TlsConfig::default() };
    assert!(Dialer::new(Arc::new(Tcp::default()), DialerConfig { tls, ..DialerConfig::default() }).is_err());
}

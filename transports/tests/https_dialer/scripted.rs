//! A relay that greets, and a proxy that does what its script says.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anypath_transports::Tcp;
use anypath_transports::https::{Dialer, DialerConfig, Dialled, Proxies, ReachError, TlsConfig};
use rcgen::{CertificateParams, DnType, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A private authority.
pub(crate) struct Authority {
    pub(crate) root: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().der().clone();
        Self { root, issuer: Issuer::new(params, key) }
    }

    /// Returns what a server needs to be that name, and the key's bytes as a pin is made of.
    pub(crate) fn certify(&self, name: &str) -> (TlsAcceptor, Vec<u8>) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        let secret = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let config = builder.with_single_cert(vec![leaf.der().clone()], secret).unwrap();
        (TlsAcceptor::from(Arc::new(config)), rcgen::PublicKeyData::subject_public_key_info(&key))
    }
}

/// Begins a relay that says hello and sends back what it hears; returns its port.
pub(crate) async fn relay(acceptor: TlsAcceptor) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let (mut reader, mut writer) = tokio::io::split(stream);
                drop(writer.write_all(b"hello").await);
                drop(tokio::io::copy(&mut reader, &mut writer).await);
            });
        }
    });
    port
}

/// What the proxy does with one question.
#[derive(Clone)]
pub(crate) enum Act {
    /// Writes these bytes, so many at a time; then asks on.
    Say(Vec<u8>, usize),
    /// Writes these bytes, connects, and hands on whatever comes.
    Connect(Vec<u8>, usize),
    /// Writes the bytes and hangs up.
    HangUp(Vec<u8>),
    /// Writes the bytes again and again.
    Endless(Vec<u8>),
    /// Says nothing at all.
    Silence,
}

/// What the proxy was asked, one head each, by connection.
pub(crate) type Asked = Arc<Mutex<Vec<Vec<String>>>>;

/// Begins a proxy whose script has a line for each question, whichever connection it comes on; returns its port.
pub(crate) async fn proxy(script: Vec<Act>, relay: u16, tls: Option<TlsAcceptor>) -> (u16, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Asked::default();
    let told = Arc::clone(&asked);
    let script = Arc::new(Mutex::new(script.into_iter()));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (script, told, tls) = (Arc::clone(&script), Arc::clone(&told), tls.clone());
            let connection = {
                let mut told = told.lock().unwrap();
                told.push(Vec::new());
                told.len() - 1
            };
            let note = move |head| told.lock().unwrap()[connection].push(head);
            tokio::spawn(async move {
                let next = || script.lock().unwrap().next().expect("the proxy is asked more often than expected");
                match tls {
                    Some(tls) => serve(tls.accept(stream).await.unwrap(), next, note, relay).await,
                    None => serve(stream, next, note, relay).await,
                }
            });
        }
    });
    (port, asked)
}

async fn serve<S>(mut stream: S, mut next: impl FnMut() -> Act, mut note: impl FnMut(String), relay: u16)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { return };
            head.push(byte);
        }
        note(String::from_utf8(head).unwrap());
        match next() {
            Act::Say(bytes, piece) => say(&mut stream, &bytes, piece).await,
            Act::Connect(bytes, piece) => {
                let mut onward = TcpStream::connect(("127.0.0.1", relay)).await.unwrap();
                say(&mut stream, &bytes, piece).await;
                drop(copy_bidirectional(&mut stream, &mut onward).await);
                return;
            }
            Act::HangUp(bytes) => {
                say(&mut stream, &bytes, usize::MAX).await;
                drop(stream.shutdown().await);
                return;
            }
            Act::Endless(bytes) => while stream.write_all(&bytes).await.is_ok() {},
            Act::Silence => tokio::time::sleep(Duration::from_secs(3600)).await,
        }
    }
}

async fn say<S: tokio::io::AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8], piece: usize) {
    for piece in bytes.chunks(piece.min(bytes.len()).max(1)) {
        drop(stream.write_all(piece).await);
        drop(stream.flush().await);
        if piece.len() < bytes.len() {
            tokio::task::yield_now().await;
        }
    }
}

/// Makes a dialer that goes through a proxy and trusts an authority.
pub(crate) fn dialer(proxy: &str, authority: &Authority) -> Dialer {
    let tls = TlsConfig { roots: vec![authority.root.clone()], ..TlsConfig::default() };
    let proxies = Proxies::all(proxy.parse().unwrap());
    Dialer::new(Arc::new(Tcp::default()), DialerConfig { proxies, tls, timeout_ms: 3_000 }).unwrap()
}

/// Dials, and checks that what comes about is the relay, first byte to last.
pub(crate) async fn reaches(dialer: &Dialer, host: &str) -> Result<Dialled, ReachError> {
    let mut dialled = dialer.dial(host, 443).await?;
    let mut heard = [0; 9];
    dialled.line.write_all(b"echo").await.unwrap();
    dialled.line.flush().await.unwrap();
    dialled.line.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"helloecho");
    Ok(dialled)
}

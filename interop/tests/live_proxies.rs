//! The dialer through real proxies: squid and tinyproxy, with and without credentials.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use anypath_interop::proxy::{Asks, Ground, Proxy, Squid, Tinyproxy, USER};
use anypath_interop::skip;
use anypath_transports::Tcp;
use anypath_transports::https::{Dialer, DialerConfig, Proxies, ProxyError, ReachError, TlsConfig};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, split};
use tokio::net::TcpListener;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

#[tokio::test]
async fn squid_lets_us_through() -> Result<()> {
    let relay = relay().await?;
    let Some(squid) = squid(Asks::Nothing, relay.port)? else { return no("squid") };
    relay.reach(&format!("http://{}", squid.place())).await?;
    written(&squid, "TCP_TUNNEL/200", 1).await?;
    let error =
        relay.reach_port(&format!("http://{}", squid.place()), relay.port ^ 1).await.err().context("no error")?;
    ensure!(
        matches!(&error, ReachError::Proxy(ProxyError::Refused { status, .. }) if status.as_u16() == 403),
        "{error}"
    );
    Ok(())
}

#[tokio::test]
async fn squid_asks_for_a_password_in_clear() -> Result<()> {
    asks(Asks::Basic, squid).await
}

#[tokio::test]
async fn squid_asks_for_a_digest() -> Result<()> {
    asks(Asks::Digest, squid).await
}

#[tokio::test]
async fn tinyproxy_lets_us_through() -> Result<()> {
    let relay = relay().await?;
    let Some(tinyproxy) = tinyproxy(Asks::Nothing, relay.port)? else { return no("tinyproxy") };
    relay.reach(&format!("http://{}", tinyproxy.place())).await
}

#[tokio::test]
async fn tinyproxy_asks_for_a_password_in_clear() -> Result<()> {
    asks(Asks::Basic, tinyproxy).await
}

/// With the password it is reached, three times; with a wrong one it is not, and the proxy is shown that once; without
/// one the error says what is asked for.
async fn asks(asks: Asks, start: impl Fn(Asks, u16) -> Result<Option<Proxy>>) -> Result<()> {
    let relay = relay().await?;
    let Some(proxy) = start(asks, relay.port)? else { return no("the proxy") };
    let with = |password: &str| format!("http://{USER}:{password}@{}", proxy.place());
    let dialer = relay.dialer(&with(&proxy.password.replace('?', "%3f").replace('>', "%3E")))?;
    for _ in 0..3 {
        relay.greet(&dialer, relay.port).await?;
    }
    let before = proxy.log()?.matches("TCP_DENIED/407").count();
    let dialer = relay.dialer(&with("wrong"))?;
    for _ in 0..3 {
        let error = relay.greet(&dialer, relay.port).await.err().context("let in with a wrong password")?;
        ensure!(matches!(&error, ReachError::Proxy(ProxyError::CredentialsRefused { .. })), "{error}");
    }
    // Asked once without, and once with the wrong one. (tinyproxy counts nothing.)
    if before > 0 {
        written(&proxy, "TCP_DENIED/407", before + 2).await?;
    }
    let error = relay.reach(&format!("http://{}", proxy.place())).await.err().context("let in without a password")?;
    ensure!(error.to_string().contains(if asks == Asks::Basic { "(basic)" } else { "(digest)" }), "{error}");
    Ok(())
}

/// Waits until squid, which does so when it pleases, has written something down so many times, and not once more.
async fn written(squid: &Proxy, what: &str, times: usize) -> Result<()> {
    let began = Instant::now();
    while squid.log()?.matches(what).count() < times && began.elapsed() < Duration::from_secs(20) {
        sleep(Duration::from_millis(50)).await;
    }
    let log = squid.log()?;
    ensure!(log.matches(what).count() == times, "{what} {times} times in {log}");
    Ok(())
}

fn squid(asks: Asks, allowed: u16) -> Result<Option<Proxy>> {
    Squid { asks, allowed, opens: None }.start(Ground::loopback()?)
}

fn tinyproxy(asks: Asks, allowed: u16) -> Result<Option<Proxy>> {
    Tinyproxy { asks, allowed, silent_s: 600 }.start(Ground::loopback()?)
}

fn no(program: &str) -> Result<()> {
    skip(&format!("{program} is not installed: apt install squid tinyproxy"));
    Ok(())
}

/// A relay that greets, by TLS.
struct Relay {
    port: u16,
    root: CertificateDer<'static>,
}

async fn relay() -> Result<Relay> {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()])?;
    let secret = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions()?.with_no_client_auth();
    let acceptor = TlsAcceptor::from(Arc::new(builder.with_single_cert(vec![cert.der().clone()], secret)?));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let (mut reader, mut writer) = split(stream);
                drop(writer.write_all(b"hello").await);
                drop(copy(&mut reader, &mut writer).await);
            });
        }
    });
    Ok(Relay { port, root: cert.der().clone() })
}

impl Relay {
    fn dialer(&self, proxy: &str) -> Result<Dialer> {
        let tls = TlsConfig { roots: vec![self.root.clone()], ..TlsConfig::default() };
        let config = DialerConfig { proxies: Proxies::all(proxy.parse()?), tls, timeout_ms: 0 };
        Ok(Dialer::new(Arc::new(Tcp::default()), config)?)
    }

    async fn greet(&self, dialer: &Dialer, port: u16) -> Result<(), ReachError> {
        let mut line = dialer.dial("localhost", port).await?.line;
        let mut heard = [0; 9];
        let io = async {
            line.write_all(b"echo").await?;
            line.flush().await?;
            line.read_exact(&mut heard).await
        };
        io.await.expect("a line that works");
        assert_eq!(&heard, b"helloecho");
        Ok(())
    }

    async fn reach(&self, proxy: &str) -> Result<()> {
        Ok(self.greet(&self.dialer(proxy)?, self.port).await?)
    }

    async fn reach_port(&self, proxy: &str, port: u16) -> Result<(), ReachError> {
        self.greet(&self.dialer(proxy).expect("a dialer"), port).await
    }
}

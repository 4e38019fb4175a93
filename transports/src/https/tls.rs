//! TLS towards relays and proxies: whom to trust, and who turns out to be in between.

use std::io;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};
use rustls_platform_verifier::Verifier;
use sha2::{Digest, Sha256};
use thiserror::Error;
use tokio_rustls::TlsConnector;
use x509_cert::Certificate;
use x509_cert::der::{Decode, Encode};

use super::line::{Line, Stream};

/// Whom to trust.
#[derive(Debug, Clone, Default)]
pub struct TlsConfig {
    /// Authorities beside those of the system, as certificates; [`read_roots`] reads them from a file's content.
    pub roots: Vec<CertificateDer<'static>>,
    /// The SHA-256 of the public key (`SubjectPublicKeyInfo`) that the relay has. One that has it is trusted whoever
    /// vouches for it.
    pub pin: Option<[u8; 32]>,
    /// Refuses certificates that no public authority has issued, unless the key is the pinned one: what they secure may
    /// be read by whoever runs the network. Default: they are accepted if the system or `roots` trust them, and told of.
    pub deny_intercepted: bool,
}

/// Who is at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Who has issued its certificate.
    pub issuer: String,
    /// A public authority vouches for it. If none does, it is a private one's: a company's own relay, or a company
    /// that looks into its people's connections.
    pub public: bool,
    /// It has the pinned key, if there is one.
    pub pinned: Option<bool>,
    /// The SHA-256 of its public key (`SubjectPublicKeyInfo`).
    pub key: Option<[u8; 32]>,
}

/// Why there is no secure line.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The name cannot be anybody's.
    #[error("{name:?} is no name that a certificate could be for")]
    Name {
        /// The name.
        name: String,
        /// What is wrong.
        source: InvalidDnsNameError,
    },
    /// The certificate is not trusted.
    #[error("the certificate of {name} is not trusted: {why}")]
    Untrusted {
        /// Whose it should be.
        name: String,
        /// By whom it was issued, and what is wrong.
        why: Judgement,
    },
    /// HTTP/2 is not spoken there, or not through what is in between.
    #[error("{name} speaks no HTTP/2 here")]
    NoHttp2 {
        /// Whose it should be.
        name: String,
    },
    /// Anything else that goes wrong.
    #[error("no secure connection to {name}: {source}")]
    Io {
        /// With whom.
        name: String,
        /// What was wrong.
        source: io::Error,
    },
}

/// What is wrong with a certificate.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum Judgement {
    /// Nobody vouches for it who is trusted here, or it is another name's, or too old.
    #[error(
        "it was issued by {issuer} ({source}); if your network is meant to look into connections, add its root certificate to the system's or to `roots`"
    )]
    Untrusted {
        /// Who has issued it.
        issuer: String,
        /// What is wrong.
        source: Error,
    },
    /// It is of a private authority, and those were ruled out.
    #[error(
        "it was issued by {issuer}, which is no public authority: somebody between looks into the connection, and `deny_intercepted` rules that out"
    )]
    Intercepted {
        /// Who has issued it.
        issuer: String,
    },
}

/// A configuration that cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsSetupError {
    /// No authority is known, or one of `roots` is none.
    #[error("the certificates of trusted authorities cannot be used: {0}")]
    Roots(#[from] Error),
    /// The public authorities cannot be used.
    #[error("the list of public authorities cannot be used: {0}")]
    Public(#[from] rustls::client::VerifierBuilderError),
    /// A file of certificates is damaged, or has none.
    #[error("this is no PEM file with certificates: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
}

/// Reads the certificates of authorities from a PEM file's content.
///
/// # Errors
/// If it is damaged, or has none.
pub fn read_roots(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsSetupError> {
    let roots: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>()?;
    if roots.is_empty() { Err(rustls::pki_types::pem::Error::NoItemsFound.into()) } else { Ok(roots) }
}

/// Secures lines.
#[derive(Clone)]
pub(super) struct Tls {
    config: Arc<ClientConfig>,
    /// The same for connections that speak HTTP/2.
    http2: Arc<ClientConfig>,
    judge: Arc<Judge>,
}

impl Tls {
    /// Prepares it. The hello that it makes fits one packet (no post-quantum share), for there are machines in between
    /// that stall on larger ones; what must stay secret is encrypted once more inside.
    pub(super) fn new(config: &TlsConfig) -> Result<Self, TlsSetupError> {
        let provider = Arc::new(ring::default_provider());
        let judge = Arc::new(Judge::new(config, &provider)?);
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let verifier: Arc<dyn ServerCertVerifier> = Arc::clone(&judge) as _;
        let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
        let mut http2 = config.clone();
        http2.alpn_protocols = vec![HTTP2.to_vec()];
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), http2: Arc::new(http2), judge })
    }

    /// Secures a line to whoever has the name.
    pub(super) async fn secure(&self, name: &str, line: Line) -> Result<(Line, Seen), TlsError> {
        self.secure_by(&self.config, name, line).await.map(|(line, seen, _)| (line, seen))
    }

    /// Secures a line to whoever has the name, if HTTP/2 is spoken there.
    pub(super) async fn secure_http2(&self, name: &str, line: Line) -> Result<(Line, Seen), TlsError> {
        let (line, seen, protocol) = self.secure_by(&self.http2, name, line).await?;
        let spoken = (protocol.as_deref() == Some(HTTP2)).then_some((line, seen));
        spoken.ok_or_else(|| TlsError::NoHttp2 { name: name.to_owned() })
    }

    async fn secure_by(
        &self,
        config: &Arc<ClientConfig>,
        name: &str,
        line: Line,
    ) -> Result<(Line, Seen, Option<Vec<u8>>), TlsError> {
        let server = ServerName::try_from(name.to_owned());
        let server = server.map_err(|source| TlsError::Name { name: name.to_owned(), source })?;
        let connector = TlsConnector::from(Arc::clone(config));
        let stream = connector.connect(server.clone(), line).await.map_err(|source| failure(name, source))?;
        let seen =
            stream.get_ref().1.peer_certificates().map_or_else(Seen::nobody, |chain| self.judge.see(&server, chain));
        let protocol = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        Ok((Box::new(stream) as Box<dyn Stream>, seen, protocol))
    }
}

fn failure(name: &str, source: io::Error) -> TlsError {
    let name = name.to_owned();
    let error = source.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    if let Some(Error::InvalidCertificate(CertificateError::Other(OtherError(inner)))) = error
        && let Some(why) = inner.downcast_ref::<Judgement>()
    {
        return TlsError::Untrusted { name, why: why.clone() };
    }
    TlsError::Io { name, source }
}

/// Decides about certificates.
#[derive(Debug)]
struct Judge {
    trusted: Verifier,
    public: Arc<WebPkiServerVerifier>,
    pin: Option<[u8; 32]>,
    deny_intercepted: bool,
}

impl Judge {
    fn new(config: &TlsConfig, provider: &Arc<CryptoProvider>) -> Result<Self, TlsSetupError> {
        let trusted = Verifier::new_with_extra_roots(config.roots.iter().cloned(), Arc::clone(provider))?;
        let public = Arc::new(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() });
        let public = WebPkiServerVerifier::builder_with_provider(public, Arc::clone(provider)).build()?;
        Ok(Self { trusted, public, pin: config.pin, deny_intercepted: config.deny_intercepted })
    }

    fn see(&self, name: &ServerName<'_>, chain: &[CertificateDer<'_>]) -> Seen {
        let Some((leaf, rest)) = chain.split_first() else { return Seen::nobody() };
        let public = self.public.verify_server_cert(leaf, rest, name, &[], UnixTime::now()).is_ok();
        let key = key_hash(leaf);
        Seen { issuer: issuer(leaf), public, pinned: self.pin.map(|pin| key == Some(pin)), key }
    }
}

impl Seen {
    fn nobody() -> Self {
        Self { issuer: "nobody".to_owned(), public: false, pinned: None, key: None }
    }
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.pin.is_some() && key_hash(leaf) == self.pin {
            return Ok(ServerCertVerified::assertion());
        }
        let refuse = |why: Judgement| Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(why))));
        let trusted = self.trusted.verify_server_cert(leaf, rest, name, ocsp, now);
        trusted.map_err(|source| refuse(Judgement::Untrusted { issuer: issuer(leaf), source }))?;
        if self.deny_intercepted && self.public.verify_server_cert(leaf, rest, name, ocsp, now).is_err() {
            return Err(refuse(Judgement::Intercepted { issuer: issuer(leaf) }));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.trusted.verify_tls12_signature(message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.trusted.verify_tls13_signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trusted.supported_verify_schemes()
    }
}

/// Returns who has issued a certificate, as people write it.
fn issuer(certificate: &CertificateDer<'_>) -> String {
    let name = Certificate::from_der(certificate).map(|read| read.tbs_certificate().issuer().to_string());
    let name = name.unwrap_or_else(|_| "somebody who cannot be read".to_owned());
    name.chars().filter(|c| !c.is_control()).take(ISSUER_CHARS_MAX).collect()
}

/// Returns the SHA-256 of a certificate's public key (`SubjectPublicKeyInfo`), as pins have it; nothing if it is damaged.
pub fn key_hash(certificate: &CertificateDer<'_>) -> Option<[u8; 32]> {
    let read = Certificate::from_der(certificate).ok()?;
    let key = read.tbs_certificate().subject_public_key_info().to_der().ok()?;
    Some(Sha256::digest(key).into())
}

/// What TLS calls HTTP/2 (RFC 9113).
const HTTP2: &[u8] = b"h2";
/// How much of an issuer's name is shown, in characters.
const ISSUER_CHARS_MAX: usize = 200;

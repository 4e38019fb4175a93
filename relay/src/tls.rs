//! The relay's certificate, from files' contents; it can be replaced while the relay runs.

use std::sync::{Arc, PoisonError, RwLock};

use anypath_transports::https::key_hash;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

/// The relay's certificate and its key. Clones share one; connections that begin later have the newest.
#[derive(Clone)]
pub struct ServerTls(Arc<RwLock<Certified>>);

/// What connections begin with, and the SHA-256 of the certificate's key.
#[derive(Clone)]
struct Certified {
    config: Arc<ServerConfig>,
    key_hash: Option<[u8; 32]>,
}

/// Why a certificate cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServerTlsError {
    /// The file of certificates, or that of the key, is damaged or has none.
    #[error("this is no PEM file with what is needed: {0}")]
    Pem(#[from] pem::Error),
    /// The two do not belong together, or are of a kind that is not known.
    #[error("the certificate and the key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
}

impl ServerTls {
    /// Reads a chain of certificates, the relay's own first, and its key, both as PEM.
    ///
    /// # Errors
    /// If they are damaged, or do not belong together.
    pub fn new(chain: &[u8], key: &[u8]) -> Result<Self, ServerTlsError> {
        Ok(Self(Arc::new(RwLock::new(read(chain, key)?))))
    }

    /// Takes others in their place.
    ///
    /// # Errors
    /// The same; then those before stay.
    pub fn replace(&self, chain: &[u8], key: &[u8]) -> Result<(), ServerTlsError> {
        let fresh = read(chain, key)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.now().config)
    }

    /// Returns the SHA-256 of the certificate's key.
    pub(crate) fn key_hash(&self) -> Option<[u8; 32]> {
        self.now().key_hash
    }

    fn now(&self) -> Certified {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What TLS calls HTTP/2 (RFC 9113).
pub(crate) const HTTP2: &[u8] = b"h2";

fn read(chain: &[u8], key: &[u8]) -> Result<Certified, ServerTlsError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>()?;
    let key_hash = key_hash(chain.first().ok_or(pem::Error::NoItemsFound)?);
    let key = PrivateKeyDer::from_pem_slice(key)?;
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let mut config =
        builder.with_safe_default_protocol_versions()?.with_no_client_auth().with_single_cert(chain, key)?;
    config.alpn_protocols = vec![HTTP2.to_vec(), b"http/1.1".to_vec()];
    Ok(Certified { config: Arc::new(config), key_hash })
}

//! Certificate authorities: the one that vouches for the relay, and those of companies that look into TLS.

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose,
    PublicKeyData,
};
use sha1::{Digest, Sha1};

/// A private certificate authority.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// Makes one of that name.
    pub fn new(name: &str) -> Result<Self> {
        let (mut params, key) = (CertificateParams::default(), KeyPair::generate()?);
        // As mitmproxy expects it to be (RFC 5280, section 4.2.1.2, method 1).
        params.key_identifier_method = KeyIdMethod::PreSpecified(Sha1::digest(key.der_bytes()).to_vec());
        params.distinguished_name.remove(DnType::CommonName);
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(Self { issuer: CertifiedIssuer::self_signed(params, key)? })
    }

    /// Returns its own certificate (PEM).
    pub fn certificate(&self) -> String {
        self.issuer.pem()
    }

    /// Returns its key (PEM).
    pub fn key(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// Makes a certificate for a host, and its key (PEM).
    pub fn issue(&self, host: &str) -> Result<(String, String)> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new([host.to_owned()])?;
        params.use_authority_key_identifier_extension = true;
        Ok((params.signed_by(&key, &self.issuer)?.pem(), key.serialize_pem()))
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority")
    }
}

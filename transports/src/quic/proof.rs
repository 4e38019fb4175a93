//! TLS by which both ends prove their Ed25519 keys, without certificates: raw public keys (RFC 7250).

use std::any::Any;
use std::fmt;
use std::sync::{Arc, OnceLock};

use anypath_wire::{KeyPair, PublicKey};
use rustls::client::AlwaysResolvesClientRawPublicKeys;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureAlgorithm,
    SignatureScheme,
};

use super::ALPN;

/// Our key, as TLS asks for it.
#[derive(Debug)]
pub(super) struct Proof {
    own: PublicKey,
    certified: Arc<CertifiedKey>,
    provider: Arc<CryptoProvider>,
}

impl Proof {
    pub(super) fn new(identity: KeyPair) -> Self {
        let own = identity.public();
        let certified = CertifiedKey::new(vec![CertificateDer::from(encode(&own))], Arc::new(Key(identity)));
        Self { own, certified: Arc::new(certified), provider: Arc::new(ring::default_provider()) }
    }

    /// Returns the key that is proven.
    pub(super) fn own(&self) -> PublicKey {
        self.own
    }

    /// Returns the configuration of a dialler that wants this key at the other end, or takes any.
    pub(super) fn dialling(&self, wanted: Option<PublicKey>) -> Result<(ClientConfig, Arc<Expected>), Error> {
        let expected = Arc::new(Expected { wanted, found: OnceLock::new(), provider: self.provider.clone() });
        let mut config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(expected.clone())
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(self.certified.clone())));
        config.alpn_protocols = vec![ALPN.to_vec()];
        // Nothing is taken up again: that would need state for a round trip that is saved only between the same two.
        config.resumption = rustls::client::Resumption::disabled();
        config.enable_sni = false;
        Ok((config, expected))
    }

    /// Returns the configuration of a listener, which takes any key that is proven.
    pub(super) fn listening(&self) -> Result<ServerConfig, Error> {
        let expected = Expected { wanted: None, found: OnceLock::new(), provider: self.provider.clone() };
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(Arc::new(expected))
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(self.certified.clone())));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}

/// Returns the key that a peer has proven, from what a finished handshake knows of it.
pub(super) fn proven(identity: Option<Box<dyn Any>>) -> Option<PublicKey> {
    let presented = identity?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    decode(presented.first()?)
}

/// What the other end's key must be, and what it was.
pub(super) struct Expected {
    wanted: Option<PublicKey>,
    found: OnceLock<PublicKey>,
    provider: Arc<CryptoProvider>,
}

impl Expected {
    /// Returns the key that was there in the place of the wanted one.
    pub(super) fn stranger(&self) -> Option<PublicKey> {
        self.found.get().copied().filter(|found| self.wanted.is_some_and(|wanted| wanted != *found))
    }

    fn judge(&self, presented: &CertificateDer<'_>) -> Result<(), Error> {
        let key = decode(presented).ok_or(CertificateError::BadEncoding)?;
        let is_wanted = self.wanted.is_none_or(|wanted| wanted == key);
        if self.wanted.is_some() {
            self.found.get_or_init(|| key);
        }
        if is_wanted { Ok(()) } else { Err(CertificateError::ApplicationVerificationFailure.into()) }
    }

    fn verify(
        &self,
        message: &[u8],
        presented: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(presented.as_ref());
        verify_tls13_signature_with_raw_key(message, &key, signed, &self.provider.signature_verification_algorithms)
    }
}

impl fmt::Debug for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expected").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

impl ServerCertVerifier for Expected {
    fn verify_server_cert(
        &self,
        presented: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.judge(presented).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(rustls::PeerIncompatible::Tls13RequiredForQuic.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        presented: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, presented, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Expected {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        presented: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.judge(presented).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(rustls::PeerIncompatible::Tls13RequiredForQuic.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        presented: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, presented, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Signs with the key pair that is ours everywhere else, so that its secret is nowhere else either.
#[derive(Debug, Clone)]
struct Key(KeyPair);

impl SigningKey for Key {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&SignatureScheme::ED25519).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(encode(&self.0.public()).into())
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED25519
    }
}

impl Signer for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(self.0.sign(message).to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

/// Writes a key as a `SubjectPublicKeyInfo` (RFC 8410, section 4): 12 bytes that say Ed25519, then its 32.
fn encode(key: &PublicKey) -> Vec<u8> {
    [&SPKI_ED25519[..], &key.0].concat()
}

fn decode(spki: &[u8]) -> Option<PublicKey> {
    spki.strip_prefix(&SPKI_ED25519)?.try_into().ok().map(PublicKey)
}

/// `SEQUENCE { SEQUENCE { OID 1.3.101.112 }, BIT STRING }` up to the bits.
const SPKI_ED25519: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_written_as_rfc_8410_does() {
        // The public key of its section 10.1.
        let key: [u8; 32] = [
            0x19, 0xbf, 0x44, 0x09, 0x69, 0x84, 0xcd, 0xfe, 0x85, 0x41, 0xba, 0xc1, 0x67, 0xdc, 0x3b, 0x96, 0xc8, 0x50,
            0x86, 0xaa, 0x30, 0xb6, 0xb6, 0xcb, 0x0c, 0x5c, 0x38, 0xad, 0x70, 0x31, 0x66, 0xe1,
        ];
        let written = encode(&PublicKey(key));
        assert_eq!(
            data_encoding::BASE64.encode(&written),
            "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="
        );
        assert_eq!(decode(&written), Some(PublicKey(key)));
        assert_eq!(decode(&written[..43]), None);
        assert_eq!(decode(&[&written[..], &[0]].concat()), None);
        assert_eq!(decode(&[0; 44]), None);
    }
}

//! Who a peer is: an Ed25519 key, made at the client's start and pinned through signaling.
//!
//! The handshake uses raw public keys (RFC 7250): there is no certificate authority to ask, because
//! the coordinator has already told each side the other's key. Whoever sits on the path, the relay
//! included, can drop packets but can neither read them nor stand in for a peer.

use std::fmt;
use std::sync::{Arc, OnceLock};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p2p_wire::PeerKey;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::AlwaysResolvesClientRawPublicKeys;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, PeerIncompatible, SignatureScheme,
};

use crate::error::Error;

/// The application protocol of connections between native peers.
const ALPN: &[u8] = b"p2p/1";
/// The SubjectPublicKeyInfo of an Ed25519 key up to the key itself (RFC 8410 §4).
const SPKI_PREFIX: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// This client's key.
#[derive(Clone)]
pub(crate) struct Identity {
    certified: Arc<CertifiedKey>,
    public: PeerKey,
}

impl Identity {
    /// Makes a key.
    pub(crate) fn generate() -> Result<Self, Error> {
        let random = SystemRandom::new();
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&random).map_err(Error::internal)?;
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).map_err(Error::internal)?;
        let public = pair.public_key().as_ref();
        let der = PrivatePkcs8KeyDer::from(pkcs8.as_ref().to_vec());
        let signing = provider::sign::any_eddsa_type(&der).map_err(Error::internal)?;
        let spki = CertificateDer::from([&SPKI_PREFIX, public].concat());
        Ok(Self {
            certified: Arc::new(CertifiedKey::new(vec![spki], signing)),
            public: PeerKey::new(URL_SAFE_NO_PAD.encode(public)).map_err(Error::internal)?,
        })
    }

    /// The key that other peers pin.
    pub(crate) fn public(&self) -> &PeerKey {
        &self.public
    }

    /// For the side that is connected to: any key may come in, and [`peer_key`] tells whose it is.
    pub(crate) fn server(&self) -> Result<QuicServerConfig, Error> {
        let provider = Arc::new(provider::default_provider());
        let verifier = Arc::new(PinnedKey { expected: None, provider: Arc::clone(&provider) });
        let resolver = AlwaysResolvesServerRawPublicKeys::new(Arc::clone(&self.certified));
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(Error::internal)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![ALPN.to_vec()];
        QuicServerConfig::try_from(config).map_err(Error::internal)
    }

    /// For the side that connects: only this key will do, and none before it is known which.
    pub(crate) fn client(
        &self,
        expected: Arc<OnceLock<PeerKey>>,
    ) -> Result<QuicClientConfig, Error> {
        let provider = Arc::new(provider::default_provider());
        let expected = Some(expected);
        let verifier = Arc::new(PinnedKey { expected, provider: Arc::clone(&provider) });
        let resolver = AlwaysResolvesClientRawPublicKeys::new(Arc::clone(&self.certified));
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(Error::internal)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![ALPN.to_vec()];
        QuicClientConfig::try_from(config).map_err(Error::internal)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("public", &self.public).finish_non_exhaustive()
    }
}

/// The key that the other side of a connection has proven to hold.
pub(crate) fn peer_key(connection: &quinn::Connection) -> Option<PeerKey> {
    let identity = connection.peer_identity()?;
    let chain = identity.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    key_of(chain.first()?)
}

fn key_of(spki: &CertificateDer<'_>) -> Option<PeerKey> {
    let key = spki.as_ref().strip_prefix(&SPKI_PREFIX)?;
    if key.len() != 32 {
        return None;
    }
    PeerKey::new(URL_SAFE_NO_PAD.encode(key)).ok()
}

/// Accepts one key, or any Ed25519 key where the caller compares it afterwards. Either way the
/// handshake's signature proves that the other side holds it.
#[derive(Debug)]
struct PinnedKey {
    expected: Option<Arc<OnceLock<PeerKey>>>,
    provider: Arc<CryptoProvider>,
}

impl PinnedKey {
    fn check(&self, spki: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        let key = key_of(spki).ok_or(CertificateError::BadEncoding)?;
        match &self.expected {
            Some(expected) if expected.get() != Some(&key) => {
                Err(CertificateError::ApplicationVerificationFailure.into())
            }
            Some(_) | None => Ok(()),
        }
    }

    fn signed(
        &self,
        message: &[u8],
        spki: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        let spki = SubjectPublicKeyInfoDer::from(spki.as_ref());
        verify_tls13_signature_with_raw_key(message, &spki, signature, algorithms)
    }
}

const TLS12: rustls::Error = rustls::Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered);

impl ServerCertVerifier for PinnedKey {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(end_entity).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(TLS12)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signed(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for PinnedKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(end_entity).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(TLS12)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signed(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

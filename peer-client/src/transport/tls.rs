//! Who is at the other end: TLS 1.3 with self-signed certificates on both sides, known by their fingerprints.
//!
//! The dialing side expects one fingerprint. The accepting side lets any well-formed certificate through the handshake, which proves
//! that the peer holds its key; the fingerprint is then looked up among the lobby's members.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use protocol::id::PeerKey;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{self, CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ParsedCertificate};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme};

use crate::error::Error;

/// The name that certificates and handshakes carry. It means nothing: the fingerprint does.
pub(crate) const NAME: &str = "understudy";
const ALPN: &[u8] = b"understudy/1";

/// The certificate of one session, made for it alone: a game that is started anew has another one.
pub(crate) struct SessionKey {
    certificate: CertificateDer<'static>,
    private_key: PrivatePkcs8KeyDer<'static>,
    peer_key: PeerKey,
    provider: Arc<CryptoProvider>,
}

impl SessionKey {
    /// # Errors
    /// [`Error::Certificate`] if the system has no randomness.
    pub(crate) fn generate() -> Result<Self, Error> {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).map_err(certificate_error)?;
        let certificate = made.cert.der().clone();
        Ok(Self {
            peer_key: fingerprint(&certificate),
            certificate,
            private_key: made.signing_key.serialize_der().into(),
            provider: Arc::new(crypto::aws_lc_rs::default_provider()),
        })
    }

    /// Its fingerprint.
    pub(crate) const fn peer_key(&self) -> PeerKey {
        self.peer_key
    }

    /// For dialing a peer whose certificate has this fingerprint.
    pub(crate) fn client_config(&self, expected: PeerKey) -> Result<QuicClientConfig, Error> {
        let verifier = Arc::new(Pinned { expected, provider: self.provider.clone() });
        let mut config = rustls::ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(certificate_error)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_auth_cert(vec![self.certificate.clone()], self.private_key())
            .map_err(certificate_error)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        QuicClientConfig::try_from(config).map_err(certificate_error)
    }

    /// For accepting peers.
    pub(crate) fn server_config(&self) -> Result<QuicServerConfig, Error> {
        let mut config = rustls::ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(certificate_error)?
            .with_client_cert_verifier(Arc::new(AnyCertificate { provider: self.provider.clone() }))
            .with_single_cert(vec![self.certificate.clone()], self.private_key())
            .map_err(certificate_error)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        QuicServerConfig::try_from(config).map_err(certificate_error)
    }

    /// The certificate, and its key as PKCS #8: for other transports than QUIC.
    pub(super) fn der(&self) -> (&CertificateDer<'static>, &[u8]) {
        (&self.certificate, self.private_key.secret_pkcs8_der())
    }

    fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.private_key.clone_key())
    }
}

/// SHA-256 over the certificate's DER.
pub(crate) fn fingerprint(certificate: &CertificateDer<'_>) -> PeerKey {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, certificate).as_ref());
    PeerKey::from_bytes(bytes)
}

pub(super) fn certificate_error(error: impl std::fmt::Display) -> Error {
    Error::Certificate(error.to_string())
}

/// Expects one certificate.
#[derive(Debug)]
struct Pinned {
    expected: PeerKey,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        ParsedCertificate::try_from(end_entity)?;
        if fingerprint(end_entity) == self.expected {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("only TLS 1.3 is spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Takes any certificate whose key the peer can prove to hold.
#[derive(Debug)]
struct AnyCertificate {
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for AnyCertificate {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        ParsedCertificate::try_from(end_entity)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("only TLS 1.3 is spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Speaks to anybody: what a stranger would do.
    #[derive(Debug)]
    pub(crate) struct AnyHost;

    impl ServerCertVerifier for AnyHost {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, rustls::Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
        }
    }

    #[test]
    fn each_session_has_another_fingerprint() {
        let keys = [(), ()].map(|()| SessionKey::generate().unwrap().peer_key());
        assert_ne!(keys[0], keys[1]);
    }
}

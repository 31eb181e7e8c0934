//! Verifies the certificate of a server: by its authorities, or as one that is trusted itself.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{VerifierBuilderError, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// Verifies the certificates of servers.
#[derive(Debug)]
pub(super) struct Verifier {
    /// Verifies the certificate; none if any certificate will do.
    inner: Option<Arc<WebPkiServerVerifier>>,
    /// The trusted certificates.
    anchors: Vec<CertificateDer<'static>>,
    verifies_name: bool,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    pub(super) fn new(
        roots: RootCertStore,
        anchors: Vec<CertificateDer<'static>>,
        verifies_name: bool,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, VerifierBuilderError> {
        let inner =
            WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone()).build()?;
        Ok(Self {
            inner: Some(inner),
            anchors,
            verifies_name,
            provider,
        })
    }

    /// Makes a verifier that accepts any certificate.
    pub(super) fn of_nothing(provider: Arc<CryptoProvider>) -> Self {
        Self {
            inner: None,
            anchors: Vec::new(),
            verifies_name: false,
            provider,
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(inner) = &self.inner else {
            return Ok(ServerCertVerified::assertion());
        };
        let mut verified = inner.verify_server_cert(end_entity, intermediates, name, ocsp, now);
        if let Err(error) = &verified
            && is_authority(error)
            && self.anchors.contains(end_entity)
        {
            let certificate = ParsedCertificate::try_from(end_entity)?;
            verified =
                verify_server_name(&certificate, name).map(|()| ServerCertVerified::assertion());
        }
        match verified {
            // The chain was verified before the name.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.verifies_name => Ok(ServerCertVerified::assertion()),
            // An authority of the same name with another key has not issued it.
            Err(Error::InvalidCertificate(CertificateError::BadSignature)) => {
                Err(Error::InvalidCertificate(CertificateError::UnknownIssuer))
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Returns whether a certificate was refused only because it is one of an authority, as many
/// self-signed ones are. Its dates were verified before.
fn is_authority(error: &Error) -> bool {
    match error {
        Error::InvalidCertificate(CertificateError::Other(other)) => {
            // The type of the cause is not exported.
            other.to_string() == "CaUsedAsEndEntity"
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};

    use super::*;

    /// Verifies an authority's own certificate for the host `h`, valid from 2000 to 2030.
    fn verified(is_trusted: bool, verifies_name: bool, name: &str, year: u64) -> Result<(), Error> {
        let certificate = || {
            let mut params = CertificateParams::new(["h".to_owned()]).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.not_before = date_time_ymd(2000, 1, 1);
            params.not_after = date_time_ymd(2030, 1, 1);
            let made = params.self_signed(&KeyPair::generate().unwrap());
            made.unwrap().der().clone()
        };
        let (trusted, other) = (certificate(), certificate());
        let presented = if is_trusted { &trusted } else { &other };
        let mut roots = RootCertStore::empty();
        roots.add(trusted.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let anchors = vec![trusted.clone()];
        let verifier = Verifier::new(roots, anchors, verifies_name, provider).unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let since_1970 = Duration::from_secs((year - 1970) * 365 * 86_400);
        let now = UnixTime::since_unix_epoch(since_1970);
        let verified = verifier.verify_server_cert(presented, &[], &name, &[], now);
        verified.map(drop)
    }

    #[test]
    fn trusted_authority_is_verified_as_server() {
        assert!(verified(true, true, "h", 2025).is_ok());
        assert!(verified(true, false, "other", 2025).is_ok());
        for refused in [
            verified(true, true, "other", 2025),
            verified(true, true, "h", 1999),
            verified(true, true, "h", 2031),
            verified(true, false, "h", 2031),
            verified(false, true, "h", 2025),
            verified(false, false, "h", 2025),
        ] {
            assert!(matches!(refused, Err(Error::InvalidCertificate(_))));
        }
    }
}

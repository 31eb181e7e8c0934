//! TLS to a server: what `sslmode` verifies.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::url::{PostgresUrl, TlsMode};
use crate::store::{Failure, FailureKind};

/// Returns what encrypts the connections of a URL. Reads files.
pub(super) fn connector(
    url: &PostgresUrl,
    authorities: Option<&[u8]>,
) -> Result<MakeRustlsConnect, Failure> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| failure(format!("TLS: {e}")))?;
    let given = match (&url.root_certificate, authorities) {
        // The name stands for the authorities of the system.
        (Some(path), _) if path.as_os_str() == "system" => None,
        (Some(path), _) => Some(read(path)?),
        (None, given) => given.map(<[u8]>::to_vec),
    };
    let verifier: Arc<dyn ServerCertVerifier> = match (url.tls, &given) {
        (TlsMode::Require, None) => Arc::new(Verifier {
            inner: None,
            provider,
        }),
        (TlsMode::Require | TlsMode::VerifyCa, _) => {
            let inner = verifier(given.as_deref(), &provider)?;
            Arc::new(Verifier {
                inner: Some(inner),
                provider,
            })
        }
        (TlsMode::VerifyFull | TlsMode::Disable, _) => verifier(given.as_deref(), &provider)?,
    };
    let builder = builder
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let config = match &url.certificate {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let pem = read(certificate)?;
            let chain = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok);
            let key = PrivateKeyDer::from_pem_slice(&read(key)?)
                .map_err(|e| failure(format!("sslkey {}: {e}", key.display())))?;
            let config = builder.with_client_auth_cert(chain.collect(), key);
            config.map_err(|e| failure(format!("sslcert {}: {e}", certificate.display())))?
        }
    };
    Ok(MakeRustlsConnect::new(config))
}

fn verifier(
    given: Option<&[u8]>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, Failure> {
    let mut roots = RootCertStore::empty();
    let found = match given {
        Some(pem) => CertificateDer::pem_slice_iter(pem)
            .filter_map(Result::ok)
            .collect(),
        None => rustls_native_certs::load_native_certs().certs,
    };
    roots.add_parsable_certificates(found);
    WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone())
        .build()
        .map_err(|e| {
            failure(format!(
                "TLS: no certificate authority is known ({e}); sslrootcert can name one"
            ))
        })
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|e| failure(format!("{}: {e}", path.display())))
}

fn failure(detail: String) -> Failure {
    Failure::before_sending(FailureKind::Denied, detail)
}

/// Verifies less than the name of the host.
#[derive(Debug)]
struct Verifier {
    /// Verifies the certificate; none if any certificate will do.
    inner: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
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
        match inner.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
            // The chain was verified before the name.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
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

//! TLS to a server, by the system's roots or by a certificate authority of one's own.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::store::{Failure, FailureKind};

/// Makes the stream secure, or says why the server is not to be trusted.
pub(super) async fn secure(
    host: &str,
    authorities: Option<&[u8]>,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, Failure> {
    let name = ServerName::try_from(host.to_owned()).map_err(|e| {
        failure(
            FailureKind::Unsupported,
            format!("{host} is no name for TLS: {e}"),
        )
    })?;
    let connector = TlsConnector::from(Arc::new(config(authorities)?));
    connector
        .connect(name, stream)
        .await
        .map_err(|e| failure(FailureKind::Unreachable, format!("TLS: {e}")))
}

/// Trusts the authorities that are given, or the system's; `SSL_CERT_FILE` names others.
fn config(authorities: Option<&[u8]>) -> Result<ClientConfig, Failure> {
    let mut roots = RootCertStore::empty();
    let found = match authorities {
        Some(pem) => CertificateDer::pem_slice_iter(pem)
            .filter_map(Result::ok)
            .collect(),
        None => rustls_native_certs::load_native_certs().certs,
    };
    roots.add_parsable_certificates(found);
    if roots.is_empty() {
        let detail = "TLS: no certificate authority is known; SSL_CERT_FILE can name one";
        return Err(failure(FailureKind::Unsupported, detail.to_owned()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| failure(FailureKind::Unsupported, format!("TLS: {e}")))?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

fn failure(kind: FailureKind, detail: String) -> Failure {
    Failure::before_sending(kind, detail)
}

//! The configuration of a handshake, from PEM files. Errors name the mistake in a file.

use std::io::ErrorKind;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use super::verifier::Verifier;
use super::{Pem, Tls, Verification};
use crate::errors::invalid::Invalid;
use crate::printable::Printable;
use crate::store::blocking_thread::on_blocking_thread;
use crate::store::tcp::unreachable;
use crate::store::{Failure, FailureKind};

/// The name of the error of a certificate that is not of version 3.
const OLD_VERSION: &str = "UnsupportedCertVersion";

/// A mistake in the settings.
struct Problem {
    text: String,
    /// Whether this process may not read a file.
    is_denied: bool,
}

impl From<String> for Problem {
    fn from(text: String) -> Self {
        Self {
            text,
            is_denied: false,
        }
    }
}

impl Tls {
    /// Reads the settings once, so that a client is not made with ones that never work.
    pub(crate) fn check(&self, verification: Verification) -> Result<(), Invalid> {
        if let Some(name) = &self.server_name {
            let problem =
                |problem| format!("the name of the servers (--sni, Tls::server_name): {problem}");
            server_name(name).map_err(|e| Invalid::new("tls", problem(e)))?;
        }
        // The authorities of the system take long to read, and no setting names them.
        let verification = match self.authorities {
            None if !names_authorities() => Verification::Optional,
            _ => verification,
        };
        let config = self.config(verification);
        config.map(drop).map_err(|Problem { text, is_denied }| {
            let what = if is_denied { "tls_file" } else { "tls" };
            Invalid::new(what, format!("TLS: {text}"))
        })
    }

    /// Reads the settings for one dial.
    pub(crate) async fn read(&self, verification: Verification) -> Result<ClientConfig, Failure> {
        let tls = self.clone();
        let config = on_blocking_thread(move || tls.config(verification)).await;
        // A file that is being replaced may be read again.
        let failure = |Problem { text, .. }| {
            Failure::before_sending(FailureKind::Unreachable, format!("TLS: {text}"))
        };
        config.map_err(unreachable)?.map_err(failure)
    }

    /// Returns the name to verify for a host.
    #[cfg(feature = "redis")]
    pub(crate) fn name_of(&self, host: &str) -> Result<ServerName<'static>, Failure> {
        let name = server_name(self.server_name.as_deref().unwrap_or(host));
        name.map_err(|problem| Failure::before_sending(FailureKind::Unsupported, problem))
    }

    /// Returns the failure of a handshake, with the fault of the server's certificate in words.
    pub(crate) fn explained(failure: Failure) -> Failure {
        let Some((before, cause)) = failure.detail.split_once("invalid peer certificate: ") else {
            return failure;
        };
        let said = match () {
            () if cause.contains("UnknownIssuer") || cause.contains("CaUsedAsEndEntity") => {
                "the certificate is not trusted: it is self-signed or of an unknown authority; \
                 --cacert FILE (Tls::ca_file) trusts it"
            }
            () if cause.contains(OLD_VERSION) => {
                "the certificate of the server is of an old version of X.509; make one of version 3"
            }
            () => return failure,
        };
        let detail = format!("{before}{said}");
        Failure { detail, ..failure }
    }

    fn config(&self, verification: Verification) -> Result<ClientConfig, Problem> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let (verification, anchors) = match (verification, &self.authorities) {
            (Verification::Optional, None) => (Verification::Optional, Vec::new()),
            (Verification::Optional, Some(pem)) => (Verification::Chain, pem.certificates()?),
            (_, Some(pem)) => (verification, pem.certificates()?),
            (_, None) => (verification, system_authorities()?),
        };
        let verifier = match verification {
            Verification::Optional => Verifier::of_nothing(provider.clone()),
            _ => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(anchors.iter().cloned());
                let verifies_name = verification == Verification::Full;
                Verifier::new(roots, anchors, verifies_name, provider.clone())
                    .map_err(|e| format!("no authority is usable: {e}"))?
            }
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        match (&self.certificate, &self.key) {
            (None, None) => Ok(builder.with_no_client_auth()),
            (Some(certificate), Some(key)) => {
                let (chain, of_it) = (certificate.certificates()?, key.key()?);
                let config = builder.with_client_auth_cert(chain, of_it);
                Ok(config.map_err(|e| match e.to_string() {
                    e if e.contains(OLD_VERSION) => format!(
                        "{certificate}, the client's certificate, is of an old version of X.509; \
                         make one of version 3"
                    ),
                    e => format!("{certificate} and {key} are no certificate and its key: {e}"),
                })?)
            }
            _ => {
                let text = "a certificate of the client needs its key, and a key its certificate";
                Err(text.to_owned().into())
            }
        }
    }
}

impl Pem {
    fn read(&self) -> Result<Vec<u8>, Problem> {
        match self {
            Self::File(path) => std::fs::read(path).map_err(|e| Problem {
                text: format!("cannot read {}: {e}", path.display()),
                is_denied: e.kind() == ErrorKind::PermissionDenied,
            }),
            Self::Bytes(bytes) => Ok(bytes.to_vec()),
        }
    }

    /// Reads its certificates, of which there is at least one.
    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, Problem> {
        let pem = self.read()?;
        let found = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
        match found {
            Ok(found) if found.is_empty() => {
                Err(format!("{self} has no certificate in PEM").into())
            }
            Ok(found) => Ok(found),
            Err(e) => Err(format!("{self} is not PEM: {e}").into()),
        }
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, Problem> {
        let key = PrivateKeyDer::from_pem_slice(&self.read()?);
        Ok(key.map_err(|e| format!("{self} has no private key in PEM without a password: {e}"))?)
    }
}

impl std::fmt::Display for Pem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Bytes(_) => f.write_str("the given text"),
        }
    }
}

/// Returns whether the environment names authorities.
fn names_authorities() -> bool {
    let names = ["SSL_CERT_FILE", "SSL_CERT_DIR"];
    names.iter().any(|name| std::env::var_os(name).is_some())
}

/// Returns the authorities of the system, or those that the environment names.
fn system_authorities() -> Result<Vec<CertificateDer<'static>>, Problem> {
    let unknown = |problem: String| {
        format!(
            "no certificate authority is known: {problem}; a file of authorities can be given, and \
             SSL_CERT_FILE can name one"
        )
    };
    // Of a folder, some files may be anything. A named file has to be usable.
    if let Some(path) = std::env::var_os("SSL_CERT_FILE") {
        let named = Pem::File(path.into()).certificates();
        named.map_err(|Problem { text, is_denied }| Problem {
            text: unknown(format!("SSL_CERT_FILE: {text}")),
            is_denied,
        })?;
    }
    if let Some(folders) = std::env::var_os("SSL_CERT_DIR").filter(|names| !names.is_empty())
        && !std::env::split_paths(&folders).any(|folder| folder.is_dir())
    {
        let folders = folders.display();
        return Err(unknown(format!("SSL_CERT_DIR: {folders} is no folder")).into());
    }
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let problems = found.errors.iter().map(ToString::to_string);
        let problem = match problems.collect::<Vec<_>>().join(", ") {
            problems if !problems.is_empty() => problems,
            _ => match std::env::var_os("SSL_CERT_DIR") {
                Some(folders) => format!("SSL_CERT_DIR: {} has none", folders.display()),
                None => "none was found".to_owned(),
            },
        };
        return Err(unknown(problem).into());
    }
    Ok(found.certs)
}

fn server_name(name: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(name.to_owned())
        .map_err(|_| format!("'{}' is no host name and no address", Printable(name)))
}

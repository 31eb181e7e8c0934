//! The TLS settings of a client. Files are read when it is made, and at each dial again.

#[cfg(all(feature = "tls", any(feature = "redis", feature = "postgres")))]
mod config;
#[cfg(all(feature = "tls", any(feature = "redis", feature = "postgres")))]
mod verifier;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The TLS settings of a client: the authorities that it trusts, its own certificate, and the name
/// of the servers.
///
/// They apply to every connection of the client: to servers, sentinels and nodes of a cluster. The
/// store's URL has to use TLS: `rediss://`, or `sslmode=verify-full` in one of PostgreSQL. A file is
/// read when the client is made, so an error names it, and again at each dial. So a certificate that
/// was renewed on the disk is used from the next connection on. A program that gives up the rights
/// to read a file passes its content.
///
/// # Examples
/// ```
/// use arbiter_lock::{Client, Tls};
///
/// let tls = Tls::new()
///     .ca_file("/etc/arbiter/ca.pem")
///     .identity_files("/etc/arbiter/cert.pem", "/etc/arbiter/key.pem")
///     .server_name("redis.internal");
/// let builder = Client::builder().store("rediss://10.0.0.1:6379").tls(tls);
/// # drop(builder);
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "TLS settings do nothing until a client has them"]
pub struct Tls {
    /// The only authorities to trust; else the system's.
    pub(crate) authorities: Option<Pem>,
    /// The certificate of the client, and its key.
    pub(crate) certificate: Option<Pem>,
    pub(crate) key: Option<Pem>,
    /// The name to verify, in place of the host's.
    pub(crate) server_name: Option<String>,
}

/// Text in the format PEM.
#[derive(Clone)]
pub(crate) enum Pem {
    /// In a file.
    File(PathBuf),
    /// In memory.
    Bytes(Arc<[u8]>),
}

/// How a server is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verification {
    /// Nothing, unless authorities are given: then the chain.
    Optional,
    /// That a known authority has certified it.
    Chain,
    /// That, and the name.
    Full,
}

impl Tls {
    /// Makes settings that trust the authorities of the system, or those of `SSL_CERT_FILE` and
    /// `SSL_CERT_DIR`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the only authorities to trust to the certificates in a file, in PEM.
    ///
    /// The certificate of a server itself is trusted too if it is one of them, as a self-signed one.
    ///
    /// # Examples
    /// ```
    /// let tls = arbiter_lock::Tls::new().ca_file("ca.pem");
    /// ```
    pub fn ca_file(mut self, path: impl AsRef<Path>) -> Self {
        self.authorities = Some(Pem::File(path.as_ref().to_owned()));
        self
    }

    /// Sets the only authorities to trust, as [`Tls::ca_file`] does, to certificates in memory.
    ///
    /// # Examples
    /// ```
    /// # let pem = b"";
    /// let tls = arbiter_lock::Tls::new().ca_pem(pem);
    /// ```
    pub fn ca_pem(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.authorities = Some(Pem::Bytes(pem.as_ref().into()));
        self
    }

    /// Sets the certificate of the client, with its chain, and its key, to files in PEM.
    ///
    /// # Examples
    /// ```
    /// let tls = arbiter_lock::Tls::new().identity_files("cert.pem", "key.pem");
    /// ```
    pub fn identity_files(mut self, certificate: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        self.certificate = Some(Pem::File(certificate.as_ref().to_owned()));
        self.key = Some(Pem::File(key.as_ref().to_owned()));
        self
    }

    /// Sets the certificate of the client and its key, as [`Tls::identity_files`] does, to texts in
    /// memory.
    ///
    /// # Examples
    /// ```
    /// # let (certificate, key) = (b"", b"");
    /// let tls = arbiter_lock::Tls::new().identity_pem(certificate, key);
    /// ```
    pub fn identity_pem(mut self, certificate: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Self {
        self.certificate = Some(Pem::Bytes(certificate.as_ref().into()));
        self.key = Some(Pem::Bytes(key.as_ref().into()));
        self
    }

    /// Sets the name that the certificate of every server must have, and that is sent to it (SNI).
    /// The default is the host of each connection.
    ///
    /// # Examples
    /// ```
    /// let tls = arbiter_lock::Tls::new().server_name("redis.internal");
    /// ```
    pub fn server_name(mut self, name: &str) -> Self {
        self.server_name = Some(name.to_owned());
        self
    }

    /// Returns whether nothing is set.
    pub(crate) fn is_empty(&self) -> bool {
        let Self {
            authorities,
            certificate,
            key,
            server_name,
        } = self;
        authorities.is_none() && certificate.is_none() && key.is_none() && server_name.is_none()
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.fmt(f),
            Self::Bytes(_) => f.write_str("PEM"),
        }
    }
}

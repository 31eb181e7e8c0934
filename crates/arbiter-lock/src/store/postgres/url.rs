//! URLs of PostgreSQL: which servers, as which user, and over which connection.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::errors::invalid::Invalid;
use crate::printable::Printable;
use crate::store::ServerSettings;
use crate::store::credentials::Credentials;
use crate::store::settings::LoginSource;
use crate::store::tls::{Pem, Tls, Verification};
use crate::store::url::{Address, Host, UrlParts, address, decoded, invalid};

const PORT: u16 = 5432;
const EXAMPLE: &str = "postgres://user@host:5432/database";

/// The addresses of the servers, and the login. Its `Display` has no secrets.
#[derive(Clone, Debug)]
pub(super) struct PostgresUrl {
    /// One of them is the primary.
    pub(super) places: Vec<Endpoint>,
    /// Where to listen for notifications, if not on the connection for requests.
    pub(super) listen: Option<Endpoint>,
    pub(super) user: String,
    pub(super) password: Option<String>,
    pub(super) database: String,
    pub(super) schema: String,
    pub(super) tls: TlsMode,
    pub(super) channel_binding: ChannelBinding,
    pub(super) root_certificate: Option<PathBuf>,
    /// The certificate of this client, and its key.
    pub(super) certificate: Option<(PathBuf, PathBuf)>,
    pub(super) application_name: Option<String>,
    pub(super) connect_timeout: Option<Duration>,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Tcp(Address),
    /// The folder of its socket, and the port in the socket's name.
    Unix(PathBuf, u16),
}

/// Whether the connection is encrypted, and how the server is verified: the meanings of `libpq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TlsMode {
    Disable,
    /// Encrypted; the certificate is not verified, unless `sslrootcert` is given.
    Require,
    /// The certificate is verified, the host is not.
    VerifyCa,
    VerifyFull,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChannelBinding {
    Disable,
    Prefer,
    Require,
}

impl TlsMode {
    /// Returns how the server is verified; `None` for a connection that is not encrypted.
    pub(super) fn verification(self) -> Option<Verification> {
        match self {
            Self::Disable => None,
            Self::Require => Some(Verification::Optional),
            Self::VerifyCa => Some(Verification::Chain),
            Self::VerifyFull => Some(Verification::Full),
        }
    }
}

impl PostgresUrl {
    pub(super) fn parse(text: &str, given: &ServerSettings) -> Result<Self, Invalid> {
        let rest = text.split_once("://").map(|(_, rest)| rest);
        let rest =
            rest.ok_or_else(|| invalid(format!("is not understood; {EXAMPLE} is expected")))?;
        let parts = UrlParts::parse(rest)?;
        let given = match &given.login {
            Some(LoginSource::Fixed(login)) => login.clone(),
            _ => Credentials::default(),
        };
        let user = match given.username.or(parts.username) {
            Some(user) => user,
            None => os_user()?,
        };
        let database = match decoded(parts.path)? {
            name if name.is_empty() => user.clone(),
            name => name,
        };
        let mut url = Self {
            places: Vec::new(),
            listen: None,
            user,
            password: given.password.or(parts.password),
            database,
            schema: "arbiter".to_owned(),
            tls: TlsMode::Disable,
            channel_binding: ChannelBinding::Prefer,
            root_certificate: None,
            certificate: None,
            application_name: None,
            connect_timeout: None,
        };
        let (mut host, mut port, mut listen) = (None, None, None);
        let (mut certificate, mut key) = (None, None);
        for option in parts.query.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            let value = decoded(value)?;
            match name {
                "host" => host = Some(value),
                "port" => port = Some(value),
                "listen" => listen = Some(value),
                "sslcert" => certificate = Some(PathBuf::from(value)),
                "sslkey" => key = Some(PathBuf::from(value)),
                _ => url.set(name, value)?,
            }
        }
        url.certificate = match (certificate, key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some((certificate, key)),
            _ => return Err(invalid("has only one of sslcert and sslkey")),
        };
        url.places = places(parts.hosts, host.as_deref(), port.as_deref())?;
        url.listen = listen.map(|listen| place(&listen)).transpose()?;
        url.check_tls()?;
        Ok(url)
    }

    /// Sets an option.
    fn set(&mut self, name: &str, value: String) -> Result<(), Invalid> {
        let wrong = |expected: &str| invalid(format!("has {name}={value}: {expected} is expected"));
        match name {
            "schema" if value.is_empty() || 63 < value.len() => {
                return Err(wrong("a name of 1 to 63 bytes"));
            }
            "schema" if value.starts_with("pg_") => {
                return Err(wrong("a name without the prefix pg_ of PostgreSQL's own"));
            }
            "schema" => self.schema = value,
            "sslmode" => {
                self.tls = match value.as_str() {
                    "disable" => TlsMode::Disable,
                    "require" => TlsMode::Require,
                    "verify-ca" => TlsMode::VerifyCa,
                    "verify-full" => TlsMode::VerifyFull,
                    "allow" | "prefer" => {
                        return Err(wrong(
                            "verify-full, verify-ca, require or disable (a connection of the \
                             others may be downgraded on its way)",
                        ));
                    }
                    _ => return Err(wrong("verify-full, verify-ca, require or disable")),
                }
            }
            "channel_binding" => {
                self.channel_binding = match value.as_str() {
                    "disable" => ChannelBinding::Disable,
                    "prefer" => ChannelBinding::Prefer,
                    "require" => ChannelBinding::Require,
                    _ => return Err(wrong("disable, prefer or require")),
                }
            }
            "target_session_attrs" => match value.as_str() {
                "read-write" | "primary" | "any" => {}
                _ => return Err(wrong("read-write, since a lock is written,")),
            },
            "sslrootcert" => self.root_certificate = Some(value.into()),
            "application_name" => self.application_name = Some(value),
            "connect_timeout" => {
                let seconds = value.parse().ok().filter(|seconds| 0 < *seconds);
                let seconds = seconds.ok_or_else(|| wrong("a number of seconds"))?;
                self.connect_timeout = Some(Duration::from_secs(seconds));
            }
            "user" | "password" => {
                return Err(invalid(format!(
                    "has the option {name}: the login is before the host, as in user:password@host"
                )));
            }
            "dbname" => {
                return Err(invalid(
                    "has the option dbname: the database is behind the host, as in host/database",
                ));
            }
            // The value may be the rest of a password.
            _ => {
                return Err(invalid(format!(
                    "has the option '{}', which is not understood (in a password, '?' is written \
                     %3F, '&' %26)",
                    Printable(name)
                )));
            }
        }
        Ok(())
    }

    /// Returns whether it has certificates of its own.
    pub(super) fn has_certificates(&self) -> bool {
        self.root_certificate.is_some() || self.certificate.is_some()
    }

    /// Returns the TLS settings of its options.
    pub(super) fn tls_settings(&self) -> Tls {
        let root = self.root_certificate.clone();
        let (certificate, key) = self.certificate.clone().unzip();
        Tls {
            // The name means the authorities of the system.
            authorities: root
                .filter(|path| path.as_os_str() != "system")
                .map(Pem::File),
            certificate: certificate.map(Pem::File),
            key: key.map(Pem::File),
            server_name: None,
        }
    }

    fn check_tls(&self) -> Result<(), Invalid> {
        let root = self.root_certificate.as_deref();
        if self.tls == TlsMode::Disable {
            let needs_tls = [
                (
                    "channel_binding=require",
                    self.channel_binding == ChannelBinding::Require,
                ),
                ("sslrootcert", root.is_some()),
                ("sslcert", self.certificate.is_some()),
            ];
            return match needs_tls.iter().find(|(_, is_given)| *is_given) {
                Some((option, _)) => Err(invalid(format!(
                    "has {option}, which needs TLS: add sslmode=verify-full"
                ))),
                None => Ok(()),
            };
        }
        if root == Some(Path::new("system")) && self.tls != TlsMode::VerifyFull {
            return Err(invalid(
                "has sslrootcert=system, which needs sslmode=verify-full: its authorities certify \
                 any host",
            ));
        }
        if !cfg!(feature = "tls") {
            return Err(invalid("needs TLS, which is in the feature `tls`"));
        }
        Ok(())
    }
}

/// Returns the places of the hosts in the URL, or of its option `host`, or of this machine.
fn places(hosts: &str, option: Option<&str>, port: Option<&str>) -> Result<Vec<Endpoint>, Invalid> {
    let port = match port.map(|port| port.parse::<u16>()) {
        None => PORT,
        Some(Ok(port)) if 0 < port => port,
        Some(_) => return Err(invalid("has a port that is no number from 1 to 65535")),
    };
    let list = match (hosts, option) {
        ("", None) => "localhost",
        ("", Some(hosts)) | (hosts, None) => hosts,
        (_, Some(_)) => return Err(invalid("names hosts twice")),
    };
    list.split(',').map(|host| place_at(host, port)).collect()
}

fn place(host: &str) -> Result<Endpoint, Invalid> {
    place_at(host, PORT)
}

fn place_at(host: &str, port: u16) -> Result<Endpoint, Invalid> {
    // The port of a folder follows it as that of a host does; an option has its path unescaped.
    let own_port = host.rsplit_once(':').filter(|_| !host.starts_with('/'));
    let own_port = own_port.and_then(|(folder, port)| Some((folder, port.parse().ok()?)));
    let (folder, port_of_folder) = own_port.unwrap_or((host, port));
    let path = decoded(folder)?;
    if path.starts_with('/') {
        return Ok(Endpoint::Unix(path.into(), port_of_folder));
    }
    address(host, port, EXAMPLE).map(Endpoint::Tcp)
}

fn os_user() -> Result<String, Invalid> {
    let user = std::env::var("USER").ok().filter(|user| !user.is_empty());
    user.ok_or_else(|| invalid(format!("names no user: {EXAMPLE} is expected")))
}

impl Endpoint {
    /// Returns the host and the port as `.pgpass` lists them.
    pub(super) fn host_and_port(&self) -> (&str, u16) {
        match self {
            Self::Tcp((host, port)) => (host, *port),
            Self::Unix(folder, port) => (folder.to_str().unwrap_or("localhost"), *port),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp((host, port)) => write!(f, "{}:{port}", Host(host)),
            Self::Unix(folder, port) => write!(f, "{}:{port}", folder.display()),
        }
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("postgres://")?;
        for (n, place) in self.places.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma}{place}")?;
        }
        write!(f, "/{}", self.database)?;
        if self.schema != "arbiter" {
            write!(f, "?schema={}", self.schema)?;
        }
        Ok(())
    }
}

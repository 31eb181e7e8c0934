//! URLs that list several hosts.

use std::fmt;

use super::target::{Address, Place, invalid};
use crate::errors::invalid::Invalid;
use crate::store::credentials::Credentials;
use crate::store::url::{Host, UrlParts, address};

/// The parts of a URL that lists several hosts: `[user[:password]@]host[:port][,host…][/path][?query]`.
pub(super) struct HostsUrl<'a> {
    pub(super) hosts: ListedHosts,
    pub(super) credentials: Credentials,
    /// Behind the first `/`, as in the URL.
    pub(super) path: &'a str,
    /// Behind the `?`, as in the URL.
    pub(super) query: &'a str,
}

/// The hosts of a URL, and whether they are reached over TLS.
#[derive(Clone)]
pub(super) struct ListedHosts {
    /// ListedHosts and ports, as in the URL.
    pub(super) list: Vec<Address>,
    pub(super) is_tls: bool,
}

/// The form of a kind of URL.
#[derive(Clone, Copy)]
pub(super) struct UrlKind {
    /// The rest of the scheme after `redis`, `rediss`, `valkey` or `valkeys`.
    pub(super) suffix: &'static str,
    pub(super) default_port: u16,
    /// A URL, for errors.
    pub(super) example: &'static str,
}

impl<'a> HostsUrl<'a> {
    /// Parses the URL of that kind; `None` for one of another kind.
    pub(super) fn parse(text: &'a str, kind: UrlKind) -> Option<Result<Self, Invalid>> {
        let (scheme, rest) = text.split_once("://")?;
        let is_tls = match scheme.to_ascii_lowercase().strip_suffix(kind.suffix)? {
            "redis" | "valkey" => false,
            "rediss" | "valkeys" => true,
            _ => return None,
        };
        Some(Self::parse_rest(rest, is_tls, kind))
    }

    /// Parses a URL of that kind behind its scheme.
    pub(super) fn parse_rest(rest: &'a str, is_tls: bool, kind: UrlKind) -> Result<Self, Invalid> {
        if is_tls && !cfg!(feature = "tls") {
            return Err(invalid("needs TLS, which is in the feature `tls`"));
        }
        let UrlParts {
            hosts,
            username,
            password,
            path,
            query,
        } = UrlParts::parse(rest)?;
        let list = hosts.split(',');
        let list = list.map(|host| address(host, kind.default_port, kind.example));
        let list = list.collect::<Result<_, _>>()?;
        Ok(Self {
            hosts: ListedHosts { list, is_tls },
            credentials: Credentials { username, password },
            path,
            query,
        })
    }
}

impl ListedHosts {
    /// Returns the place of that address; TLS verifies it under that name.
    pub(super) fn place(&self, (host, port): &Address, name: &str) -> Place {
        let (host, port) = (host.clone(), *port);
        match self.is_tls {
            false => Place::Tcp { host, port },
            true => Place::Tls {
                host,
                port,
                name: name.to_owned(),
            },
        }
    }

    /// Writes the scheme of that kind, and the hosts.
    pub(super) fn write(&self, f: &mut fmt::Formatter<'_>, kind: UrlKind) -> fmt::Result {
        let scheme = if self.is_tls { "rediss" } else { "redis" };
        write!(f, "{scheme}{}://", kind.suffix)?;
        for (n, (host, port)) in self.list.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma}{}:{port}", Host(host))?;
        }
        Ok(())
    }
}

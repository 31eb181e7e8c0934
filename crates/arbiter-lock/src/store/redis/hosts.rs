//! URLs that list several hosts.

use std::fmt;

use super::target::{Address, Host, Place, decoded, invalid};
use crate::errors::invalid::Invalid;

/// The parts of a URL that lists several hosts: `[user[:password]@]host[:port][,host…][/path][?query]`.
pub(super) struct HostsUrl<'a> {
    pub(super) hosts: ListedHosts,
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
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

/// What a URL of that kind looks like.
#[derive(Clone, Copy)]
pub(super) struct UrlKind {
    /// What stands behind `redis`, `rediss`, `valkey` and `valkeys` in the scheme.
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
        if rest.contains('#') {
            return Err(invalid(
                "has a fragment (in a password, '#' is written %23)",
            ));
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None => (None, authority),
        };
        // Part of a password would be taken for hosts, or for the path.
        if login.is_some_and(|login| login.contains('@')) || path.contains('@') {
            return Err(invalid(
                "has more than one '@', or one behind its hosts: one login stands before all hosts \
                 (in a password or a name, '@' is written %40, '/' %2F)",
            ));
        }
        let (username, password) = match login.map(|login| login.split_once(':')) {
            None => (None, None),
            Some(None) => (login.map(decoded).transpose()?, None),
            Some(Some((username, password))) => {
                (Some(decoded(username)?), Some(decoded(password)?))
            }
        };
        let list = hosts.split(',').map(|host| address(host, kind));
        let list = list.collect::<Result<_, _>>()?;
        Ok(Self {
            hosts: ListedHosts { list, is_tls },
            username: username.filter(|username| !username.is_empty()),
            password,
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

/// Parses `host`, `host:port`, `[v6]` or `[v6]:port`.
fn address(text: &str, kind: UrlKind) -> Result<Address, Invalid> {
    let wrong = || {
        let example = kind.example;
        invalid(format!(
            "has a host that is not host:port: {example} is expected"
        ))
    };
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or_else(wrong)?;
            match port.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if port.is_empty() => (host, None),
                None => return Err(wrong()),
            }
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = match port {
        None => kind.default_port,
        Some(port) => port.parse().ok().filter(|p| 0 < *p).ok_or_else(wrong)?,
    };
    match decoded(host)? {
        host if host.is_empty() => Err(wrong()),
        host => Ok((host, port)),
    }
}

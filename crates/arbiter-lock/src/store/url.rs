//! Parts of the URLs of servers.

use std::fmt;

use percent_encoding::percent_decode_str;

use crate::errors::invalid::Invalid;

/// A host and a port.
pub(crate) type Address = (String, u16);

/// The parts of a URL behind its scheme: `[user[:password]@]hosts[/path][?query]`.
pub(crate) struct UrlParts<'a> {
    /// As in the URL.
    pub(crate) hosts: &'a str,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    /// Behind the first `/`, as in the URL.
    pub(crate) path: &'a str,
    /// Behind the `?`, as in the URL.
    pub(crate) query: &'a str,
}

impl<'a> UrlParts<'a> {
    /// Takes the part behind the scheme apart.
    pub(crate) fn parse(rest: &'a str) -> Result<Self, Invalid> {
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
                "has more than one '@', or one behind its hosts: one login comes before all hosts \
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
        Ok(Self {
            hosts,
            username: username.filter(|username| !username.is_empty()),
            password,
            path,
            query,
        })
    }
}

/// Parses `host`, `host:port`, `[v6]` or `[v6]:port`.
pub(crate) fn address(text: &str, default_port: u16, example: &str) -> Result<Address, Invalid> {
    let wrong = || {
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
        None => default_port,
        Some(port) => port.parse().ok().filter(|p| 0 < *p).ok_or_else(wrong)?,
    };
    match decoded(host)? {
        host if host.is_empty() => Err(wrong()),
        host => Ok((host, port)),
    }
}

pub(crate) fn decoded(text: &str) -> Result<String, Invalid> {
    let bytes = percent_decode_str(text).decode_utf8();
    bytes
        .map(|text| text.into_owned())
        .map_err(|_| invalid("has an escape that is not UTF-8 (in a password, '%' is written %25)"))
}

pub(crate) fn invalid(message: impl fmt::Display) -> Invalid {
    Invalid::new("store", format!("the store's URL {message}"))
}

/// A host as a URL shows it: an IPv6 address in brackets.
pub(crate) struct Host<'a>(pub(crate) &'a str);

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.contains(':') {
            write!(f, "[{}]", self.0)
        } else {
            f.write_str(self.0)
        }
    }
}

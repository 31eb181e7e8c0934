//! The URL of a Sentinel group.

use std::fmt;

use super::super::target::{Host, Place, Target, decoded, invalid};
use crate::errors::invalid::Invalid;

/// A Sentinel group: its sentinels, the name of the master, and the logins.
///
/// Its `Display` has no secrets.
#[derive(Clone)]
pub(in super::super) struct SentinelUrl {
    /// Hosts and ports, as in the URL.
    pub(super) hosts: Vec<(String, u16)>,
    pub(super) service: String,
    pub(super) is_tls: bool,
    pub(super) sentinel_username: Option<String>,
    pub(super) sentinel_password: Option<String>,
    pub(in super::super) username: Option<String>,
    pub(in super::super) password: Option<String>,
    database: i64,
    /// The only certificate authorities to trust, in PEM.
    pub(in super::super) authorities: Option<Vec<u8>>,
}

const DEFAULT_PORT: u16 = 26_379;
const EXAMPLE: &str = "redis+sentinel://host:26379,host:26379/SERVICE";

/// Returns whether the URL of that scheme names a Sentinel group, and whether over TLS.
fn scheme(text: &str) -> Option<bool> {
    match text {
        "redis+sentinel" | "valkey+sentinel" | "redis-sentinel" => Some(false),
        "rediss+sentinel" | "valkeys+sentinel" => Some(true),
        _ => None,
    }
}

impl SentinelUrl {
    /// Parses the URL of a Sentinel group; `None` for any other.
    pub(in super::super) fn parse(text: &str) -> Option<Result<Self, Invalid>> {
        let (named, rest) = text.split_once("://")?;
        let is_tls = scheme(&named.to_ascii_lowercase())?;
        Some(Self::parse_rest(rest, is_tls))
    }

    fn parse_rest(rest: &str, is_tls: bool) -> Result<Self, Invalid> {
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
        // Part of a password would be taken for hosts, or for the name of the master.
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
        let hosts = hosts.split(',').map(host_and_port);
        let (service, database) = path.split_once('/').unwrap_or((path, ""));
        let service = decoded(service)?;
        if service.is_empty() {
            return Err(invalid(format!(
                "names no master: {EXAMPLE}, where SERVICE is its name in `sentinel monitor`"
            )));
        }
        let database = match database.trim_end_matches('/') {
            "" => 0,
            number => number.parse().ok().filter(|n| 0 <= *n).ok_or_else(|| {
                // It is not shown: it may be the rest of a password with a '/'.
                invalid("names a database that is not a number (in a password, '/' is written %2F)")
            })?,
        };
        let mut url = Self {
            hosts: hosts.collect::<Result<_, _>>()?,
            service,
            is_tls,
            sentinel_username: None,
            sentinel_password: None,
            username: username.filter(|username| !username.is_empty()),
            password,
            database,
            authorities: None,
        };
        for option in query.split('&').filter(|option| !option.is_empty()) {
            let (key, value) = option.split_once('=').unwrap_or((option, ""));
            match key {
                "sentinel_username" => url.sentinel_username = Some(decoded(value)?),
                "sentinel_password" => url.sentinel_password = Some(decoded(value)?),
                _ => {
                    return Err(invalid(
                        "has an option other than sentinel_username and sentinel_password \
                         (in a password, '?' is written %3F, '&' %26)",
                    ));
                }
            }
        }
        Ok(url)
    }

    /// Returns the target of a sentinel at that address; TLS verifies it under that name.
    pub(super) fn sentinel(&self, host: &str, port: u16, name: &str) -> Target {
        Target {
            place: self.place(host, port, name),
            username: self.sentinel_username.clone(),
            password: self.sentinel_password.clone(),
            database: 0,
            authorities: self.authorities.clone(),
        }
    }

    /// Returns the target of a master at that address.
    pub(super) fn master(&self, host: &str, port: u16) -> Target {
        Target {
            place: self.place(host, port, host),
            username: self.username.clone(),
            password: self.password.clone(),
            database: self.database,
            authorities: self.authorities.clone(),
        }
    }

    fn place(&self, host: &str, port: u16, name: &str) -> Place {
        let host = host.to_owned();
        match self.is_tls {
            false => Place::Tcp { host, port },
            true => Place::Tls {
                host,
                port,
                name: name.to_owned(),
            },
        }
    }
}

/// Parses `host`, `host:port`, `[v6]` or `[v6]:port`.
fn host_and_port(text: &str) -> Result<(String, u16), Invalid> {
    let wrong = || {
        invalid(format!(
            "has a sentinel that is not host:port: {EXAMPLE} is expected"
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
        None => DEFAULT_PORT,
        Some(port) => port.parse().ok().filter(|p| 0 < *p).ok_or_else(wrong)?,
    };
    match decoded(host)? {
        host if host.is_empty() => Err(wrong()),
        host => Ok((host, port)),
    }
}

impl fmt::Display for SentinelUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_tls {
            "rediss+sentinel://"
        } else {
            "redis+sentinel://"
        })?;
        for (n, (host, port)) in self.hosts.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma}{}:{port}", Host(host))?;
        }
        write!(f, "/{}", self.service.escape_debug())?;
        match self.database {
            0 => Ok(()),
            database => write!(f, "/{database}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> SentinelUrl {
        SentinelUrl::parse(text).unwrap().unwrap()
    }

    #[test]
    fn url_lists_sentinels_service_database_and_logins() {
        let url = parsed(
            "redis+sentinel://us%40er:p%2Fw@a,b:7000,[::1]:7001,[::2]/my%20master/3\
             ?sentinel_username=s&sentinel_password=q%26r",
        );
        let hosts = [("a", 26_379), ("b", 7_000), ("::1", 7_001), ("::2", 26_379)];
        assert_eq!(url.hosts, hosts.map(|(host, port)| (host.to_owned(), port)));
        assert_eq!((url.service.as_str(), url.database), ("my master", 3));
        assert_eq!(url.username.as_deref(), Some("us@er"));
        assert_eq!(url.password.as_deref(), Some("p/w"));
        assert_eq!(url.sentinel_username.as_deref(), Some("s"));
        assert_eq!(url.sentinel_password.as_deref(), Some("q&r"));
        let shown = "redis+sentinel://a:26379,b:7000,[::1]:7001,[::2]:26379/my master/3";
        assert_eq!(url.to_string(), shown);
    }

    #[test]
    fn encoded_at_sign_belongs_to_its_part() {
        let url = parsed("redis+sentinel://u:p%40w@h/na%40me");
        assert_eq!(url.service, "na@me");
        assert_eq!(url.password.as_deref(), Some("p@w"));
    }

    #[test]
    fn aliases_and_tls_are_understood() {
        for plain in ["redis+sentinel", "valkey+sentinel", "redis-sentinel"] {
            assert!(!parsed(&format!("{plain}://h/m")).is_tls);
        }
        let tls = SentinelUrl::parse("valkeys+sentinel://h/m").unwrap();
        assert_eq!(tls.is_ok_and(|url| url.is_tls), cfg!(feature = "tls"));
        assert!(SentinelUrl::parse("redis://h/0").is_none());
    }

    #[test]
    fn invalid_urls_are_refused_without_their_secrets() {
        for url in [
            "redis+sentinel://:secret@h",
            "redis+sentinel://:secret@h/",
            "redis+sentinel://:secret@h//0",
            "redis+sentinel://:secret@/m",
            "redis+sentinel://:secret@h,/m",
            "redis+sentinel://:secret@h:0/m",
            "redis+sentinel://:secret@h:port/m",
            "redis+sentinel://:secret@[::1/m",
            "redis+sentinel://:secret@h/m/x",
            "redis+sentinel://:secret@h/m/-1",
            "redis+sentinel://:secret@h/m?db=1",
            "redis+sentinel://user:12/secret@h/m",
            "redis+sentinel://user:12/secret@h",
            "redis+sentinel://user:12/m/secret@h",
            "redis+sentinel://user:p@h/secret@me",
            "redis+sentinel://user:p@secret@h/m",
            "redis+sentinel://user:p@h,user:secret@i/m",
            "redis+sentinel://h/m?sentinel_password=x#secret",
        ] {
            let error = SentinelUrl::parse(url).unwrap().err().unwrap().to_string();
            assert!(
                error.contains("URL") && !error.contains("secret"),
                "{url}: {error}"
            );
        }
    }
}

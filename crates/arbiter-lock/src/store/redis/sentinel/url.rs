//! The URL of a Sentinel group.

use std::fmt;
use std::sync::Arc;

use super::super::hosts::{HostsUrl, ListedHosts, UrlKind};
use super::super::options::UrlOptions;
use super::super::target::{Address, Target, decoded, invalid};
use crate::errors::invalid::Invalid;
use crate::printable::Printable;
use crate::store::credentials::Credentials;
use crate::store::settings::{LoginSource, Network};

/// A Sentinel group: its sentinels, the name of the master, and the logins.
///
/// Its `Display` has no secrets.
#[derive(Clone)]
pub(crate) struct SentinelUrl {
    pub(super) hosts: ListedHosts,
    pub(super) service: String,
    pub(crate) sentinel_login: LoginSource,
    pub(crate) login: LoginSource,
    database: i64,
    pub(crate) network: Arc<Network>,
}

const KIND: UrlKind = UrlKind {
    suffix: "+sentinel",
    default_port: 26_379,
    example: "redis+sentinel://host:26379,host:26379/SERVICE",
};
const ALIAS: &str = "redis-sentinel";
const OWN: &[&str] = &["sentinel_username", "sentinel_password"];

impl SentinelUrl {
    /// Parses the URL of a Sentinel group; `None` for any other.
    pub(crate) fn parse(text: &str) -> Option<Result<(Self, UrlOptions), Invalid>> {
        let alias = text.split_once("://");
        let alias = alias.filter(|(scheme, _)| scheme.eq_ignore_ascii_case(ALIAS));
        let parsed = match alias {
            Some((_, rest)) => HostsUrl::parse_rest(rest, false, KIND),
            None => HostsUrl::parse(text, KIND)?,
        };
        Some(parsed.and_then(Self::new))
    }

    fn new(parsed: HostsUrl<'_>) -> Result<(Self, UrlOptions), Invalid> {
        let path = parsed.path;
        let (service, database) = path.split_once('/').unwrap_or((path, ""));
        let service = decoded(service)?;
        if service.is_empty() {
            let example = KIND.example;
            return Err(invalid(format!(
                "names no master: {example}, where SERVICE is its name in `sentinel monitor`"
            )));
        }
        let of_path = match database.trim_end_matches('/') {
            "" => None,
            number => Some(number.parse().ok().filter(|n| 0 <= *n).ok_or_else(|| {
                // It is not shown: it may be the rest of a password with a '/'.
                invalid("names a database that is not a number (in a password, '/' is written %2F)")
            })?),
        };
        let mut options = UrlOptions::parse(parsed.query, parsed.hosts.is_tls, OWN)?;
        let sentinel = Credentials {
            username: options.own("sentinel_username"),
            password: options.own("sentinel_password"),
        };
        let url = Self {
            hosts: parsed.hosts,
            service,
            sentinel_login: LoginSource::Fixed(sentinel),
            login: LoginSource::Fixed(parsed.credentials),
            database: options.database(of_path)?,
            network: Arc::default(),
        };
        Ok((url, options))
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.hosts.is_tls
    }

    /// Returns the target of a sentinel at that address; TLS verifies it under that name.
    pub(super) fn sentinel(&self, address: &Address, name: &str) -> Target {
        Target {
            place: self.hosts.place(address, name),
            login: self.sentinel_login.clone(),
            database: 0,
            network: self.network.clone(),
            is_node: false,
        }
    }

    /// Returns the target of a master at that address.
    pub(super) fn master(&self, address: &Address) -> Target {
        Target {
            place: self.hosts.place(address, &address.0),
            login: self.login.clone(),
            database: self.database,
            network: self.network.clone(),
            is_node: false,
        }
    }
}

impl fmt::Display for SentinelUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.hosts.write(f, KIND)?;
        write!(f, "/{}", Printable(&self.service))?;
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
        SentinelUrl::parse(text).unwrap().unwrap().0
    }

    fn is_login(source: &LoginSource, username: &str, password: &str) -> bool {
        let login = Credentials::new(username, password);
        matches!(source, LoginSource::Fixed(found) if *found == login)
    }

    #[test]
    fn url_lists_sentinels_service_database_and_logins() {
        let url = parsed(
            "redis+sentinel://us%40er:p%2Fw@a,b:7000,[::1]:7001,[::2]/my%20master/3\
             ?sentinel_username=s&sentinel_password=q%26r",
        );
        let hosts = [("a", 26_379), ("b", 7_000), ("::1", 7_001), ("::2", 26_379)];
        assert_eq!(
            url.hosts.list,
            hosts.map(|(host, port)| (host.to_owned(), port))
        );
        assert_eq!((url.service.as_str(), url.database), ("my master", 3));
        assert!(is_login(&url.login, "us@er", "p/w"));
        assert!(is_login(&url.sentinel_login, "s", "q&r"));
        let shown = "redis+sentinel://a:26379,b:7000,[::1]:7001,[::2]:26379/my master/3";
        assert_eq!(url.to_string(), shown);
    }

    #[test]
    fn encoded_at_sign_belongs_to_its_part() {
        let url = parsed("redis+sentinel://u:p%40w@h/na%40me");
        assert_eq!(url.service, "na@me");
        assert!(is_login(&url.login, "u", "p@w"));
        let url = parsed("redis+sentinel://a+b:c+d@h/m?sentinel_password=e+f");
        assert!(is_login(&url.login, "a+b", "c+d"));
        assert!(is_login(&url.sentinel_login, "", "e+f"));
    }

    #[test]
    fn aliases_and_tls_are_understood() {
        for plain in ["redis+sentinel", "valkey+sentinel", "redis-sentinel"] {
            assert!(!parsed(&format!("{plain}://h/m")).hosts.is_tls);
        }
        let tls = SentinelUrl::parse("valkeys+sentinel://h/m").unwrap();
        assert_eq!(
            tls.is_ok_and(|(url, _)| url.hosts.is_tls),
            cfg!(feature = "tls")
        );
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
            "redis+sentinel://:secret@h/m/2?db=1",
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

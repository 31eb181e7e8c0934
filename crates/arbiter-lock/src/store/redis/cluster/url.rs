//! The URL of a cluster.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::super::hosts::{HostsUrl, ListedHosts, UrlKind};
use super::super::options::UrlOptions;
use super::super::target::{Address, Target, invalid};
use crate::errors::invalid::Invalid;
use crate::store::settings::{LoginSource, Network};

/// A cluster: some of its nodes, and the login.
///
/// Its `Display` has no secrets.
#[derive(Clone)]
pub(crate) struct ClusterUrl {
    pub(super) hosts: ListedHosts,
    pub(crate) login: LoginSource,
    pub(crate) network: Arc<Network>,
}

const KIND: UrlKind = UrlKind {
    suffix: "+cluster",
    default_port: 6_379,
    example: "redis+cluster://host:6379,host:6379",
};

impl ClusterUrl {
    /// Parses the URL of a cluster; `None` for any other.
    pub(crate) fn parse(text: &str) -> Option<Result<(Self, UrlOptions), Invalid>> {
        Some(HostsUrl::parse(text, KIND)?.and_then(Self::new))
    }

    fn new(parsed: HostsUrl<'_>) -> Result<(Self, UrlOptions), Invalid> {
        if !matches!(parsed.path.trim_end_matches('/'), "" | "0") {
            // It is not shown: it may be the rest of a password with a '/'.
            return Err(invalid(
                "has a path, and a cluster has only database 0 (in a password, '/' is written %2F)",
            ));
        }
        let options = UrlOptions::parse(parsed.query, parsed.hosts.is_tls, &[])?;
        if options.database.is_some_and(|database| database != 0) {
            return Err(invalid(
                "names a database, and a cluster has only database 0",
            ));
        }
        let url = Self {
            hosts: parsed.hosts,
            login: LoginSource::Fixed(parsed.credentials),
            network: Arc::default(),
        };
        Ok((url, options))
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.hosts.is_tls
    }

    /// Returns the target of a node at that address.
    ///
    /// TLS verifies a node that is announced by its IP address as the URL's host, unless that is an
    /// IP address too.
    pub(super) fn node(&self, address: &Address) -> Target {
        let is_ip = |host: &str| host.parse::<IpAddr>().is_ok();
        let mut names = self.hosts.list.iter().map(|(host, _)| host);
        let name = names
            .find(|host| !is_ip(host))
            .filter(|_| is_ip(&address.0));
        Target {
            place: self.hosts.place(address, name.unwrap_or(&address.0)),
            login: self.login.clone(),
            database: 0,
            network: self.network.clone(),
            is_node: true,
        }
    }
}

impl fmt::Display for ClusterUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.hosts.write(f, KIND)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::target::Place;
    use super::*;
    use crate::store::credentials::Credentials;

    fn parsed(text: &str) -> ClusterUrl {
        ClusterUrl::parse(text).unwrap().unwrap().0
    }

    #[test]
    fn url_lists_nodes_and_the_login() {
        let url = parsed("redis+cluster://us%40er:p%2Fw@a,b:7000,[::1]:7001/0");
        let hosts = [("a", 6_379), ("b", 7_000), ("::1", 7_001)];
        let hosts = hosts.map(|(host, port)| (host.to_owned(), port));
        assert_eq!(url.hosts.list, hosts);
        let login = Credentials::new("us@er", "p/w");
        assert!(matches!(url.login, LoginSource::Fixed(found) if found == login));
        let url = parsed("redis+cluster://us%40er:p%2Fw@a,b:7000,[::1]:7001/0");
        let shown = "redis+cluster://a:6379,b:7000,[::1]:7001";
        assert_eq!(url.to_string(), shown);
        assert!(ClusterUrl::parse("redis://h").is_none());
        assert!(!parsed("VALKEY+cluster://h/").hosts.is_tls);
    }

    #[cfg(feature = "tls")]
    #[test]
    fn announced_ip_is_verified_as_the_urls_host() {
        let name = |url: &str, host: &str| match parsed(url).node(&(host.to_owned(), 1)).place {
            Place::Tls { name, .. } => name,
            place => panic!("{place:?}"),
        };
        assert_eq!(name("rediss+cluster://h.example", "10.0.0.7"), "h.example");
        assert_eq!(
            name("valkeys+cluster://h.example", "n1.example"),
            "n1.example"
        );
        assert_eq!(name("rediss+cluster://10.0.0.1", "10.0.0.7"), "10.0.0.7");
        assert_eq!(name("rediss+cluster://10.0.0.1,h", "::1"), "h");
    }

    #[test]
    fn invalid_urls_are_refused_without_their_secrets() {
        for url in [
            "redis+cluster://:secret@",
            "redis+cluster://:secret@h,",
            "redis+cluster://:secret@h/1",
            "redis+cluster://:secret@h/x",
            "redis+cluster://:secret@h:0",
            "redis+cluster://:secret@h?db=1",
            "redis+cluster://:secret@h#x",
            "redis+cluster://user:12/secret@h",
            "redis+cluster://user:p@h,user:secret@i",
        ] {
            let error = ClusterUrl::parse(url).unwrap().err().unwrap().to_string();
            assert!(
                error.contains("URL") && !error.contains("secret"),
                "{url}: {error}"
            );
        }
    }
}

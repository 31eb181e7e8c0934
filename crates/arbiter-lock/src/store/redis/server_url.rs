//! The URL of a server, a Sentinel group or a cluster, with the settings that complete it.

use std::fmt;
use std::sync::Arc;

use super::cluster::ClusterUrl;
use super::options::UrlOptions;
use super::sentinel::SentinelUrl;
use super::target::{Place, Target, invalid};
use crate::errors::invalid::Invalid;
use crate::events::event::EventQueue;
use crate::store::ServerSettings;
use crate::store::credentials::Credentials;
use crate::store::settings::LoginSource;
use crate::store::store_file::StoreFile;

/// A URL of this kind of store. Its `Display` has no secrets.
pub(super) enum ServerUrl {
    One(Target),
    Sentinel(SentinelUrl),
    Cluster(ClusterUrl),
}

impl ServerUrl {
    /// Parses a URL, and completes it by the settings, which may contradict it.
    pub(super) fn open(
        text: &str,
        given: &mut ServerSettings,
        events: &EventQueue,
    ) -> Result<Self, Invalid> {
        let (mut url, options) = Self::parse(text)?;
        given.client_name = given.client_name.take().or(options.client_name);
        if !options.tls.is_empty() {
            if !given.network.tls.is_empty() {
                return Err(invalid(
                    "has options of TLS, and TLS settings are given besides: leave out one of them",
                ));
            }
            given.network.tls = options.tls;
        }
        let without_tls = (!url.is_tls()).then(|| url.scheme_with_tls());
        given.check_url(without_tls, url.is_socket())?;
        #[cfg(feature = "tls")]
        if url.is_tls() {
            let tls = &given.network.tls;
            tls.check(crate::store::tls::Verification::Full)?;
        }
        url.set_login(given, events)?;
        let network = Arc::new(given.network.clone());
        match &mut url {
            Self::One(target) => target.network = network,
            Self::Sentinel(group) => group.network = network,
            Self::Cluster(cluster) => cluster.network = network,
        }
        Ok(url)
    }

    fn parse(text: &str) -> Result<(Self, UrlOptions), Invalid> {
        if let Some(group) = SentinelUrl::parse(text) {
            let (group, options) = group?;
            return Ok((Self::Sentinel(group), options));
        }
        if let Some(cluster) = ClusterUrl::parse(text) {
            let (cluster, options) = cluster?;
            return Ok((Self::Cluster(cluster), options));
        }
        let (target, options) = Target::parse(text)?;
        Ok((Self::One(target), options))
    }

    /// Sets the login: that of the settings, of the file with the URL, or of the URL.
    fn set_login(&mut self, given: &ServerSettings, events: &EventQueue) -> Result<(), Invalid> {
        let of_url = self.login();
        match (&given.login, &given.store_file) {
            (Some(LoginSource::Changing(_)), _) if of_url.password.is_some() => {
                return Err(invalid(
                    "has a password, and a credentials provider is given: leave out one of them",
                ));
            }
            (Some(login), _) => *self.login_mut() = login.clone(),
            (None, Some(path)) => {
                let file = StoreFile::new(path, self.to_string(), events.clone());
                *self.login_mut() = file.login(of_url, |text| {
                    let (url, _) = Self::parse(text).ok()?;
                    Some((url.to_string(), url.login()))
                });
                if let Self::Sentinel(group) = self {
                    let of_url = fixed(&group.sentinel_login);
                    group.sentinel_login = file.login(of_url, |text| match Self::parse(text) {
                        Ok((Self::Sentinel(group), _)) => {
                            Some((group.to_string(), fixed(&group.sentinel_login)))
                        }
                        _ => None,
                    });
                }
            }
            (None, None) => {}
        }
        Ok(())
    }

    fn login(&self) -> Credentials {
        match self {
            Self::One(target) => fixed(&target.login),
            Self::Sentinel(group) => fixed(&group.login),
            Self::Cluster(cluster) => fixed(&cluster.login),
        }
    }

    fn login_mut(&mut self) -> &mut LoginSource {
        match self {
            Self::One(target) => &mut target.login,
            Self::Sentinel(group) => &mut group.login,
            Self::Cluster(cluster) => &mut cluster.login,
        }
    }

    fn is_tls(&self) -> bool {
        match self {
            Self::One(target) => matches!(target.place, Place::Tls { .. }),
            Self::Sentinel(group) => group.is_tls(),
            Self::Cluster(cluster) => cluster.is_tls(),
        }
    }

    fn is_socket(&self) -> bool {
        matches!(self, Self::One(target) if matches!(target.place, Place::Unix(_)))
    }

    fn scheme_with_tls(&self) -> &'static str {
        match self {
            Self::One(_) => "rediss://",
            Self::Sentinel(_) => "rediss+sentinel://",
            Self::Cluster(_) => "rediss+cluster://",
        }
    }
}

/// Returns the login as a URL has it.
fn fixed(login: &LoginSource) -> Credentials {
    match login {
        LoginSource::Fixed(credentials) => credentials.clone(),
        LoginSource::Changing(_) => Credentials::default(),
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(target) => target.fmt(f),
            Self::Sentinel(group) => group.fmt(f),
            Self::Cluster(cluster) => cluster.fmt(f),
        }
    }
}

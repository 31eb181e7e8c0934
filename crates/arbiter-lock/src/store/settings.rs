//! The settings of stores.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::credentials::{ChangingLogin, Credentials};
use super::stream::Stream;
use super::tls::Tls;
use crate::errors::invalid::Invalid;

/// The settings of stores: the prefix of keys, and those of servers.
#[derive(Clone)]
pub(crate) struct ServerSettings {
    pub(crate) key_prefix: String,
    pub(crate) command_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    /// How connections show in the server's list; else the host and the process.
    pub(crate) client_name: Option<String>,
    /// The login that replaces the URL's.
    pub(crate) login: Option<LoginSource>,
    /// The file that the URL was read from. Its login may change.
    pub(crate) store_file: Option<PathBuf>,
    pub(crate) network: Network,
    /// The addresses at which this client reaches announced addresses.
    pub(crate) address_map: Option<AddressMap>,
}

/// Returns the address at which a client reaches a server announced at that host and port.
pub(crate) type AddressMap = Arc<dyn Fn(&str, u16) -> (String, u16) + Send + Sync>;

/// Where the login of a connection comes from.
#[derive(Clone)]
#[cfg_attr(
    not(any(feature = "redis", feature = "postgres")),
    expect(dead_code, reason = "only servers have logins")
)]
pub(crate) enum LoginSource {
    /// It is always the same.
    Fixed(Credentials),
    /// It is asked for at each dial.
    Changing(Arc<ChangingLogin>),
}

/// How a client reaches servers.
#[derive(Clone, Default)]
pub(crate) struct Network {
    pub(crate) tls: Tls,
    /// Connects in place of TCP.
    pub(crate) connector: Option<Connector>,
}

/// Connects to a host and a port.
pub(crate) type Connector =
    Arc<dyn Fn(String, u16) -> BoxFuture<'static, io::Result<Stream>> + Send + Sync>;

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            key_prefix: "arbiter:".to_owned(),
            command_timeout: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(5),
            client_name: None,
            login: None,
            store_file: None,
            network: Network::default(),
            address_map: None,
        }
    }
}

impl ServerSettings {
    /// Refuses settings that a store of that kind, which has no connections, would ignore.
    pub(crate) fn check_unconnected(&self, kind: &str) -> Result<(), Invalid> {
        let ignored = [
            (!self.network.tls.is_empty(), "TLS settings are"),
            (self.network.connector.is_some(), "a connector is"),
            (
                matches!(self.login, Some(LoginSource::Changing(_))),
                "a credentials provider is",
            ),
        ];
        match ignored.iter().find(|(is_given, _)| *is_given) {
            Some((_, what)) => {
                let message = format!(
                    "{kind} has no connections to servers, and {what} given for it: name another \
                     store, or leave that out"
                );
                Err(Invalid::new("store", message))
            }
            None => Ok(()),
        }
    }

    /// Refuses settings that a URL would ignore: those of TLS without TLS, and a connector if only
    /// sockets are dialed.
    #[cfg(any(feature = "redis", feature = "postgres"))]
    pub(crate) fn check_url(&self, with_tls: Option<&str>, is_socket: bool) -> Result<(), Invalid> {
        if is_socket && self.network.connector.is_some() {
            let message = "the store's URL names the path of a socket, and a connector is given, \
                           which connects to hosts: leave out one of them";
            return Err(Invalid::new("store", message));
        }
        match with_tls {
            Some(instead) if !self.network.tls.is_empty() => {
                let message = format!(
                    "the store's URL has no TLS, and TLS settings are given (a certificate or a \
                     name of the server): use {instead}, or leave them out"
                );
                Err(Invalid::new("store", message))
            }
            _ => Ok(()),
        }
    }
}

//! The PostgreSQL store: the core on the rows of a database.
//!
//! A request takes two round trips. The first **loads** the rows of a name, as a snapshot that locks
//! nothing. The core's step is applied to it. The second **swaps** them for the rows as the step has
//! left them, if the name is still at the revision that was read. Otherwise the request starts
//! again. So the rules are the core's alone, and no client that stops keeps a lock of the database.
//! The exception is a request that others have overtaken several times: it locks the row of its name
//! between the trips, for at most a second if the client stops.
//!
//! The requests of a runtime share these trips: those that arrive while one is under way go together
//! in the next one.

mod backend;
mod connecting;
mod database;
mod diagnosis;
mod exchange;
mod failure;
mod handle;
mod known;
mod listeners;
mod opening;
mod other_protocol;
mod password;
mod queued_request;
mod rows;
mod server_facts;
mod session;
mod sql;
mod sweep;
#[cfg(test)]
mod tests;
mod transaction;
mod url;
mod wire;
mod worker;

use std::sync::Arc;

use super::acknowledgement::Replicas;
use super::credentials::{ChangingLogin, Credentials};
use super::handle::random_channel;
use super::settings::LoginSource;
use super::store_file::StoreFile;
use super::url::invalid;
use super::{Acknowledgement, Handle, KeyPrefix, Registry, ServerSettings, Store};
use crate::errors::invalid::Invalid;
use crate::events::event::EventQueue;
use database::Postgres;
use handle::PostgresHandle;
use url::{Endpoint, PostgresUrl, TlsMode};

/// Opens the database of a URL; connections are made later.
pub(super) fn open(
    url: &str,
    mut settings: ServerSettings,
    events: &EventQueue,
) -> Result<Arc<dyn Store>, Invalid> {
    let url = PostgresUrl::parse(url, &settings)?;
    check_network(&url, &mut settings)?;
    let login = login(&url, &settings, events)?;
    let store = Postgres::new(url, settings, login, events.clone())?;
    Ok(Arc::new(store))
}

/// Completes the settings by the certificates of the URL, and refuses those that contradict it.
fn check_network(url: &PostgresUrl, settings: &mut ServerSettings) -> Result<(), Invalid> {
    if url.has_certificates() {
        if !settings.network.tls.is_empty() {
            return Err(invalid(
                "has sslrootcert or sslcert, and TLS settings are given besides: leave out one of \
                 them",
            ));
        }
        settings.network.tls = url.tls_settings();
    }
    let is_socket = |place: &Endpoint| matches!(place, Endpoint::Unix(..));
    let is_socket = url.places.iter().all(is_socket);
    let with_tls = match url.tls {
        _ if is_socket => Some("a host in place of a socket"),
        TlsMode::Disable => Some("sslmode=verify-full"),
        _ => None,
    };
    settings.check_url(with_tls, is_socket)?;
    #[cfg(feature = "tls")]
    if let Some(verification) = url.tls.verification() {
        settings.network.tls.check(verification)?;
    }
    Ok(())
}

/// Returns the login that is asked for at each dial, if it may change.
fn login(
    url: &PostgresUrl,
    settings: &ServerSettings,
    events: &EventQueue,
) -> Result<Option<Arc<ChangingLogin>>, Invalid> {
    let login = match (&settings.login, &settings.store_file) {
        (Some(LoginSource::Changing(_)), _) if url.password.is_some() => {
            return Err(invalid(
                "has a password, and a credentials provider is given: leave out one of them",
            ));
        }
        (Some(login), _) => login.clone(),
        (None, None) => return Ok(None),
        (None, Some(path)) => {
            let login = |url: &PostgresUrl| Credentials {
                username: Some(url.user.clone()),
                password: url.password.clone(),
            };
            let file = StoreFile::new(path, url.to_string(), events.clone());
            file.login(login(url), move |text| {
                let url = PostgresUrl::parse(text, &ServerSettings::default()).ok()?;
                Some((url.to_string(), login(&url)))
            })
        }
    };
    Ok(match login {
        LoginSource::Fixed(_) => None,
        LoginSource::Changing(login) => Some(login),
    })
}

/// Returns the SQL that creates the tables and functions of a PostgreSQL store. They are in a
/// schema, and a role gets the rights to use them.
///
/// A client makes them at its first use, if its user may. Otherwise an owner of the database runs
/// this SQL before. It can be run again.
///
/// # Examples
/// ```
/// let sql = arbiter_lock::postgres_schema("arbiter", Some("app"));
/// assert!(sql.contains("GRANT USAGE ON SCHEMA \"arbiter\" TO \"app\";"));
/// ```
#[must_use]
pub fn postgres_schema(schema: &str, role: Option<&str>) -> String {
    let rights = role.map(|role| sql::rights_sql(schema, role));
    sql::schema_sql(schema) + &rights.unwrap_or_default()
}

impl Store for Postgres {
    fn handle(self: Arc<Self>, registry: &Arc<Registry>) -> Box<dyn Handle> {
        let channel = random_channel();
        self.listeners
            .add(channel.clone(), Arc::downgrade(registry));
        Box::new(PostgresHandle::new(self, Some(channel)))
    }

    fn handle_without_notifications(self: Arc<Self>) -> Box<dyn Handle> {
        Box::new(PostgresHandle::new(self, None))
    }

    fn key_prefix(&self) -> &KeyPrefix {
        &self.key_prefix
    }

    fn has_connections(&self) -> bool {
        true
    }

    fn guard_sql(&self) -> Option<String> {
        let schema = sql::quoted(&self.url.schema);
        Some(match self.key_prefix.as_str() {
            "arbiter:" => format!("SELECT {schema}.guard($1, $2)"),
            prefix => format!("SELECT {schema}.guard($1, $2, {})", sql::literal(prefix)),
        })
    }

    fn check_acknowledgement(&self, needed: Acknowledgement) -> Result<(), Invalid> {
        match needed.replicas {
            // Every grant is.
            Replicas::AtLeast(0) => Ok(()),
            _ => Err(Invalid::new(
                "replicas",
                "PostgreSQL itself decides which standbys acknowledge a commit: set \
                 synchronous_standby_names on the server, and each grant waits for them",
            )),
        }
    }
}

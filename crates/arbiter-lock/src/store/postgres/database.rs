//! A database that clients use as a store, and the servers that it was seen on.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::listeners::Listeners;
use super::sql::Statements;
use super::url::PostgresUrl;
use super::wire;
use crate::errors::invalid::Invalid;
use crate::events::event::EventQueue;
use crate::store::client_name::client_name;
use crate::store::credentials::ChangingLogin;
use crate::store::{Failure, FailureKind, KeyPrefix, ServerSettings, Source};

/// A database as a store.
pub(super) struct Postgres {
    pub(super) url: PostgresUrl,
    pub(super) statements: Statements,
    pub(super) settings: ServerSettings,
    pub(super) key_prefix: KeyPrefix,
    pub(super) client_name: Arc<str>,
    pub(super) events: EventQueue,
    pub(super) listeners: Arc<Listeners>,
    /// The login of each dial, unless it is always the URL's.
    pub(super) login: Option<Arc<ChangingLogin>>,
    servers: Mutex<SeenServers>,
}

/// The servers that a client has seen.
#[derive(Default)]
struct SeenServers {
    sources: HashMap<String, Source>,
    /// The highest timeline: a promotion begins another one.
    timeline: u32,
}

impl Postgres {
    pub(super) fn new(
        url: PostgresUrl,
        settings: ServerSettings,
        login: Option<Arc<ChangingLogin>>,
        events: EventQueue,
    ) -> Result<Self, Invalid> {
        Ok(Self {
            login,
            key_prefix: KeyPrefix::new(&settings.key_prefix)?,
            statements: Statements::new(&url.schema),
            client_name: client_name(settings.client_name.as_deref()),
            url,
            settings,
            events,
            listeners: Arc::default(),
            servers: Mutex::default(),
        })
    }

    /// Returns the number of a server on that timeline, or fails for one that was replaced.
    pub(super) fn source(&self, identity: &str, timeline: u32) -> Result<Source, Failure> {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if timeline < servers.timeline {
            let detail = format!(
                "it is on timeline {timeline}, and another server was promoted to timeline {}: it \
                 was replaced",
                servers.timeline
            );
            return Err(Failure::before_sending(FailureKind::ReadOnly, detail));
        }
        servers.timeline = timeline;
        let new = || NUMBERS.fetch_add(1, Ordering::Relaxed);
        let source = servers.sources.entry(identity.to_owned());
        Ok(*source.or_insert_with(new))
    }

    /// Returns whether a server of a later timeline was seen.
    pub(super) fn is_replaced(&self, timeline: u32) -> bool {
        let servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        timeline < servers.timeline
    }

    pub(super) fn connect_timeout(&self) -> Duration {
        let given = self.settings.connect_timeout;
        self.url
            .connect_timeout
            .map_or(given, |of_url| of_url.min(given))
    }

    /// Returns how long the login of one host may take.
    pub(super) fn limit_of_login(&self) -> Duration {
        let share = 0.9 / self.url.places.len().max(1) as f64;
        self.connect_timeout().mul_f64(share)
    }

    /// Returns the key of a name in the tables.
    pub(super) fn key(&self, name: &str) -> Arc<str> {
        wire::escaped(&self.key_prefix.key(name)).into()
    }
}

impl fmt::Display for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}

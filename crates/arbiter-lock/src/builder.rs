//! The settings of a client.

mod environment;
#[cfg(test)]
mod tests;

#[cfg(feature = "metrics")]
use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::client::Client;
use crate::engine::Engine;
use crate::errors::error::Error;
use crate::errors::invalid::Invalid;
use crate::events::event::{Event, EventQueue, Level, Logger};
use crate::events::metrics::NameLabel;
use crate::events::tracing_logger::TracingLogger;
use crate::primitives::options::{Options, WaitLimit};
use crate::store::ServerSettings;
use crate::store::acknowledgement::Replicas;
use crate::store::credentials::{ChangingLogin, Credentials};
use crate::store::memory::handle::PrefixedMemory;
use crate::store::open;
use crate::store::settings::LoginSource;
use crate::store::stream::Stream;
#[cfg(feature = "tls")]
use crate::store::tls::Tls;

#[cfg(feature = "embedded")]
pub use environment::default_store;
use environment::{Variables, no_store, optional, parse_address_map, tls_settings};

/// Builds a [`Client`] with other settings.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use arbiter_lock::{Client, NoopLogger};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), arbiter_lock::Error> {
/// let client = Client::builder()
///     .store("memory:")
///     .logger(NoopLogger)
///     .default_lease_time(Duration::from_secs(10))
///     .connect()
///     .await?;
/// # Ok(()) }
/// ```
#[must_use = "a builder does nothing until it connects"]
pub struct ClientBuilder {
    store: Option<String>,
    /// Whether it is the default store.
    is_unnamed: bool,
    logger: Box<dyn Logger>,
    store_timeout: Duration,
    defaults: Options,
    name_label: NameLabel,
    server: ServerSettings,
}

/// The default of [`ClientBuilder::store_timeout`].
const STORE_TIMEOUT: Duration = Duration::from_secs(30);

impl Default for ClientBuilder {
    fn default() -> Self {
        Self {
            store: None,
            is_unnamed: false,
            logger: Box::new(TracingLogger),
            store_timeout: STORE_TIMEOUT,
            defaults: Options::default(),
            name_label: NameLabel::default(),
            server: ServerSettings::default(),
        }
    }
}

impl ClientBuilder {
    /// Returns the default settings with the store that the environment names: see
    /// [`Client::from_env`].
    ///
    /// # Errors
    /// [`Error::Invalid`] if no store is named and there is no default, or a variable is not UTF-8.
    pub fn from_env() -> Result<Self, Error> {
        Self::from_variables(&std::env::var)
    }

    /// Returns the settings of the environment, except the store.
    ///
    /// They are the prefix of keys (`ARBITER_KEY_PREFIX`), the address map
    /// (`ARBITER_ADDRESS_MAP`) and the TLS settings: a file of authorities (`ARBITER_CACERT`), the
    /// files of the client's certificate and its key (`ARBITER_CERT`, `ARBITER_KEY`), and the name of
    /// the servers (`ARBITER_SNI`).
    ///
    /// # Errors
    /// [`Error::Invalid`] if a variable is not UTF-8 or has an invalid value.
    pub fn settings_from_env() -> Result<Self, Error> {
        Self::settings_from(&std::env::var)
    }

    fn settings_from(variable: Variables<'_>) -> Result<Self, Error> {
        let mut builder = Self::default();
        if let Some(prefix) = optional(variable, "ARBITER_KEY_PREFIX")? {
            builder = builder.key_prefix(&prefix);
        }
        if let Some(map) = optional(variable, "ARBITER_ADDRESS_MAP")? {
            builder = builder.address_map(&map)?;
        }
        builder.server.network.tls = tls_settings(variable)?;
        Ok(builder)
    }

    fn from_variables(variable: Variables<'_>) -> Result<Self, Error> {
        let builder = Self::settings_from(variable)?;
        if let Some(url) = optional(variable, "ARBITER_STORE")? {
            return Ok(builder.store(&url));
        }
        match optional(variable, "ARBITER_STORE_FILE")? {
            Some(path) => builder.store_file(path.as_ref()),
            None => with_default_store(builder),
        }
    }

    pub(crate) fn in_memory() -> Client {
        let builder = Self::default();
        let inner = Engine::new(
            Arc::new(PrefixedMemory::new()),
            EventQueue::new(builder.logger),
            builder.store_timeout,
            builder.defaults,
            builder.name_label,
        );
        Client { inner }
    }

    /// Sets the store's URL: see [`Client::connect`]. Surrounding whitespace is ignored.
    pub fn store(mut self, url: &str) -> Self {
        self.server.store_file = None;
        self.store = Some(url.trim().to_owned());
        self.is_unnamed = false;
        self
    }

    /// Sets the store's URL to the content of a file: see [`Client::connect`].
    ///
    /// At each dial, the file is read again for the login, so that a password can be replaced while
    /// the client is in use. Nothing else of the URL may change: if the file names another store,
    /// the client keeps its own, and [`Event::StoreFileChanged`] reports it.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the file cannot be read, or is empty.
    pub fn store_file(self, path: &Path) -> Result<Self, Error> {
        let shown = path.display();
        let message = match std::fs::read_to_string(path) {
            // It may have a password.
            Err(_) if path.to_string_lossy().contains("://") => {
                "the path of the file with the store's URL is a URL: name a file, or set the store"
                    .to_owned()
            }
            Ok(url) if url.trim().is_empty() => {
                format!("{shown} is empty, and should hold the store's URL")
            }
            Ok(url) => {
                let mut builder = self.store(&url);
                // A pipe can be read once.
                builder.server.store_file = Some(path.to_owned()).filter(|path| path.is_file());
                return Ok(builder);
            }
            Err(e) => format!("cannot read the store's URL from {shown}: {e}"),
        };
        Err(Invalid::new("store", message).into())
    }

    /// Returns the store's URL, if one is set.
    #[must_use]
    pub fn store_url(&self) -> Option<&str> {
        self.store.as_deref()
    }

    /// Returns whether the environment named no store, so that it is `default_store`.
    #[must_use]
    pub fn has_default_store(&self) -> bool {
        self.is_unnamed
    }

    /// Sets the logger of events. The default is [`TracingLogger`].
    pub fn logger(mut self, logger: impl Logger) -> Self {
        self.logger = Box::new(logger);
        self
    }

    /// Sets the label `name` of metrics: a function of the name of the resource. Without it, metrics
    /// have no such label.
    ///
    /// Each value makes a series of its own in every exporter, for as long as the process lives.
    /// So return the name only if there are few, or a name for each group of them.
    ///
    /// The function is called once per acquire, by the caller.
    ///
    /// # Examples
    /// ```
    /// use arbiter_lock::Client;
    ///
    /// let builder = Client::builder().metrics_label(|name| {
    ///     let group = if name.starts_with("report:") { "reports" } else { "others" };
    ///     Some(group.into())
    /// });
    /// # drop(builder);
    /// ```
    #[cfg(feature = "metrics")]
    pub fn metrics_label(
        mut self,
        label: impl Fn(&str) -> Option<Cow<'static, str>> + Send + Sync + 'static,
    ) -> Self {
        self.name_label = NameLabel::new(label);
        self
    }

    /// Sets how long a store may fail before an acquire without a wait limit fails: 30 s by
    /// default.
    pub fn store_timeout(mut self, limit: Duration) -> Self {
        self.store_timeout = limit;
        self
    }

    /// Sets the default of [`Lock::lease_time`](crate::Lock::lease_time): 30 s if not set.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// let builder = arbiter_lock::Client::builder()
    ///     .default_lease_time(Duration::from_secs(10))
    ///     .default_wait_timeout(Duration::from_secs(60));
    /// ```
    pub fn default_lease_time(mut self, lease: Duration) -> Self {
        let whole = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
        self.defaults.lease = Duration::from_millis(whole);
        self
    }

    /// Sets the default of [`Lock::wait_timeout`](crate::Lock::wait_timeout): forever if not set.
    pub fn default_wait_timeout(mut self, limit: Duration) -> Self {
        self.defaults.wait_limit = WaitLimit::AtMost(limit);
        self
    }

    /// Sets the default of [`Lock::watchdog`](crate::Lock::watchdog): on if not set.
    pub fn default_watchdog(mut self, on: bool) -> Self {
        self.defaults.watchdog = on;
        self
    }

    /// Sets the default of [`Lock::replicas`](crate::Lock::replicas): none if not set.
    pub fn default_replicas(mut self, replicas: impl Into<Replicas>) -> Self {
        self.defaults.acknowledgement.replicas = replicas.into();
        self
    }

    /// Sets the default of [`Lock::durable`](crate::Lock::durable): off if not set.
    pub fn default_durable(mut self, on: bool) -> Self {
        self.defaults.acknowledgement.durable = on;
        self
    }

    /// Connects to the store.
    ///
    /// # Errors
    /// As [`Client::connect`].
    ///
    /// # Cancel safety
    /// Nothing is left behind.
    pub async fn connect(self) -> Result<Client, Error> {
        let limit = self.server.connect_timeout;
        let client = self.connect_lazy()?;
        let inner = client.inner.clone();
        let connecting = move || async move { inner.connect(limit).await };
        client.inner.run(connecting).await??;
        Ok(client)
    }

    /// Makes a client that connects at first use: see [`Client::connect_lazy`].
    ///
    /// # Errors
    /// As [`Client::connect_lazy`].
    pub fn connect_lazy(self) -> Result<Client, Error> {
        let url = self.store.as_deref().ok_or_else(no_store)?;
        let events = EventQueue::new(self.logger);
        let store = open::open(url, self.server, &events)?;
        if self.is_unnamed {
            events.emit(Level::Warn, || Event::StoreNotNamed { store: url.into() });
        }
        let (timeout, defaults) = (self.store_timeout, self.defaults);
        let inner = Engine::new(store, events, timeout, defaults, self.name_label);
        Ok(Client { inner })
    }
}

#[cfg(feature = "embedded")]
fn with_default_store(builder: ClientBuilder) -> Result<ClientBuilder, Error> {
    Ok(ClientBuilder {
        is_unnamed: true,
        ..builder.store(&default_store()?)
    })
}

#[cfg(not(feature = "embedded"))]
fn with_default_store(_: ClientBuilder) -> Result<ClientBuilder, Error> {
    Err(no_store())
}

impl std::fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URL may hold a password.
        f.debug_struct("ClientBuilder")
            .field("defaults", &self.defaults)
            .finish_non_exhaustive()
    }
}

impl ClientBuilder {
    /// Sets the prefix of all keys and channels: `arbiter:` by default, as in the Go library.
    ///
    /// A lock is its prefix and name together, on every store: clients with different prefixes do
    /// not see each other's locks, and a server's user may have rights to one prefix only.
    ///
    /// Surrounding whitespace is ignored. Connecting fails with [`Error::Invalid`] if the prefix
    /// contains whitespace, control characters or `#arbiter.`, which is reserved, and on a cluster
    /// if its hash tag is empty or not closed.
    pub fn key_prefix(mut self, prefix: &str) -> Self {
        self.server.key_prefix = prefix.trim().to_owned();
        self
    }

    /// Sets the name of the client's connections in the server's `CLIENT LIST`: by default
    /// `arbiter:HOST:PID`.
    ///
    /// Characters that the server forbids are replaced by `_`. At most 128 are sent.
    pub fn client_name(mut self, name: &str) -> Self {
        self.server.client_name = Some(name.to_owned()).filter(|name| !name.is_empty());
        self
    }

    /// Sets how long one command may take before its outcome counts as unknown: 1 s by default.
    pub fn command_timeout(mut self, limit: Duration) -> Self {
        self.server.command_timeout = limit;
        self
    }

    /// Sets how long one attempt to connect may take: 5 s by default.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.server.connect_timeout = limit;
        self
    }

    /// Sets the user name and the password, which override those of the URL.
    pub fn credentials(mut self, username: &str, password: &str) -> Self {
        let credentials = Credentials::new(username, password);
        self.server.login = Some(LoginSource::Fixed(credentials));
        self
    }

    /// Sets a provider that returns the user name and the password at each dial. It suits passwords
    /// that are replaced, and tokens that expire.
    ///
    /// If a server rejects them, the provider is asked again, and the dial is repeated as after any
    /// failure: within each wait, and as long as a hold lasts. They are refused permanently only if
    /// none was ever accepted and the provider repeats itself. They are those of the servers, not
    /// of sentinels. A URL that has a password itself is refused.
    ///
    /// The provider runs on a thread of its own. An error, a panic, or no answer within
    /// [`ClientBuilder::connect_timeout`] fails the dial.
    ///
    /// # Examples
    /// ```
    /// use arbiter_lock::{Client, Credentials};
    ///
    /// async fn token() -> std::io::Result<String> {
    ///     std::fs::read_to_string("/run/secrets/token")
    /// }
    ///
    /// let builder = Client::builder()
    ///     .store("rediss://redis.internal:6379")
    ///     .credentials_provider(|| async { Ok(Credentials::new("app", token().await?.trim())) });
    /// # drop(builder);
    /// ```
    pub fn credentials_provider<F>(
        mut self,
        provider: impl Fn() -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Credentials, Box<dyn std::error::Error + Send + Sync>>>
            + Send
            + 'static,
    {
        let login = ChangingLogin::new(Arc::new(move || Box::pin(provider())));
        self.server.login = Some(LoginSource::Changing(login));
        self
    }

    /// Sets how connections to servers are made, in place of TCP. For example, a connector uses a
    /// proxy, or a network of the program's own.
    ///
    /// The connector gets the host and the port of the URL, or of an announced address after the
    /// [address map](ClientBuilder::map_address). It resolves the host itself. TLS is on top, if
    /// the URL asks for it. An error, a panic, or no connection within
    /// [`ClientBuilder::connect_timeout`] fails the dial. It must not block. A store without a host
    /// is refused.
    ///
    /// # Examples
    /// ```
    /// use arbiter_lock::Client;
    /// use tokio::net::TcpStream;
    ///
    /// let builder = Client::builder()
    ///     .store("redis://redis.internal:6379")
    ///     .connect_with(|host, port| async move { TcpStream::connect((host, port)).await });
    /// # drop(builder);
    /// ```
    pub fn connect_with<F, S>(
        mut self,
        connector: impl Fn(String, u16) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = std::io::Result<S>> + Send + 'static,
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.server.network.connector = Some(Arc::new(move |host, port| {
            let connecting = connector(host, port);
            Box::pin(async move { Ok(Stream::new(connecting.await?)) })
        }));
        self
    }

    /// Maps the addresses that sentinels and the nodes of a cluster announce to those at which this
    /// client reaches them.
    ///
    /// Sentinels announce masters and other sentinels, and nodes all nodes. Servers behind NAT or in containers need it. [`ClientBuilder::address_map`] takes a list.
    pub fn map_address(
        mut self,
        map: impl Fn(&str, u16) -> (String, u16) + Send + Sync + 'static,
    ) -> Self {
        self.server.address_map = Some(Arc::new(map));
        self
    }

    /// Maps addresses as [`ClientBuilder::map_address`] does, by a list:
    /// `10.0.0.1:6379=localhost:16379,10.0.0.2:6379=localhost:16380`.
    ///
    /// An address that is not listed stays as it is. The variable `ARBITER_ADDRESS_MAP` contains such
    /// a list for [`ClientBuilder::from_env`].
    ///
    /// # Errors
    /// [`Error::Invalid`] for a list of another form.
    pub fn address_map(self, list: &str) -> Result<Self, Error> {
        let map = parse_address_map(list)?;
        Ok(self.map_address(move |host, port| {
            let announced = (host.to_owned(), port);
            map.get(&announced).cloned().unwrap_or(announced)
        }))
    }

    /// Sets the authorities to trust, the certificate of the client, and the name of the servers.
    ///
    /// A store without TLS is refused with them, and a URL of PostgreSQL that names files of its own.
    ///
    /// # Examples
    /// ```
    /// use arbiter_lock::{Client, Tls};
    ///
    /// let builder = Client::builder()
    ///     .store("rediss://redis.internal:6379")
    ///     .tls(Tls::new().ca_file("ca.pem"));
    /// # drop(builder);
    /// ```
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.server.network.tls = tls;
        self
    }
}

//! The settings of a client.

#[cfg(feature = "metrics")]
use std::borrow::Cow;
use std::collections::HashMap;
use std::env::VarError;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::client::Client;
use crate::engine::Engine;
use crate::errors::error::Error;
use crate::errors::invalid::Invalid;
use crate::events::event::{Event, EventQueue, Level, Logger};
use crate::events::metrics::NameLabel;
use crate::events::tracing_logger::TracingLogger;
use crate::primitives::options::{Options, WaitLimit};
use crate::store::ServerSettings;
#[cfg(feature = "embedded")]
use crate::store::embedded;
use crate::store::memory::MemoryStore;
use crate::store::open;

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
    /// They are the prefix of keys (`ARBITER_KEY_PREFIX`) and the address map
    /// (`ARBITER_ADDRESS_MAP`).
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
            Arc::new(MemoryStore::new()),
            EventQueue::new(builder.logger),
            builder.store_timeout,
            builder.defaults,
            builder.name_label,
        );
        Client { inner }
    }

    /// Sets the store's URL: see [`Client::connect`]. Surrounding whitespace is ignored.
    pub fn store(mut self, url: &str) -> Self {
        self.store = Some(url.trim().to_owned());
        self.is_unnamed = false;
        self
    }

    /// Sets the store's URL to the content of a file: see [`Client::connect`].
    ///
    /// # Errors
    /// [`Error::Invalid`] if the file cannot be read, or is empty.
    pub fn store_file(self, path: &Path) -> Result<Self, Error> {
        let shown = path.display();
        let message = match std::fs::read_to_string(path) {
            Ok(url) if url.trim().is_empty() => {
                format!("{shown} is empty, and should hold the store's URL")
            }
            Ok(url) => return Ok(self.store(&url)),
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

type Variables<'a> = &'a dyn Fn(&'static str) -> Result<String, VarError>;

/// Reads a variable. An empty one counts as unset.
fn optional(variable: Variables<'_>, name: &'static str) -> Result<Option<String>, Error> {
    match variable(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => {
            Err(Invalid::new("store", format!("{name} in the environment is not UTF-8")).into())
        }
    }
}

type Addresses = HashMap<(String, u16), (String, u16)>;

/// Parses `host:port=host:port,…`.
fn parse_address_map(text: &str) -> Result<Addresses, Error> {
    let wrong = |pair: &str| {
        Invalid::new(
            "address_map",
            format!(
                "an address map is host:port=host:port,…, got '{}'",
                pair.escape_debug()
            ),
        )
    };
    let address = |text: &str| {
        let (host, port) = text.trim().rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = port.parse().ok().filter(|port| 0 < *port)?;
        let is_host = !host.is_empty() && !host.contains(['=', ';', '/', ' ']);
        is_host.then(|| (host.to_owned(), port))
    };
    let mut map = Addresses::new();
    for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
        let (from, to) = pair.split_once('=').ok_or_else(|| wrong(pair))?;
        let addresses = address(from).zip(address(to));
        let (from, to) = addresses.ok_or_else(|| wrong(pair))?;
        map.insert(from, to);
    }
    Ok(map)
}

/// Returns the URL of the default store: a folder of this user on this machine.
///
/// It is `/var/lib/arbiter` for root, else `$XDG_STATE_HOME/arbiter`, else
/// `~/.local/state/arbiter`.
///
/// # Errors
/// [`Error::Invalid`] if the environment does not define that folder.
#[cfg(feature = "embedded")]
pub fn default_store() -> Result<String, Error> {
    Ok(embedded::default_url()?)
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

fn no_store() -> Error {
    Invalid::new(
        "store",
        "no store is named: set ARBITER_STORE to its URL, such as redis://127.0.0.1:6379",
    )
    .into()
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
    /// Sets the prefix of keys on a Redis server: `arbiter:` by default, as in the Go library.
    ///
    /// Surrounding whitespace is ignored.
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
        self.server.username = Some(username.to_owned()).filter(|name| !name.is_empty());
        self.server.password = Some(password.to_owned());
        self
    }

    /// Maps the addresses that sentinels announce, of masters and of other sentinels, to those at
    /// which this client reaches them.
    ///
    /// Servers behind NAT or in containers need it. [`ClientBuilder::address_map`] takes a list.
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

    /// Sets the only certificate authorities to trust with `rediss://` URLs, in PEM.
    ///
    /// By default, those of the system or of `SSL_CERT_FILE` are trusted.
    pub fn certificate_authorities(mut self, pem: &[u8]) -> Self {
        self.server.authorities = Some(pem.to_owned());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<ClientBuilder, Error> {
        ClientBuilder::from_variables(&|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            let value = found.map(|(_, value)| (*value).to_owned());
            value.ok_or(VarError::NotPresent)
        })
    }

    #[test]
    fn address_map_is_a_list_of_pairs() {
        let map = |list: &str| {
            let builder = of(&[("ARBITER_STORE", "memory:"), ("ARBITER_ADDRESS_MAP", list)]);
            builder.map(|builder| builder.server.address_map.unwrap())
        };
        let mapped = map("a:1=b:2, [::1]:3=c:4,").unwrap();
        assert_eq!(mapped("a", 1), ("b".to_owned(), 2));
        assert_eq!(mapped("::1", 3), ("c".to_owned(), 4));
        assert_eq!(mapped("a", 3), ("a".to_owned(), 3));
        for wrong in [
            "a",
            "a:1",
            "a:1=b",
            "a:0=b:1",
            "a:1=:2",
            "a:x=b:2",
            "a:1=b:2;c:3=d:4",
        ] {
            assert!(map(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn environment_names_store_by_url_or_by_file() {
        let folder = testkit::Folder::new();
        let file = folder.path().join("url");
        std::fs::write(&file, "memory:of the file\n").unwrap();
        let path = file.to_str().unwrap();
        for (variables, store) in [
            (vec![("ARBITER_STORE", "memory:a")], "memory:a"),
            (vec![("ARBITER_STORE", " memory:a\n")], "memory:a"),
            (vec![("ARBITER_STORE_FILE", path)], "memory:of the file"),
            (
                vec![("ARBITER_STORE", "memory:a"), ("ARBITER_STORE_FILE", path)],
                "memory:a",
            ),
            (
                vec![("ARBITER_STORE", ""), ("ARBITER_STORE_FILE", path)],
                "memory:of the file",
            ),
        ] {
            let builder = of(&variables).unwrap();
            assert_eq!(builder.store.as_deref(), Some(store), "{variables:?}");
            assert!(!builder.is_unnamed);
        }
        std::fs::remove_file(&file).unwrap();
        let error = of(&[("ARBITER_STORE_FILE", path)]).err().unwrap();
        assert!(error.to_string().contains(path), "{error}");
        let prefixed = of(&[
            ("ARBITER_STORE", "memory:"),
            ("ARBITER_KEY_PREFIX", "mine:\n"),
        ]);
        assert_eq!(prefixed.unwrap().server.key_prefix, "mine:");
    }

    #[test]
    fn non_utf8_variable_is_an_error() {
        let builder = ClientBuilder::from_variables(&|name| match name {
            "ARBITER_STORE" => Err(VarError::NotUnicode("\u{fffd}".into())),
            _ => Err(VarError::NotPresent),
        });
        let error = builder.err().unwrap().to_string();
        assert!(
            error.contains("ARBITER_STORE in the environment is not UTF-8"),
            "{error}"
        );
    }

    #[cfg(feature = "embedded")]
    #[tokio::test]
    async fn default_store_logs_its_scope() {
        let logged = Arc::new(std::sync::Mutex::new(Vec::new()));
        let listening = |builder: ClientBuilder| {
            let logged = logged.clone();
            builder.logger(move |event: &Event| {
                let what = (event.level(), event.to_string());
                logged.lock().unwrap().push(what);
            })
        };
        let unnamed = of(&[]).unwrap();
        assert_eq!(unnamed.store, default_store().ok());
        // Replaced, so that the test does not use the user's folder.
        let unnamed = ClientBuilder {
            store: Some("memory:".to_owned()),
            ..unnamed
        };
        let client = listening(unnamed).connect().await.unwrap();
        client.inner.events.flush(Duration::from_secs(10));
        let message = std::mem::take(&mut *logged.lock().unwrap());
        let [(Level::Warn, message)] = &message[..] else {
            panic!("{message:?}");
        };
        assert!(
            message.contains("so it is memory:") && message.contains("as this user"),
            "{message}"
        );
        let named = of(&[]).unwrap().store("memory:");
        let client = listening(named).connect().await.unwrap();
        client.inner.events.flush(Duration::from_secs(10));
        assert!(logged.lock().unwrap().is_empty());
    }
}

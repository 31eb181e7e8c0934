//! The settings that the environment names.

use std::collections::HashMap;
use std::env::VarError;

use super::ClientBuilder;
use crate::errors::error::Error;
use crate::errors::invalid::Invalid;
#[cfg(feature = "embedded")]
use crate::store::embedded;

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

pub(super) fn no_store() -> Error {
    Invalid::new(
        "store",
        "no store is named: set ARBITER_STORE to its URL, such as redis://127.0.0.1:6379",
    )
    .into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::events::event::{Event, Level};

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

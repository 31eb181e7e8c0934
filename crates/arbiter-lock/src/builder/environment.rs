//! The variables of the environment, and the store without one.

use std::collections::HashMap;
use std::env::VarError;

use crate::errors::error::Error;
use crate::errors::invalid::Invalid;
use crate::printable::Printable;
#[cfg(feature = "embedded")]
use crate::store::embedded;
use crate::store::tls::{Pem, Tls};

pub(super) type Variables<'a> = &'a dyn Fn(&'static str) -> Result<String, VarError>;

/// Reads a variable. An empty one counts as unset.
pub(super) fn optional(
    variable: Variables<'_>,
    name: &'static str,
) -> Result<Option<String>, Error> {
    match variable(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => {
            Err(Invalid::new("store", format!("{name} in the environment is not UTF-8")).into())
        }
    }
}

/// Reads the TLS settings.
pub(super) fn tls_settings(variable: Variables<'_>) -> Result<Tls, Error> {
    let file = |name| {
        let path = optional(variable, name)?;
        Ok::<_, Error>(path.map(|path| Pem::File(path.into())))
    };
    Ok(Tls {
        authorities: file("ARBITER_CACERT")?,
        certificate: file("ARBITER_CERT")?,
        key: file("ARBITER_KEY")?,
        server_name: optional(variable, "ARBITER_SNI")?,
    })
}

pub(super) type Addresses = HashMap<(String, u16), (String, u16)>;

/// Parses `host:port=host:port,…`.
pub(super) fn parse_address_map(text: &str) -> Result<Addresses, Error> {
    let wrong = |pair: &str| {
        Invalid::new(
            "address_map",
            format!(
                "an address map is host:port=host:port,…, got '{}'",
                Printable(pair)
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

pub(super) fn no_store() -> Error {
    Invalid::new(
        "store",
        "no store is named: set ARBITER_STORE to its URL, such as redis://127.0.0.1:6379",
    )
    .into()
}

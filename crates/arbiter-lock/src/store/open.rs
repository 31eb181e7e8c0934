//! The kinds of stores, by the schemes of their URLs.

use std::sync::Arc;

use super::{ServerSettings, Store, memory};
use crate::errors::invalid::Invalid;
use crate::events::event::EventQueue;

type Open = fn(&str, ServerSettings, &EventQueue) -> Result<Arc<dyn Store>, Invalid>;

#[cfg(feature = "embedded")]
const EMBEDDED: Open = super::embedded::handle::open;
#[cfg(not(feature = "embedded"))]
const EMBEDDED: Open = |_, _, _| Err(lacks("embedded", "file://"));

#[cfg(feature = "redis")]
const REDIS: Open = super::redis::open;
#[cfg(not(feature = "redis"))]
const REDIS: Open = |_, _, _| Err(lacks("redis", "redis://"));

#[cfg(feature = "postgres")]
const POSTGRES: Open = super::postgres::open;
#[cfg(not(feature = "postgres"))]
const POSTGRES: Open = |_, _, _| Err(lacks("postgres", "postgres://"));

/// Returns how the store of a URL is opened: a new kind of store is one more line.
fn kind(url: &str) -> Open {
    match url.split_once(':') {
        Some(("memory", _)) => memory::handle::open,
        Some(("file", _)) => EMBEDDED,
        Some(("postgres" | "postgresql", _)) => POSTGRES,
        _ => REDIS,
    }
}

/// Opens the store of a URL, without I/O.
pub(crate) fn open(
    url: &str,
    settings: ServerSettings,
    events: &EventQueue,
) -> Result<Arc<dyn Store>, Invalid> {
    kind(url)(url, settings, events)
}

#[cfg(not(all(feature = "redis", feature = "embedded", feature = "postgres")))]
fn lacks(feature: &str, url: &str) -> Invalid {
    Invalid::new(
        "store",
        format!("stores such as {url} need the feature `{feature}` of arbiter-lock"),
    )
}

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

/// Schemes before a `//`.
const SCHEMES: [&str; 8] = [
    "redis",
    "rediss",
    "redis+unix",
    "unix",
    "valkey",
    "valkeys",
    "postgres",
    "postgresql",
];

/// Opens the store of a URL, without I/O.
pub(crate) fn open(
    url: &str,
    settings: ServerSettings,
    events: &EventQueue,
) -> Result<Arc<dyn Store>, Invalid> {
    check(url)?;
    kind(url)(url, settings, events)
}

/// Names the mistake in a text that is no URL, before it is parsed as one. The text is not shown,
/// since it may hold a password.
fn check(url: &str) -> Result<(), Invalid> {
    let wrong = |message: &str| Err(Invalid::new("store", format!("the store's URL {message}")));
    let name = |text: &str| {
        let letters = text.trim_start_matches(['$', '{']);
        let end = letters.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        letters[..end.unwrap_or(letters.len())].to_owned()
    };
    match url.chars().next() {
        None => return wrong("is empty"),
        Some('\u{feff}') => {
            return wrong("begins with a byte order mark: save the file without it");
        }
        Some('"' | '\'') => return wrong("is in quotes: leave them out"),
        Some('#') => return wrong("is a comment line: the file contains only the URL"),
        Some('$') => {
            let name = name(url);
            return wrong(&format!(
                "is the variable {name} itself, which nothing has expanded"
            ));
        }
        Some('/' | '.' | '~') if url.ends_with(".sock") => {
            return wrong("is a path: redis+unix:///path/of/the/socket names a socket");
        }
        Some('/' | '.' | '~') => {
            return wrong("is a path: file:///path names a folder of this machine");
        }
        Some(_) => {}
    }
    if url.contains(['\n', '\r']) {
        return wrong("has several lines: the file contains only the URL");
    }
    let Some((scheme, _)) = url.split_once(':') else {
        return wrong("has no scheme: redis://host:6379 names a server");
    };
    if !url.contains("://") && SCHEMES.contains(&scheme) {
        return wrong(
            "has no '//' behind its scheme: redis://host:6379 names a server, and \
             redis+unix:///path a socket",
        );
    }
    if !url.contains("://") && !["memory", "file"].contains(&scheme) {
        return wrong("has no scheme: redis://host:6379 names a server");
    }
    if scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https") {
        return wrong("is one of HTTP, which no store speaks");
    }
    let rest = url.split_once("://").map(|(_, rest)| rest);
    match rest.filter(|_| scheme != "file").and_then(unescaped) {
        None => Ok(()),
        Some((text, escape)) => wrong(&format!(
            "has '{text}' before its '@': in a password, '{text}' is written {escape}"
        )),
    }
}

/// Returns the character that ends the hosts of a URL within its login, and how it is escaped.
fn unescaped(rest: &str) -> Option<(char, &'static str)> {
    let (before, rest) = rest.split_at(rest.find(['/', '?', '#'])?);
    let ends_login = rest.find('@')?;
    if before.contains('@') {
        return None;
    }
    let is_login = before
        .split(',')
        .filter_map(|host| host.rsplit(']').next()?.split_once(':'))
        .any(|(_, port)| !port.bytes().all(|b| b.is_ascii_digit()));
    let inside = &rest[1..ends_login];
    match rest.chars().next()? {
        '/' if is_login || !before.is_empty() && !inside.contains('?') => Some(('/', "%2F")),
        '?' if is_login || !inside.contains('=') => Some(('?', "%3F")),
        '#' => Some(('#', "%23")),
        _ => None,
    }
}

#[cfg(not(all(feature = "redis", feature = "embedded", feature = "postgres")))]
fn lacks(feature: &str, url: &str) -> Invalid {
    Invalid::new(
        "store",
        format!("stores such as {url} need the feature `{feature}` of arbiter-lock"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_are_no_urls_are_named() {
        for (text, named) in [
            ("", "is empty"),
            ("\u{feff}redis://h", "byte order mark"),
            ("\"redis://:secret@h\"", "in quotes"),
            ("'redis://h'", "in quotes"),
            ("# secret\nredis://h", "comment line"),
            ("redis://h\nredis://:secret@i", "several lines"),
            ("$REDIS_URL", "variable REDIS_URL itself"),
            ("${REDIS_URL:-secret}", "variable REDIS_URL itself"),
            ("/srv/locks", "file:///path"),
            ("./locks", "file:///path"),
            ("/tmp/x.sock", "redis+unix:"),
            ("localhost", "no scheme"),
            ("localhost:6379", "no scheme"),
            ("user:secret@h:6379", "no scheme"),
            ("redis:h:6379", "no '//' behind its scheme"),
            ("redis:secret@h", "no '//' behind its scheme"),
            ("unix:/run/redis.sock", "redis+unix:///path a socket"),
            ("http://h:8080/", "HTTP"),
            ("redis://:secret#w@h", "'#' is written %23"),
            ("redis://:secret?w@h", "'?' is written %3F"),
            ("redis://:secret/w@h", "'/' is written %2F"),
            ("redis://u:12/secret@h", "'/' is written %2F"),
            ("redis://u:12?secret@h", "'?' is written %3F"),
            ("redis://u:12#secret@h", "'#' is written %23"),
            ("redis+sentinel://:secret?a=b@h/m", "'?' is written %3F"),
            ("redis+cluster://:secret/w@h,i:7", "'/' is written %2F"),
            ("postgres://u:secret#w@h/d", "'#' is written %23"),
        ] {
            let error = check(text).unwrap_err().to_string();
            assert!(error.contains(named), "{text}: {error}");
            assert!(!error.contains("secret"), "{text}: {error}");
        }
        for url in [
            "redis://h",
            "file:///x",
            "memory:",
            "memory:a",
            "postgres://h/d",
            "postgres://u@h/d?application_name=a@b",
            "postgres:///d?host=/run&application_name=a@b",
            "redis+sentinel://h:1,[::1]:2,i/m?sentinel_password=a@b",
            "redis+unix:///run/a@b.sock",
            "redis://u:p@w@h/0",
            "file:///a:b/c@d",
        ] {
            assert!(check(url).is_ok(), "{url}");
        }
    }
}

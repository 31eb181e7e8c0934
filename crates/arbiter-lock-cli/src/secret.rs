//! Secrets within URLs: passwords, and parameters that may carry one.

use std::ops::Range;

/// The text that replaces a secret.
const MASK: &str = "***";

/// The parameters of a URL whose values are shown. Any other parameter may carry a secret.
const PUBLIC: &[&str] = &[
    "db",
    "user",
    "username",
    "sentinel_username",
    "host",
    "port",
    "listen",
    "schema",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "channel_binding",
    "target_session_attrs",
    "application_name",
    "connect_timeout",
    "database",
    "protocol",
    "client_name",
    "clientName",
    "connectionName",
    "decode_responses",
    "ssl_cert_reqs",
    "ssl_check_hostname",
    "ssl_ca_certs",
    "ssl_certfile",
    "ssl_keyfile",
];

/// Characters that may follow a URL that was copied from a text.
const BEHIND_A_URL: &[char] = &[' ', '\t', '\n', '\r', '>', ')', '"', '\'', '.'];

/// The flag whose value is a URL, even without `://`.
const STORE_FLAG: &str = "--store";

/// Returns whether the store's URL has a secret.
pub(crate) fn has_secret(url: &str) -> bool {
    !secrets(url, store_authority(url)).is_empty()
}

/// Returns the arguments of a command line with the secrets of their URLs masked.
pub(crate) fn without_secrets(args: &[String]) -> Vec<String> {
    let starts = url_starts(args);
    let masked = |(arg, start): (&String, usize)| masked(arg, start);
    args.iter().zip(starts).map(masked).collect()
}

/// Returns a message that quotes arguments, with the secrets of their URLs masked.
///
/// The message may quote a part of an argument, such as the value of a flag.
pub(crate) fn message_without_secrets(message: &str, args: &[String]) -> String {
    let mut message = message.to_owned();
    for (arg, start) in args.iter().zip(url_starts(args)) {
        if let Some(first) = secrets(arg, start).first() {
            let from = start.min(first.start);
            message = message.replace(&arg[from..], &masked(arg, start)[from..]);
        }
    }
    message
}

/// Returns where the URL of each argument begins, behind its scheme.
fn url_starts(args: &[String]) -> Vec<usize> {
    let mut is_store = false;
    let start = |arg: &String| {
        let was_store = std::mem::replace(&mut is_store, arg == STORE_FLAG);
        match arg.strip_prefix(STORE_FLAG) {
            Some(value) if value.starts_with('=') => {
                STORE_FLAG.len() + 1 + store_authority(&value[1..])
            }
            _ if was_store => store_authority(arg),
            _ => authority(arg),
        }
    };
    args.iter().map(start).collect()
}

/// Returns where a URL continues behind its scheme; the end of a text that has no scheme.
fn authority(text: &str) -> usize {
    text.find("://").map_or(text.len(), |at| at + 3)
}

/// Returns where the store's URL continues behind its scheme, which may be missing.
fn store_authority(url: &str) -> usize {
    url.find("://").map_or(0, |at| at + 3)
}

fn masked(text: &str, start: usize) -> String {
    let mut shown = text.to_owned();
    for secret in secrets(text, start).into_iter().rev() {
        shown.replace_range(secret, MASK);
    }
    shown
}

/// Returns the secrets of a text whose URL continues at `start`, in order and apart.
fn secrets(text: &str, start: usize) -> Vec<Range<usize>> {
    let (scheme, rest) = text.split_at(start);
    let is_folder = match scheme.ends_with("://") {
        true => scheme.ends_with("file://"),
        false => rest.trim_start().starts_with("file:"),
    };
    // A folder needs no login.
    if is_folder && !text.contains('@') {
        return Vec::new();
    }
    let lines = || pieces(text, 0, &['\n', '\r']);
    let is_empty = |line: &Range<usize>| text[line.clone()].trim().is_empty();
    let is_url = |line: &Range<usize>| text[line.clone()].contains("://");
    // A line without a scheme may continue a password.
    if lines().filter(|line| !is_empty(line)).count() < 2
        || !lines().all(|line| is_empty(&line) || is_url(&line))
    {
        return secrets_of_url(text, start);
    }
    let of_line = |line: Range<usize>| {
        let url = &text[line.clone()];
        let found = secrets_of_url(url, authority(url));
        let at = line.start;
        let found = found
            .into_iter()
            .map(move |secret| at + secret.start..at + secret.end);
        found.collect::<Vec<_>>()
    };
    lines().flat_map(of_line).collect()
}

/// Returns the secrets of a text with one URL.
///
/// A URL that does not parse may have a secret anywhere: the password ends at the last `@`, and a
/// port that is not a number counts as a secret.
fn secrets_of_url(text: &str, start: usize) -> Vec<Range<usize>> {
    let rest = &text[start..];
    let mut found = Vec::new();
    let hosts = rest.rfind('@').map_or(start, |at| start + at + 1);
    if let Some(colon) = text[start..hosts].find(':') {
        found.push(start + colon + 1..hosts - 1);
    }
    let end = rest.find(['?', '&', '#', ';']).map(|at| start + at);
    for option in pieces(text, end.unwrap_or(text.len()), &['?', '&', '#', ';']) {
        match text[option.clone()].split_once('=') {
            Some((name, _)) if PUBLIC.contains(&name) => {}
            Some((name, _)) => found.push(option.start + name.len() + 1..option.end),
            None => found.push(option),
        }
    }
    let path = text[hosts..].find(['/', '?', '&', '#', ';']);
    let path = path.map_or(text.len(), |at| hosts + at);
    for host in pieces(text, hosts, &[',']).filter(|host| host.start < path) {
        let host = host.start..host.end.min(path);
        // An IPv6 address has colons of its own.
        let bracket = text[host.clone()].find(']').unwrap_or_default();
        let behind = host.start + bracket..host.end;
        if let Some(colon) = text[behind.clone()].find(':') {
            let port = behind.start + colon + 1..host.end;
            let number = text[port.clone()].trim_end_matches(BEHIND_A_URL);
            if !number.bytes().all(|b| b.is_ascii_digit()) {
                found.push(port);
            }
        }
    }
    merged(found)
}

/// Returns the ranges between the separators of a text, from `start` on.
fn pieces<'a>(
    text: &'a str,
    start: usize,
    separators: &'a [char],
) -> impl Iterator<Item = Range<usize>> + 'a {
    let mut at = start;
    text[start..].split(separators).map(move |piece| {
        let range = at..at + piece.len();
        at = range.end + 1;
        range
    })
}

/// Returns the ranges that are not empty, sorted, with those that touch each other joined.
fn merged(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked_line(line: &[&str]) -> Vec<String> {
        let args: Vec<String> = line.iter().map(|&arg| arg.to_owned()).collect();
        without_secrets(&args)
    }

    #[test]
    fn secrets_of_urls_are_masked_in_every_position() {
        for (url, shown) in [
            ("redis://:pw@h", "redis://:***@h"),
            ("redis://u:p/w@h:1/0", "redis://u:***@h:1/0"),
            ("redis://u:p%40w@h", "redis://u:***@h"),
            ("redis://u:a?b#c@h", "redis://u:***"),
            ("redis://u:a@b@h", "redis://u:***@h"),
            (
                "redis+unix:///s?db=1&pass=pw&x=y",
                "redis+unix:///s?db=1&pass=***&x=***",
            ),
            (
                "redis+unix:///s?user=u&pass=a&pass=b",
                "redis+unix:///s?user=u&pass=***&pass=***",
            ),
            (
                "redis+sentinel://u:p@h:1,i:2/m?sentinel_username=s&sentinel_password=q",
                "redis+sentinel://u:***@h:1,i:2/m?sentinel_username=s&sentinel_password=***",
            ),
            (
                "redis+sentinel://h/m?sentinel%5Fpassword=q",
                "redis+sentinel://h/m?sentinel%5Fpassword=***",
            ),
            (
                "redis+sentinel://h/m?sentinel_password=a@b",
                "redis+sentinel://h/m?sentinel_password=***",
            ),
            ("redis://h/0?pw", "redis://h/0?***"),
            ("redis://u:pw", "redis://u:***"),
            ("redis://u:pw/0", "redis://u:***/0"),
            ("redis://[::1]:pw", "redis://[::1]:***"),
            ("redis://file:pw", "redis://file:***"),
            ("redis://u:12;pw", "redis://u:12;***"),
            ("redis://u:p\nw@h", "redis://u:***@h"),
            ("redis://h:1\nredis://:pw@h", "redis://h:1\nredis://:***@h"),
        ] {
            assert!(
                has_secret(url) && !has_secret(&shown.replace(MASK, "")),
                "{url}"
            );
            assert_eq!(masked_line(&[url]), [shown]);
        }
    }

    #[test]
    fn texts_without_a_secret_are_unchanged() {
        for text in [
            "redis://u@h:6379/0",
            "redis://h:6379",
            "redis://:@h",
            "redis://[::1]:6379/1",
            "redis+sentinel://h:1,[::1]:2,i/m/3?sentinel_username=s",
            "redis+unix:///s?db=1",
            "postgres://u@h,i:2/d?sslmode=require&schema=s&listen=h:1",
            "file:///var/locks",
            "a:b@c",
            "x?pass=pw",
            " redis://h:1 ",
            "redis://h:1;",
            "<redis://h:1>",
            "redis://h:1\nredis://i:2\n",
            "file:///a?x=1",
        ] {
            assert_eq!(masked_line(&[text]), [text]);
            assert!(!text.contains("://") || !has_secret(text), "{text}");
        }
    }

    #[test]
    fn store_without_a_scheme_has_secrets_too() {
        assert_eq!(masked_line(&["--store", "u:pw@h"]), ["--store", "u:***@h"]);
        assert_eq!(masked_line(&["--store=:pw@h"]), ["--store=:***@h"]);
        assert_eq!(
            masked_line(&["--store=redis:/:pw@h"]),
            ["--store=redis:***@h"]
        );
        assert_eq!(masked_line(&["--store=h:6379"]), ["--store=h:6379"]);
        assert!(has_secret("u:pw@h") && !has_secret("h:6379") && !has_secret("memory:"));
        assert!(!has_secret("file:tmp/x") && !has_secret(" file:/a:b/c"));
    }

    #[test]
    fn message_quotes_a_part_of_an_argument() {
        let args = [
            "-wredis://:a@h".to_owned(),
            "--lease=redis://u:b@h".to_owned(),
        ];
        let message = "invalid value 'redis://:a@h', and 'redis://u:b@h'";
        assert_eq!(
            message_without_secrets(message, &args),
            "invalid value 'redis://:***@h', and 'redis://u:***@h'"
        );
    }
}

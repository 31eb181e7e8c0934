//! The meanings of errors of the client library and of the server.

use redis::{ErrorKind, RedisError};

use super::other_protocol::NOT_REDIS;
use crate::store::{Failure, FailureKind};

/// The message for a server or a proxy without RESP3.
const RESP3: &str =
    "it does not know HELLO 3, so it is older than Redis 6.0, or a proxy without RESP3";

/// Returns the meaning of the error, and whether the step may nevertheless have run.
pub(super) fn failure_of(e: &RedisError) -> Failure {
    match code(e) {
        Some(code) => of_server(code, e),
        None => match e.kind() {
            ErrorKind::AuthenticationFailed => refused(FailureKind::Denied, e),
            ErrorKind::RESP3NotSupported => {
                Failure::before_sending(FailureKind::Unsupported, RESP3)
            }
            ErrorKind::Parse | ErrorKind::UnexpectedReturnType => {
                Failure::unknown(FailureKind::Malformed, NOT_REDIS)
            }
            _ => Failure::unknown(FailureKind::Unreachable, e.to_string()),
        },
    }
}

/// Returns the code of a server's error. Redis 6.2 wraps an error within a script: `ERR Error
/// running script (call to f_…): @user_script:3: -OOM command not allowed …`.
fn code(e: &RedisError) -> Option<&str> {
    let outer = e.code()?;
    let is_code = |word: &&str| 3 <= word.len() && word.bytes().all(|b| b.is_ascii_uppercase());
    let inner = e
        .detail()
        .filter(|detail| outer == "ERR" && detail.starts_with("Error running script"))
        .and_then(|detail| {
            let mut words = detail.split(' ').map(|word| word.trim_start_matches('-'));
            words.find(is_code)
        });
    inner.or(Some(outer))
}

/// Returns the failure for an error that the server answered. The scripts check before they write,
/// so a refused step has done nothing. An unknown error may have come from the middle of a script.
fn of_server(code: &str, e: &RedisError) -> Failure {
    let kind = match code {
        "BUSY" | "LOADING" | "CLUSTERDOWN" => FailureKind::Loading,
        "TRYAGAIN" => FailureKind::Moving,
        // Only a replica answers so.
        "READONLY" | "MASTERDOWN" => FailureKind::ReadOnly,
        "OOM" | "MISCONF" => FailureKind::Full,
        "NOREPLICAS" => FailureKind::NoReplicas,
        "WRONGTYPE" => FailureKind::WrongType,
        // A server in protected mode answers DENIED.
        "NOAUTH" | "WRONGPASS" | "NOPERM" | "DENIED" => FailureKind::Denied,
        "NOPROTO" => return Failure::before_sending(FailureKind::Unsupported, RESP3),
        "MOVED" | "ASK" | "CROSSSLOT" => {
            // A redirection is parsed from its first words.
            let detail = format!(
                "{}: it is a node of a cluster, whose URL begins with redis+cluster://",
                text(e)
            );
            return Failure::before_sending(FailureKind::WrongUrl, detail);
        }
        _ if lacks_hello(e) => return Failure::before_sending(FailureKind::Unsupported, RESP3),
        // Within a script, something may have been written before.
        _ if is_beyond_it(e) && is_from_script(e) => {
            return Failure::unknown(FailureKind::Unsupported, text(e));
        }
        _ if is_beyond_it(e) => FailureKind::Unsupported,
        _ if lacks_a_right(e) => return Failure::unknown(FailureKind::Denied, text(e)),
        _ => return Failure::unknown(FailureKind::Other, text(e)),
    };
    refused(kind, e)
}

/// Errors of a server that can never do the request.
const BEYOND_IT: &[&str] = &[
    "unknown command",
    "unknown redis command",
    "write commands not allowed after non deterministic",
    "select is not allowed in cluster mode",
    // Without an append-only file.
    "waitaof cannot be used",
];

fn is_beyond_it(e: &RedisError) -> bool {
    let detail = e.detail().unwrap_or_default().to_ascii_lowercase();
    BEYOND_IT.iter().any(|said| detail.contains(said))
}

/// Returns whether a server does not know `HELLO`, in the spelling of any version.
fn lacks_hello(e: &RedisError) -> bool {
    let detail = e.detail().unwrap_or_default().to_ascii_lowercase();
    let command = detail.strip_prefix("unknown command");
    command.is_some_and(|command| {
        let name = command.trim_start_matches([' ', '`', '\'']);
        name.starts_with("hello")
    })
}

fn is_from_script(e: &RedisError) -> bool {
    let detail = e.detail().unwrap_or_default();
    detail.contains("called from script")
}

/// Returns whether the error denies a right. Within a script, and if the client library selects a
/// database, such errors have no code of their own.
fn lacks_a_right(e: &RedisError) -> bool {
    let detail = e.detail().unwrap_or_default();
    detail.contains("The user executing the script") || detail.contains("has no permissions")
}

fn refused(kind: FailureKind, e: &RedisError) -> Failure {
    Failure::before_sending(kind, text(e))
}

/// Returns the server's words, in at most 200 characters.
fn text(e: &RedisError) -> String {
    let said = match (e.code(), e.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => e.to_string(),
    };
    // Where in a script the server met the error helps no user.
    let said = match said.split_once(" script: ") {
        Some((said, place)) if place.contains("@user_script") => said,
        _ => &said,
    };
    said.chars().take(200).collect()
}

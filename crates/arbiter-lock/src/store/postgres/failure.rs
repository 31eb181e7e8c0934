//! Errors of the server and of the connection as failures.

use std::time::Duration;

use tokio_postgres::Error;
use tokio_postgres::error::{DbError, Severity, SqlState};

use crate::errors::failure::nothing;
#[cfg(feature = "tls")]
use crate::store::tls::Tls;
use crate::store::{Failure, FailureKind};

/// Returns the failure of a statement that certainly had no effect.
pub(super) fn without_effect(error: &Error) -> Failure {
    Failure {
        may_have_run: false,
        ..of_commit(error)
    }
}

/// Returns the failure of a commit. An answer of the server may decide: a transaction that
/// it rolled back had no effect.
pub(super) fn of_commit(error: &Error) -> Failure {
    match error.as_db_error() {
        Some(error) => of_server(error),
        None => Failure::unknown(FailureKind::Unreachable, with_causes(error)),
    }
}

/// Returns the failure of a request that was not sent, or of a query, without an answer.
pub(super) fn no_answer(limit: Duration) -> Failure {
    Failure::before_sending(FailureKind::Silent, nothing("answer", limit))
}

/// Returns whether the transaction was rolled back for a reason that a repetition may not meet.
pub(super) fn is_conflict(error: &Error) -> bool {
    let conflicts = [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::LOCK_NOT_AVAILABLE,
    ];
    error.code().is_some_and(|code| conflicts.contains(code))
}

/// Returns whether the connection ended before the answer. A pooler reports that, too.
pub(super) fn is_cut(error: &Error) -> bool {
    let code = |error: &DbError| error.code().code().starts_with("08");
    error.as_db_error().is_none_or(code)
}

fn of_server(error: &DbError) -> Failure {
    let kind = match error.code().code() {
        // The server or the connection ends.
        "57P01" | "57P02" => FailureKind::Unreachable,
        code if code.starts_with("08") => FailureKind::Unreachable,
        _ if error.parsed_severity() == Some(Severity::Panic) => FailureKind::Unreachable,
        "57P03" | "53300" | "57014" | "40001" | "40P01" | "55P03" | "25P03" | "57P05" => {
            FailureKind::Loading
        }
        "25006" => FailureKind::ReadOnly,
        "53100" | "53200" | "53400" | "54000" => FailureKind::Full,
        "42501" | "28000" | "28P01" => FailureKind::Denied,
        "3D000" => FailureKind::WrongUrl,
        "0A000" => FailureKind::Unsupported,
        _ => FailureKind::Other,
    };
    // Only an error that ends the session may come after the commit: its record may be on the disk.
    let is_over = error.parsed_severity() != Some(Severity::Error);
    Failure {
        may_have_run: is_over || kind == FailureKind::Unreachable,
        ..Failure::before_sending(kind, text(error))
    }
}

/// Returns the message of the server, in at most 300 characters.
fn text(error: &DbError) -> String {
    let hint = error.hint().map(|hint| format!(" ({hint})"));
    let text = format!("{}{}", error.message(), hint.unwrap_or_default());
    text.chars().take(300).collect()
}

/// Returns the message of an error with its causes, which the client library leaves out.
fn with_causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(of) = cause {
        text = format!("{text}: {of}");
        cause = of.source();
    }
    text
}

/// Returns the failure of an attempt to connect.
pub(super) fn of_connecting(error: &Error) -> Failure {
    let mut failure = without_effect(error);
    if failure.kind == FailureKind::Unreachable && error.as_db_error().is_none() {
        let text = &failure.detail;
        // The client library has no kinds for these.
        if text.contains("invalid configuration") || text.contains("authentication") {
            failure.kind = FailureKind::Denied;
        }
    }
    if failure.detail.contains("no encryption") || failure.detail.contains("SSL off") {
        failure.detail += "; the server demands TLS: add sslmode=verify-full or sslmode=require to \
                           the URL";
    }
    #[cfg(feature = "tls")]
    return Tls::explained(failure);
    #[cfg(not(feature = "tls"))]
    failure
}

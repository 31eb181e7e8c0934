//! What went wrong with the file, and what to do about it.

use std::io::ErrorKind;
use std::path::Path;

use rusqlite::{Error, ErrorCode};

use crate::store::{Failure, FailureKind};

/// A failure to get at a file. Nothing has been done.
pub(super) fn of_io(error: &std::io::Error, path: &Path) -> Failure {
    let path = path.display();
    let (kind, advice) = match error.kind() {
        ErrorKind::PermissionDenied => (
            FailureKind::Denied,
            "; it belongs to its user alone: name a folder of your own",
        ),
        ErrorKind::ReadOnlyFilesystem => (FailureKind::ReadOnly, ""),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => (FailureKind::Full, ""),
        ErrorKind::NotADirectory => (FailureKind::Unsupported, ""),
        _ => (FailureKind::Other, ""),
    };
    Failure::before_sending(kind, format!("{path}: {error}{advice}"))
}

/// A failure of the file itself. Whatever the step had written is undone.
pub(super) fn of_sqlite(error: &Error, path: &Path) -> Failure {
    let (path, code) = (path.display(), error.sqlite_error_code());
    let (kind, advice) = match code {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => (
            FailureKind::Damaged,
            "; stop whoever uses it and move the file away: it is made anew, and nothing is held",
        ),
        Some(ErrorCode::DiskFull) => (FailureKind::Full, ""),
        Some(ErrorCode::ReadOnly) => (
            FailureKind::ReadOnly,
            "; it must be writable, and so must its folder",
        ),
        Some(ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied) => {
            (FailureKind::Denied, "")
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (
            FailureKind::Loading,
            "; another program than arbiter has locked it",
        ),
        Some(ErrorCode::CannotOpen) => (FailureKind::Denied, ""),
        _ => (FailureKind::Other, ""),
    };
    Failure::before_sending(kind, format!("{path}: {error}{advice}"))
}

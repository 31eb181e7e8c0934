//! Errors of the files, each with what to do about it.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rusqlite::{Error, ErrorCode};
use rustix::fs::{Access, access};

use super::rights::Rights;
use crate::store::{Failure, FailureKind};

/// Creates the failure of an access to a file. Nothing has been done.
pub(super) fn of_io(error: &std::io::Error, path: &Path) -> Failure {
    if let Some(failure) = Failure::of_descriptors(error) {
        return failure;
    }
    let path = path.display();
    let (kind, advice) = match error.kind() {
        ErrorKind::PermissionDenied => (
            FailureKind::Denied,
            "; join the group that may use it, or use a folder of your own",
        ),
        ErrorKind::ReadOnlyFilesystem => (FailureKind::ReadOnly, ""),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => (FailureKind::Full, ""),
        ErrorKind::NotADirectory => (FailureKind::Unsupported, ""),
        _ => (FailureKind::Other, ""),
    };
    Failure::before_sending(kind, format!("{path}: {error}{advice}"))
}

/// Creates the failure of an access to an entry of a folder that this process may use.
pub(super) fn within(error: &std::io::Error, path: &Path, folder: &Path) -> Failure {
    if error.kind() != ErrorKind::PermissionDenied {
        return of_io(error, path);
    }
    // A missing file would be created in its parent, whose rights decide.
    let found = path.symlink_metadata();
    let found = found.or_else(|_| path.parent().unwrap_or(folder).metadata());
    let (Ok(found), Ok(rights)) = (found, Rights::of(folder)) else {
        return of_io(error, path);
    };
    let (owner, mode) = (found.uid(), found.mode() & 0o7777);
    let what = format!(
        "{}: {error}; it belongs to uid {owner} and has mode {mode:04o}",
        path.display()
    );
    let advice = match rights.remedy(&found, folder) {
        Some(remedy) => format!(
            "; run `{remedy}` as that user or root: an older arbiter may have created it under a \
             narrow umask"
        ),
        None => "; use a folder of your own, or one that your group may write".to_owned(),
    };
    Failure::before_sending(FailureKind::Denied, what + &advice)
}

/// Fails if this process may not read and write one of the existing files.
pub(super) fn if_narrow(paths: &[PathBuf], folder: &Path) -> Result<(), Failure> {
    for path in paths {
        if let Err(error) = access(path, Access::READ_OK | Access::WRITE_OK)
            && error == rustix::io::Errno::ACCESS
        {
            return Err(within(&error.into(), path, folder));
        }
    }
    Ok(())
}

/// Returns the failure if too few descriptors are left for the files of a database, which SQLite does
/// not report.
fn lack_of_descriptors(path: &Path) -> Option<Failure> {
    const FILES: usize = 3;
    let opened: Result<Vec<File>, _> = (0..FILES).map(|_| File::open(path)).collect();
    Failure::of_descriptors(&opened.err()?)
}

/// Creates the failure of an SQLite operation. Everything that the step wrote is rolled back.
pub(super) fn of_sqlite(error: &Error, path: &Path) -> Failure {
    let code = error.sqlite_error_code();
    if code == Some(ErrorCode::CannotOpen)
        && let Some(failure) = lack_of_descriptors(path)
    {
        return failure;
    }
    let path = path.display();
    let (kind, advice) = match code {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => (
            FailureKind::Damaged,
            "; stop the programs that use it and move the file away: a new one has no holds",
        ),
        Some(ErrorCode::DiskFull) => (FailureKind::Full, ""),
        Some(ErrorCode::ReadOnly) => (
            FailureKind::ReadOnly,
            "; make the file and its folder writable",
        ),
        Some(ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied) => {
            (FailureKind::Denied, "")
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (
            FailureKind::Loading,
            "; a program other than arbiter has locked it",
        ),
        Some(ErrorCode::CannotOpen) => (FailureKind::Denied, ""),
        _ => (FailureKind::Other, ""),
    };
    Failure::before_sending(kind, format!("{path}: {error}{advice}"))
}

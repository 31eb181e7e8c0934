//! Opens a folder: creates missing files, and resets the store after a reboot.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use super::database::Database;
use super::denied::Denied;
use super::file_lock::{self, FileLock};
use super::liveness::{self, Liveness, Process};
use super::log::Log;
use super::post::Post;
use super::{Opened, connections, folder};
use crate::events::event::EventQueue;
use crate::store::{Failure, FailureKind};

/// How long a denied operation is retried: another user's new file gets its rights a moment after
/// it is created.
const RIGHTS_LATE: Duration = Duration::from_millis(100);

/// Opens the folder, waiting for the file lock at most for `limit`.
pub(super) fn open(
    folder: &Path,
    process: &Process,
    events: EventQueue,
    limit: Duration,
) -> Result<Arc<Opened>, Failure> {
    let lock_file = unless_denied(|| {
        folder::prepare(folder)?;
        file_lock::open(folder)
    })?;
    Log::of(folder).flush_if_grown();
    enter(&lock_file, folder, limit)?;
    // Dropping the file at the end unlocks it.
    let database = connections::open(|| {
        let mut database = Database::open(folder, || liveness::clean_up_all(folder))?;
        // A short-lived process may end before its background thread does this.
        database.checkpoint();
        Ok(database)
    })?;
    let liveness = Liveness::begin(folder, process)?;
    // No other step cleans up after processes that neither held nor waited.
    for process in liveness.some_dead() {
        let mut database = database.lock().unwrap_or_else(PoisonError::into_inner);
        if database.left_by(&process)?.is_empty() {
            liveness.clean_up(&process);
        }
    }
    let post = Post::open(folder, process)?;
    let opened = Arc::new(Opened {
        process: process.clone(),
        file_lock: FileLock::new(folder, database)?,
        liveness,
        post,
        listeners: Mutex::new(HashMap::new()),
        watched: Mutex::new(HashSet::new()),
        denied: Denied::new(folder, events),
    });
    opened.post.deliver_to(Arc::downgrade(&opened));
    drop(lock_file);
    Ok(opened)
}

/// Retries a denied operation for a while.
fn unless_denied<T>(mut attempt: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    let begun = Instant::now();
    loop {
        match attempt() {
            Err(failure) if failure.kind == FailureKind::Denied => {
                if RIGHTS_LATE < begun.elapsed() {
                    return Err(failure);
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            done => return done,
        }
    }
}

fn enter(lock_file: &File, folder: &Path, limit: Duration) -> Result<(), Failure> {
    let begun = Instant::now();
    while flock(lock_file, FlockOperation::NonBlockingLockExclusive).is_err() {
        if limit < begun.elapsed() {
            let detail = file_lock::timeout_cause(lock_file, &file_lock::path(folder));
            return Err(Failure::before_sending(FailureKind::Silent, detail));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_permissions_are_waited_for() {
        let attempts = |kind, failing: u32| {
            let mut left = failing;
            let done = unless_denied(|| {
                left = left.saturating_sub(1);
                match left {
                    0 => Ok(()),
                    _ => Err(Failure::before_sending(kind, "")),
                }
            });
            (done.is_ok(), failing - left)
        };
        assert_eq!(attempts(FailureKind::Denied, 3), (true, 3));
        assert_eq!(
            attempts(FailureKind::Full, 3),
            (false, 1),
            "that passes otherwise"
        );
        let (done, count) = attempts(FailureKind::Denied, 1_000);
        assert!(!done && 1 < count && count < 1_000, "{count}");
    }
}

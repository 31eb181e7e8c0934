//! Opens a folder: creates missing files, and resets the store after a reboot.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

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

/// Opens the folder. Blocks until the file lock is free, if the folder is new or was last used
/// before a reboot.
pub(super) fn open(
    folder: &Path,
    process: &Process,
    events: EventQueue,
) -> Result<Arc<Opened>, Failure> {
    let lock_file = unless_denied(|| {
        folder::prepare(folder)?;
        file_lock::open(folder)
    })?;
    let log = Log::of(folder);
    log.flush_if_grown();
    // Mostly, nothing has to be written: hundreds of processes can start at once.
    let database = unless_denied(|| {
        let prepared = connections::open(|| Database::open_prepared(folder));
        prepared.or_else(|_| {
            file_lock::lock(&lock_file);
            let opened =
                connections::open(|| Database::open(folder, || liveness::clean_up_all(folder)));
            file_lock::unlock(&lock_file);
            opened
        })
    })?;
    let liveness = Liveness::begin(folder, process)?;
    // No other step cleans up after processes that neither held nor waited.
    for process in liveness.some_dead() {
        let mut database = database.lock().unwrap_or_else(PoisonError::into_inner);
        // If it cannot be read now, another opening cleans up.
        if database.left_by(&process).is_ok_and(|left| left.is_empty()) {
            liveness.clean_up(&process);
        }
    }
    // A short-lived process may end before its background thread does this.
    if log.has_grown() {
        file_lock::lock(&lock_file);
        let mut database = database.lock().unwrap_or_else(PoisonError::into_inner);
        database.checkpoint();
        file_lock::unlock(&lock_file);
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

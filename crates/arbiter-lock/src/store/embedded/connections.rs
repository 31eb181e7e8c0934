//! The SQLite connections of this process, and their copies in a forked one.
//!
//! SQLite counts in memory which locks a process has on a file. A forked process has a copy of the
//! counts and none of the locks, so a new connection would rely on locks that do not exist.
//! Therefore a forked process closes its copies before it opens a file. It can close a copy that no
//! thread was using at the fork: that neither reads nor writes the file, and the locks on the file
//! belong to the parent alone.

use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::database::Database;
use crate::store::{Failure, FailureKind};
use crate::system::process::PerProcess;

static CONNECTIONS: PerProcess<Connections> = PerProcess::new();

#[derive(Default)]
struct Connections {
    /// How many connections are being opened or closed.
    in_transit: AtomicUsize,
    /// All open connections. Each is used under its mutex only.
    open: Mutex<Vec<Weak<Mutex<Database>>>>,
}

/// Opens a file for this process, and closes the copies of its parent's connections.
pub(super) fn open(
    open: impl FnOnce() -> Result<Database, Failure>,
) -> Result<Arc<Mutex<Database>>, Failure> {
    let connections = CONNECTIONS.get();
    let mut known = connections.open();
    close_copies()?;
    known.retain(|database| 0 < database.strong_count());
    drop(known);
    let _opening = InTransit::begin();
    let database = Arc::new(Mutex::new(open()?));
    connections.open().push(Arc::downgrade(&database));
    Ok(database)
}

/// Closes all copies, or none if one of them was in use at the fork.
fn close_copies() -> Result<(), Failure> {
    let mut copies = Vec::new();
    for connections in CONNECTIONS.inherited() {
        if 0 < connections.in_transit.load(Ordering::SeqCst) {
            return Err(was_in_use());
        }
        for database in unless_locked(&connections.open)?.iter() {
            let Some(database) = database.upgrade() else {
                continue;
            };
            drop(unless_locked(&database)?);
            copies.push(database);
        }
    }
    for copy in copies {
        unless_locked(&copy)?.connection.close_copy();
    }
    Ok(())
}

/// Locks a copy of a mutex, unless it was locked at the fork.
fn unless_locked<T>(mutex: &Mutex<T>) -> Result<MutexGuard<'_, T>, Failure> {
    match mutex.try_lock() {
        Ok(locked) => Ok(locked),
        Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => Err(was_in_use()),
    }
}

fn was_in_use() -> Failure {
    Failure::before_sending(
        FailureKind::Unsupported,
        "a thread of the parent process was using SQLite at the fork; fork while none does, or \
         execute a new program",
    )
}

impl Connections {
    fn open(&self) -> MutexGuard<'_, Vec<Weak<Mutex<Database>>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that is being opened or closed.
struct InTransit;

impl InTransit {
    fn begin() -> Self {
        CONNECTIONS.get().in_transit.fetch_add(1, Ordering::SeqCst);
        Self
    }
}

impl Drop for InTransit {
    fn drop(&mut self) {
        CONNECTIONS.get().in_transit.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A connection that a forked process can close.
pub(super) struct Tracked(Option<Connection>);

impl Tracked {
    pub(super) fn new(connection: Connection) -> Self {
        Self(Some(connection))
    }

    /// Closes a copy that is no longer used, without a checkpoint.
    fn close_copy(&mut self) {
        if let Some(copy) = self.0.take() {
            // Only a setting that SQLite does not know can fail.
            let _ = copy.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        }
    }
}

impl Deref for Tracked {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.0.as_ref().expect("it is open until the drop")
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        let _closing = InTransit::begin();
        drop(self.0.take());
    }
}

//! Opens the SQLite file: creates it, checks its format, sets it up, and continues its clock.

use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};

use super::connections::Tracked;
use super::database::{BUSY, Database, identity};
use super::log::{self, Log};
use super::rights::{self, Rights};
use super::{boot, failure, folder};
use crate::store::{Failure, FailureKind};
use crate::system::clock::{Clock, date};

/// `arb1`, which identifies the file.
const APPLICATION: i32 = 0x6172_6231;
const VERSION: i32 = 3;
const SCHEMA: &str = include_str!("schema.sql");

/// The unit in bytes by which SQLite extends the index of its log.
const INDEX_PIECE: u64 = 32 << 10;

impl Database {
    /// Opens the file if it is complete and in use since this boot. Writes nothing, so the file
    /// lock is not needed.
    pub(super) fn open_prepared(folder: &Path) -> Result<Self, Failure> {
        if_narrow(folder)?;
        let mut database = Self::connect(&folder::database(folder))?;
        let found = database.format().and_then(|format| {
            let clock = (format == (APPLICATION, VERSION)).then(|| database.clock());
            Ok(clock.transpose()?.flatten())
        });
        let found = found.map_err(|e| failure::of_sqlite(&e, &database.path))?;
        let boot = boot::id()?;
        match found {
            Some((known, start)) if known == boot => database.start = start,
            _ => {
                return Err(Failure::before_sending(
                    FailureKind::Loading,
                    format!("{} has to be prepared", database.path.display()),
                ));
            }
        }
        database.finish(folder)?;
        Ok(database)
    }

    /// Opens the file, under the file lock. Calls `after_reboot` if its last use was before a
    /// reboot.
    pub(super) fn open(
        folder: &Path,
        after_reboot: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<Self, Failure> {
        create_if_missing(folder)?;
        let mut database = Self::connect(&folder::database(folder))?;
        let path = database.path.clone();
        let failed = |e: &rusqlite::Error| failure::of_sqlite(e, &path);
        match database.format().map_err(|e| failed(&e))? {
            (APPLICATION, VERSION) => {}
            (0, 0) if database.is_empty().map_err(|e| failed(&e))? => {
                database.create().map_err(|e| failed(&e))?;
            }
            (APPLICATION, other) => {
                return Err(Failure::before_sending(
                    FailureKind::Unsupported,
                    format!(
                        "{} was written by another version of arbiter (format {other}, this one \
                         supports {VERSION}); use that version or another folder",
                        path.display()
                    ),
                ));
            }
            _ => {
                return Err(Failure::before_sending(
                    FailureKind::WrongType,
                    format!(
                        "{} belongs to another program; use another folder",
                        path.display()
                    ),
                ));
            }
        }
        database.set_clock(after_reboot)?;
        database.finish(folder)?;
        Ok(database)
    }

    fn connect(path: &Path) -> Result<Self, Failure> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags);
        let connection = connection.map_err(|e| failure::of_sqlite(&e, path))?;
        let identity = identity(path).map_err(|e| failure::of_io(&e, path))?;
        Ok(Self {
            connection: Tracked::new(connection),
            log: Log::of_database(path),
            path: path.to_owned(),
            identity,
            locked: None,
            start: Duration::ZERO,
            has_checked_clock: false,
            swept: String::new(),
        })
    }

    /// Returns the ids of the application and of the version.
    fn format(&self) -> rusqlite::Result<(i32, i32)> {
        let pragma = |name| {
            let connection = &self.connection;
            connection.pragma_query_value(None, name, |row| row.get(0))
        };
        Ok((pragma("application_id")?, pragma("user_version")?))
    }

    /// Returns the boot for which the clock was set, and its time at that boot.
    fn clock(&self) -> rusqlite::Result<Option<(String, Duration)>> {
        let row = |row: &rusqlite::Row<'_>| {
            let start = u64::try_from(row.get::<_, i64>(1)?).unwrap_or_default();
            Ok((row.get(0)?, Duration::from_micros(start)))
        };
        let select = "SELECT boot, start_us FROM clock";
        self.connection.query_row(select, [], row).optional()
    }

    /// Sets up the connection for steps.
    fn finish(&self, folder: &Path) -> Result<(), Failure> {
        let set = self.settings();
        set.map_err(|e| failure::of_sqlite(&e, &self.path))?;
        self.widen(folder);
        Ok(())
    }

    /// Gives the files the rights of their folder. SQLite creates its additional files with the
    /// group of this process, and an older version may have created all of them for fewer users. A
    /// file that another user has put in the place of one of them stays as it is.
    fn widen(&self, folder: &Path) {
        let Ok(rights) = Rights::of(folder) else {
            return;
        };
        let is_it = |found: &Metadata| (found.dev(), found.ino()) == self.identity;
        rights.give_unopened(&self.path, is_it);
        let is_index =
            |found: &Metadata| found.len().is_multiple_of(INDEX_PIECE) && 0 < found.len();
        rights.give_unopened(&self.path.with_extension("db-shm"), is_index);
        self.log.widen(rights);
    }

    fn settings(&self) -> rusqlite::Result<()> {
        let connection = &self.connection;
        connection.set_prepared_statement_cache_capacity(64);
        // The plan of a statement does not depend on its values, so it is made once.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        // The log is overwritten from its beginning, and truncated only if it has grown too large.
        connection.pragma_update(None, "journal_size_limit", log::LARGEST)?;
        connection.pragma_update(None, "synchronous", "normal")?;
        // The thread of the file lock copies the log, not a step.
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        // Another process may be setting up the file's index, and until here was waited for.
        connection.busy_timeout(BUSY)
    }

    fn is_empty(&self) -> rusqlite::Result<bool> {
        let count = "SELECT count(*) FROM sqlite_schema";
        self.connection
            .query_row(count, [], |row| Ok(row.get::<_, i64>(0)? == 0))
    }

    fn create(&self) -> rusqlite::Result<()> {
        // Set before the first write. A step writes a page or two, so pages are small.
        self.connection.pragma_update(None, "page_size", 1024)?;
        // Unused pages can be freed, a few at a time.
        self.connection
            .pragma_update(None, "auto_vacuum", "incremental")?;
        self.settings()?;
        self.connection.execute_batch(&format!(
            "BEGIN IMMEDIATE; {SCHEMA}
             PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; COMMIT"
        ))
    }

    /// Continues the clock of this boot. After a reboot there are no holds and no waiters, and the
    /// clock starts above every fence.
    fn set_clock(
        &mut self,
        after_reboot: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let boot = boot::id()?;
        let failed = |e: &rusqlite::Error| failure::of_sqlite(e, &self.path);
        self.start = match self.clock().map_err(|e| failed(&e))? {
            Some((known, start)) if known == boot => start,
            _ => {
                after_reboot()?;
                self.restart_clock(&boot).map_err(|e| failed(&e))?
            }
        };
        Ok(())
    }

    fn restart_clock(&self, boot: &str) -> rusqlite::Result<Duration> {
        let wall = i64::try_from(date().as_micros()).unwrap_or_default();
        let transaction = self.connection.unchecked_transaction()?;
        let highest: i64 = transaction.query_row(
            "SELECT max(coalesce((SELECT max(last_fence) FROM names), 0),
                        coalesce((SELECT max(forgotten_us) FROM clock), 0))",
            [],
            |row| row.get(0),
        )?;
        let since_boot = i64::try_from(Clock::Boot.now().as_micros()).unwrap_or_default();
        let start_us = wall.max(highest + 1) - since_boot;
        transaction.execute_batch(
            "DELETE FROM names; DELETE FROM shared; DELETE FROM waiters; DELETE FROM notes;
             DELETE FROM clock",
        )?;
        transaction.execute(
            "INSERT INTO clock VALUES (?1, ?2, ?3)",
            params![boot, start_us, highest],
        )?;
        transaction.commit()?;
        let start_us = u64::try_from(start_us).unwrap_or_default();
        Ok(Duration::from_micros(start_us))
    }

    /// Fails if the clock is not that of this boot any more. Call it under the file lock.
    pub(super) fn check_clock(&mut self) -> Result<(), Failure> {
        if self.has_checked_clock {
            return Ok(());
        }
        let boot = boot::id()?;
        let clock = self.clock();
        let clock = clock.map_err(|e| failure::of_sqlite(&e, &self.path))?;
        if clock != Some((boot, self.start)) {
            return Err(Failure::before_sending(
                FailureKind::Unsupported,
                format!(
                    "{} is in use by a process with another boot id or clock; end it first",
                    self.path.display()
                ),
            ));
        }
        self.has_checked_clock = true;
        Ok(())
    }
}

/// Creates the file if it is missing, complete at once: other processes open it without the file
/// lock. SQLite alone would make it writable for one user. Fails if this process may not use one of
/// the files.
fn create_if_missing(folder: &Path) -> Result<(), Failure> {
    let path = folder::database(folder);
    let missing = |e: std::io::Error| e.kind() == ErrorKind::NotFound;
    if path.symlink_metadata().is_err_and(missing) {
        let new = path.with_extension("new");
        let failed = |e: std::io::Error| failure::within(&e, &new, folder);
        for left in ["new", "new-wal", "new-shm"] {
            // A file of a process that died here.
            let _ = std::fs::remove_file(path.with_extension(left));
        }
        drop(rights::create_new(&new, folder).map_err(failed)?);
        let created = Database::connect(&new)?;
        let done = created.create();
        done.map_err(|e| failure::of_sqlite(&e, &new))?;
        drop(created);
        std::fs::rename(&new, &path).map_err(failed)?;
    }
    if_narrow(folder)
}

/// Fails if this process may not use one of the existing files.
fn if_narrow(folder: &Path) -> Result<(), Failure> {
    let path = folder::database(folder);
    let files = ["db", "db-wal", "db-shm"].map(|end| path.with_extension(end));
    failure::if_narrow(&files, folder)
}

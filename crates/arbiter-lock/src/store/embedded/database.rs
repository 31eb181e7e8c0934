//! The SQLite file: its settings, its clock, and the steps on it.

use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arbiter_lock_core::{Answer, Moment, Name, Reply, Request, Resource};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, params};

use super::connections::Tracked;
use super::liveness::Process;
use super::log::{self, Log};
use super::records::Records;
use super::rights::{self, Rights};
use super::{boot, failure, folder};
use crate::store::{Envelope, Failure, FailureKind, PAGE};
use crate::system::clock::Clock;

/// `arb1`, which identifies the file.
const APPLICATION: i32 = 0x6172_6231;
const VERSION: i32 = 2;
const SCHEMA: &str = include_str!("schema.sql");

/// How long a step waits if another program has locked the file.
const BUSY: Duration = Duration::from_millis(100);
/// How long no step waits after that.
const RETRY_LOCKED: Duration = Duration::from_secs(1);
/// How many names are checked per turn of the file lock, to forget them.
pub(super) const NAMES_AT_ONCE: usize = 64;
/// How many pages of the file are freed per turn of the file lock.
const PAGES_AT_ONCE: i64 = 256;
/// The unit in bytes by which SQLite extends the index of its log.
const INDEX_PIECE: u64 = 32 << 10;
/// How many requests of a dead process are read at once.
const MOST_LEFT: usize = 64;

pub(super) struct Database {
    pub(super) connection: Tracked,
    path: PathBuf,
    log: Log,
    /// The device and inode of the file when it was opened.
    identity: (u64, u64),
    /// When another program was last found to have locked the file.
    locked: Option<Duration>,
    /// The time of the store's clock at boot.
    start: Duration,
    /// The last name that the sweep for forgotten names has checked.
    swept: String,
}

impl Database {
    /// Opens the file, under the file lock. Calls `after_reboot` if its last use was before a
    /// reboot.
    pub(super) fn open(
        folder: &Path,
        after_reboot: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<Self, Failure> {
        let path = folder::database(folder);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let failed = |e: &rusqlite::Error| failure::of_sqlite(e, &path);
        make(folder)?;
        let connection = Connection::open_with_flags(&path, flags).map_err(|e| failed(&e))?;
        let identity = identity(&path).map_err(|e| failure::of_io(&e, &path))?;
        let mut database = Self {
            connection: Tracked::new(connection),
            path: path.clone(),
            log: Log::of(folder),
            identity,
            locked: None,
            start: Duration::ZERO,
            swept: String::new(),
        };
        let pragma = |name| {
            let connection = &database.connection;
            connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0))
        };
        let of_whom = pragma("application_id").map_err(|e| failed(&e))?;
        let version = pragma("user_version").map_err(|e| failed(&e))?;
        match (of_whom, version) {
            (APPLICATION, VERSION) => database.settings().map_err(|e| failed(&e))?,
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
        database.widen(folder);
        Ok(database)
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
        connection.busy_timeout(BUSY)?;
        connection.set_prepared_statement_cache_capacity(64);
        // The plan of a statement does not depend on its values, so it is made once.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        // Set before the first write. A step writes a page or two, so pages are small.
        connection.pragma_update(None, "page_size", 1024)?;
        // Unused pages can be freed, a few at a time.
        connection.pragma_update(None, "auto_vacuum", "incremental")?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        // The log is overwritten from its beginning, and truncated only if it has grown too large.
        connection.pragma_update(None, "journal_size_limit", log::LARGEST)?;
        connection.pragma_update(None, "synchronous", "normal")?;
        // The thread of the file lock copies the log, not a step.
        connection.pragma_update(None, "wal_autocheckpoint", 0)
    }

    fn is_empty(&self) -> rusqlite::Result<bool> {
        let count = "SELECT count(*) FROM sqlite_schema";
        self.connection
            .query_row(count, [], |row| Ok(row.get::<_, i64>(0)? == 0))
    }

    fn create(&self) -> rusqlite::Result<()> {
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
        let found = self
            .connection
            .query_row("SELECT boot, start_us FROM clock", [], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))
            })
            .optional()
            .map_err(|e| failed(&e))?;
        let start_us = match found {
            Some((known, start_us)) if known == boot => start_us,
            _ => {
                after_reboot()?;
                self.restart_clock(&boot).map_err(|e| failed(&e))?
            }
        };
        self.start = Duration::from_micros(u64::try_from(start_us).unwrap_or_default());
        Ok(())
    }

    fn restart_clock(&self, boot: &str) -> rusqlite::Result<i64> {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let wall = i64::try_from(wall.as_micros()).unwrap_or_default();
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
        Ok(start_us)
    }

    fn now(&self) -> Moment {
        let now = self.start + Clock::Boot.now();
        Moment::from_micros(u64::try_from(now.as_micros()).unwrap_or_default())
    }

    /// Applies a step to the rows of a name, completely or not at all.
    pub(super) fn step<T>(
        &mut self,
        name: &Name,
        step: impl FnOnce(&mut Resource<Records<'_>>, Moment) -> T,
    ) -> Result<(T, Moment), Failure> {
        self.check_identity()?;
        let at = self.now();
        let done = self
            .set_busy_timeout()
            .and_then(|()| self.run("BEGIN IMMEDIATE"))
            .and_then(|()| Records::load(&self.connection, name.as_str()))
            .and_then(|records| {
                let mut resource = Resource::new(records);
                let done = step(&mut resource, at);
                resource.into_rows().save()?;
                self.run("COMMIT")?;
                Ok(done)
            });
        match done {
            Ok(done) => Ok((done, at)),
            Err(error) => {
                self.undo();
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) {
                    self.locked = Some(Clock::Boot.now());
                }
                Err(failure::of_sqlite(&error, &self.path))
            }
        }
    }

    /// Answers a request that only reads, and returns the processes of the holds that it shows.
    pub(super) fn read(
        &mut self,
        name: &Name,
        request: &Request,
    ) -> Result<(Envelope<Reply>, Vec<Process>), Failure> {
        self.check_identity()?;
        let at = self.now();
        let seen = self
            .run("BEGIN")
            .and_then(|()| Records::load(&self.connection, name.as_str()))
            .and_then(|records| {
                let mut resource = Resource::new(records);
                let Answer { reply, again, .. } = request.apply(&mut resource, at, |_| false);
                let predecessors = match request {
                    Request::Inspect => resource.rows().predecessors(),
                    _ => Vec::new(),
                };
                resource.into_rows().check()?;
                Ok((Envelope::new(reply, at, again), predecessors))
            });
        // Nothing was written.
        self.undo();
        seen.map_err(|error| failure::of_sqlite(&error, &self.path))
    }

    /// Returns a page of names in order.
    pub(super) fn names_after(&mut self, cursor: &str) -> Result<Vec<Name>, Failure> {
        self.check_identity()?;
        let find = || {
            let sql = "SELECT name FROM names WHERE name > ?1 ORDER BY name LIMIT ?2";
            let mut select = self.connection.prepare_cached(sql)?;
            let rows = select.query_map(params![cursor, PAGE as i64], |row| row.get(0))?;
            let names: Vec<String> = rows.collect::<rusqlite::Result<_>>()?;
            Ok(names
                .iter()
                .filter_map(|name| Name::new(name).ok())
                .collect())
        };
        find().map_err(|error| failure::of_sqlite(&error, &self.path))
    }

    /// Returns some of the holding or waiting requests of a process.
    pub(super) fn left_by(
        &mut self,
        process: &Process,
    ) -> Result<Vec<(Name, std::sync::Arc<str>)>, Failure> {
        let find = || {
            let mut found = Vec::new();
            for sql in [
                "SELECT name, owner FROM names WHERE channel >= ?1 AND channel < ?2 LIMIT ?3",
                "SELECT name, owner FROM shared WHERE channel >= ?1 AND channel < ?2 LIMIT ?3",
                "SELECT name, id FROM waiters WHERE channel >= ?1 AND channel < ?2 LIMIT ?3",
            ] {
                let mut select = self.connection.prepare_cached(sql)?;
                // All channels of this process and no others: '0' follows '/'.
                let channels = (
                    format!("{}/", process.as_str()),
                    format!("{}0", process.as_str()),
                );
                let rows = select
                    .query_map(params![channels.0, channels.1, MOST_LEFT as i64], |row| {
                        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
                    })?;
                for row in rows {
                    let (name, id) = row?;
                    found.extend(Name::new(&name).ok().map(|name| (name, id.into())));
                }
            }
            Ok(found)
        };
        find().map_err(|error| failure::of_sqlite(&error, &self.path))
    }

    /// Checks some names, and forgets those without holds and waiters for a minute. Returns how
    /// many were forgotten; none at the end of a sweep.
    pub(super) fn forget_some(&mut self) -> Option<usize> {
        let from = std::mem::take(&mut self.swept);
        match self.forget_after(&from, self.now()) {
            Ok((forgotten, last)) => {
                self.swept = last?;
                Some(forgotten)
            }
            // The next sweep starts again.
            Err(_) => {
                self.undo();
                None
            }
        }
    }

    /// Checks the names after `from`. Returns how many were forgotten, and the last one if there
    /// are more.
    pub(super) fn forget_after(
        &self,
        from: &str,
        now: Moment,
    ) -> rusqlite::Result<(usize, Option<String>)> {
        self.run("BEGIN IMMEDIATE")?;
        if from.is_empty() {
            let over = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
            self.connection
                .prepare_cached("DELETE FROM runs WHERE until < ?1")?
                .execute([over])?;
        }
        let mut select = self
            .connection
            .prepare_cached("SELECT name FROM names WHERE ?1 < name ORDER BY name LIMIT ?2")?;
        let names = select.query_map(params![from, NAMES_AT_ONCE as i64], |row| row.get(0))?;
        let names: Vec<String> = names.collect::<rusqlite::Result<_>>()?;
        let mut forgotten = 0;
        for name in &names {
            let records = Records::load(&self.connection, name)?;
            let mut resource = Resource::new(records);
            if resource.is_forgotten(now) {
                resource.into_rows().forget()?;
                forgotten += 1;
            } else {
                // Checking it has ended its expired holds.
                resource.into_rows().save()?;
            }
        }
        if 0 < forgotten {
            self.connection
                .prepare_cached("UPDATE clock SET forgotten_us = ?1")?
                .execute([i64::try_from(now.as_micros()).unwrap_or(i64::MAX)])?;
        }
        self.run("COMMIT")?;
        let more = names.len() == NAMES_AT_ONCE;
        Ok((forgotten, names.into_iter().next_back().filter(|_| more)))
    }

    /// Copies the log into the file, if it has grown.
    pub(super) fn checkpoint(&mut self) {
        if self.log.has_grown() {
            self.copy_log("PRAGMA wal_checkpoint(RESTART)");
        }
    }

    /// Copies the log into the file and truncates it, which returns its space to the system.
    pub(super) fn cut_log(&mut self) {
        self.copy_log("PRAGMA wal_checkpoint(TRUNCATE)");
    }

    fn copy_log(&self, how: &str) {
        // A failed copy is retried later; nothing depends on it.
        let _ = self.connection.query_row(how, [], |_| Ok(()));
    }

    /// Frees some pages if more than half of the file is unused. Returns whether there are more.
    pub(super) fn shrink(&mut self) -> bool {
        let count = |pragma: &str| -> rusqlite::Result<i64> {
            self.connection
                .pragma_query_value(None, pragma, |row| row.get(0))
        };
        let is_wasteful = || {
            let (free, all) = (count("freelist_count")?, count("page_count")?);
            Ok::<_, rusqlite::Error>(PAGES_AT_ONCE < free && all < 2 * free)
        };
        let give_back = || {
            let before = count("page_count")?;
            let pragma = format!("PRAGMA incremental_vacuum({PAGES_AT_ONCE})");
            let mut give = self.connection.prepare_cached(&pragma)?;
            let mut pages = give.query([])?;
            while pages.next()?.is_some() {}
            Ok::<_, rusqlite::Error>(count("page_count")? < before)
        };
        // A failed attempt is retried later; nothing depends on it.
        is_wasteful().unwrap_or(false) && give_back().unwrap_or(false)
    }

    /// Fails if the file was removed or moved: other processes then start with a new one.
    fn check_identity(&self) -> Result<(), Failure> {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            return Ok(());
        }
        Err(Failure::before_sending(
            FailureKind::Unreachable,
            format!(
                "{} was removed while in use; restart the programs that use it",
                self.path.display()
            ),
        ))
    }

    /// Sets how long the step waits for another program's lock. While the file is locked, one step
    /// a second waits for it, and the others fail at once: waits add up.
    fn set_busy_timeout(&mut self) -> rusqlite::Result<()> {
        let Some(at) = self.locked else { return Ok(()) };
        let is_over = RETRY_LOCKED <= Clock::Boot.now().saturating_sub(at);
        if is_over {
            self.locked = None;
        }
        let timeout = if is_over { BUSY } else { Duration::ZERO };
        self.connection.busy_timeout(timeout)
    }

    fn run(&self, sql: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute([]).map(drop)
    }

    fn undo(&self) {
        if !self.connection.is_autocommit() {
            // If even this fails, the next step reports why.
            let _ = self.run("ROLLBACK");
        }
    }
}

/// Creates the file if it is missing: SQLite alone would make it writable for one user. Fails if
/// this process may not use one of the existing files.
fn make(folder: &Path) -> Result<(), Failure> {
    let path = folder::database(folder);
    if let Err(e) = rights::create_new(&path, folder)
        && e.kind() != ErrorKind::AlreadyExists
    {
        return Err(failure::within(&e, &path, folder));
    }
    let files = ["db", "db-wal", "db-shm"].map(|end| path.with_extension(end));
    failure::if_narrow(&files, folder)
}

fn identity(path: &Path) -> std::io::Result<(u64, u64)> {
    std::fs::metadata(path).map(|found| (found.dev(), found.ino()))
}

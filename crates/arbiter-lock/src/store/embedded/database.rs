//! The SQLite file: its settings, its clock, and the steps on it.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use arbiter_lock_core::{Answer, Moment, Reply, Request, Resource};
use rusqlite::{ErrorCode, params};

use super::connections::Tracked;
use super::failure;
use super::liveness::Process;
use super::log::Log;
use super::records::Records;
use crate::store::{Envelope, Failure, FailureKind, KeyPrefix, PAGE};
use crate::system::clock::{Clock, date};

/// How long a step waits if another program has locked the file.
pub(super) const BUSY: Duration = Duration::from_millis(100);
/// How long no step waits after that.
const RETRY_LOCKED: Duration = Duration::from_secs(1);
/// How many names are checked per turn of the file lock, to forget them.
pub(super) const NAMES_AT_ONCE: usize = 64;
/// How many pages of the file are freed per turn of the file lock.
const PAGES_AT_ONCE: i64 = 256;
/// How many requests of a dead process are read at once.
const MOST_LEFT: usize = 64;

pub(super) struct Database {
    pub(super) connection: Tracked,
    pub(super) path: PathBuf,
    pub(super) log: Log,
    /// The device and inode of the file when it was opened.
    pub(super) identity: (u64, u64),
    /// When another program was last found to have locked the file.
    pub(super) locked: Option<Duration>,
    /// The time of the store's clock at boot.
    pub(super) start: Duration,
    /// Whether the clock was found unchanged after the file was opened.
    pub(super) has_checked_clock: bool,
    /// The last name that the sweep for forgotten names has checked.
    pub(super) swept: String,
}

impl Database {
    fn now(&self) -> Moment {
        moment(self.start + Clock::Boot.now())
    }

    /// Applies a step to the rows of a name, completely or not at all.
    pub(super) fn step<T>(
        &mut self,
        key: &str,
        step: impl FnOnce(&mut Resource<Records<'_>>, Moment) -> T,
    ) -> Result<(T, Moment), Failure> {
        self.check_identity()?;
        self.check_clock()?;
        let at = self.now();
        let done = self
            .set_busy_timeout()
            .and_then(|()| self.run("BEGIN IMMEDIATE"))
            .and_then(|()| Records::load(&self.connection, key))
            .and_then(|records| {
                let mut resource = Resource::new(records);
                resource.set_date(moment(date()));
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
        key: &str,
        request: &Request,
    ) -> Result<(Envelope<Reply>, Vec<Process>), Failure> {
        self.check_identity()?;
        let at = self.now();
        let seen = self
            .run("BEGIN")
            .and_then(|()| Records::load(&self.connection, key))
            .and_then(|records| {
                let mut resource = Resource::new(records);
                let Answer { reply, again, .. } = request.apply(&mut resource, at, |_| false);
                let predecessors = match request {
                    Request::Inspect => resource.rows().predecessors(),
                    _ => Vec::new(),
                };
                resource.into_rows().check()?;
                // Runs have dates of the calendar.
                let at = match request {
                    Request::LastRun => moment(date()),
                    _ => at,
                };
                Ok((Envelope::new(reply, at, again), predecessors))
            });
        // Nothing was written.
        self.undo();
        seen.map_err(|error| failure::of_sqlite(&error, &self.path))
    }

    /// Returns the keys of that prefix behind one, in order; at most a page of them.
    pub(super) fn keys_after(
        &mut self,
        key: &str,
        prefix: &KeyPrefix,
    ) -> Result<Vec<String>, Failure> {
        self.check_identity()?;
        let find = || {
            // Keys are ordered by their bytes, so those of a prefix lie together.
            let sql = "SELECT name FROM names WHERE name > ?1 ORDER BY name LIMIT ?2";
            let mut select = self.connection.prepare_cached(sql)?;
            let rows = select.query_map(params![key, PAGE as i64], |row| row.get(0))?;
            let has_prefix = |key: &rusqlite::Result<String>| {
                let key = key.as_ref();
                key.map_or(true, |key| key.starts_with(prefix.as_str()))
            };
            rows.take_while(has_prefix).collect::<rusqlite::Result<_>>()
        };
        find().map_err(|error| failure::of_sqlite(&error, &self.path))
    }

    /// Returns some of the holding or waiting requests of a process.
    pub(super) fn left_by(
        &mut self,
        process: &Process,
    ) -> Result<Vec<(String, std::sync::Arc<str>)>, Failure> {
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
                    let (key, id) = row?;
                    found.push((key, id.into()));
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

pub(super) fn identity(path: &Path) -> std::io::Result<(u64, u64)> {
    std::fs::metadata(path).map(|found| (found.dev(), found.ino()))
}

fn moment(since: Duration) -> Moment {
    Moment::from_micros(u64::try_from(since.as_micros()).unwrap_or_default())
}

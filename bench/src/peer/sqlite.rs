//! The minimal cost of the embedded store: two transactions per cycle on a SQLite file with that
//! store's settings, without an order, a file lock or waiters.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;

use crate::scripts::fresh_id;
use lines::{Failure, Lock};

#[derive(Clone)]
pub(super) struct Sqlite(Arc<Mutex<Connection>>);

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS names \
    (name TEXT PRIMARY KEY, owner TEXT, until INTEGER, label TEXT) WITHOUT ROWID";
const TAKE: &str = "INSERT OR REPLACE INTO names VALUES (?1, ?2, ?3, 'host-1 1234567 bench')";
const FREE: &str = "DELETE FROM names WHERE name = ?1";

impl Sqlite {
    /// Opens the file in the folder of that URL.
    pub(super) fn open(url: &str) -> Result<Self, Failure> {
        let folder = Path::new(url.strip_prefix("file://").ok_or("not a file:// URL")?);
        std::fs::create_dir_all(folder)?;
        let connection = Connection::open(folder.join("floor.db"))?;
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.pragma_update(None, "page_size", 1024)?;
        connection.pragma_update(None, "auto_vacuum", "incremental")?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "normal")?;
        connection.execute_batch(SCHEMA)?;
        Ok(Self(Arc::new(Mutex::new(connection))))
    }

    fn transact(
        &self,
        write: impl FnOnce(&Connection) -> rusqlite::Result<usize>,
    ) -> Result<(), Failure> {
        let connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let written = write(&connection);
        connection.prepare_cached("COMMIT")?.execute([])?;
        written?;
        Ok(())
    }
}

impl Lock for Sqlite {
    type Held = String;

    const WAITS: bool = false;

    async fn acquire(&self, name: &str) -> Result<String, Failure> {
        self.transact(|connection| {
            let row = (name, fresh_id(), 30_000);
            connection.prepare_cached(TAKE)?.execute(row)
        })?;
        Ok(name.to_owned())
    }

    async fn release(&self, held: String) -> Result<(), Failure> {
        self.transact(|connection| connection.prepare_cached(FREE)?.execute([held]))
    }
}

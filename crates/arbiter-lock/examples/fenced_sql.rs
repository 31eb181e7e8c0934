//! A table that refuses writes with an older fence.
//!
//! Run it with `cargo run -p arbiter-lock --example fenced_sql`. It needs no server.
//!
//! A holder that was paused for longer than its lease does not know that another client holds now.
//! The fence is stored with each row, and compared in the statement that writes.

use std::error::Error;

use arbiter_lock::Client;
use rusqlite::{Connection, params};

/// Writes, unless a later holder has written. Returns whether it did.
fn write(db: &Connection, fence: u64, body: &str) -> Result<bool, Box<dyn Error>> {
    // A holder may write more than once: its own fence is not older.
    let changed = db.execute(
        "UPDATE report SET body = ?1, fence = ?2 WHERE id = 1 AND fence <= ?2",
        params![body, i64::try_from(fence)?],
    )?;
    Ok(changed == 1)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let db = Connection::open_in_memory()?;
    db.execute_batch(
        "CREATE TABLE report (id INTEGER PRIMARY KEY, body TEXT, fence INTEGER NOT NULL);
         INSERT INTO report VALUES (1, '', 0);",
    )?;
    let lock = Client::in_memory().lock("report");

    let paused = lock.acquire().await?.fence(); // dropped: as if its lease had run out
    let guard = lock.acquire().await?;
    println!(
        "the holder, fence {}, writes: {}",
        guard.fence(),
        write(&db, guard.fence(), "draft")?
    );
    println!("it writes again: {}", write(&db, guard.fence(), "final")?);
    println!(
        "the paused one, fence {paused}, writes: {}",
        write(&db, paused, "late")?
    );
    guard.release().await?;
    let body: String = db.query_row("SELECT body FROM report", [], |row| row.get(0))?;
    println!("the table has: {body}");
    Ok(())
}

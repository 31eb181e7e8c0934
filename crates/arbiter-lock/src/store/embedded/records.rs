//! The rows of one name, for the steps of the core.

use std::cell::RefCell;

use arbiter_lock_core::{Forgotten, Hold, Moment, Note, Root, Rows, Run, Waiter};
use rusqlite::types::ToSql;
use rusqlite::{Connection, Error, OptionalExtension as _, Row, params_from_iter};

use crate::store::columns::{
    Columns as _, Value, hold, hold_values, int, kind, micros, root, root_values, run, run_values,
    waiter, waiter_values,
};

const ROOT: &str = "owner, fence, since, until, channel, label, stopping, value, generation, \"limit\", sharers, weight, waiting, passed_over, notes, granted, floor, queue_until, last_fence, fence_until";
const HOLD: &str = "owner, fence, weight, since, until, channel, label, stopping";
const WAITER: &str =
    "id, ticket, seen, passed_over, weight, \"limit\", follows, lease_ms, channel, label";

/// The rows of one name, within a transaction. The first error is kept and rolls the transaction
/// back; the failed query returns an empty result.
pub(super) struct Records<'a> {
    connection: &'a Connection,
    pub(super) name: &'a str,
    pub(super) root: Root,
    loaded: Root,
    failure: RefCell<Option<Error>>,
}

impl<'a> Records<'a> {
    pub(super) fn load(connection: &'a Connection, name: &'a str) -> rusqlite::Result<Self> {
        let mut select =
            connection.prepare_cached(&format!("SELECT {ROOT} FROM names WHERE name = ?1"))?;
        let root = select
            .query_row([name], |row| root(row))
            .optional()?
            .unwrap_or_default();
        Ok(Self {
            connection,
            name,
            loaded: root.clone(),
            root,
            failure: RefCell::new(None),
        })
    }

    /// Returns the first error, if any.
    pub(super) fn check(&self) -> rusqlite::Result<()> {
        self.failure.take().map_or(Ok(()), Err)
    }

    /// Writes the root, if the step has changed it.
    pub(super) fn save(self) -> rusqlite::Result<()> {
        self.check()?;
        if self.root == self.loaded {
            return Ok(());
        }
        let values = [Value::Text(self.name)].into_iter();
        let mut replace = self.connection.prepare_cached(
            "REPLACE INTO names VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13,
                                        ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21)",
        )?;
        replace.execute(params_from_iter(values.chain(root_values(&self.root))))?;
        Ok(())
    }

    /// Removes the name.
    pub(super) fn forget(mut self) -> rusqlite::Result<()> {
        self.forget_queue();
        self.change("DELETE FROM names WHERE name = ?1", &[&self.name]);
        self.check()
    }

    fn hold(&self, rest: &str, values: &[&dyn ToSql]) -> Option<Hold> {
        self.one(
            &format!("SELECT {HOLD} FROM shared {rest}"),
            values,
            |row| hold(row),
        )
    }

    fn holds(&self, rest: &str, values: &[&dyn ToSql]) -> Vec<Hold> {
        self.many(
            &format!("SELECT {HOLD} FROM shared {rest}"),
            values,
            |row| hold(row),
        )
    }

    fn waiter_where(&self, rest: &str, values: &[&dyn ToSql]) -> Option<Waiter> {
        self.one(
            &format!("SELECT {WAITER} FROM waiters {rest}"),
            values,
            |row| waiter(row),
        )
    }

    fn one<T>(
        &self,
        sql: &str,
        values: &[&dyn ToSql],
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Option<T> {
        let find = || {
            let mut select = self.connection.prepare_cached(sql)?;
            select.query_row(values, read).optional()
        };
        self.kept(find()).flatten()
    }

    pub(super) fn many<T>(
        &self,
        sql: &str,
        values: &[&dyn ToSql],
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Vec<T> {
        let find = || {
            let mut select = self.connection.prepare_cached(sql)?;
            select.query_map(values, read)?.collect()
        };
        self.kept(find()).unwrap_or_default()
    }

    /// Writes the values of a row, and returns the number of changed rows.
    fn put<'v>(&self, sql: &str, values: impl Iterator<Item = Value<'v>>) -> u64 {
        let values = params_from_iter(values);
        let put = || self.connection.prepare_cached(sql)?.execute(values);
        self.kept(put()).unwrap_or_default() as u64
    }

    /// Changes rows, and returns their number.
    fn change(&self, sql: &str, values: &[&dyn ToSql]) -> u64 {
        let change = || self.connection.prepare_cached(sql)?.execute(values);
        self.kept(change()).unwrap_or_default() as u64
    }

    /// Keeps the first error.
    fn kept<T>(&self, result: rusqlite::Result<T>) -> Option<T> {
        let error = match result {
            Ok(found) => return Some(found),
            Err(error) => error,
        };
        self.failure.borrow_mut().get_or_insert(error);
        None
    }
}

impl Rows for Records<'_> {
    fn root(&self) -> &Root {
        &self.root
    }

    fn root_mut(&mut self) -> &mut Root {
        &mut self.root
    }

    fn shared(&self, owner: &str) -> Option<Hold> {
        self.hold("WHERE name = ?1 AND owner = ?2", &[&self.name, &owner])
    }

    fn shared_of_fence(&self, fence: u64) -> Option<Hold> {
        self.hold("WHERE name = ?1 AND fence = ?2", &[&self.name, &int(fence)])
    }

    fn expired(&self, milli: u64) -> Vec<Hold> {
        let expired = "WHERE name = ?1 AND until < ?2 ORDER BY until, owner";
        self.holds(expired, &[&self.name, &int(milli)])
    }

    fn last_to_expire(&self, at_most: usize) -> Vec<Hold> {
        let last = "WHERE name = ?1 ORDER BY until DESC, owner DESC LIMIT ?2";
        self.holds(last, &[&self.name, &int(at_most as u64)])
    }

    fn nth_to_expire(&self, n: u64) -> Option<u64> {
        let sql = "SELECT until FROM shared WHERE name = ?1 ORDER BY until, owner
                   LIMIT 1 OFFSET ?2";
        let skipped = int(n.checked_sub(1)?);
        self.one(sql, &[&self.name, &skipped], |row| row.number(0))
    }

    fn put_shared(&mut self, hold: Hold) {
        let values = [Value::Text(self.name)]
            .into_iter()
            .chain(hold_values(&hold));
        self.put(
            "REPLACE INTO shared VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            values,
        );
    }

    fn remove_shared(&mut self, owner: &str) {
        let delete = "DELETE FROM shared WHERE name = ?1 AND owner = ?2";
        self.change(delete, &[&self.name, &owner]);
    }

    fn waiter(&self, id: &str) -> Option<Waiter> {
        self.waiter_where("WHERE name = ?1 AND id = ?2", &[&self.name, &id])
    }

    fn first_waiting(&self) -> Option<Waiter> {
        let first = "WHERE name = ?1 AND passed_over = 0 ORDER BY ticket, id LIMIT 1";
        self.waiter_where(first, &[&self.name])
    }

    fn last_waiting(&self) -> Option<Waiter> {
        let last = "WHERE name = ?1 AND passed_over = 0 ORDER BY ticket DESC, id DESC LIMIT 1";
        self.waiter_where(last, &[&self.name])
    }

    fn first_waiting_to_share(&self) -> Option<Waiter> {
        let first = "INDEXED BY waiting_to_share
                     WHERE name = ?1 AND passed_over = 0 AND weight > 0
                     ORDER BY ticket, id LIMIT 1";
        self.waiter_where(first, &[&self.name])
    }

    fn first_waiters(&self, at_most: usize) -> Vec<Waiter> {
        let sql = format!(
            "SELECT {WAITER} FROM waiters WHERE name = ?1 AND passed_over = 0
             ORDER BY ticket, id LIMIT ?2"
        );
        self.many(&sql, &[&self.name, &int(at_most as u64)], |row| waiter(row))
    }

    fn count_waiting(&self, ticket: u64, at_most: u64) -> u64 {
        let sql = "SELECT count(*) FROM (SELECT 1 FROM waiters
                   WHERE name = ?1 AND passed_over = 0 AND ticket <= ?2
                   ORDER BY ticket LIMIT ?3)";
        let count = self.one(sql, &[&self.name, &int(ticket), &int(at_most)], |row| {
            row.number(0)
        });
        count.unwrap_or_default()
    }

    fn put_waiter(&mut self, waiter: Waiter) {
        let values = [Value::Text(self.name)].into_iter();
        let values = values.chain(waiter_values(&waiter));
        let polled = "UPDATE waiters SET seen = ?4
                      WHERE name = ?1 AND id = ?2 AND ticket = ?3 AND passed_over = ?5
                        AND weight = ?6 AND \"limit\" IS ?7 AND follows = ?8 AND lease_ms = ?9
                        AND channel = ?10 AND label = ?11";
        if self.put(polled, values.clone()) == 0 {
            self.put(
                "REPLACE INTO waiters VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
                values,
            );
        }
    }

    fn remove_waiter(&mut self, id: &str) {
        let delete = "DELETE FROM waiters WHERE name = ?1 AND id = ?2";
        self.change(delete, &[&self.name, &id]);
    }

    fn has_note(&self, note: Note, id: &str) -> bool {
        let sql = "SELECT 1 FROM notes WHERE name = ?1 AND id = ?2 AND kind = ?3";
        self.one(sql, &[&self.name, &id, &kind(note)], |_| Ok(()))
            .is_some()
    }

    fn put_note(&mut self, note: Note, id: &str, at: Moment) -> bool {
        let new = !self.has_note(note, id);
        self.change(
            "REPLACE INTO notes VALUES (?1, ?2, ?3, ?4)",
            &[&self.name, &id, &kind(note), &micros(at)],
        );
        new
    }

    fn remove_note(&mut self, note: Note, id: &str) -> bool {
        let delete = "DELETE FROM notes WHERE name = ?1 AND id = ?2 AND kind = ?3";
        0 < self.change(delete, &[&self.name, &id, &kind(note)])
    }

    fn forget_before(&mut self, moment: Moment) -> Forgotten {
        let old: [&dyn ToSql; 2] = [&self.name, &micros(moment)];
        let waiters = "DELETE FROM waiters WHERE name = ?1 AND seen < ?2 AND passed_over =";
        Forgotten {
            waiting: self.change(&format!("{waiters} 0"), &old),
            skipped: self.change(&format!("{waiters} 1"), &old),
            notes: self.change("DELETE FROM notes WHERE name = ?1 AND at < ?2", &old),
        }
    }

    fn forget_queue(&mut self) {
        self.change("DELETE FROM waiters WHERE name = ?1", &[&self.name]);
        self.change("DELETE FROM notes WHERE name = ?1", &[&self.name]);
    }

    fn run(&self) -> Option<Run> {
        let sql = "SELECT fence, label, started, ended, outcome, until, turn, memory_ms FROM runs \
                   WHERE name = ?1";
        self.one(sql, &[&self.name], |row| run(row))
    }

    fn put_run(&mut self, run: Run) {
        let values = [Value::Text(self.name)].into_iter().chain(run_values(&run));
        self.put(
            "REPLACE INTO runs VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            values,
        );
    }
}

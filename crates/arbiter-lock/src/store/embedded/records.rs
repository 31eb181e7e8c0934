//! The rows of one name, for the core's steps.

use std::cell::RefCell;
use std::num::NonZeroU32;
use std::sync::Arc;

use arbiter_lock_core::{
    Forgotten, Hold, Limit, Mode, Moment, Note, Request, Root, Rows, Run, Sharing, Waiter,
};
use rusqlite::types::ToSql;
use rusqlite::{Connection, Error, OptionalExtension as _, Row, params};

use super::liveness::Process;

/// How many of those who share are watched at once where many processes do: the first to lapse,
/// as the dead are sooner or later.
const MOST_BEFORE: i64 = 16;

/// How many processes of those who share are watched whatever their leases.
const MOST_PROCESSES: i64 = 64;

/// How many of the waiters before one are watched.
const NEAREST: u32 = 4;

const HOLD: &str = "owner, fence, weight, since, until, channel, label, stopping";
const WAITER: &str = "id, ticket, iif(passed_over, NULL, seen), weight, \"limit\", follows, lease_ms, channel, label";

/// The rows of one name, within a transaction. What fails is kept, answers nothing, and lets the
/// transaction be undone.
pub(super) struct Records<'a> {
    connection: &'a Connection,
    name: &'a str,
    root: Root,
    loaded: Root,
    failure: RefCell<Option<Error>>,
}

impl<'a> Records<'a> {
    pub(super) fn load(connection: &'a Connection, name: &'a str) -> rusqlite::Result<Self> {
        let mut select = connection.prepare_cached("SELECT * FROM names WHERE name = ?1")?;
        let root = select
            .query_row([name], root)
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

    /// What has failed, if something has.
    pub(super) fn check(&self) -> rusqlite::Result<()> {
        self.failure.take().map_or(Ok(()), Err)
    }

    /// Keeps what the step has left.
    pub(super) fn save(self) -> rusqlite::Result<()> {
        self.check()?;
        if self.root == self.loaded {
            return Ok(());
        }
        let root = &self.root;
        let hold = root.exclusive.as_ref();
        let sharing = root.sharing.as_ref();
        let mut replace = self.connection.prepare_cached(
            "REPLACE INTO names VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13,
                                        ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21)",
        )?;
        replace.execute(params![
            self.name,
            hold.map(|hold| &*hold.owner),
            hold.and_then(|hold| hold.fence).map(int),
            hold.and_then(|hold| hold.since).map(micros),
            hold.and_then(|hold| hold.last_milli).map(int),
            hold.map(|hold| &*hold.channel),
            hold.map(|hold| &*hold.label),
            hold.map(|hold| hold.stopping),
            hold.and_then(|hold| hold.value.as_deref()),
            sharing.map(|sharing| int(sharing.generation)),
            sharing
                .and_then(|sharing| sharing.limit)
                .map(NonZeroU32::get),
            sharing.map(|sharing| int(sharing.count)),
            sharing.map(|sharing| int(sharing.weight)),
            int(root.waiting),
            int(root.passed_over),
            int(root.notes),
            root.latest_grant.map(micros),
            root.floor.map(micros),
            int(root.queue_until),
            int(root.last_fence),
            int(root.fence_until),
        ])?;
        Ok(())
    }

    /// Removes the name.
    pub(super) fn forget(mut self) -> rusqlite::Result<()> {
        self.forget_queue();
        self.change("DELETE FROM names WHERE name = ?1", &[&self.name]);
        self.check()
    }

    /// The processes before a waiter: of the nearest waiters, and near the head of those who
    /// hold. More than one, since one that gives up tells nobody behind it.
    pub(super) fn stands_before(&self, ticket: u64, id: &str) -> Vec<Process> {
        let sql = "SELECT channel FROM waiters
                   WHERE name = ?1 AND passed_over = 0 AND (ticket, id) < (?2, ?3)
                   ORDER BY ticket DESC, id DESC LIMIT ?4";
        let waiters: Vec<String> =
            self.many(sql, &[&self.name, &int(ticket), &id, &NEAREST], |row| {
                row.get(0)
            });
        let mut before: Vec<_> = waiters
            .iter()
            .filter_map(|channel| Process::of_channel(channel))
            .collect();
        if waiters.len() < NEAREST as usize {
            before.extend(self.holders());
        }
        before
    }

    /// The processes of those who hold, and of the first waiter.
    pub(super) fn stands_before_all(&self) -> Vec<Process> {
        let mut all = self.holders();
        if 0 < self.root.waiting
            && let Some(waiter) = self.first_waiting()
        {
            all.extend(Process::of_channel(&waiter.request.channel));
        }
        all
    }

    fn holders(&self) -> Vec<Process> {
        if let Some(hold) = &self.root.exclusive {
            return Process::of_channel(&hold.channel).into_iter().collect();
        }
        if self.root.sharing.is_none() {
            return Vec::new();
        }
        let sql = "SELECT channel FROM shared WHERE name = ?1 ORDER BY until, owner LIMIT ?2";
        let mut channels: Vec<String> =
            self.many(sql, &[&self.name, &MOST_BEFORE], |row| row.get(0));
        // One of each process, however many holds it has: '0' follows '/'.
        let sql = "WITH RECURSIVE one(channel) AS (
                     SELECT min(channel) FROM shared WHERE name = ?1
                     UNION ALL
                     SELECT (SELECT min(channel) FROM shared WHERE name = ?1
                       AND channel >= substr(one.channel, 1, instr(one.channel, '/') - 1) || '0')
                     FROM one WHERE channel IS NOT NULL LIMIT ?2)
                   SELECT channel FROM one WHERE channel IS NOT NULL";
        channels.extend(self.many(sql, &[&self.name, &MOST_PROCESSES], |row| {
            row.get::<_, String>(0)
        }));
        let processes = channels.iter().filter_map(|c| Process::of_channel(c));
        let mut all: Vec<Process> = Vec::new();
        for process in processes {
            if !all.contains(&process) {
                all.push(process);
            }
        }
        all
    }

    fn hold(&self, rest: &str, values: &[&dyn ToSql]) -> Option<Hold> {
        self.one(&format!("SELECT {HOLD} FROM shared {rest}"), values, hold)
    }

    fn holds(&self, rest: &str, values: &[&dyn ToSql]) -> Vec<Hold> {
        self.many(&format!("SELECT {HOLD} FROM shared {rest}"), values, hold)
    }

    fn waiter_where(&self, rest: &str, values: &[&dyn ToSql]) -> Option<Waiter> {
        self.one(
            &format!("SELECT {WAITER} FROM waiters {rest}"),
            values,
            waiter,
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

    fn many<T>(
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

    /// Changes rows, and answers how many.
    fn change(&self, sql: &str, values: &[&dyn ToSql]) -> u64 {
        let change = || self.connection.prepare_cached(sql)?.execute(values);
        self.kept(change()).unwrap_or_default() as u64
    }

    /// The first failure is kept.
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

    fn lapsed(&self, milli: u64) -> Vec<Hold> {
        let lapsed = "WHERE name = ?1 AND until < ?2 ORDER BY until, owner";
        self.holds(lapsed, &[&self.name, &int(milli)])
    }

    fn last_to_lapse(&self, at_most: usize) -> Vec<Hold> {
        let last = "WHERE name = ?1 ORDER BY until DESC, owner DESC LIMIT ?2";
        self.holds(last, &[&self.name, &int(at_most as u64)])
    }

    fn put_shared(&mut self, hold: Hold) {
        self.change(
            "REPLACE INTO shared VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            &[
                &self.name,
                &&*hold.owner,
                &int(hold.fence.unwrap_or_default()),
                &hold.weight,
                &hold.since.map(micros),
                &int(hold.end()),
                &&*hold.channel,
                &&*hold.label,
                &hold.stopping,
            ],
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
        self.many(&sql, &[&self.name, &int(at_most as u64)], waiter)
    }

    fn count_waiting(&self, ticket: u64, at_most: u64) -> u64 {
        let sql = "SELECT count(*) FROM (SELECT 1 FROM waiters
                   WHERE name = ?1 AND passed_over = 0 AND ticket <= ?2
                   ORDER BY ticket LIMIT ?3)";
        let count = self.one(sql, &[&self.name, &int(ticket), &int(at_most)], |row| {
            unsigned(row, 0)
        });
        count.unwrap_or_default()
    }

    fn put_waiter(&mut self, waiter: Waiter) {
        let Request {
            id,
            mode,
            lease_ms,
            channel,
            label,
        } = &waiter.request;
        let (weight, limit) = match mode {
            Mode::Exclusive => (0, Limit::Unlimited),
            Mode::Shared { weight, limit } => (weight.get(), *limit),
        };
        let values: [&dyn ToSql; 11] = [
            &self.name,
            &&**id,
            &int(waiter.ticket),
            &micros(waiter.touched()),
            &waiter.seen.is_none(),
            &weight,
            &limit.first().map(NonZeroU32::get),
            &matches!(limit, Limit::Followed(_)),
            &int(*lease_ms),
            &&**channel,
            &&**label,
        ];
        let looked = "UPDATE waiters SET seen = ?4
                      WHERE name = ?1 AND id = ?2 AND ticket = ?3 AND passed_over = ?5
                        AND weight = ?6 AND \"limit\" IS ?7 AND follows = ?8 AND lease_ms = ?9
                        AND channel = ?10 AND label = ?11";
        if self.change(looked, &values) == 0 {
            self.change(
                "REPLACE INTO waiters VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
                &values,
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
            passed_over: self.change(&format!("{waiters} 1"), &old),
            notes: self.change("DELETE FROM notes WHERE name = ?1 AND at < ?2", &old),
        }
    }

    fn forget_queue(&mut self) {
        self.change("DELETE FROM waiters WHERE name = ?1", &[&self.name]);
        self.change("DELETE FROM notes WHERE name = ?1", &[&self.name]);
    }

    fn run(&self) -> Option<Run> {
        let sql = "SELECT fence, label, started, ended, outcome, until FROM runs WHERE name = ?1";
        self.one(sql, &[&self.name], run)
    }

    fn put_run(&mut self, run: Run) {
        let ended = run.ended.as_ref();
        self.change(
            "REPLACE INTO runs VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            &[
                &self.name,
                &int(run.fence),
                &&*run.label,
                &micros(run.started),
                &ended.map(|(at, _)| micros(*at)),
                &ended.map(|(_, outcome)| &**outcome),
                &int(run.until),
            ],
        );
    }
}

/// Numbers of the core stay below 2^53, but for an end that there is none of.
fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn micros(moment: Moment) -> i64 {
    int(moment.as_micros())
}

fn kind(note: Note) -> i64 {
    match note {
        Note::Mark => 0,
        Note::Tombstone => 1,
    }
}

fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column)
        .map(|number| u64::try_from(number).unwrap_or_default())
}

fn maybe(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u64>> {
    row.get::<_, Option<i64>>(column)
        .map(|number| number.and_then(|number| u64::try_from(number).ok()))
}

fn moment(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Moment>> {
    maybe(row, column).map(|micros| micros.map(Moment::from_micros))
}

fn limit(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<NonZeroU32>> {
    row.get::<_, Option<u32>>(column)
        .map(|limit| limit.and_then(NonZeroU32::new))
}

fn words(row: &Row<'_>, column: usize) -> rusqlite::Result<Arc<str>> {
    row.get_ref(column)?
        .as_str()
        .map(Arc::from)
        .map_err(Into::into)
}

fn root(row: &Row<'_>) -> rusqlite::Result<Root> {
    let exclusive = match row.get::<_, Option<Box<str>>>(1)? {
        None => None,
        Some(owner) => Some(Hold {
            owner: owner.into(),
            fence: maybe(row, 2)?,
            weight: 0,
            since: moment(row, 3)?,
            last_milli: maybe(row, 4)?,
            channel: words(row, 5)?,
            label: words(row, 6)?,
            stopping: row.get(7)?,
            value: row.get::<_, Option<Box<str>>>(8)?.map(Arc::from),
        }),
    };
    let sharing = match maybe(row, 9)? {
        None => None,
        Some(generation) => Some(Sharing {
            generation,
            limit: limit(row, 10)?,
            count: unsigned(row, 11)?,
            weight: unsigned(row, 12)?,
        }),
    };
    Ok(Root {
        exclusive,
        sharing,
        waiting: unsigned(row, 13)?,
        passed_over: unsigned(row, 14)?,
        notes: unsigned(row, 15)?,
        latest_grant: moment(row, 16)?,
        floor: moment(row, 17)?,
        queue_until: unsigned(row, 18)?,
        last_fence: unsigned(row, 19)?,
        fence_until: unsigned(row, 20)?,
    })
}

fn hold(row: &Row<'_>) -> rusqlite::Result<Hold> {
    Ok(Hold {
        owner: words(row, 0)?,
        fence: maybe(row, 1)?,
        weight: row.get(2)?,
        since: moment(row, 3)?,
        last_milli: maybe(row, 4)?.filter(|end| *end != i64::MAX as u64),
        channel: words(row, 5)?,
        label: words(row, 6)?,
        stopping: row.get(7)?,
        value: None,
    })
}

fn run(row: &Row<'_>) -> rusqlite::Result<Run> {
    let ended = match moment(row, 3)? {
        Some(at) => Some((at, words(row, 4)?)),
        None => None,
    };
    Ok(Run {
        fence: unsigned(row, 0)?,
        label: words(row, 1)?,
        started: Moment::from_micros(unsigned(row, 2)?),
        ended,
        until: unsigned(row, 5)?,
    })
}

fn waiter(row: &Row<'_>) -> rusqlite::Result<Waiter> {
    let mode = match NonZeroU32::new(row.get(3)?) {
        None => Mode::Exclusive,
        Some(weight) => Mode::Shared {
            weight,
            limit: match (limit(row, 4)?, row.get(5)?) {
                (None, _) => Limit::Unlimited,
                (Some(limit), false) => Limit::Stated(limit),
                (Some(limit), true) => Limit::Followed(limit),
            },
        },
    };
    Ok(Waiter {
        request: Request {
            id: words(row, 0)?,
            mode,
            lease_ms: unsigned(row, 6)?,
            channel: words(row, 7)?,
            label: words(row, 8)?,
        },
        ticket: unsigned(row, 1)?,
        seen: moment(row, 2)?,
    })
}

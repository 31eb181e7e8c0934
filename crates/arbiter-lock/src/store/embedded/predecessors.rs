//! The predecessors of a waiter: the processes whose deaths are watched.

use arbiter_lock_core::Rows as _;

use super::liveness::Process;
use super::records::Records;
use crate::store::columns::int;

/// How many shared holds are watched at once, if there are many: the first to expire. The holds
/// of dead processes get there sooner or later.
const FIRST_HOLDERS: i64 = 16;

/// How many processes with shared holds are watched regardless of their leases.
const MOST_PROCESSES: i64 = 64;

/// How many of the waiters ahead are watched.
const NEAREST_WAITERS: u32 = 4;

impl Records<'_> {
    /// Returns the processes ahead of a waiter: those of the nearest waiters and, near the head,
    /// those of the holders. There are several, since a waiter that leaves notifies no other.
    pub(super) fn predecessors_of(&self, ticket: u64, id: &str) -> Vec<Process> {
        let sql = "SELECT channel FROM waiters
                   WHERE name = ?1 AND passed_over = 0 AND (ticket, id) < (?2, ?3)
                   ORDER BY ticket DESC, id DESC LIMIT ?4";
        let waiters: Vec<String> = self.many(
            sql,
            &[&self.name, &int(ticket), &id, &NEAREST_WAITERS],
            |row| row.get(0),
        );
        let mut predecessors: Vec<_> = waiters
            .iter()
            .filter_map(|channel| Process::of_channel(channel))
            .collect();
        if waiters.len() < NEAREST_WAITERS as usize {
            predecessors.extend(self.holders());
        }
        predecessors
    }

    /// Returns the processes of the holders, and of the first waiter.
    pub(super) fn predecessors(&self) -> Vec<Process> {
        let mut all = self.holders();
        if 0 < self.root.waiting
            && let Some(waiter) = self.first_waiting()
        {
            all.extend(Process::of_channel(&waiter.contender.channel));
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
            self.many(sql, &[&self.name, &FIRST_HOLDERS], |row| row.get(0));
        // One hold of each process, however many it has: '0' follows '/'.
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
}

//! The holds and pending releases of the keeper, and when each is due. No I/O.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arbiter_lock_core::{Name, Next};
use tokio::sync::oneshot;

use crate::holds::hold::HoldState;
use crate::store::{Failure, PendingRelease};

/// The most holds that one call renews.
pub(super) const BATCH: usize = 64;
/// The most renewal calls to a server that may be unanswered at a time.
pub(super) const MOST_CALLS: usize = 32;
/// With this many calls unanswered, no renewal is repeated: the link is saturated.
const MOST_CALLS_TO_REPEAT: usize = MOST_CALLS / 2;
/// The most renewals of one hold that may be unanswered at a time.
const MOST_UNANSWERED: usize = 4;
/// A due renewal waits for this fraction (1/10) of the time left while calls are unanswered. It
/// then shares a call with renewals that become due meanwhile.
const GATHERING: u32 = 10;
/// A renewal is late after this fraction (1/3) of the time that was left when it became due.
const LATE: u32 = 3;

#[derive(Default)]
pub(super) struct Table {
    holds: HashMap<u64, HoldEntry>,
    by_owner: HashMap<Arc<str>, u64>,
    /// When each hold has to be checked.
    due: BTreeSet<(Duration, u64)>,
    /// The holds to renew by the server that has them, and by when the renewal has to be sent.
    ready: BTreeMap<u64, BTreeSet<(Duration, u64)>>,
    /// How many renewal calls to each server are unanswered.
    calls: HashMap<u64, usize>,
    releases: Vec<PendingRelease>,
    /// Callers that wait for the keeper's connection, each with its limit.
    pub(super) connects: Vec<Connect>,
    /// Pending releases that a task has taken and not finished.
    unfinished: usize,
    /// How many of the unfinished ones release a hold.
    unfinished_holds: usize,
    /// When the task wakes up next.
    planned: Duration,
    next_number: u64,
    /// When the server was last replaced by another one, if it ever was.
    switched_at: Option<Duration>,
    is_running: bool,
    /// Whether a task has ended.
    was_stopped: bool,
    is_closed: bool,
}

/// A caller that waits for the keeper's connection for a name, with its limit.
pub(super) type Connect = (Option<Name>, Duration, oneshot::Sender<Result<(), Failure>>);

struct HoldEntry {
    hold: Arc<HoldState>,
    due: Duration,
    ready: Option<Ready>,
    /// How many renewals of it are unanswered.
    unanswered: usize,
    /// When the last one was sent.
    sent_at: Duration,
    /// Whether a renewal was sent since the server was last replaced.
    is_sent_since_switch: bool,
}

/// A renewal that is due and not yet sent.
#[derive(Clone, Copy)]
struct Ready {
    /// Its keys in [`Table::ready`].
    server: u64,
    send_by: Duration,
    since: Duration,
    late_at: Duration,
}

impl Ready {
    fn new(server: u64, since: Duration, end: Duration) -> Self {
        let left = end.saturating_sub(since);
        Self {
            server,
            send_by: since + left / GATHERING,
            since,
            late_at: since + left / LATE,
        }
    }
}

/// Holds of one server to renew together.
pub(super) struct Batch {
    pub(super) server: u64,
    pub(super) holds: Vec<Arc<HoldState>>,
    pub(super) sent: Duration,
}

/// The work that is due now.
pub(super) struct Plan {
    pub(super) batches: Vec<Batch>,
    /// How late the most delayed renewal of the batches is, if one is late.
    pub(super) behind: Option<Duration>,
    /// Holds that were lost.
    pub(super) lost: Vec<Arc<HoldState>>,
    pub(super) releases: Vec<PendingRelease>,
    pub(super) connects: Vec<Connect>,
    /// When something is due next.
    pub(super) wake: Option<Duration>,
    /// Whether the task can end.
    pub(super) is_over: bool,
}

impl Table {
    /// Adds a hold. Returns whether the task has to wake up earlier for it.
    pub(super) fn add(&mut self, hold: Arc<HoldState>, now: Duration) -> bool {
        let number = self.next_number;
        self.next_number += 1;
        self.by_owner.insert(hold.contender.id.clone(), number);
        if self.is_outdated(&hold) {
            hold.renew_at(now);
        }
        let due = due_of(&hold, now);
        self.due.insert((due, number));
        self.holds.insert(
            number,
            HoldEntry {
                hold,
                due,
                ready: None,
                unanswered: 0,
                sent_at: Duration::ZERO,
                is_sent_since_switch: false,
            },
        );
        due < self.planned
    }

    /// Removes a hold. Returns whether it was there.
    pub(super) fn remove(&mut self, owner: &str) -> bool {
        let number = self.by_owner.remove(owner);
        let Some((number, entry)) = number.and_then(|n| self.holds.remove_entry(&n)) else {
            return false;
        };
        self.due.remove(&(entry.due, number));
        if let Some(ready) = entry.ready {
            self.unready(ready, number);
        }
        true
    }

    pub(super) fn len(&self) -> usize {
        self.holds.len()
    }

    pub(super) fn find(&self, owner: &str) -> Option<Arc<HoldState>> {
        let number = self.by_owner.get(owner)?;
        self.holds.get(number).map(|entry| entry.hold.clone())
    }

    pub(super) fn sharers(&self, name: &Name) -> Vec<Arc<HoldState>> {
        let holds = self.holds.values().map(|entry| &entry.hold);
        let sharers = holds.filter(|hold| hold.name == *name && hold.is_shared());
        sharers.cloned().collect()
    }

    pub(super) fn all(&self) -> Vec<Arc<HoldState>> {
        self.holds
            .values()
            .map(|entry| entry.hold.clone())
            .collect()
    }

    pub(super) fn post(&mut self, release: PendingRelease) {
        self.releases.push(release);
    }

    pub(super) fn has_holds(&self) -> bool {
        !self.holds.is_empty()
    }

    pub(super) fn has_releases(&self) -> bool {
        !self.releases.is_empty() || 0 < self.unfinished
    }

    /// Returns how many releases the store has not confirmed.
    pub(super) fn unconfirmed_releases(&self) -> usize {
        count_holds(&self.releases) + self.unfinished_holds
    }

    /// Returns how many renewals are due and late.
    pub(super) fn late_renewals(&self, now: Duration) -> usize {
        let entries = self.holds.values();
        let ready = entries.filter(|entry| entry.unanswered == 0);
        let late = ready.filter_map(|entry| entry.ready);
        late.filter(|ready| ready.late_at < now).count()
    }

    /// Notes that a pending release is finished, or that `left` is left to the next task.
    pub(super) fn finished(&mut self, is_release: bool, left: Option<PendingRelease>) {
        self.unfinished -= 1;
        self.unfinished_holds -= usize::from(is_release);
        self.releases.extend(left);
    }

    /// Notes that a task runs. Returns whether none did, so that the caller has to start it.
    pub(super) fn start(&mut self) -> bool {
        !std::mem::replace(&mut self.is_running, true)
    }

    /// Notes that the task has ended, with the renewals that it sent. Returns whether work is left.
    pub(super) fn stopped(&mut self) -> bool {
        for entry in self.holds.values_mut() {
            entry.unanswered = 0;
        }
        self.calls.clear();
        self.is_running = false;
        self.was_stopped = true;
        self.planned = Duration::ZERO;
        self.has_holds() || self.has_releases()
    }

    pub(super) fn close(&mut self) {
        self.is_closed = true;
    }

    /// Returns the work that is due now. `server_of` returns the server that has a name.
    pub(super) fn plan(&mut self, now: Duration, server_of: impl Fn(&Name) -> u64) -> Plan {
        let lost = self.sort_due(now, server_of);
        let (mut batches, mut behind) = (Vec::new(), None);
        for server in Vec::from_iter(self.ready.keys().copied()) {
            while self.is_time_to_send(now, server) {
                batches.push(self.take_batch(now, server, &mut behind));
            }
        }
        let releases = std::mem::take(&mut self.releases);
        self.unfinished += releases.len();
        self.unfinished_holds += count_holds(&releases);
        let gathered = self.ready.iter();
        let gathered = gathered.filter(|(server, _)| self.unanswered_calls(**server) < MOST_CALLS);
        let gathered = gathered.filter_map(|(_, ready)| ready.first());
        let wake = self.due.first().into_iter().chain(gathered);
        let wake = wake.map(|(time, _)| *time).min();
        self.planned = wake.unwrap_or(Duration::MAX);
        let is_over = self.is_closed && self.holds.is_empty() && !self.has_releases();
        Plan {
            batches,
            behind,
            lost,
            releases,
            connects: std::mem::take(&mut self.connects),
            wake,
            is_over,
        }
    }

    /// Returns whether to send a batch to the server now. While calls are unanswered, a batch is
    /// sent only once it is full or its first renewal has to be sent.
    fn is_time_to_send(&self, now: Duration, server: u64) -> bool {
        let ready = self.ready.get(&server);
        let Some((ready, (send_by, _))) = ready.and_then(|ready| Some((ready, ready.first()?)))
        else {
            return false;
        };
        let unanswered = self.unanswered_calls(server);
        let is_gathered = unanswered == 0 || BATCH <= ready.len() || *send_by <= now;
        is_gathered && unanswered < MOST_CALLS
    }

    fn unanswered_calls(&self, server: u64) -> usize {
        self.calls.get(&server).copied().unwrap_or_default()
    }

    /// Notes that all renewals of a batch to that server were answered or failed.
    pub(super) fn call_ended(&mut self, server: u64) {
        if let Some(calls) = self.calls.get_mut(&server) {
            *calls = calls.saturating_sub(1);
        }
        self.calls.retain(|_, calls| 0 < *calls);
    }

    fn unready(&mut self, ready: Ready, number: u64) {
        if let Some(of_server) = self.ready.get_mut(&ready.server) {
            of_server.remove(&(ready.send_by, number));
        }
        self.ready.retain(|_, ready| !ready.is_empty());
    }

    /// Removes and returns lost holds, and moves holds that are due for renewal to `ready`.
    ///
    /// A hold with the most unanswered renewals is considered again when one of them ends.
    fn sort_due(&mut self, now: Duration, server_of: impl Fn(&Name) -> u64) -> Vec<Arc<HoldState>> {
        let mut lost = Vec::new();
        while let Some((due, number)) = self.due.first().copied().filter(|(due, _)| *due <= now) {
            self.due.remove(&(due, number));
            let Some(entry) = self.holds.get_mut(&number) else {
                continue;
            };
            match entry.hold.next(now) {
                Next::Lost => {
                    let hold = entry.hold.clone();
                    lost.push(hold.clone());
                    self.remove(&hold.contender.id);
                    continue;
                }
                Next::Renew => {
                    let end = entry.hold.validity_end();
                    let server = server_of(&entry.hold.name);
                    let calls = self.calls.get(&server).copied().unwrap_or_default();
                    let is_saturated = MOST_CALLS_TO_REPEAT <= calls;
                    let most_unanswered = if is_saturated { 1 } else { MOST_UNANSWERED };
                    if entry.ready.is_none() && entry.unanswered < most_unanswered {
                        let ready = Ready::new(server, due, end);
                        entry.ready = Some(ready);
                        let of_server = self.ready.entry(server).or_default();
                        of_server.insert((ready.send_by, number));
                    }
                    entry.due = end.max(now + Duration::from_millis(1));
                }
                Next::Sleep { until } => entry.due = until,
            }
            self.due.insert((entry.due, number));
        }
        lost
    }

    /// Takes the holds of a server to renew next, the most urgent first. Raises `behind` to the
    /// longest delay of a late renewal. One behind another that was refused or not answered does not
    /// count.
    fn take_batch(&mut self, now: Duration, server: u64, behind: &mut Option<Duration>) -> Batch {
        let mut holds = Vec::new();
        let mut of_server = self.ready.remove(&server).unwrap_or_default();
        *self.calls.entry(server).or_default() += 1;
        while holds.len() < BATCH {
            let Some((_, number)) = of_server.pop_first() else {
                break;
            };
            let Some(entry) = self.holds.get_mut(&number) else {
                continue;
            };
            let ready = entry.ready.take();
            let is_first = entry.sent_at <= entry.hold.confirmed_at();
            if let Some(late) = ready.filter(|ready| is_first && ready.late_at < now) {
                *behind = (*behind).max(Some(now.saturating_sub(late.since)));
            }
            entry.unanswered += 1;
            entry.sent_at = now;
            entry.is_sent_since_switch = true;
            entry.hold.ask(now);
            self.due.remove(&(entry.due, number));
            entry.due = due_of(&entry.hold, now);
            self.due.insert((entry.due, number));
            holds.push(entry.hold.clone());
        }
        if !of_server.is_empty() {
            self.ready.insert(server, of_server);
        }
        Batch {
            server,
            holds,
            sent: now,
        }
    }

    /// Makes the renewal of every hold due now, since another server has replaced the current one.
    ///
    /// A hold that only an earlier request confirms is due as soon as the table learns of it: the
    /// answer may be the replaced server's.
    pub(super) fn renew_all(&mut self, now: Duration) {
        self.switched_at = Some(now);
        for (number, entry) in &mut self.holds {
            entry.is_sent_since_switch = false;
            entry.hold.renew_at(now);
            self.due.remove(&(entry.due, *number));
            entry.due = now;
            self.due.insert((now, *number));
        }
    }

    /// Renews every hold if an earlier task has ended: none has watched the server since.
    pub(super) fn watch_server_again(&mut self, now: Duration) {
        if self.was_stopped {
            self.renew_all(now);
        }
    }

    /// Schedules the hold again after a renewal of it was answered or failed.
    pub(super) fn answered(&mut self, hold: &HoldState, now: Duration) {
        let is_outdated = self.is_outdated(hold);
        let Some(&number) = self.by_owner.get(&hold.contender.id) else {
            return;
        };
        let Some(entry) = self.holds.get_mut(&number) else {
            return;
        };
        entry.unanswered = entry.unanswered.saturating_sub(1);
        let ready = entry.ready.take();
        if is_outdated && !entry.is_sent_since_switch {
            hold.renew_at(now);
        }
        self.due.remove(&(entry.due, number));
        entry.due = due_of(hold, now);
        self.due.insert((entry.due, number));
        if let Some(ready) = ready {
            self.unready(ready, number);
        }
    }

    /// Makes the renewal of the hold due now if a replaced server may have answered the request
    /// that postponed it. Returns whether the task has to wake up earlier for it.
    pub(super) fn confirmed(&mut self, hold: &HoldState, now: Duration) -> bool {
        if !self.is_outdated(hold) {
            return false;
        }
        let Some(&number) = self.by_owner.get(&hold.contender.id) else {
            return false;
        };
        let entry = self.holds.get_mut(&number);
        let Some(entry) = entry.filter(|entry| !entry.is_sent_since_switch) else {
            return false;
        };
        hold.renew_at(now);
        self.due.remove(&(entry.due, number));
        entry.due = due_of(hold, now);
        self.due.insert((entry.due, number));
        entry.due < self.planned
    }

    /// Returns whether no request that was sent since the last switch confirms the hold.
    fn is_outdated(&self, hold: &HoldState) -> bool {
        self.switched_at
            .is_some_and(|switched_at| hold.confirmed_at() <= switched_at)
    }
}

/// Returns how many of the pending releases release a hold.
fn count_holds(releases: &[PendingRelease]) -> usize {
    let holds = releases.iter().filter(|release| release.is_release());
    holds.count()
}

fn due_of(hold: &HoldState, now: Duration) -> Duration {
    match hold.next(now) {
        Next::Sleep { until } => until,
        Next::Renew | Next::Lost => now,
    }
}

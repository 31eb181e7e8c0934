//! What the keeper has to do, and when: pure bookkeeping under one mutex.

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arbiter_lock_core::{Name, Next};
use tokio::sync::oneshot;

use crate::holds::hold::HoldState;
use crate::store::{Failure, PendingRelease};

/// How many holds one call renews at the most.
pub(super) const BATCH: usize = 64;
/// How many calls that renew may be unanswered at a time.
pub(super) const MOST_CALLS: usize = 32;
/// With so many unanswered nothing is repeated: the link has no room to spare.
const MOST_CALLS_TO_REPEAT: usize = MOST_CALLS / 2;
/// How many renewals of one hold may be unanswered at a time.
const MOST_UNANSWERED: usize = 4;
/// The part of what is left of a life for which a renewal waits while others are under way, so
/// that it shares a call with those that come due meanwhile.
const GATHERING: u32 = 10;
/// The part of what is left of a life after which a renewal is sent late.
const LATE: u32 = 3;

#[derive(Default)]
pub(super) struct Table {
    holds: HashMap<u64, HoldEntry>,
    by_owner: HashMap<Arc<str>, u64>,
    /// When to look at which hold.
    due: BTreeSet<(Duration, u64)>,
    /// Whose renewal is due, by when it has to be sent.
    ready: BTreeSet<(Duration, u64)>,
    releases: Vec<PendingRelease>,
    /// Callers that wait for the keeper's connection, each with its limit.
    pub(super) connects: Vec<Connect>,
    /// Releases that have been taken and are not finished, and how many of them release a hold.
    unfinished: usize,
    unfinished_releases: usize,
    /// When the task wakes up next by itself.
    planned: Duration,
    next_number: u64,
    is_running: bool,
    is_closed: bool,
}

/// A caller that waits for the keeper's connection, with its limit.
pub(super) type Connect = (Duration, oneshot::Sender<Result<(), Failure>>);

struct HoldEntry {
    hold: Arc<HoldState>,
    due: Duration,
    ready: Option<Ready>,
    /// How many renewals of it have no answer yet.
    unanswered: usize,
}

/// A renewal that is due and not sent.
#[derive(Clone, Copy)]
struct Ready {
    /// Its key among those that are.
    send_by: Duration,
    since: Duration,
    late_at: Duration,
}

impl Ready {
    fn new(since: Duration, end: Duration) -> Self {
        let left = end.saturating_sub(since);
        Self {
            send_by: since + left / GATHERING,
            since,
            late_at: since + left / LATE,
        }
    }
}

/// Holds to renew in one call.
pub(super) struct Batch {
    pub(super) holds: Vec<Arc<HoldState>>,
    pub(super) sent: Duration,
}

/// What the task has to do now.
pub(super) struct Plan {
    pub(super) batches: Vec<Batch>,
    /// How late the latest of the batches' renewals is sent, where one is late.
    pub(super) behind: Option<Duration>,
    /// Holds that were found lost.
    pub(super) lost: Vec<Arc<HoldState>>,
    pub(super) releases: Vec<PendingRelease>,
    pub(super) connects: Vec<Connect>,
    /// When there is something to do again.
    pub(super) wake: Option<Duration>,
    /// Nothing is left to do, nor will be.
    pub(super) is_over: bool,
}

impl Table {
    /// Adds a hold; answers whether the task has to wake up earlier for it.
    pub(super) fn add(&mut self, hold: Arc<HoldState>, now: Duration) -> bool {
        let number = self.next_number;
        self.next_number += 1;
        self.by_owner.insert(hold.contender.id.clone(), number);
        let due = due_of(&hold, now);
        self.due.insert((due, number));
        self.holds.insert(
            number,
            HoldEntry {
                hold,
                due,
                ready: None,
                unanswered: 0,
            },
        );
        due < self.planned
    }

    /// Takes a hold out; answers whether it was there.
    pub(super) fn remove(&mut self, owner: &str) -> bool {
        let number = self.by_owner.remove(owner);
        let Some((number, entry)) = number.and_then(|n| self.holds.remove_entry(&n)) else {
            return false;
        };
        self.due.remove(&(entry.due, number));
        if let Some(ready) = entry.ready {
            self.ready.remove(&(ready.send_by, number));
        }
        true
    }

    /// How many holds there are.
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
        let posted = self.releases.iter().filter(|release| release.is_release());
        posted.count() + self.unfinished_releases
    }

    /// An release that was taken, a release or not, is finished, or is left to the next task.
    pub(super) fn finished(&mut self, is_release: bool, left: Option<PendingRelease>) {
        self.unfinished -= 1;
        self.unfinished_releases -= usize::from(is_release);
        self.releases.extend(left);
    }

    /// Notes that a task runs; answers whether none did, so that the caller starts it.
    pub(super) fn start(&mut self) -> bool {
        !std::mem::replace(&mut self.is_running, true)
    }

    /// The task is gone, and with it the renewals that it sent; answers whether it leaves something
    /// to do.
    pub(super) fn stopped(&mut self) -> bool {
        for entry in self.holds.values_mut() {
            entry.unanswered = 0;
        }
        self.is_running = false;
        self.planned = Duration::ZERO;
        self.has_holds() || self.has_releases()
    }

    pub(super) fn close(&mut self) {
        self.is_closed = true;
    }

    /// What is to be done now, with so many calls unanswered that renew.
    pub(super) fn plan(&mut self, now: Duration, unanswered: usize) -> Plan {
        let most_unanswered = match unanswered < MOST_CALLS_TO_REPEAT {
            true => MOST_UNANSWERED,
            false => 1,
        };
        let lost = self.sort_due(now, most_unanswered);
        let (mut batches, mut behind) = (Vec::new(), None);
        while self.is_time_to_send(now, unanswered + batches.len()) {
            batches.push(self.take_batch(now, &mut behind));
        }
        let releases = std::mem::take(&mut self.releases);
        self.unfinished += releases.len();
        let releases = releases.iter().filter(|release| release.is_release());
        self.unfinished_releases += releases.count();
        let has_room = unanswered + batches.len() < MOST_CALLS;
        let gathered = self.ready.first().filter(|_| has_room);
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

    /// Whether to send a batch now. While one is under way the next gathers: until it is full, or
    /// its first hold should wait no longer.
    fn is_time_to_send(&self, now: Duration, unanswered: usize) -> bool {
        let Some((send_by, _)) = self.ready.first() else {
            return false;
        };
        let is_gathered = unanswered == 0 || BATCH <= self.ready.len() || *send_by <= now;
        is_gathered && unanswered < MOST_CALLS
    }

    /// Makes ready what is due for renewal and has fewer unanswered renewals, and takes out what is
    /// lost. What has more is looked at when one of them ends.
    fn sort_due(&mut self, now: Duration, most_unanswered: usize) -> Vec<Arc<HoldState>> {
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
                    if entry.ready.is_none() && entry.unanswered < most_unanswered {
                        let ready = Ready::new(due, end);
                        entry.ready = Some(ready);
                        self.ready.insert((ready.send_by, number));
                    }
                    entry.due = end.max(now + Duration::from_millis(1));
                }
                Next::Sleep { until } => entry.due = until,
            }
            self.due.insert((entry.due, number));
        }
        lost
    }

    /// The holds to renew next: those that have to be sent first. Raises `behind` to the time by
    /// which one is late, unless it is only repeated.
    fn take_batch(&mut self, now: Duration, behind: &mut Option<Duration>) -> Batch {
        let mut holds = Vec::new();
        while holds.len() < BATCH {
            let Some((_, number)) = self.ready.pop_first() else {
                break;
            };
            let Some(entry) = self.holds.get_mut(&number) else {
                continue;
            };
            let ready = entry.ready.take();
            if let Some(late) = ready.filter(|ready| entry.unanswered == 0 && ready.late_at < now) {
                *behind = (*behind).max(Some(now.saturating_sub(late.since)));
            }
            entry.unanswered += 1;
            entry.hold.ask(now);
            self.due.remove(&(entry.due, number));
            entry.due = due_of(&entry.hold, now);
            self.due.insert((entry.due, number));
            holds.push(entry.hold.clone());
        }
        Batch { holds, sent: now }
    }

    /// Plans the hold again, after an answer to a renewal of it or the failure of one.
    pub(super) fn answered(&mut self, hold: &HoldState, now: Duration) {
        let Some(&number) = self.by_owner.get(&hold.contender.id) else {
            return;
        };
        let Some(entry) = self.holds.get_mut(&number) else {
            return;
        };
        entry.unanswered = entry.unanswered.saturating_sub(1);
        if let Some(ready) = entry.ready.take() {
            self.ready.remove(&(ready.send_by, number));
        }
        self.due.remove(&(entry.due, number));
        entry.due = due_of(hold, now);
        self.due.insert((entry.due, number));
    }
}

fn due_of(hold: &HoldState, now: Duration) -> Duration {
    match hold.next(now) {
        Next::Sleep { until } => until,
        Next::Renew | Next::Lost => now,
    }
}

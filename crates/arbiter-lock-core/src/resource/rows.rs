//! The state of one resource: a small root, and a record per shared hold, per waiter and per
//! note. The number of records that a step touches does not grow with the number of holders or
//! waiters.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::{Contender, Mode, Moment};

/// Stores the records of one resource. The rules are in [`Resource`](super::Resource).
///
/// An implementation that can fail returns an empty result, keeps the error, and rolls back all
/// writes of the step. The step continues with that result, and has no effect.
pub trait Rows {
    /// Returns the record that exists once.
    fn root(&self) -> &Root;
    /// Returns the record that exists once, for changes.
    fn root_mut(&mut self) -> &mut Root;

    /// Returns the shared hold of that owner.
    fn shared(&self, owner: &str) -> Option<Hold>;
    /// Returns the shared hold with that fence.
    fn shared_of_fence(&self, fence: u64) -> Option<Hold>;
    /// Returns the shared holds that end before that millisecond.
    fn expired(&self, milli: u64) -> Vec<Hold>;
    /// Returns the shared holds that end last, in descending order; ties by owner.
    fn last_to_expire(&self, at_most: usize) -> Vec<Hold>;
    /// Returns the last millisecond of the n-th shared hold to expire, from 1.
    fn nth_to_expire(&self, n: u64) -> Option<u64>;
    /// Writes a shared hold, in place of the one of its owner.
    fn put_shared(&mut self, hold: Hold);
    /// Removes the shared hold of that owner, if there is one.
    fn remove_shared(&mut self, owner: &str);

    /// Returns the waiter of that request.
    fn waiter(&self, id: &str) -> Option<Waiter>;
    /// Returns the first waiter that was not skipped, by ticket; ties by request id.
    fn first_waiting(&self) -> Option<Waiter>;
    /// Returns the last waiter that was not skipped.
    fn last_waiting(&self) -> Option<Waiter>;
    /// Returns the first waiter that was not skipped and wants to share.
    fn first_waiting_to_share(&self) -> Option<Waiter>;
    /// Returns the first waiters that were not skipped, in order.
    fn first_waiters(&self, at_most: usize) -> Vec<Waiter>;
    /// Counts the waiters that were not skipped and have that ticket or an earlier one, up to
    /// `at_most`.
    fn count_waiting(&self, ticket: u64, at_most: u64) -> u64;
    /// Writes a waiter, in place of the one of its request.
    fn put_waiter(&mut self, waiter: Waiter);
    /// Removes the waiter of that request, if there is one.
    fn remove_waiter(&mut self, id: &str);

    /// Returns whether the note exists.
    fn has_note(&self, note: Note, id: &str) -> bool;
    /// Writes a note about a request; returns whether it is new.
    fn put_note(&mut self, note: Note, id: &str, at: Moment) -> bool;
    /// Removes a note; returns whether it existed.
    fn remove_note(&mut self, note: Note, id: &str) -> bool;

    /// Removes all waiters and notes that were last [touched](Waiter::touched) before `moment`, and
    /// returns their numbers.
    fn forget_before(&mut self, moment: Moment) -> Forgotten;
    /// Removes all waiters and notes.
    fn forget_queue(&mut self);

    /// Returns the last run.
    fn run(&self) -> Option<Run>;
    /// Writes a run, in place of the last one.
    fn put_run(&mut self, run: Run);
}

/// The record of a resource that exists once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Root {
    /// The exclusive hold.
    pub exclusive: Option<Hold>,
    /// The totals of the shared holds; none without shared holds.
    pub sharing: Option<Sharing>,
    /// The number of waiters that were not skipped.
    pub waiting: u64,
    /// The number of waiters that were skipped and keep their place.
    pub skipped: u64,
    /// The number of granted markers and tombstones.
    pub notes: u64,
    /// When the latest grant was made that has not been ended.
    pub latest_grant: Option<Moment>,
    /// When the last grant that expired was made. Waiters that have not polled since then are not
    /// live.
    pub liveness_cutoff: Option<Moment>,
    /// The last millisecond for which the queue is remembered.
    pub queue_until: u64,
    /// The last fence that was drawn.
    pub last_fence: u64,
    /// The last millisecond for which the last fence is remembered.
    pub fence_until: u64,
}

/// The totals of the shared holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sharing {
    /// The fence of the first shared hold on a free resource.
    pub generation: u64,
    /// The limit of the total weight.
    pub limit: Option<NonZeroU32>,
    /// The number of shared holds; never zero.
    pub count: u64,
    /// The total weight.
    pub weight: u64,
}

/// One grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The id of the request that was granted.
    pub owner: Arc<str>,
    /// The fencing token; none for an external holder.
    pub fence: Option<u64>,
    /// The weight of the hold; zero for an exclusive one.
    pub weight: u32,
    /// When the hold was granted, if known.
    pub since: Option<Moment>,
    /// The last millisecond of the TTL; none if an external client removed it.
    pub last_milli: Option<u64>,
    /// The channel of the holder's client.
    pub channel: Arc<str>,
    /// The holder's label.
    pub label: Arc<str>,
    /// Whether an operator asked the holder to stop.
    pub stopping: bool,
    /// The value that the holder proclaims.
    pub value: Option<Arc<str>>,
}

/// A run: work under an exclusive hold, remembered beyond it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The fencing token of the hold.
    pub fence: u64,
    /// The label of the holder that began it.
    pub label: Arc<str>,
    /// When it was begun.
    pub started: Moment,
    /// The time that the run serves: its start, or the point of a schedule that it reached.
    pub turn: Moment,
    /// When it ended, and its outcome, if that was reported.
    pub ended: Option<(Moment, Arc<str>)>,
    /// How long to remember the run after its end, in milliseconds.
    pub memory_ms: u64,
    /// The last millisecond for which the run is remembered.
    pub until: u64,
}

/// A waiter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiter {
    /// The parameters of its request.
    pub contender: Contender,
    /// The ticket.
    pub ticket: u64,
    /// When it polled last; none once it was skipped.
    pub seen: Option<Moment>,
}

/// A note in the queue about a request that no longer waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Note {
    /// The request has been granted.
    GrantedMarker,
    /// The request has been ended while an acquire of it was unanswered.
    Tombstone,
}

/// The numbers of records that were removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Waiters that were not skipped.
    pub waiting: u64,
    /// Waiters that were skipped.
    pub skipped: u64,
    /// Granted markers and tombstones.
    pub notes: u64,
}

impl Root {
    /// Returns whether the queue remembers anything.
    #[must_use]
    pub fn has_queue(&self) -> bool {
        0 < self.waiting + self.skipped + self.notes
            || self.latest_grant.is_some()
            || self.liveness_cutoff.is_some()
    }

    /// Returns whether nothing is held or remembered.
    #[must_use]
    pub fn is_forgotten(&self, now: Moment) -> bool {
        self.exclusive.is_none()
            && self.sharing.is_none()
            && (!self.has_queue() || self.queue_until < now.as_millis())
            && self.fence_until < now.as_millis()
    }
}

impl Hold {
    /// Returns the last millisecond of the TTL; the maximum if the hold has no end. Holds expire in
    /// this order.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.last_milli.unwrap_or(u64::MAX)
    }
}

impl Waiter {
    /// Returns when the waiter polled last; the time of its ticket if it was skipped.
    #[must_use]
    pub fn touched(&self) -> Moment {
        self.seen.unwrap_or(Moment::from_micros(self.ticket))
    }

    /// Returns whether the waiter wants to share.
    #[must_use]
    pub fn shares(&self) -> bool {
        matches!(self.contender.mode, Mode::Shared { .. })
    }
}

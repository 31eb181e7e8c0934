//! Where the state of one resource is kept: a small root, and a record per shared hold, per
//! waiter and per note. Every step touches a number of records that does not grow with the
//! number of those who hold or wait.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::{Contender, Mode, Moment};

/// Keeps the records of one resource. It knows no rule: the steps of
/// [`Resource`](super::Resource) do.
///
/// A place that can fail answers *nothing there*, keeps the failure, and undoes what was
/// written since the step began: no step can tell the difference in a harmful way, since
/// nothing of it remains.
pub trait Rows {
    /// What is kept once.
    fn root(&self) -> &Root;
    /// What is kept once, to change it.
    fn root_mut(&mut self) -> &mut Root;

    /// The shared hold of that owner.
    fn shared(&self, owner: &str) -> Option<Hold>;
    /// The shared hold with that fence.
    fn shared_of_fence(&self, fence: u64) -> Option<Hold>;
    /// The shared holds whose life ends before that millisecond.
    fn expired(&self, milli: u64) -> Vec<Hold>;
    /// The shared holds whose lives end last, the very last first; ties by owner.
    fn last_to_expire(&self, at_most: usize) -> Vec<Hold>;
    /// The last millisecond of the life of the n-th shared hold to expire, from 1.
    fn nth_to_expire(&self, n: u64) -> Option<u64>;
    /// Keeps a shared hold, in place of the one of its owner.
    fn put_shared(&mut self, hold: Hold);
    /// Removes the shared hold of that owner, if there is one.
    fn remove_shared(&mut self, owner: &str);

    /// The waiter of that request.
    fn waiter(&self, id: &str) -> Option<Waiter>;
    /// The first waiter by ticket, ties by request id, of those who were not passed over.
    fn first_waiting(&self) -> Option<Waiter>;
    /// The last one, of those who were not passed over.
    fn last_waiting(&self) -> Option<Waiter>;
    /// The first of those who were not passed over, and want to share.
    fn first_waiting_to_share(&self) -> Option<Waiter>;
    /// The first of those who were not passed over, in order.
    fn first_waiters(&self, at_most: usize) -> Vec<Waiter>;
    /// How many were not passed over and have that ticket or an earlier one, counted up to
    /// `at_most`.
    fn count_waiting(&self, ticket: u64, at_most: u64) -> u64;
    /// Keeps a waiter, in place of the one of its request.
    fn put_waiter(&mut self, waiter: Waiter);
    /// Removes the waiter of that request, if there is one.
    fn remove_waiter(&mut self, id: &str);

    /// Whether the note is kept.
    fn has_note(&self, note: Note, id: &str) -> bool;
    /// Keeps a note about a request; answers whether it is a new one.
    fn put_note(&mut self, note: Note, id: &str, at: Moment) -> bool;
    /// Removes a note; answers whether it was kept.
    fn remove_note(&mut self, note: Note, id: &str) -> bool;

    /// Removes all waiters and notes that were [touched](Waiter::touched) before, and answers
    /// how many.
    fn forget_before(&mut self, moment: Moment) -> Forgotten;
    /// Removes all waiters and notes.
    fn forget_queue(&mut self);

    /// The last run.
    fn run(&self) -> Option<Run>;
    /// Keeps a run, in place of the last.
    fn put_run(&mut self, run: Run);
}

/// What is kept once for a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Root {
    /// The hold that excludes all others.
    pub exclusive: Option<Hold>,
    /// The shared holds, in sum; none where there is no shared hold.
    pub sharing: Option<Sharing>,
    /// How many wait and were not passed over.
    pub waiting: u64,
    /// How many keep a place, and were passed over.
    pub skipped: u64,
    /// How many marks and tombstones are kept.
    pub notes: u64,
    /// When the latest grant was made that has not been ended.
    pub latest_grant: Option<Moment>,
    /// Who has not looked since then is not live: that grant has lapsed.
    pub liveness_cutoff: Option<Moment>,
    /// The last millisecond for which the queue is remembered.
    pub queue_until: u64,
    /// The last fence that was drawn.
    pub last_fence: u64,
    /// The last millisecond for which the last fence is remembered.
    pub fence_until: u64,
}

/// The shared holds, in sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sharing {
    /// The fence of the first that came to a free resource.
    pub generation: u64,
    /// What they may weigh together.
    pub limit: Option<NonZeroU32>,
    /// How many they are; never none.
    pub count: u64,
    /// What they weigh together.
    pub weight: u64,
}

/// One grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The id of the request that was granted.
    pub owner: Arc<str>,
    /// Its fencing token; none for a foreign holder.
    pub fence: Option<u64>,
    /// How much of a limit it takes; zero for an exclusive one.
    pub weight: u32,
    /// When it was granted, where known.
    pub since: Option<Moment>,
    /// The last millisecond of its life; none where somebody made it immortal.
    pub last_milli: Option<u64>,
    /// The channel on which its client hears.
    pub channel: Arc<str>,
    /// Who it is.
    pub label: Arc<str>,
    /// Whether an operator asked it to stop.
    pub stopping: bool,
    /// What its holder proclaims.
    pub value: Option<Arc<str>>,
}

/// Work that was begun under an exclusive hold, and is remembered beyond it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The fencing token of the hold.
    pub fence: u64,
    /// Who ran it.
    pub label: Arc<str>,
    /// When it was begun.
    pub started: Moment,
    /// When it ended, and what came of it, where somebody said so.
    pub ended: Option<(Moment, Arc<str>)>,
    /// The last millisecond for which it is remembered.
    pub until: u64,
}

/// A waiter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiter {
    /// What it asks for.
    pub contender: Contender,
    /// Its ticket.
    pub ticket: u64,
    /// When it looked last; none once it was passed over.
    pub seen: Option<Moment>,
}

/// What the queue remembers of a request that waits no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Note {
    /// It has been granted.
    GrantedMarker,
    /// It has been ended while an acquire of it was unanswered.
    Tombstone,
}

/// How many records were removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Waiters that were not passed over.
    pub waiting: u64,
    /// Waiters that were.
    pub skipped: u64,
    /// Marks and tombstones.
    pub notes: u64,
}

impl Root {
    /// Whether anything of the queue is remembered.
    #[must_use]
    pub fn has_queue(&self) -> bool {
        0 < self.waiting + self.skipped + self.notes
            || self.latest_grant.is_some()
            || self.liveness_cutoff.is_some()
    }

    /// Whether nothing is held and nothing is remembered.
    #[must_use]
    pub fn is_forgotten(&self, now: Moment) -> bool {
        self.exclusive.is_none()
            && self.sharing.is_none()
            && (!self.has_queue() || self.queue_until < now.as_millis())
            && self.fence_until < now.as_millis()
    }
}

impl Hold {
    /// The last millisecond of its life, where it has one; by it, holds lapse in order.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.last_milli.unwrap_or(u64::MAX)
    }
}

impl Waiter {
    /// When it looked last; one that was passed over counts from its ticket.
    #[must_use]
    pub fn touched(&self) -> Moment {
        self.seen.unwrap_or(Moment::from_micros(self.ticket))
    }

    /// Whether it wants to share.
    #[must_use]
    pub fn shares(&self) -> bool {
        matches!(self.contender.mode, Mode::Shared { .. })
    }
}

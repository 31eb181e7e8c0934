//! The replies of the steps.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::Moment;

/// The result of a step: its reply, the other requests that it granted, and whether work is left.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "the granted requests must be notified"]
pub struct Answer<T> {
    /// The reply to the caller.
    pub reply: T,
    /// The other requests granted by this step; notify each on its channel.
    pub granted: Vec<Grant>,
    /// The bound of [`MAX_STEPS`](super::MAX_STEPS) ended the step: repeat it at once.
    pub again: bool,
}

impl<T> Answer<T> {
    pub(super) fn only(reply: T) -> Self {
        Self {
            reply,
            granted: Vec::new(),
            again: false,
        }
    }

    /// Prepends the grants of an earlier part of the same step.
    pub(super) fn after(mut self, mut before: Vec<Grant>) -> Self {
        before.append(&mut self.granted);
        self.granted = before;
        self
    }
}

/// A grant to a request that waited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The request that holds now.
    pub request: Arc<str>,
    /// The channel to notify.
    pub channel: Arc<str>,
    /// The fencing token of the hold.
    pub fence: u64,
    /// The TTL that was set, in milliseconds.
    pub ttl_ms: u64,
    /// The store's time of the grant.
    pub at: Moment,
}

/// The reply to `acquire`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acquired {
    /// The request holds.
    Granted {
        /// The fencing token.
        fence: u64,
        /// The rest of the TTL, at least as long as this step set, in milliseconds.
        ttl_ms: u64,
    },
    /// The request waits.
    Queued {
        /// The ticket; a poll carries it.
        ticket: u64,
        /// The place, from 1, counted up to one more than [`PLACES`](super::PLACES).
        place: u64,
        /// The holder; none if only the bound of one call was reached.
        holder: Option<HolderView>,
        /// The time until the expiry after which this waiter polls, in milliseconds.
        ///
        /// The first [`EXPIRY_WATCHERS`](super::EXPIRY_WATCHERS) waiters await the first hold to
        /// expire, the next waiter the second, and so on. None if there are fewer holds, or if that
        /// hold has no end.
        awaited_expiry_ms: Option<u64>,
    },
    /// The request has been ended; this acquire arrived late.
    Ended,
    /// The request can never be granted as it stands.
    Refused(Refusal),
}

/// The reply to `try_acquire`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tried {
    /// The request holds.
    Granted {
        /// The fencing token.
        fence: u64,
        /// The rest of the TTL, at least as long as this step set, in milliseconds.
        ttl_ms: u64,
    },
    /// Another request holds, or comes first.
    Busy {
        /// The holder.
        holder: Option<HolderView>,
        /// The number of waiters.
        waiting: u64,
    },
    /// The request has been ended; this try arrived late.
    Ended,
    /// The request can never be granted as it stands.
    Refused(Refusal),
}

/// The reason why a request can never be granted as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The request weighs more than the limit.
    AboveLimit {
        /// The limit.
        limit: u32,
    },
    /// The request states a limit other than the one in force.
    LimitDiffers {
        /// The limit in force, if any.
        limit: Option<u32>,
    },
}

/// The reply to `renew`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewed {
    /// The hold is extended.
    Renewed {
        /// The TTL of the hold, in milliseconds.
        ttl_ms: u64,
    },
    /// An operator asked the holder to stop. The hold is still valid, and is not extended.
    Stopping {
        /// The rest of the TTL, in milliseconds.
        ttl_ms: u64,
    },
    /// There is no such hold.
    NotYours {
        /// Whether another request holds instead.
        taken: bool,
    },
}

/// The reply to `downgrade`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Downgraded {
    /// The hold is now a shared one.
    Downgraded {
        /// The TTL of the hold, in milliseconds.
        ttl_ms: u64,
    },
    /// There is no such hold.
    NotYours {
        /// Whether another request holds instead.
        taken: bool,
    },
    /// The waiters that want to share have stated a limit, and a reader has none.
    Refused(Refusal),
}

/// The reply to `resize`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resized {
    /// The new limit is set.
    Resized {
        /// The previous limit.
        before: NonZeroU32,
    },
    /// There is no hold under a limit.
    NotHeld,
}

/// The reply to a step that writes something for a holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// The value is written.
    Written,
    /// There is no such hold, or, for the end of a run, no such run.
    NotYours,
}

/// The reply to `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The request held, and no longer does.
    Released,
    /// The request waited, and no longer does.
    Left,
    /// The request neither held nor waited.
    NotYours {
        /// Whether another request holds, before the hand-off.
        taken: bool,
    },
}

/// The reply to `break_hold`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The hold has been ended.
    Freed,
    /// The next renewal reports it to the holder, and the hold is not extended.
    Asked {
        /// The longest rest of the TTL, in milliseconds; none if the hold has no end.
        remaining_ms: Option<u64>,
    },
    /// No hold has that fence.
    NotHeld,
}

/// A holder, as other clients see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HolderView {
    /// The owner; a fixed marker for several shared holds.
    pub owner: Arc<str>,
    /// The fencing token; none for an external holder.
    pub fence: Option<u64>,
    /// When the hold was granted, if known.
    pub since: Option<Moment>,
    /// The rest of the TTL, in milliseconds; none if the hold has no end.
    pub remaining_ms: Option<u64>,
    /// The holder's label.
    pub label: Arc<str>,
}

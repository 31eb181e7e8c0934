//! What the steps answer.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::Moment;

/// What a step did: its reply, everyone else whom it granted, and whether there is more to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "whoever was granted must be told"]
pub struct Answer<T> {
    /// The reply to the caller.
    pub reply: T,
    /// The other requests granted by this step; each is to be told on its channel.
    pub granted: Vec<Grant>,
    /// The bound of [`MAX_STEPS`](super::MAX_STEPS) ended the step: the caller repeats it at once.
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

    /// The answer of a step that had granted those before.
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
    /// Where it hears of it.
    pub channel: Arc<str>,
    /// The fencing token of the hold.
    pub fence: u64,
    /// The life that was set, in milliseconds.
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
        /// What is left of the life, at least what this step set, in milliseconds.
        ttl_ms: u64,
    },
    /// The request waits.
    Queued {
        /// Its ticket; a look carries it.
        ticket: u64,
        /// Its place, from 1, counted no further than one more than
        /// [`PLACES`](super::PLACES).
        place: u64,
        /// Who holds; nobody where only the bound of one call was reached.
        holder: Option<HolderView>,
        /// In how many milliseconds the hold expires after which it polls: the first to expire
        /// for the first [`EXPIRY_WATCHERS`](super::EXPIRY_WATCHERS) waiters, the second for the
        /// next waiter, and so on. None if there are fewer holds, or if that hold has no end.
        awaited_expiry_ms: Option<u64>,
    },
    /// The request has been ended; this acquire came late.
    Ended,
    /// It can never be granted as it stands.
    Refused(Refusal),
}

/// The reply to `try_acquire`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tried {
    /// The request holds.
    Granted {
        /// The fencing token.
        fence: u64,
        /// What is left of the life, at least what this step set, in milliseconds.
        ttl_ms: u64,
    },
    /// Somebody else holds, or comes first.
    Busy {
        /// Who holds.
        holder: Option<HolderView>,
        /// How many wait.
        waiting: u64,
    },
    /// The request has been ended; this try came late.
    Ended,
    /// It can never be granted as it stands.
    Refused(Refusal),
}

/// Why a request can never be granted as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It weighs more than the limit.
    AboveLimit {
        /// The limit.
        limit: u32,
    },
    /// It states another limit than the one in force.
    LimitDiffers {
        /// The limit in force, if there is one.
        limit: Option<u32>,
    },
}

/// The reply to `renew`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewed {
    /// The hold goes on.
    Renewed {
        /// The life it has now, in milliseconds.
        ttl_ms: u64,
    },
    /// An operator asked the holder to stop: the hold stands, and is not prolonged.
    Stopping {
        /// What is left of its life, in milliseconds.
        ttl_ms: u64,
    },
    /// There is no such hold.
    NotYours {
        /// Whether somebody else holds instead.
        taken: bool,
    },
}

/// The reply to `downgrade`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Downgraded {
    /// The hold is a shared one.
    Downgraded {
        /// The life it has now, in milliseconds.
        ttl_ms: u64,
    },
    /// There is no such hold.
    NotYours {
        /// Whether somebody else holds instead.
        taken: bool,
    },
    /// Those who wait to share have stated a limit, which a reader has not.
    Refused(Refusal),
}

/// The reply to `resize`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resized {
    /// The limit is the new one.
    Resized {
        /// What it was.
        before: NonZeroU32,
    },
    /// Nobody holds under a limit.
    NotHeld,
}

/// The reply to a step that writes something for a holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is written.
    Written,
    /// There is no such hold, or, for the end of a run, no such run.
    NotYours,
}

/// The reply to `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It held, and does no more.
    Released,
    /// It waited, and does no more.
    Left,
    /// It neither held nor waited.
    NotYours,
}

/// The reply to `break_hold`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The hold has been ended.
    Freed,
    /// The holder will be told at its next renewal, and the hold is not prolonged.
    Asked {
        /// What is left of its life at the most, in milliseconds; none where it has no end.
        remaining_ms: Option<u64>,
    },
    /// No hold has that fence.
    NotHeld,
}

/// A holder, as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HolderView {
    /// Its owner; for shared holds together, a fixed marker.
    pub owner: Arc<str>,
    /// Its fencing token; a foreign holder has none.
    pub fence: Option<u64>,
    /// When it was granted, where known.
    pub since: Option<Moment>,
    /// What is left of its life, in milliseconds; none where it has no end.
    pub remaining_ms: Option<u64>,
    /// Who it is.
    pub label: Arc<str>,
}

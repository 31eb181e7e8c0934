//! A contender for a resource: the parameters of a request to acquire.

use std::num::NonZeroU32;
use std::sync::Arc;

/// A contender for a resource: first a waiter, then a holder.
///
/// Its id is drawn before anything is sent. It becomes the `owner` of the hold, and is the only
/// identity there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contender {
    /// The request id.
    pub id: Arc<str>,
    /// Exclusive or shared.
    pub mode: Mode,
    /// The lease, in milliseconds: how long the hold lasts without a renewal.
    pub lease_ms: u64,
    /// The channel on which the waiter is notified of a grant.
    pub channel: Arc<str>,
    /// A label for people.
    pub label: Arc<str>,
}

impl Contender {
    /// Creates a contender of which only the id is known, to end it or to hand off.
    #[must_use]
    pub fn with_id(id: Arc<str>) -> Self {
        Self {
            id,
            mode: Mode::Exclusive,
            lease_ms: 0,
            channel: "-".into(),
            label: "".into(),
        }
    }
}

/// The mode of a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Excludes all other holds.
    Exclusive,
    /// Admits other shared holds, with a weight and an optional limit.
    Shared {
        /// How much of the limit it takes.
        weight: NonZeroU32,
        /// The limit on the total weight of the shared holds.
        limit: Limit,
    },
}

/// The limit that a shared request asks for. The first shared request sets it. A request that
/// states another limit than the one in force is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// There is no limit.
    Unlimited,
    /// The limit is this one.
    Stated(NonZeroU32),
    /// The limit is the one in force; this one if none is.
    Followed(NonZeroU32),
}

impl Limit {
    /// Returns the limit that is set if none is in force.
    #[must_use]
    pub fn first(self) -> Option<NonZeroU32> {
        match self {
            Self::Unlimited => None,
            Self::Stated(limit) | Self::Followed(limit) => Some(limit),
        }
    }
}

impl Mode {
    pub(super) fn weight(self) -> u32 {
        match self {
            Self::Exclusive => 0,
            Self::Shared { weight, .. } => weight.get(),
        }
    }

    /// Returns the limit that is set if none is in force.
    pub(super) fn first_limit(self) -> Option<NonZeroU32> {
        match self {
            Self::Exclusive => None,
            Self::Shared { limit, .. } => limit.first(),
        }
    }
}

//! A contender for a resource: what a request to acquire says of itself.

use std::num::NonZeroU32;
use std::sync::Arc;

/// One contender for a resource: it waits, then holds.
///
/// Its id is drawn before anything is sent, is the `owner` of the hold that it may become, and is
/// the only identity there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contender {
    /// The request id.
    pub id: Arc<str>,
    /// How it wants to hold.
    pub mode: Mode,
    /// The lease, in milliseconds: how long the hold lasts without renewal.
    pub lease_ms: u64,
    /// The channel on which the waiter hears of a grant.
    pub channel: Arc<str>,
    /// Who asks, for people who look.
    pub label: Arc<str>,
}

impl Contender {
    /// Makes a contender of which only the id is known: to end it, or to hand off for nobody.
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

/// How a request wants to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Alone.
    Exclusive,
    /// With other shared holds, with a weight and perhaps under a limit.
    Shared {
        /// How much of the limit it takes.
        weight: NonZeroU32,
        /// What it says of the most that all shared holds may weigh together.
        limit: Limit,
    },
}

/// What a request to share says of the limit. The first to share sets it, and another than the
/// one in force is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// There is none.
    Unlimited,
    /// It is this one.
    Stated(NonZeroU32),
    /// It is the one in force; this one where none is.
    Followed(NonZeroU32),
}

impl Limit {
    /// The limit that it sets where none is in force.
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

    /// The limit that it sets where none is in force.
    pub(super) fn first_limit(self) -> Option<NonZeroU32> {
        match self {
            Self::Exclusive => None,
            Self::Shared { limit, .. } => limit.first(),
        }
    }
}

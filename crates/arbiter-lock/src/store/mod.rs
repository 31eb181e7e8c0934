//! What keeps the truth: carries a step to it, brings its reply, delivers grants.
//!
//! A store decides nothing about time or order that the core has a rule for.

mod failure;
#[cfg(feature = "redis")]
mod redis;

pub(crate) use failure::{Failure, FailureKind};

use arbiter_lock_core::Moment;

/// What a store said to a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said<T> {
    pub(crate) reply: T,
    /// The store's time of the step.
    pub(crate) at: Moment,
    /// There is more to hand over: repeat the step at once.
    pub(crate) again: bool,
}

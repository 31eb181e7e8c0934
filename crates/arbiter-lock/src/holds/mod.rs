//! Holds and the guards that end them.

pub(crate) mod downgrade;
pub(crate) mod guard;
pub(crate) mod guard_all;
pub(crate) mod hold;
pub(crate) mod lock_span;
pub(crate) mod token;

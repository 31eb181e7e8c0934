//! The errors of operations, and the reasons why a hold is over.

pub(crate) mod error;
pub(crate) mod failure;
pub(crate) mod invalid;
pub(crate) mod lost_reason;
pub(crate) mod refused;

//! An invalid argument.

use std::fmt;

use crate::printable::Printable;

/// An invalid argument.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Invalid {
    /// The argument: `name`, `lease_time`, …
    pub what: &'static str,
    /// A readable message, with the valid range.
    pub message: String,
}

impl Invalid {
    pub(crate) fn new(what: &'static str, message: impl Into<String>) -> Self {
        Self {
            what,
            message: message.into(),
        }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Printable(&self.message).fmt(f)
    }
}

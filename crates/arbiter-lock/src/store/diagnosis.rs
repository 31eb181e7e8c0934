//! The checks of a store's settings that matter to its locks.

use crate::printable::Printable;

/// A property of a store that matters to its locks: see
/// [`Client::diagnose`](crate::Client::diagnose).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Check {
    /// The subject of the check: `memory`, `clock`, …
    pub name: &'static str,
    /// The result.
    pub status: CheckStatus,
    /// The result of the check.
    pub message: String,
    /// What to change, unless it is fine.
    pub fix: Option<String>,
}

/// The result of a [`Check`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum CheckStatus {
    /// It is fine, or not known.
    Ok,
    /// Some failure would cost more than it has to.
    Warning,
    /// Locks are at risk without any failure.
    Failure,
}

impl Check {
    /// Makes a check that is fine. Servers have named parts of the message.
    pub(crate) fn ok(name: &'static str, message: impl Into<String>) -> Self {
        Self {
            name,
            status: CheckStatus::Ok,
            message: Printable(&message.into()).to_string(),
            fix: None,
        }
    }

    pub(crate) fn warning(
        name: &'static str,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            status: CheckStatus::Warning,
            fix: Some(fix.into()),
            ..Self::ok(name, message)
        }
    }

    pub(crate) fn failure(
        name: &'static str,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            status: CheckStatus::Failure,
            ..Self::warning(name, message, fix)
        }
    }
}

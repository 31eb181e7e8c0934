//! The failures of waits.

use super::attempt::Attempt;
use crate::errors::error::Error;
use crate::store::{Failure, FailureKind};

/// Why a request did not become a hold.
pub(super) enum NotAcquired {
    Failed(Error),
    /// It was granted, and too few replicas have acknowledged that.
    Unacknowledged(Error),
}

impl From<Error> for NotAcquired {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl NotAcquired {
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Failed(error) | Self::Unacknowledged(error) => error,
        }
    }
}

/// Returns whether that failure of a write means that too few replicas have acknowledged it.
pub(super) fn is_unacknowledged(failure: &Failure) -> bool {
    failure.kind == FailureKind::NoReplicas && failure.may_have_run
}

impl Attempt {
    /// Returns the outcome of a request that was granted and cannot be acknowledged.
    pub(super) fn unacknowledged(&self, failure: Failure) -> NotAcquired {
        let is_transient = failure.is_transient();
        let error = self.store_error(failure);
        match is_transient {
            true => NotAcquired::Unacknowledged(error),
            false => NotAcquired::Failed(error),
        }
    }
}

/// Returns the failure of a request whose grants come too late.
pub(super) fn too_late() -> Failure {
    Failure::unknown(
        FailureKind::Silent,
        "grants only so late that the lease is over: the lease is too short for it",
    )
}

/// Returns the failure of a wait that ended before a first answer could arrive.
pub(crate) fn too_short() -> Failure {
    Failure::unknown(
        FailureKind::WaitTooShort,
        "the wait limit is shorter than a round trip; wait longer",
    )
}

/// Returns the failure of a request that was ended by another client.
pub(super) fn ended() -> Failure {
    Failure::unknown(FailureKind::Malformed, "this request was ended externally")
}

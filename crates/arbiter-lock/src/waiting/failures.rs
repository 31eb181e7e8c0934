//! The failures of waits.

use crate::store::{Failure, FailureKind};

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

//! Why a hold is over.

use std::fmt;

use arbiter_lock_core::Renewed;

/// Why a hold is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LostReason {
    /// Its lease ran out without renewal: the watchdog is off, or the computer slept.
    Expired,
    /// Another holder has it: an external client took it.
    Taken,
    /// It was deleted externally: by an operator, a flush, an eviction.
    Deleted,
    /// Its lease ran out while the store did not answer the renewals.
    Unreachable,
    /// Its lease expired while the store answered the renewals with errors. The store is read-only,
    /// out of memory, or denies access. [`Loss`](crate::Loss) carries its last answer.
    NotRenewed,
    /// It reached its [`max_hold`](crate::Lock::max_hold).
    MaxHold,
    /// The client was shut down.
    Shutdown,
    /// An operator asked the holder to stop. No waiter is granted before the holder has released,
    /// or its lease has run out.
    Revoked,
    /// It was released: nothing was lost.
    Released,
    /// Its token cannot be used: another process has adopted the hold, or it has ended.
    TokenUsed,
    /// This process was forked from the holder, which is not affected.
    Forked,
}

impl LostReason {
    /// Returns why a hold that was not renewed is lost.
    pub(crate) fn of(answer: Renewed) -> Self {
        match answer {
            Renewed::Stopping { .. } => Self::Revoked,
            Renewed::NotYours { taken: true } => Self::Taken,
            Renewed::NotYours { taken: false } | Renewed::Renewed { .. } => Self::Deleted,
        }
    }
}

impl LostReason {
    /// Returns the value of the label or field `reason`.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Taken => "taken",
            Self::Deleted => "deleted",
            Self::Unreachable => "unreachable",
            Self::NotRenewed => "not_renewed",
            Self::MaxHold => "max_hold",
            Self::Shutdown => "shutdown",
            Self::Revoked => "revoked",
            Self::Released => "released",
            Self::TokenUsed => "token_used",
            Self::Forked => "forked",
        }
    }
}

impl fmt::Display for LostReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "its lease ran out without renewal",
            Self::Taken => "an external client took it",
            Self::Deleted => "it was deleted externally",
            Self::Unreachable => "its lease ran out while the store did not answer",
            Self::NotRenewed => "its lease ran out while the store refused to renew it",
            Self::MaxHold => "it was held for as long as it may be",
            Self::Shutdown => "the client was shut down",
            Self::Revoked => "an operator asked to stop",
            Self::Released => "it was released",
            Self::TokenUsed => "another process has adopted it, or it has ended",
            Self::Forked => "this process was forked from the holder's process",
        })
    }
}

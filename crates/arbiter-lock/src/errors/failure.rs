//! Why a store did not answer a request, and whether the request may have been executed.

use std::fmt;

/// The failure of a request to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    /// Whether the store may have executed the request, or may execute it later.
    pub(crate) may_have_run: bool,
    /// The message of the server or the system, without secrets.
    pub(crate) detail: String,
}

/// The kind of a failure. The first group is transient, so the request is sent again; the second is
/// permanent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(all(feature = "redis", feature = "embedded")),
    expect(dead_code, reason = "each store uses some of them")
)]
pub(crate) enum FailureKind {
    /// No connection, or it was lost.
    Unreachable,
    /// No answer in time.
    Silent,
    /// The wait ended before an answer could arrive.
    WaitTooShort,
    /// The server is loading, or busy in a script.
    Loading,
    /// The slot of the name is being moved to another node of its cluster.
    Moving,
    /// The server is a replica, or the file cannot be written.
    ReadOnly,
    /// The server is at its memory limit, or cannot write its disk.
    Full,
    /// The server has too few replicas.
    NoReplicas,
    /// The server rejects credentials that may have been replaced.
    Rejected,
    /// An unknown error.
    Other,

    /// The key holds other data.
    WrongType,
    /// The store's file is damaged.
    Damaged,
    /// The password is wrong, or a right is missing.
    Denied,
    /// The server cannot do what the protocol needs.
    Unsupported,
    /// The server is of another kind than the URL names.
    WrongUrl,
    /// The server's answer violates the protocol.
    Malformed,
    /// This process was forked from the one that connected.
    Forked,
}

impl Failure {
    /// Returns the failure of a request that was not sent.
    pub(crate) fn before_sending(kind: FailureKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            may_have_run: false,
            detail: detail.into(),
        }
    }

    /// Returns the failure of a request that was sent and has no known outcome.
    pub(crate) fn unknown(kind: FailureKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            may_have_run: true,
            detail: detail.into(),
        }
    }

    /// Returns whether `earlier` has the store's own answer, and this failure only a missed time
    /// limit.
    pub(crate) fn says_less_than(&self, earlier: &Self) -> bool {
        let is_unsent = |of: &Self| of.kind == FailureKind::Silent && !of.may_have_run;
        is_unsent(self) && !is_unsent(earlier)
    }

    /// Returns whether the store did not answer at all.
    pub(crate) fn is_silence(&self) -> bool {
        matches!(
            self.kind,
            FailureKind::Unreachable | FailureKind::Silent | FailureKind::WaitTooShort
        )
    }

    /// Writes the message for a request for that resource, if it has a name, on that store.
    pub(crate) fn write_of(
        &self,
        f: &mut fmt::Formatter<'_>,
        name: &str,
        store: &str,
    ) -> fmt::Result {
        if !name.is_empty() {
            write!(f, "lock '{}': ", name.escape_debug())?;
        }
        write!(f, "the store {store} {self}")
    }

    /// Returns whether a retry may help.
    pub(crate) fn is_transient(&self) -> bool {
        !matches!(
            self.kind,
            FailureKind::WrongType
                | FailureKind::Damaged
                | FailureKind::Denied
                | FailureKind::Unsupported
                | FailureKind::WrongUrl
                | FailureKind::Malformed
                | FailureKind::Forked
        )
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            FailureKind::Unreachable => "cannot be reached",
            FailureKind::Silent => "does not answer",
            FailureKind::WaitTooShort => "had no time to answer",
            FailureKind::Loading => "is busy or loading",
            FailureKind::Moving => "is moving the slot of this name to another node",
            FailureKind::ReadOnly => "is read-only",
            FailureKind::Full => "is out of memory or disk",
            FailureKind::NoReplicas => "has too few replicas",
            FailureKind::Other => "answered with an error",
            FailureKind::WrongType => "holds something else under this key",
            FailureKind::Damaged => "is damaged",
            FailureKind::Denied | FailureKind::Rejected => "denies access",
            FailureKind::Unsupported => "lacks what the protocol needs",
            FailureKind::WrongUrl => "needs another URL",
            FailureKind::Malformed => "answered out of the protocol",
            FailureKind::Forked => "was connected by the process from which this one was forked",
        };
        match self.detail.as_str() {
            "" => f.write_str(what),
            detail => write!(f, "{what}: {detail}"),
        }
    }
}

impl std::error::Error for Failure {}

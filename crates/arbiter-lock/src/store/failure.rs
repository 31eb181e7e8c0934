//! Why a store did not answer a step, and whether the step may have been executed all the same.

use std::fmt;

/// A step that got no answer of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    /// Whether the store may have executed the step, or may yet.
    pub(crate) may_have_run: bool,
    /// What the server or the system said, without secrets.
    pub(crate) detail: String,
}

/// What stood in the way. The first group passes by itself, so that a step is tried again;
/// the second does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(all(feature = "redis", feature = "embedded")),
    expect(dead_code, reason = "each store fails in ways of its own")
)]
pub(crate) enum FailureKind {
    /// No connection, or it was lost.
    Unreachable,
    /// No answer in time.
    Silent,
    /// The server is loading, or busy in a script.
    Loading,
    /// The server is a replica, or the file cannot be written.
    ReadOnly,
    /// The server is at its memory limit, or cannot write its disk.
    Full,
    /// The server has too few replicas.
    NoReplicas,
    /// An error that we do not know.
    Other,

    /// The key holds somebody's data.
    WrongType,
    /// The store's file is not what it should be.
    Damaged,
    /// Password or rights.
    Denied,
    /// The server cannot do what the protocol needs.
    Unsupported,
    /// The server's answer is not one of the protocol.
    Malformed,
    /// This process was forked from the one that connected.
    Forked,
}

impl Failure {
    /// A failure of a step that was never sent.
    pub(crate) fn before_sending(kind: FailureKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            may_have_run: false,
            detail: detail.into(),
        }
    }

    /// A failure of a step that was sent and has no known outcome.
    pub(crate) fn unknown(kind: FailureKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            may_have_run: true,
            detail: detail.into(),
        }
    }

    /// Whether to try again may help.
    pub(crate) fn is_transient(&self) -> bool {
        !matches!(
            self.kind,
            FailureKind::WrongType
                | FailureKind::Damaged
                | FailureKind::Denied
                | FailureKind::Unsupported
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
            FailureKind::Loading => "is busy or loading",
            FailureKind::ReadOnly => "is read-only",
            FailureKind::Full => "is out of memory or disk",
            FailureKind::NoReplicas => "has too few replicas",
            FailureKind::Other => "answered with an error",
            FailureKind::WrongType => "holds something else under this key",
            FailureKind::Damaged => "is damaged",
            FailureKind::Denied => "denies access",
            FailureKind::Unsupported => "lacks what the protocol needs",
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

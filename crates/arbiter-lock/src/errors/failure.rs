//! Why a store did not answer a request, and whether the request may have been executed.

use std::time::Duration;
use std::{fmt, io};

use rustix::io::Errno;

use crate::printable::Printable;

/// The failure of a request to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    /// Whether the store may have executed the request, or may execute it later.
    pub(crate) may_have_run: bool,
    /// The message of the server or the system, without secrets.
    pub(crate) detail: String,
}

/// States that nothing arrived within a limit, in whole milliseconds.
pub(crate) fn nothing(what: &str, limit: Duration) -> String {
    format!("no {what} within {:?}", whole_millis(limit))
}

/// Rounds a time limit up, for messages: the rest of a limit is a little less than it.
pub(crate) fn whole_millis(limit: Duration) -> Duration {
    let millis = limit.as_micros().div_ceil(1_000);
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
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
    /// The system refuses this process a descriptor or a thread.
    System,
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
    /// The server lacks features that the protocol needs.
    Unsupported,
    /// The server is of another kind than the URL names.
    WrongUrl,
    /// The server's answer violates the protocol.
    Malformed,
    /// This process was forked from the process that connected.
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

    /// Returns the failure if this process, or the system, has no descriptors left. Returns `None`
    /// for another error.
    pub(crate) fn of_descriptors(error: &io::Error) -> Option<Self> {
        let of = match Errno::from_io_error(error)? {
            Errno::MFILE => "this process (ulimit -n)",
            Errno::NFILE => "the system (fs.file-max)",
            _ => return None,
        };
        let detail = format!("{error}; raise the limit of open files of {of}");
        Some(Self::before_sending(FailureKind::System, detail))
    }

    /// Returns the failure of a thread that did not start.
    pub(crate) fn of_thread(error: &io::Error) -> Self {
        Self::of_descriptors(error).unwrap_or_else(|| {
            let detail = format!("the system starts no thread for it: {error}");
            Self::before_sending(FailureKind::System, detail)
        })
    }

    /// Returns the failure of a request that was not sent, since `what` did not come within a limit.
    /// The clock of the runtime may have run ahead of the time that has really `passed`.
    #[cfg_attr(
        not(feature = "redis"),
        expect(dead_code, reason = "a server is dialed on the caller's runtime")
    )]
    pub(crate) fn too_late(what: &str, limit: Duration, passed: Duration) -> Self {
        let mut detail = nothing(what, limit);
        if passed < limit / 2 {
            detail += " of the time of this tokio runtime, which is paused and ran ahead: resume it \
                       (tokio::time::resume), or use the store memory:";
        }
        Self::before_sending(FailureKind::Silent, detail)
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
            write!(f, "lock '{}': ", Printable(name))?;
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
            FailureKind::System => "cannot be used by this process",
            FailureKind::Other => "answered with an error",
            FailureKind::WrongType => "holds something else under this key",
            FailureKind::Damaged => "is damaged",
            FailureKind::Denied | FailureKind::Rejected => "denies access",
            FailureKind::Unsupported => "lacks features that the protocol needs",
            FailureKind::WrongUrl => "needs another URL",
            FailureKind::Malformed => "answered out of the protocol",
            FailureKind::Forked => "was connected by the process from which this one was forked",
        };
        match self.detail.as_str() {
            "" => f.write_str(what),
            detail => write!(f, "{what}: {}", Printable(detail)),
        }
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errors::error::Error;

    #[test]
    fn text_of_a_server_is_escaped() {
        let failure = Failure::unknown(FailureKind::Other, "ERR \u{1b}[2J\u{202e}\nfoo 'x'");
        let shown = r"answered with an error: ERR \u{1b}[2J\u{202e}\nfoo 'x'";
        assert_eq!(failure.to_string(), shown);
        let error = Error::of_store("a\u{2066}b", "redis://h", failure);
        let expected = format!("lock 'a\\u{{2066}}b': the store redis://h {shown}");
        assert_eq!(error.to_string(), expected);
    }
}
